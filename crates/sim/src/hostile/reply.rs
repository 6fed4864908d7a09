//! The answer to a request, as a script may change it.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::{AskedRequest, HostileObject, LATENCY};

/// A piece of a body, or what happens between two pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sends these bytes of the object.
    Object(Range<u64>),
    /// Sends these bytes.
    Bytes(Bytes),
    /// Sends nothing for a while.
    Pause(Duration),
    /// Closes the connection.
    Close,
    /// Sends bytes for as long as the client takes them.
    Endless,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How long after the request it begins; `None`: never.
    pub after: Option<Duration>,
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Sent in place of the status line and headers.
    pub garbage: Option<Bytes>,
    /// Its body; a HEAD is answered without.
    pub body: Vec<Step>,
    /// Whether the body is sent in chunks, without a length.
    pub chunked: bool,
    /// Whether the connection is closed after it, without notice.
    pub closes: bool,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::text(status, "")
    }

    /// An answer whose body says `text`.
    #[must_use]
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            after: Some(LATENCY),
            status,
            headers: vec![("content-length".into(), text.len().to_string())],
            garbage: None,
            body: vec![Step::Bytes(Bytes::copy_from_slice(text.as_bytes()))],
            chunked: false,
            closes: false,
        }
    }

    /// What a correct server answers to `asked`: whole objects, one range, preconditions by entity tag, versions.
    #[must_use]
    pub fn to(object: &HostileObject, asked: &AskedRequest) -> Self {
        if !asked.is_for(&object.key) {
            return Self::text(404, "no such object");
        }
        if !matches!(asked.method.as_str(), "GET" | "HEAD") {
            return Self::text(405, "this object is only read");
        }
        if asked.parameter("generation").or(asked.parameter("versionId")).is_some_and(|named| named != object.version) {
            return Self::text(404, "no such version");
        }
        if asked.header("if-match").is_some_and(|tag| tag != "*" && tag != object.e_tag) {
            return Self::text(412, "another entity tag");
        }
        if asked.header("if-none-match").is_some_and(|tag| tag == "*" || tag == object.e_tag) {
            return Self::empty(304);
        }
        let whole = 0..object.size;
        let (status, range) = match asked.range_in(object.size) {
            Some(range) if range.is_empty() => {
                return Self::text(416, "no such bytes").with("content-range", format!("bytes */{}", object.size));
            }
            Some(range) => (206, range),
            None => (200, whole),
        };
        let mut reply = Self::empty(status)
            .with("content-length", (range.end - range.start).to_string())
            .with("etag", &object.e_tag)
            .with("last-modified", &object.last_modified)
            .with("accept-ranges", "bytes")
            .with("x-goog-generation", &object.version)
            .with("x-amz-version-id", &object.version);
        if status == 206 {
            reply.set_header("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, object.size));
        }
        reply.body = vec![Step::Object(range)];
        reply
    }

    /// The same with a header set.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set_header(name, value);
        self
    }

    /// The same without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.remove_header(name);
        self
    }

    /// The same, which begins after `delay`.
    #[must_use]
    pub fn delayed(self, delay: Duration) -> Self {
        Self { after: Some(delay), ..self }
    }

    /// The same in chunks, without a length.
    #[must_use]
    pub fn in_chunks(self) -> Self {
        Self { chunked: true, ..self.without("content-length").with("transfer-encoding", "chunked") }
    }

    /// The same with another body.
    #[must_use]
    pub fn with_body(self, body: Vec<Step>) -> Self {
        Self { body, ..self }
    }

    /// Sets a header, by its name in lower case.
    pub fn set_header(&mut self, name: &str, value: impl Into<String>) {
        self.remove_header(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Removes a header, by its name in lower case.
    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }

    /// Whether it carries the object or a part of it, or says what it is like.
    #[must_use]
    pub fn is_about_object(&self) -> bool {
        matches!(self.status, 200 | 206)
    }

    /// The bytes of the object that its body carries.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let range = self.body.iter().find_map(|step| match step {
            Step::Object(range) => Some(range.clone()),
            _ => None,
        });
        range.unwrap_or(0..0)
    }
}
