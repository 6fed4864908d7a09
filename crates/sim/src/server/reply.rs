//! Why a request is refused. Pure.

use std::time::Duration;

use http::header::{CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::cloud::catalog::CatalogError;

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The code in the XML body.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// What the answer says besides.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    /// The request makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    /// The real store does this; the simulated one does not.
    pub(super) fn unsupported(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("not simulated: {what}"))
    }

    /// The method is not one for this kind of target.
    pub(super) fn not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this method is not for this resource")
    }

    /// There is no such object.
    pub(super) fn no_such_key(key: &str) -> Self {
        CatalogError::NotFound(key.to_owned()).into()
    }

    /// The caller has the bytes already.
    pub(super) fn not_modified() -> Self {
        Self::new(StatusCode::NOT_MODIFIED, "NotModified", "not modified")
    }

    /// The object is not as the request wants it.
    pub(super) fn precondition_failed(key: &str) -> Self {
        CatalogError::Precondition(key.to_owned()).into()
    }

    /// No byte of an object of `size` bytes is in the range.
    pub(super) fn range_not_satisfiable(size: u64) -> Self {
        let content_range = format!("bytes */{size}").parse().expect("digits");
        let headers = vec![(CONTENT_RANGE, content_range)];
        let message = format!("the object is {size} bytes long");
        Self { headers, ..Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message) }
    }

    /// The store cannot answer now.
    pub(super) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "a fault was asked for")
    }

    /// The request is throttled (HTTP 503 with Retry-After).
    pub(super) fn throttled(retry_after: Duration) -> Self {
        // HTTP has whole seconds: a client that waits for what it is told waits long enough.
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        let headers = vec![(RETRY_AFTER, seconds.into())];
        Self { headers, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "a fault was asked for") }
    }

    /// The server has one bucket, and it is not this one.
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
