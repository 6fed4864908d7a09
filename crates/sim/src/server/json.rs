//! JSON bodies of the GCS dialect: object, page of objects, bucket, error.

use std::collections::BTreeMap;

use object_store::Attribute;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Value, json};

use super::bucket::ServedBucket;
use super::xml::time;
use crate::cloud::catalog::Versioning;
use crate::cloud::generation::{EPOCH, Generation};

/// The resource of an object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectResource {
    kind: &'static str,
    id: String,
    self_link: String,
    media_link: String,
    name: String,
    bucket: String,
    generation: String,
    metageneration: &'static str,
    content_type: String,
    storage_class: String,
    size: String,
    etag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc32c: Option<String>,
    time_created: String,
    updated: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_language: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// A page of objects. Empty fields are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectList {
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_page_token: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) items: Vec<ObjectResource>,
}

impl ObjectResource {
    /// The resource of `generation` of the object `key`.
    pub(super) fn new(bucket: &ServedBucket, key: &str, generation: &Generation) -> Self {
        let number = generation.number;
        let path = format!("storage/v1/b/{}/o/{}", bucket.name, utf8_percent_encode(key, NON_ALPHANUMERIC));
        let written = time(generation.last_modified);
        let text = |attribute: Attribute| generation.attributes.get(&attribute).map(|value| value.to_string());
        let metadata = generation.attributes.iter().filter_map(|(attribute, value)| match attribute {
            Attribute::Metadata(name) => Some((name.to_string(), value.to_string())),
            _ => None,
        });
        Self {
            kind: "storage#object",
            id: format!("{}/{key}/{number}", bucket.name),
            self_link: format!("{}/{path}", bucket.url),
            media_link: format!("{}/download/{path}?generation={number}&alt=media", bucket.url),
            name: key.to_owned(),
            bucket: bucket.name.clone(),
            generation: number.to_string(),
            metageneration: "1",
            content_type: text(Attribute::ContentType).unwrap_or_else(|| "application/octet-stream".to_owned()),
            storage_class: text(Attribute::StorageClass).unwrap_or_else(|| "STANDARD".to_owned()),
            size: generation.size.to_string(),
            etag: generation.e_tag.trim_matches('"').to_owned(),
            crc32c: generation.crc32c_base64(),
            time_created: written.clone(),
            updated: written,
            cache_control: text(Attribute::CacheControl),
            content_disposition: text(Attribute::ContentDisposition),
            content_encoding: text(Attribute::ContentEncoding),
            content_language: text(Attribute::ContentLanguage),
            metadata: metadata.collect(),
        }
    }
}

/// The resource of a bucket.
pub(super) fn bucket(bucket: &ServedBucket) -> Value {
    json!({
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": format!("{}/storage/v1/b/{}", bucket.url, bucket.name),
        "metageneration": "1",
        "etag": "CAE=",
        "location": "US",
        "storageClass": "STANDARD",
        "timeCreated": time(EPOCH),
        "updated": time(EPOCH),
        "versioning": { "enabled": bucket.catalog.versioning() == Versioning::Kept },
    })
}

/// The body of an error.
pub(super) fn error(code: u16, message: &str, reason: &str) -> Value {
    let errors = json!([{ "message": message, "domain": "global", "reason": reason }]);
    json!({ "error": { "code": code, "message": message, "errors": errors } })
}
