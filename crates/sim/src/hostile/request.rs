//! A request as the server received it.

use std::ops::Range;

use percent_encoding::percent_decode_str;

/// A request to a [`HostileServer`](super::HostileServer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRequest {
    /// Its method.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Its headers; names are in lower case.
    pub headers: Vec<(String, String)>,
    /// Number of requests that the server received before.
    pub number: usize,
    /// Number of connections that the server accepted before this request's.
    pub connection: usize,
}

impl AskedRequest {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }

    /// The version that the request names, in the form of GCS or S3.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.parameter("generation").or(self.parameter("versionId"))
    }

    /// Whether the request is for the object `key`, in any bucket.
    #[must_use]
    pub fn is_for(&self, key: &str) -> bool {
        let path = self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path);
        percent_decode_str(path).decode_utf8().is_ok_and(|path| path.ends_with(&format!("/{key}")))
    }

    /// Whether the method is HEAD.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether the request has a `Range` header.
    #[must_use]
    pub fn has_range(&self) -> bool {
        self.header("range").is_some()
    }

    /// The two numbers of its `Range` header: `(None, Some(n))` asks for the last `n` bytes.
    #[must_use]
    pub fn range_as_sent(&self) -> Option<(Option<u64>, Option<u64>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok(), last.parse().ok()))
    }

    /// The requested range within an object of `size` bytes; empty where the object has none of these bytes.
    #[must_use]
    pub fn range_in(&self, size: u64) -> Option<Range<u64>> {
        Some(match self.range_as_sent()? {
            (Some(first), Some(last)) => first.min(size)..last.saturating_add(1).min(size),
            (Some(first), None) => first.min(size)..size,
            (None, Some(count)) => size.saturating_sub(count)..size,
            (None, None) => return None,
        })
    }
}
