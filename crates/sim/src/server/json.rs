//! JSON bodies of the GCS dialect: object, page of objects, bucket, error.

use object_store::Attribute;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::bucket::{ATTRIBUTES, ServedBucket};
use super::xml::time;
use crate::cloud::catalog::{ListPage, Versioning};
use crate::cloud::generation::{EPOCH, Generation};

/// The resource of `generation` of the object `key`.
pub(super) fn object(bucket: &ServedBucket, key: &str, generation: &Generation) -> Value {
    let (name, url, number) = (&bucket.name, &bucket.url, generation.number);
    let path = format!("storage/v1/b/{name}/o/{}", utf8_percent_encode(key, NON_ALPHANUMERIC));
    let written = time(generation.last_modified);
    let mut resource = json!({
        "kind": "storage#object",
        "id": format!("{name}/{key}/{number}"),
        "selfLink": format!("{url}/{path}"),
        "mediaLink": format!("{url}/download/{path}?generation={number}&alt=media"),
        "name": key,
        "bucket": name,
        "generation": number.to_string(),
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": generation.size.to_string(),
        "etag": generation.e_tag.trim_matches('"'),
        "timeCreated": written,
        "updated": written,
    });
    if let Some(crc32c) = generation.crc32c_base64() {
        resource["crc32c"] = crc32c.into();
    }
    let mut metadata = Map::new();
    for (attribute, value) in &generation.attributes {
        if let Attribute::Metadata(name) = attribute {
            metadata.insert(name.to_string(), value.as_ref().into());
        } else if *attribute == Attribute::StorageClass {
            resource["storageClass"] = value.as_ref().into();
        } else if let Some((.., field)) = ATTRIBUTES.iter().find(|(known, ..)| known == attribute) {
            resource[field] = value.as_ref().into();
        }
    }
    if !metadata.is_empty() {
        resource["metadata"] = metadata.into();
    }
    resource
}

/// The resource of a page of objects. Empty fields are left out.
pub(super) fn objects(bucket: &ServedBucket, page: &ListPage) -> Value {
    let mut list = json!({ "kind": "storage#objects" });
    if !page.objects.is_empty() {
        list["items"] = page.objects.iter().map(|(key, live)| object(bucket, key, live)).collect();
    }
    if !page.prefixes.is_empty() {
        list["prefixes"] = page.prefixes.as_slice().into();
    }
    if let Some(next) = &page.next {
        list["nextPageToken"] = next.as_str().into();
    }
    list
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
