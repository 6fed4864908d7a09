//! Executes requests on the bucket's catalog.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use object_store::{Attribute, GetOptions, path::Path};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::json_api::{self, JsonCall};
use super::reply::{Answered, Refusal, ServerPayload, ServerReply};
use super::request::{Operation, Target, UploadStep};
use super::xml;
use crate::cloud::catalog::{Catalog, ListQuery, Versioning};
use crate::cloud::generation::Generation;

/// The protocol that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The XML API of Google Cloud Storage as `object_store`'s GCS client uses it, and the reading part of its JSON
    /// API.
    #[default]
    Gcs,
    /// Amazon S3 with path-style requests.
    S3,
}

/// Attributes with a standard header, and their fields in the JSON API.
pub(super) static ATTRIBUTES: [(Attribute, HeaderName, &str); 5] = [
    (Attribute::CacheControl, CACHE_CONTROL, "cacheControl"),
    (Attribute::ContentDisposition, CONTENT_DISPOSITION, "contentDisposition"),
    (Attribute::ContentEncoding, CONTENT_ENCODING, "contentEncoding"),
    (Attribute::ContentLanguage, CONTENT_LANGUAGE, "contentLanguage"),
    (Attribute::ContentType, CONTENT_TYPE, "contentType"),
];

impl Dialect {
    /// Query parameter that names a version, and response header with the object's version.
    pub(super) fn version_names(self) -> (&'static str, HeaderName) {
        match self {
            Self::Gcs => ("generation", HeaderName::from_static("x-goog-generation")),
            Self::S3 => ("versionId", HeaderName::from_static("x-amz-version-id")),
        }
    }

    /// Prefix of the provider's own headers.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Gcs => "x-goog-",
            Self::S3 => "x-amz-",
        }
    }

    /// The header that carries an attribute.
    fn header_of(self, attribute: &Attribute) -> Option<HeaderName> {
        match attribute {
            Attribute::StorageClass => format!("{}storage-class", self.prefix()).parse().ok(),
            Attribute::Metadata(key) => format!("{}meta-{key}", self.prefix()).parse().ok(),
            other => ATTRIBUTES.iter().find(|(known, ..)| known == other).map(|(_, header, _)| header.clone()),
        }
    }

    /// The attribute that a header carries.
    pub(super) fn attribute_of(self, header: &HeaderName) -> Option<Attribute> {
        match header.as_str().strip_prefix(self.prefix()) {
            Some("storage-class") => Some(Attribute::StorageClass),
            Some(own) => own.strip_prefix("meta-").map(|key| Attribute::Metadata(key.to_owned().into())),
            None => ATTRIBUTES.iter().find(|(_, known, _)| known == header).map(|(attribute, ..)| attribute.clone()),
        }
    }
}

/// A bucket behind one of the dialects.
#[derive(Debug)]
pub(super) struct ServedBucket {
    pub(super) name: String,
    /// Base URL of the server.
    pub(super) url: String,
    pub(super) dialect: Dialect,
    pub(super) catalog: Arc<Catalog>,
}

impl ServedBucket {
    /// Whether a request is for the JSON API.
    pub(super) fn speaks_json(&self, uri: &Uri) -> bool {
        self.dialect == Dialect::Gcs && json_api::is_json_api(uri)
    }

    /// Parses a request to this bucket.
    pub(super) fn parse(&self, request: &http::request::Parts) -> Answered<Operation> {
        if self.speaks_json(&request.uri) {
            return JsonCall::parse(&self.name, request).map(Operation::Json);
        }
        let target = Target::parse(&request.uri)?;
        if target.bucket != self.name {
            return Err(Refusal::no_such_bucket(&target.bucket));
        }
        Operation::parse(self.dialect, &request.method, &target, &request.headers)
    }

    /// Executes `operation` at the time `now`; `body` is the body of the request.
    pub(super) fn execute(&self, operation: Operation, body: Bytes, now: DateTime<Utc>) -> Answered {
        let catalog = &self.catalog;
        match operation {
            Operation::Get { key, options } => {
                let generation = self.find(&key, &options)?;
                self.check(&key, &generation, &options)?;
                self.serve(generation, &options)
            }
            Operation::Json(call) => call.execute(self),
            Operation::Put { key, condition, attributes } => {
                let made = catalog.put(&key, body, attributes, &condition, now)?;
                Ok(ServerReply::empty(StatusCode::OK).with(self.about(&made)))
            }
            Operation::Copy { from, to, condition } => {
                let made = catalog.copy(&from, &to, &condition, now)?;
                let date = xml::text("LastModified", xml::time(made.last_modified));
                let children = [xml::text("ETag", &made.e_tag), date];
                Ok(ServerReply::xml("CopyObjectResult", &children).with(self.about(&made)))
            }
            Operation::Delete { key } => match (catalog.delete(&key), self.dialect) {
                (true, _) | (false, Dialect::S3) => Ok(ServerReply::empty(StatusCode::NO_CONTENT)),
                (false, Dialect::Gcs) => Err(Refusal::no_such_key(&key)),
            },
            Operation::DeleteMany => {
                let delete: xml::Delete = parse(&body)?;
                for object in &delete.object {
                    catalog.delete(&object.key);
                }
                let shown = if delete.quiet { Vec::new() } else { delete.object };
                let deleted = |object: &xml::KeyElement| xml::element("Deleted", &[xml::text("Key", &object.key)]);
                Ok(ServerReply::xml("DeleteResult", &shown.iter().map(deleted).collect::<Vec<_>>()))
            }
            Operation::List(query) => Ok(self.list(&query)),
            Operation::Upload { key, step } => self.upload(key, step, body, now),
        }
    }

    fn upload(&self, key: String, step: UploadStep, body: Bytes, now: DateTime<Utc>) -> Answered {
        let catalog = &self.catalog;
        match step {
            UploadStep::Begin { attributes } => {
                let id = catalog.begin_upload(&key, attributes);
                let children = [xml::text("Bucket", &self.name), xml::text("Key", &key), xml::text("UploadId", id)];
                Ok(ServerReply::xml("InitiateMultipartUploadResult", &children))
            }
            UploadStep::Put { upload, number } => {
                let e_tag = catalog.put_part(&upload, number, body)?;
                Ok(ServerReply::empty(StatusCode::OK).with(vec![(ETAG, value(&e_tag))]))
            }
            UploadStep::Copy { from, upload, number } => {
                let source = catalog.get(&from, None)?;
                let e_tag = catalog.put_part(&upload, number, source.bytes(0..source.size))?;
                Ok(ServerReply::xml("CopyPartResult", &[xml::text("ETag", &e_tag)]))
            }
            UploadStep::Complete { upload, condition } => {
                let complete: xml::CompleteMultipartUpload = parse(&body)?;
                let parts: Vec<_> = complete.part.into_iter().map(|part| (part.part_number, part.e_tag)).collect();
                let made = catalog.complete_upload(&upload, &parts, &condition, now)?;
                let children =
                    [xml::text("Bucket", &self.name), xml::text("Key", &key), xml::text("ETag", &made.e_tag)];
                Ok(ServerReply::xml("CompleteMultipartUploadResult", &children).with(self.about(&made)))
            }
            UploadStep::Abort { upload } => {
                catalog.abort_upload(&upload)?;
                Ok(ServerReply::empty(StatusCode::NO_CONTENT))
            }
        }
    }

    /// Finds the generation that `options` name.
    pub(super) fn find(&self, key: &str, options: &GetOptions) -> Answered<Arc<Generation>> {
        let number = options.version.as_deref().map(str::parse).transpose();
        let number = number.map_err(|_| Refusal::invalid("a version must be a number"))?;
        Ok(self.catalog.get(key, number)?)
    }

    /// Checks that the conditions of `options` hold.
    pub(super) fn check(&self, key: &str, generation: &Generation, options: &GetOptions) -> Answered<()> {
        // The path does not matter for preconditions, and some keys are not valid paths.
        options.check_preconditions(&generation.meta(Path::default())).map_err(|error| {
            let refusal = match error {
                object_store::Error::NotModified { .. } => Refusal::not_modified(),
                _ => Refusal::precondition_failed(key),
            };
            Refusal { headers: self.about(generation), ..refusal }
        })
    }

    /// Answers with the bytes that `options` ask for; for a HEAD, with the headers alone.
    pub(super) fn serve(&self, generation: Arc<Generation>, options: &GetOptions) -> Answered {
        let size = generation.size;
        let (status, range) = match &options.range {
            None => (StatusCode::OK, 0..size),
            Some(wanted) => match wanted.as_range(size) {
                Ok(range) if !range.is_empty() => (StatusCode::PARTIAL_CONTENT, range),
                _ => return Err(Refusal::range_not_satisfiable(size)),
            },
        };
        let mut reply = ServerReply::empty(status).with(self.about(&generation));
        reply.headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
        if status == StatusCode::PARTIAL_CONTENT {
            let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            reply.headers.insert(CONTENT_RANGE, value(&content_range));
        }
        for (attribute, text) in &generation.attributes {
            if let Some(name) = self.dialect.header_of(attribute) {
                reply.headers.insert(name, value(text));
            }
        }
        if !options.head {
            reply.payload = ServerPayload::Object { generation, range };
        }
        Ok(reply)
    }

    fn list(&self, query: &ListQuery) -> ServerReply {
        let page = self.catalog.list(query);
        let mut children = vec![
            xml::text("Name", &self.name),
            xml::text("Prefix", &query.prefix),
            xml::text("KeyCount", page.objects.len() + page.prefixes.len()),
            xml::text("MaxKeys", query.max_keys),
            xml::text("IsTruncated", page.next.is_some()),
        ];
        children.extend(page.next.map(|next| xml::text("NextContinuationToken", next)));
        children.extend(page.objects.iter().map(|(key, live)| {
            let (date, e_tag) = (xml::time(live.last_modified), &live.e_tag);
            let object = [("Key", key), ("LastModified", &date), ("ETag", e_tag), ("Size", &live.size.to_string())];
            xml::element("Contents", &object.map(|(name, value)| xml::text(name, value)))
        }));
        children
            .extend(page.prefixes.iter().map(|prefix| xml::element("CommonPrefixes", &[xml::text("Prefix", prefix)])));
        ServerReply::xml("ListBucketResult", &children)
    }

    /// The headers of every answer about an object.
    pub(super) fn about(&self, generation: &Generation) -> Vec<(HeaderName, HeaderValue)> {
        let date = generation.last_modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut headers = vec![
            (ETAG, value(&generation.e_tag)),
            (LAST_MODIFIED, value(&date)),
            (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        ];
        // S3 sends version ids only for versioned buckets.
        if self.dialect == Dialect::Gcs || self.catalog.versioning() == Versioning::Kept {
            headers.push((self.dialect.version_names().1, generation.number.into()));
        }
        if self.dialect == Dialect::Gcs
            && let Some(crc32c) = generation.crc32c_base64()
        {
            headers.push((HeaderName::from_static("x-goog-hash"), value(&format!("crc32c={crc32c}"))));
        }
        headers
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).expect("it came as a header, or is plain text")
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Answered<T> {
    let malformed = |why: String| Refusal::new(StatusCode::BAD_REQUEST, "MalformedXML", why);
    let body = std::str::from_utf8(body).map_err(|error| malformed(error.to_string()))?;
    quick_xml::de::from_str(body).map_err(|error| malformed(error.to_string()))
}
