//! XML bodies, which are the same in both dialects.

use std::fmt::Display;

use chrono::{DateTime, SecondsFormat, Utc};
use quick_xml::escape::partial_escape;
use serde::Deserialize;

/// The body of a request that completes a multipart upload.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CompleteMultipartUpload {
    #[serde(default)]
    pub(super) part: Vec<PartElement>,
}

/// A part of a [`CompleteMultipartUpload`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartElement {
    pub(super) part_number: usize,
    #[serde(rename = "ETag")]
    pub(super) e_tag: String,
}

/// The body of a request that deletes several objects.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    #[serde(default)]
    pub(super) object: Vec<KeyElement>,
    #[serde(default)]
    pub(super) quiet: bool,
}

/// An object of a [`Delete`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyElement {
    pub(super) key: String,
}

/// A document with the root element `name`.
pub(super) fn document(name: &str, children: &[String]) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", element(name, children))
}

/// An element that contains `children`.
pub(super) fn element(name: &str, children: &[String]) -> String {
    format!("<{name}>{}</{name}>", children.concat())
}

/// An element that contains `text`.
pub(super) fn text(name: &str, text: impl Display) -> String {
    format!("<{name}>{}</{name}>", partial_escape(text.to_string()))
}

/// A time in RFC 3339 format, as in XML and JSON bodies; headers have another format.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let key = "I'm a < & weird path";
        let xml = document("Object", &[text("Key", key)]);
        assert!(!xml.contains("< &"), "{xml}");
        let read: KeyElement = quick_xml::de::from_str(&xml).unwrap();
        assert_eq!(read.key, key);
    }

    #[test]
    fn request_bodies_are_parsed() {
        let body = "<CompleteMultipartUpload><Part><ETag>\"a\"</ETag><PartNumber>1</PartNumber></Part>\
                    <Part><ETag>\"b\"</ETag><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>";
        let parts: CompleteMultipartUpload = quick_xml::de::from_str(body).unwrap();
        let parts: Vec<_> = parts.part.iter().map(|part| (part.part_number, part.e_tag.as_str())).collect();
        assert_eq!(parts, [(1, "\"a\""), (2, "\"b\"")]);

        let body = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                    <Object><Key>a b</Key></Object><Object><Key>c &lt; d</Key></Object></Delete>";
        let delete: Delete = quick_xml::de::from_str(body).unwrap();
        let keys: Vec<_> = delete.object.iter().map(|object| object.key.as_str()).collect();
        assert_eq!((keys, delete.quiet), (vec!["a b", "c < d"], false));
    }
}
