//! The answer to a request, and how a script may change it.

use std::{ops::Range, time::Duration};

use bytes::Bytes;

use super::{AskedRequest, HostileObject, LATENCY};

/// One step in sending a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyStep {
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
    /// Time from the request to the answer; `None` sends no answer.
    pub after: Option<Duration>,
    /// Its status.
    pub status: u16,
    /// Its headers; names are in lower case.
    pub headers: Vec<(String, String)>,
    /// Bytes sent in place of the status line and headers.
    pub garbage: Option<Bytes>,
    /// Its body, which answers to HEAD leave out.
    pub body: Vec<BodyStep>,
    /// Whether the body is sent in chunks, without a length.
    pub chunked: bool,
    /// Whether the server closes the connection after the answer.
    pub closes: bool,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::text(status, "")
    }

    /// An answer whose body is `text`.
    #[must_use]
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            after: Some(LATENCY),
            status,
            headers: vec![("content-length".into(), text.len().to_string())],
            garbage: None,
            body: vec![BodyStep::Bytes(Bytes::copy_from_slice(text.as_bytes()))],
            chunked: false,
            closes: false,
        }
    }

    /// The answer of a correct server to `asked`: supports one range, preconditions by entity tag, and versions.
    #[must_use]
    pub fn to(object: &HostileObject, asked: &AskedRequest) -> Self {
        if !asked.is_for(&object.key) {
            return Self::text(404, "no such object");
        }
        if !matches!(asked.method.as_str(), "GET" | "HEAD") {
            return Self::text(405, "this object is only read");
        }
        if asked.version().is_some_and(|named| named != object.version) {
            return Self::text(404, "no such version");
        }
        if asked.header("if-match").is_some_and(|tag| tag != "*" && tag != object.e_tag) {
            return Self::text(412, "another entity tag");
        }
        if asked.header("if-none-match").is_some_and(|tag| tag == "*" || tag == object.e_tag) {
            return Self::empty(304);
        }
        let about = Self::empty(200)
            .with("etag", &object.e_tag)
            .with("last-modified", &object.last_modified)
            .with("accept-ranges", "bytes")
            .with("x-goog-generation", &object.version)
            .with("x-amz-version-id", &object.version);
        match asked.range_in(object.size) {
            None => {
                about.with("content-length", object.size.to_string()).with_body(vec![BodyStep::Object(0..object.size)])
            }
            Some(range) if range.is_empty() => {
                Self::text(416, "no such bytes").with("content-range", format!("bytes */{}", object.size))
            }
            Some(range) => Self { status: 206, ..about }.with_range(range, object),
        }
    }

    /// The same answer with `range` of the object.
    pub(super) fn with_range(self, range: Range<u64>, object: &HostileObject) -> Self {
        self.with("content-length", (range.end - range.start).to_string())
            .with("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, object.size))
            .with_body(vec![BodyStep::Object(range)])
    }

    /// The same answer with a header, given by its name in lower case.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same answer without a header, given by its name in lower case.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// The same answer, sent `delay` after the request.
    #[must_use]
    pub fn delayed(self, delay: Duration) -> Self {
        Self { after: Some(delay), ..self }
    }

    /// The same answer in chunks, without a length.
    #[must_use]
    pub fn in_chunks(self) -> Self {
        Self { chunked: true, ..self.without("content-length").with("transfer-encoding", "chunked") }
    }

    /// The same answer with another body.
    #[must_use]
    pub fn with_body(self, body: Vec<BodyStep>) -> Self {
        Self { body, ..self }
    }

    /// Sends `bytes` in place of the whole answer, then closes the connection.
    pub(super) fn replaced_by(self, bytes: &'static [u8]) -> Self {
        Self { garbage: Some(Bytes::from_static(bytes)), body: Vec::new(), closes: true, ..self }
    }

    /// Whether the answer has the object's bytes or headers: its status is 200 or 206.
    #[must_use]
    pub fn is_about_object(&self) -> bool {
        matches!(self.status, 200 | 206)
    }

    /// The range of the object that the body sends first; `0..0` where it sends none.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let range = self.body.iter().find_map(|step| match step {
            BodyStep::Object(range) => Some(range.clone()),
            _ => None,
        });
        range.unwrap_or(0..0)
    }

    pub(super) fn range_bytes(&self) -> u64 {
        let range = self.range();
        range.end - range.start
    }
}
