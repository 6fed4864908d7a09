//! Answers of the server, errors included.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::xml;
use crate::cloud::{catalog::CatalogError, generation::Generation};

/// The answer to a request.
#[derive(Debug)]
pub(super) struct ServerReply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) payload: ServerPayload,
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum ServerPayload {
    /// Bytes in memory.
    Whole(Bytes),
    /// A range of an object, read while it is sent.
    Object { generation: Arc<Generation>, range: Range<u64> },
}

impl ServerReply {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), payload: ServerPayload::Whole(Bytes::new()) }
    }

    /// An answer whose body is `payload`.
    fn new(status: StatusCode, content_type: &'static str, payload: impl Into<Bytes>) -> Self {
        let payload = ServerPayload::Whole(payload.into());
        Self { payload, ..Self::empty(status) }.with(vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    /// An answer with an XML document.
    pub(super) fn xml(root: &str, children: &[String]) -> Self {
        Self::new(StatusCode::OK, "application/xml", xml::document(root, children))
    }

    pub(super) fn json<T: Serialize>(status: StatusCode, content_type: &'static str, value: &T) -> Self {
        Self::new(status, content_type, serde_json::to_vec(value).expect("plain data serializes"))
    }

    pub(super) fn with(mut self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.headers.extend(headers);
        self
    }
}

impl From<Refusal> for ServerReply {
    fn from(refusal: Refusal) -> Self {
        let reply = match refusal.status {
            StatusCode::NOT_MODIFIED => Self::empty(refusal.status),
            _ => Self::xml("Error", &[xml::text("Code", refusal.code), xml::text("Message", &refusal.message)]),
        };
        Self { status: refusal.status, ..reply }.with(refusal.headers)
    }
}

/// The result of a step of answering, by default the answer itself.
pub(super) type Answered<T = ServerReply> = Result<T, Refusal>;

/// An error that the server answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The error code in the XML body.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Further headers of the answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    /// The request is malformed.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    /// The real store supports the request, the simulated store does not.
    pub(super) fn unsupported(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("not simulated: {what}"))
    }

    /// The resource does not support the method.
    pub(super) fn not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this method is not for this resource")
    }

    /// The object does not exist.
    pub(super) fn no_such_key(key: &str) -> Self {
        CatalogError::NotFound(key.to_owned()).into()
    }

    /// `If-None-Match` or `If-Modified-Since` says that the client has the object.
    pub(super) fn not_modified() -> Self {
        Self::new(StatusCode::NOT_MODIFIED, "NotModified", "not modified")
    }

    /// A precondition of the request does not hold.
    pub(super) fn precondition_failed(key: &str) -> Self {
        CatalogError::Precondition(key.to_owned()).into()
    }

    /// An object of `size` bytes has no byte in the requested range.
    pub(super) fn range_not_satisfiable(size: u64) -> Self {
        let content_range = format!("bytes */{size}").parse().expect("digits");
        let headers = vec![(CONTENT_RANGE, content_range)];
        let message = format!("the object is {size} bytes long");
        Self { headers, ..Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message) }
    }

    /// The fault plan answers 503.
    pub(super) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "a fault was asked for")
    }

    /// The fault plan answers 429.
    pub(super) fn throttled(retry_after: Duration) -> Self {
        // Rounded up: `Retry-After` has whole seconds, and a client must wait at least `retry_after`.
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        let headers = vec![(RETRY_AFTER, seconds.into())];
        Self { headers, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "a fault was asked for") }
    }

    /// The bucket does not exist: the server has one bucket with another name.
    pub(super) fn no_such_bucket(bucket: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchBucket", format!("no bucket '{bucket}'"))
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        let (status, code) = match &error {
            CatalogError::NotFound(_) => (StatusCode::NOT_FOUND, "NoSuchKey"),
            CatalogError::NoSuchUpload(_) => (StatusCode::NOT_FOUND, "NoSuchUpload"),
            CatalogError::NoSuchPart { .. } => (StatusCode::BAD_REQUEST, "InvalidPart"),
            CatalogError::AlreadyExists(_) | CatalogError::Precondition(_) => {
                (StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
            }
        };
        Self::new(status, code, error.to_string())
    }
}
