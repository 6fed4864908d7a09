//! A request as it came over the wire.

use std::ops::Range;

use percent_encoding::percent_decode_str;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRequest {
    /// GET, HEAD or another method.
    pub method: String,
    /// Path and query, as they were sent.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// How many requests the server has had before.
    pub number: usize,
    /// How many connections the server has had before this one.
    pub connection: usize,
}

impl AskedRequest {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }

    /// Whether it is for the object `key`, in whatever bucket.
    #[must_use]
    pub fn is_for(&self, key: &str) -> bool {
        let path = self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path);
        percent_decode_str(path).decode_utf8().is_ok_and(|path| path.ends_with(&format!("/{key}")))
    }

    /// Whether it is a HEAD.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether it asks for a range of bytes.
    #[must_use]
    pub fn has_range(&self) -> bool {
        self.header("range").is_some()
    }

    /// First and last byte of its range, as it says them: `(None, Some(n))` asks for the last `n` bytes.
    #[must_use]
    pub fn range_as_said(&self) -> Option<(Option<u64>, Option<u64>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok(), last.parse().ok()))
    }

    /// The bytes that its range means in an object of `size` bytes; empty where there are none.
    #[must_use]
    pub fn range_in(&self, size: u64) -> Option<Range<u64>> {
        Some(match self.range_as_said()? {
            (Some(first), Some(last)) => first.min(size)..last.saturating_add(1).min(size),
            (Some(first), None) => first.min(size)..size,
            (None, Some(count)) => size.saturating_sub(count)..size,
            (None, None) => return None,
        })
    }
}
