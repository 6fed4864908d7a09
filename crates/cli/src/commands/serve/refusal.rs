//! Answers other than a success, in the form of S3 and in that of Google Cloud Storage's JSON API.

use headstart::object_store::Error as StoreError;
use hyper::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::{Response, StatusCode};
use s3s::xml::{Serialize, Serializer};
use s3s::{Body, S3Error, S3ErrorCode};

use super::object::header_text;
use crate::failure::{Failure, FailureKind};
use crate::policy::served_name::AskedFor;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(super) struct RefusedRequest {
    pub(super) status: StatusCode,
    /// The code of S3.
    code: S3ErrorCode,
    /// The reason, in the words of the JSON API.
    reason: &'static str,
    message: String,
    /// Boxed: a result with this error stays small.
    headers: Option<Box<HeaderMap>>,
}

impl RefusedRequest {
    fn new(status: StatusCode, code: S3ErrorCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, reason, message: message.into(), headers: None }
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.get_or_insert_default().insert(name, value);
        }
        self
    }

    pub(super) fn no_such_bucket(bucket: &str) -> Self {
        let message = format!("The bucket '{bucket}' is not served here");
        Self::new(StatusCode::NOT_FOUND, S3ErrorCode::NoSuchBucket, "notFound", message)
    }

    pub(super) fn no_such_key(key: &str) -> Self {
        let message = format!("There is no object '{key}'");
        Self::new(StatusCode::NOT_FOUND, S3ErrorCode::NoSuchKey, "notFound", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, S3ErrorCode::InvalidArgument, "invalid", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, S3ErrorCode::AccessDenied, "forbidden", message)
    }

    pub(super) fn unsupported(what: &str) -> Self {
        let message = format!("headstart serve does not support {what}");
        Self::new(StatusCode::NOT_IMPLEMENTED, S3ErrorCode::NotImplemented, "notImplemented", message)
    }

    /// The body differs from the checksum of this header.
    pub(super) fn bad_digest(header: &str) -> Self {
        let message = format!("The body that has arrived differs from {header}");
        Self::new(StatusCode::BAD_REQUEST, S3ErrorCode::BadDigest, "invalid", message)
    }

    pub(super) fn no_such_upload(id: &str) -> Self {
        let message = format!("There is no upload '{id}': it was completed or aborted, or headstart serve began anew");
        Self::new(StatusCode::NOT_FOUND, S3ErrorCode::NoSuchUpload, "notFound", message)
    }

    /// A part of an upload that cannot be used as asked.
    pub(super) fn part(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, S3ErrorCode::InvalidPart, "invalid", message)
    }

    /// What can be done later.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, S3ErrorCode::ServiceUnavailable, "backendError", message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, S3ErrorCode::EntityTooLarge, "uploadTooLarge", message)
    }

    pub(super) fn part_too_large(most_bytes: u64) -> Self {
        Self::too_large(format!("A part has {} MiB at most", most_bytes >> 20))
    }

    /// A method that changes something.
    pub(super) fn read_only() -> Self {
        let message = "headstart serve only reads; --allow-writes passes writes to the store";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, S3ErrorCode::MethodNotAllowed, "methodNotAllowed", message)
            .with(ALLOW, "GET, HEAD")
    }

    pub(super) fn precondition() -> Self {
        let message = "At least one of the preconditions you specified did not hold";
        Self::new(StatusCode::PRECONDITION_FAILED, S3ErrorCode::PreconditionFailed, "conditionNotMet", message)
    }

    pub(super) fn not_modified(e_tag: Option<&str>) -> Self {
        let refusal = Self::new(StatusCode::NOT_MODIFIED, S3ErrorCode::NotModified, "notModified", "");
        match e_tag {
            Some(e_tag) => refusal.with(ETAG, e_tag),
            None => refusal,
        }
    }

    /// A range that begins past the end of an object of `size` bytes.
    pub(super) fn range(size: u64) -> Self {
        // gcsfs recognises the end of an object by this text.
        let message = "Request range not satisfiable";
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, S3ErrorCode::InvalidRange, "requestedRangeNotSatisfiable", message)
            .with(CONTENT_RANGE, &format!("bytes */{size}"))
    }

    /// The answer to a failure of the store. `url` shows the object.
    pub(super) fn store(url: &str, key: &str, error: &StoreError) -> Self {
        match error {
            StoreError::NotModified { .. } => return Self::not_modified(None),
            StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
                return Self::unsupported("this request to this store");
            }
            _ => {}
        }
        let failure = Failure::store(url, error);
        match failure.kind {
            FailureKind::NotFound => Self::no_such_key(key),
            FailureKind::Denied => Self::forbidden(failure.message),
            // A changed object that no condition of the client is about can be read again.
            FailureKind::Changed if headstart::ObjectChanged::find(error).is_none() => Self::precondition(),
            FailureKind::Usage => Self::invalid(failure.message),
            // Clients try again.
            _ => Self::busy(failure.message),
        }
    }

    /// Whether the store or this program fails, and not the client.
    pub(super) fn is_failure(&self) -> bool {
        self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    fn headers(&self) -> HeaderMap {
        self.headers.as_deref().cloned().unwrap_or_default()
    }

    /// For `s3s`.
    pub(super) fn into_s3(self) -> S3Error {
        let mut error = S3Error::with_message(self.code, self.message);
        error.set_status_code(self.status);
        error
    }

    /// An answer as S3 and the XML API give it.
    pub(super) fn into_xml(self) -> Response<Body> {
        let (status, headers) = (self.status, self.headers());
        let mut text = Vec::new();
        if status != StatusCode::NOT_MODIFIED {
            let mut xml = Serializer::new(&mut text);
            let written = xml.decl().and_then(|()| self.into_s3().serialize(&mut xml));
            if written.is_err() {
                text.clear();
            }
        }
        response(status, headers, "application/xml", text)
    }

    /// An answer as the JSON API gives it.
    pub(super) fn into_json(self) -> Response<Body> {
        if self.status == StatusCode::NOT_MODIFIED {
            return response(self.status, self.headers(), "application/json", Vec::new());
        }
        let errors = [serde_json::json!({ "message": self.message, "domain": "global", "reason": self.reason })];
        let (code, message) = (self.status.as_u16(), &self.message);
        let text = serde_json::json!({ "error": { "code": code, "message": message, "errors": errors } });
        response(self.status, self.headers(), "application/json; charset=UTF-8", text.to_string().into_bytes())
    }
}

/// Why a request with these headers is refused at a loopback address: a web page has sent it.
pub(super) fn of_web_page(headers: &HeaderMap) -> Option<&'static str> {
    let (host, origin) = (header_text(headers, HOST), header_text(headers, ORIGIN));
    AskedFor { host, origin, fetch_site: header_text(headers, "sec-fetch-site") }.refusal()
}

/// A response with a text as its body.
pub(super) fn response(
    status: StatusCode,
    mut headers: HeaderMap,
    content_type: &'static str,
    text: Vec<u8>,
) -> Response<Body> {
    if !text.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
