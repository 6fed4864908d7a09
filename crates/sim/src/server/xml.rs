//! XML bodies, which are the same in both dialects.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A body that completes a multipart upload.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CompleteMultipartUpload {
    #[serde(default)]
    pub(super) part: Vec<PartElement>,
}

/// One part of a [`CompleteMultipartUpload`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartElement {
    pub(super) part_number: usize,
    #[serde(rename = "ETag")]
    pub(super) e_tag: String,
}

/// A body that deletes many keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    #[serde(default)]
    pub(super) object: Vec<KeyElement>,
    #[serde(default)]
    pub(super) quiet: bool,
}

/// The key of an object to delete, or of a deleted object.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyElement {
    pub(super) key: String,
}

/// The answer to a [`Delete`].
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteResult {
    pub(super) deleted: Vec<KeyElement>,
}

/// The answer to the begin of a multipart upload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InitiateMultipartUploadResult {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) upload_id: String,
}

/// The answer to the completion of a multipart upload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CompleteMultipartUploadResult {
    pub(super) bucket: String,
    pub(super) key: String,
    #[serde(rename = "ETag")]
    pub(super) e_tag: String,
}

/// The answer to a copy of an object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CopyObjectResult {
    #[serde(rename = "ETag")]
    pub(super) e_tag: String,
    pub(super) last_modified: String,
}

/// The answer to the copy of an object into a part of an upload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CopyPartResult {
    #[serde(rename = "ETag")]
    pub(super) e_tag: String,
}

/// The answer to a list request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListBucketResult {
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) key_count: usize,
    pub(super) max_keys: usize,
    pub(super) is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_continuation_token: Option<String>,
    pub(super) contents: Vec<ObjectElement>,
    pub(super) common_prefixes: Vec<PrefixElement>,
}

/// One object of a [`ListBucketResult`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ObjectElement {
    pub(super) key: String,
    pub(super) last_modified: String,
    #[serde(rename = "ETag")]
    pub(super) e_tag: String,
    pub(super) size: u64,
}

/// One common prefix of a [`ListBucketResult`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PrefixElement {
    pub(super) prefix: String,
}

/// The body of an error.
#[derive(Debug, Serialize)]
#[serde(rename = "Error", rename_all = "PascalCase")]
pub(super) struct ErrorDocument<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

/// Serializes an XML document.
pub(super) fn document<T: Serialize>(value: &T) -> String {
    let body = quick_xml::se::to_string(value).expect("plain data serializes");
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}")
}

/// A time in RFC 3339 format, as in XML and JSON bodies; headers have another format.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct ReadBack {
        deleted: KeyElement,
    }

    #[test]
    fn keys_are_escaped() {
        let key = "I'm a < & weird path".to_owned();
        let xml = document(&DeleteResult { deleted: vec![KeyElement { key: key.clone() }] });
        assert!(!xml.contains("< &"), "{xml}");
        let read: ReadBack = quick_xml::de::from_str(&xml).unwrap();
        assert_eq!(read.deleted.key, key);
    }

    #[test]
    fn request_bodies_are_parsed() {
        let body = "<CompleteMultipartUpload><PartElement><ETag>\"a\"</ETag><PartNumber>1</PartNumber></PartElement>\
                    <PartElement><ETag>\"b\"</ETag><PartNumber>2</PartNumber></PartElement></CompleteMultipartUpload>";
        let parts: CompleteMultipartUpload = quick_xml::de::from_str(body).unwrap();
        let parts: Vec<_> = parts.part.iter().map(|part| (part.part_number, part.e_tag.as_str())).collect();
        assert_eq!(parts, [(1, "\"a\""), (2, "\"b\"")]);

        let body = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                    <Object><KeyElement>a b</KeyElement></Object><Object><KeyElement>c &lt; d</KeyElement></Object></Delete>";
        let delete: Delete = quick_xml::de::from_str(body).unwrap();
        let keys: Vec<_> = delete.object.iter().map(|object| object.key.as_str()).collect();
        assert_eq!((keys, delete.quiet), (vec!["a b", "c < d"], false));
    }
}
