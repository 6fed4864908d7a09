//! Errors of this crate, and what errors of `object_store` say.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use object_store::{GetOptions, GetRange, ObjectStore, path::Path};

use crate::options::ConfigError;
use crate::protocol::{extensions::CacheHint, version::ObjectVersion};
use crate::request::refusals::{Pinned, may_be_the_range, says_another_version};
use crate::request::retryable::is_transient;

/// The object was overwritten or deleted while it was read.
///
/// It travels as [`object_store::Error::Precondition`] whose source downcasts to this type; [`ObjectChanged::find`]
/// does so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectChanged {
    /// The object's path.
    pub path: String,
    /// The version the read began with.
    pub expected: ObjectVersion,
    /// The version that answered instead, if one did.
    pub found: Option<ObjectVersion>,
}

impl ObjectChanged {
    /// The object at `path` was `expected` and is now `found`.
    #[must_use]
    pub fn new(path: &Path, expected: &ObjectVersion, found: Option<&ObjectVersion>) -> Self {
        Self { path: path.to_string(), expected: expected.clone(), found: found.cloned() }
    }

    /// Finds an `ObjectChanged` in the sources of `error`.
    #[must_use]
    pub fn find(error: &object_store::Error) -> Option<&Self> {
        sources(error).find_map(|cause| cause.downcast_ref())
    }

    /// Finds out whether the `error` of a `request` for bytes of the version `expected` means that the object changed.
    ///
    /// The 404 or 412 of a pinned request does. Other errors may: if the request is not pinned, or the server
    /// ignores the pin, the object may be gone or shorter than the range, and the store does not say so. A HEAD
    /// that bypasses all caches tells. It names the `version` that the request named. Without an answer to it, bytes
    /// that `expected` has cannot lie past its end; those of a `range` beyond can.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn explain_or_ask(
        error: object_store::Error,
        pinned: bool,
        store: &dyn ObjectStore,
        path: &Path,
        expected: &ObjectVersion,
        request: GetOptions,
    ) -> object_store::Error {
        let error = if pinned { Self::explain(error, path, expected) } else { error };
        let says_nothing = says_another_version(&error) || may_be_past_end(&error);
        if !says_nothing || Self::find(&error).is_some() {
            return error;
        }
        let expects_bytes = match &request.range {
            Some(GetRange::Bounded(range)) => range.start < expected.size,
            Some(GetRange::Offset(start)) => *start < expected.size,
            _ => true,
        };
        let mut options = GetOptions { version: request.version, ..GetOptions::new().with_head(true) };
        options.extensions = request.extensions;
        options.extensions.insert(CacheHint::Refetch);
        options.extensions.insert(ExplainsError);
        options.extensions.remove::<Pinned>();
        match store.get_opts(path, options).await {
            Ok(answer) => expected.check(&answer.meta).err().unwrap_or(error),
            Err(object_store::Error::NotFound { .. }) => Self::new(path, expected, None).into(),
            Err(unanswered) if is_transient(&unanswered) && is_past_end(&error) && expects_bytes => {
                Self::new(path, expected, None).into()
            }
            Err(_) => error,
        }
    }

    /// Turns the 404 or 412 of a request that was pinned to `expected` into `ObjectChanged`. Other errors pass through.
    #[must_use]
    pub fn explain(error: object_store::Error, path: &Path, expected: &ObjectVersion) -> object_store::Error {
        let is_unexplained = says_another_version(&error) && Self::find(&error).is_none();
        if is_unexplained { Self::new(path, expected, None).into() } else { error }
    }
}

impl fmt::Display for ObjectChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |v: &ObjectVersion| v.version.clone().or_else(|| v.e_tag.clone()).unwrap_or_else(|| "unknown".into());
        write!(f, "{} changed while it was read: expected version {}", self.path, id(&self.expected))?;
        match &self.found {
            Some(found) => write!(f, " of {} bytes, found {} of {} bytes", self.expected.size, id(found), found.size),
            None => write!(f, ", which cannot be had any more"),
        }
    }
}

impl Error for ObjectChanged {}

impl From<ObjectChanged> for object_store::Error {
    fn from(changed: ObjectChanged) -> Self {
        Self::Precondition { path: changed.path.clone(), source: Box::new(changed) }
    }
}

/// The store has throttled a request: status 429, 503 and the like.
///
/// It is a source of an [`object_store::Error::Generic`], at any depth; [`Throttled::find`] finds it. The adapter
/// of a store adds it, since the errors of `object_store`'s clients hide the status and `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("throttled by the store (HTTP {status})")]
pub struct Throttled {
    /// The HTTP status.
    pub status: u16,
    /// The pause that `Retry-After` demands, if the answer has one.
    pub retry_after: Option<Duration>,
}

impl Throttled {
    /// Finds a `Throttled` in the sources of `error`.
    #[must_use]
    pub fn find(error: &object_store::Error) -> Option<Self> {
        sources(error).find_map(|cause| cause.downcast_ref().copied())
    }
}

/// Whether this is `object_store`'s error for a range that an object does not have. Its type exists but cannot be
/// named.
pub(crate) fn says_invalid_range(cause: &(dyn Error + 'static)) -> bool {
    fn is_like<T: Error + 'static>(_: &T, cause: &(dyn Error + 'static)) -> bool {
        cause.is::<T>()
    }
    object_store::GetRange::Offset(1).as_range(0).is_err_and(|example| is_like(&example, cause))
}

/// Marks a HEAD that explains an error. It is not retried: the attempts of the failed request are used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExplainsError;

/// Whether `error` may mean that the object does not have the range (any more).
pub fn may_be_past_end(error: &object_store::Error) -> bool {
    if !may_be_the_range(error) {
        return false;
    }
    let is_about_another = |said: &str| {
        [
            "Error performing ",
            "Received non-partial response",
            "Content-Range header",
            "Requested ",
            "Range request not supported",
            "Failed to parse value for CONTENT_RANGE",
        ]
        .iter()
        .any(|known| said.starts_with(known))
            || said.ends_with(" Header missing from response")
    };
    is_past_end(error) || !sources(error).any(|cause| is_about_another(&cause.to_string()))
}

/// Whether `error` says that the object, whose size was known, does not have the range. `object_store` and our
/// layers say so.
pub fn is_invalid_range(error: &object_store::Error) -> bool {
    let is_ours = matches!(FetchError::find(error), Some(FetchError::PastEnd { .. }));
    is_ours || sources(error).any(says_invalid_range)
}

/// How the clients of `object_store` begin an error with an HTTP status, which follows.
pub(crate) const STATUS_PREFIX: &str = "Server returned non-2xx status code: ";

/// The HTTP status in an error of the clients of `object_store`; those of listings have no variant that tells it.
pub fn http_status(error: &object_store::Error) -> Option<u16> {
    let status = |cause: &(dyn Error + 'static)| cause.to_string().strip_prefix(STATUS_PREFIX)?.get(..3)?.parse().ok();
    sources(error).find_map(status)
}

/// Whether `error` says that the object ends before the range, by status 416 or in the words of the client.
pub(crate) fn is_past_end(error: &object_store::Error) -> bool {
    let is_416 = |said: &str| said.strip_prefix(STATUS_PREFIX).is_some_and(|status| status.starts_with("416"));
    is_invalid_range(error) || sources(error).any(|cause| is_416(&cause.to_string()))
}

/// The sources of `error`, the nearest first.
pub(crate) fn sources(error: &object_store::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

/// One error that goes to several waiters: the source of each waiter's copy (see [`share`]).
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct SharedError(Arc<object_store::Error>);

impl SharedError {
    /// The original error.
    pub fn original(&self) -> &object_store::Error {
        &self.0
    }
}

/// A copy of `error` for one of several waiters: the same variant, with the original as its source.
pub fn share(error: &Arc<object_store::Error>) -> object_store::Error {
    use object_store::Error as E;
    let source = Box::new(SharedError(Arc::clone(error)));
    match &**error {
        E::NotFound { path, .. } => E::NotFound { path: path.clone(), source },
        E::AlreadyExists { path, .. } => E::AlreadyExists { path: path.clone(), source },
        E::Precondition { path, .. } => E::Precondition { path: path.clone(), source },
        E::NotModified { path, .. } => E::NotModified { path: path.clone(), source },
        E::PermissionDenied { path, .. } => E::PermissionDenied { path: path.clone(), source },
        E::Unauthenticated { path, .. } => E::Unauthenticated { path: path.clone(), source },
        E::NotSupported { .. } => E::NotSupported { source },
        E::NotImplemented { operation, implementer } => {
            E::NotImplemented { operation: operation.clone(), implementer: implementer.clone() }
        }
        E::Generic { store, .. } => E::Generic { store, source },
        E::UnknownConfigurationKey { store, key } => E::UnknownConfigurationKey { store, key: key.clone() },
        _ => E::Generic { store: "headstart", source },
    }
}

/// What can be wrong with an answer or a call. The source of an [`object_store::Error`]. Ranges are of bytes of the
/// object; `end` is one past the last byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the description of a variant names its fields")]
#[non_exhaustive]
pub enum FetchError {
    /// A body that was promised to have the bytes `start..end` ended before the byte `at`.
    #[error("the body of bytes {start}..{end} ended at byte {at}")]
    ShortBody { start: u64, end: u64, at: u64 },
    /// The body of the bytes `start..end` was given up: the byte `at` did not come within the time `waited`.
    #[error("the body of bytes {start}..{end} stalled at byte {at} for {waited:?}")]
    Stalled { start: u64, end: u64, at: u64, waited: Duration },
    /// A body has more than the bytes `start..end` that were promised.
    #[error("the body of bytes {start}..{end} is longer than promised")]
    LongBody { start: u64, end: u64 },
    /// An answer covers `start..end` instead of the requested range `wanted_start..wanted_end`.
    #[error("asked for bytes {wanted_start}..{wanted_end} and was answered {start}..{end}")]
    WrongRange { wanted_start: u64, wanted_end: u64, start: u64, end: u64 },
    /// A range starts at the byte `start`, at or after the end of the object, which has `size` bytes.
    #[error("the range starts at byte {start}, but the object is only {size} bytes long")]
    PastEnd { start: u64, size: u64 },
    /// The requested range `start..end` is empty or reversed.
    #[error("the range {start}..{end} is empty; its end must be greater than its start")]
    EmptyRange { start: u64, end: u64 },
    /// A task that fetched some of the bytes ended without a result.
    #[error("a task that fetched bytes of this read panicked, or its runtime was shut down")]
    TaskLost,
    /// The runtime that fetched some of the bytes has stopped.
    #[error("the runtime that fetched bytes of this read has stopped running its tasks; read again")]
    RuntimeStopped,
    /// No tokio runtime is running on this thread.
    #[error("no tokio runtime on this thread: call this from async code under tokio, or enter a runtime first")]
    NoRuntime,
}

impl FetchError {
    /// Finds a `FetchError` in the sources of `error`.
    #[must_use]
    pub fn find(error: &object_store::Error) -> Option<&Self> {
        sources(error).find_map(|cause| cause.downcast_ref())
    }
}

impl From<FetchError> for object_store::Error {
    fn from(error: FetchError) -> Self {
        Self::Generic { store: "headstart", source: Box::new(error) }
    }
}

impl From<ConfigError> for object_store::Error {
    fn from(error: ConfigError) -> Self {
        Self::Generic { store: "headstart", source: Box::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_changed_survives_sharing() {
        let version =
            |tag: &str| ObjectVersion { e_tag: Some(tag.into()), version: None, last_modified: None, size: 1 };
        let changed = ObjectChanged::new(&Path::from("a/b"), &version("1"), Some(&version("2")));
        let original = Arc::new(object_store::Error::from(changed.clone()));
        let copy = Arc::new(share(&original));
        assert!(matches!(*copy, object_store::Error::Precondition { .. }));
        assert_eq!(ObjectChanged::find(&copy), Some(&changed));
        assert_eq!(ObjectChanged::find(&share(&copy)), Some(&changed), "through two layers");
    }

    #[test]
    fn only_a_404_or_412_is_explained_by_a_pin() {
        let expected = ObjectVersion { e_tag: Some("1".into()), version: None, last_modified: None, size: 1 };
        let path = Path::from("a");
        let gone = object_store::Error::NotFound { path: "a".into(), source: "404".into() };
        assert!(ObjectChanged::find(&ObjectChanged::explain(gone, &path, &expected)).is_some());
        let other = object_store::Error::Generic { store: "x", source: "503".into() };
        assert!(ObjectChanged::find(&ObjectChanged::explain(other, &path, &expected)).is_none());
    }
}
