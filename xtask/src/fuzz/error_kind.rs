//! Reads what an error of `object_store` says.

use std::error::Error as _;
use std::io;

use headstart_fetch_core::{FetchError, ObjectChanged, Throttled};
use object_store::Error;

use super::cloud::INJECTED;
use super::failure::ErrorKind;

/// What `error` says.
pub(crate) fn of(error: &Error) -> ErrorKind {
    if ObjectChanged::find(error).is_some() {
        return ErrorKind::Changed;
    }
    match error {
        Error::NotFound { .. } => ErrorKind::NotFound,
        Error::NotModified { .. } => ErrorKind::NotModified,
        Error::Precondition { .. } => ErrorKind::Precondition,
        _ => other(error),
    }
}

/// What an error of `AsyncRead` says.
pub(crate) fn of_io(error: &io::Error) -> ErrorKind {
    match error.get_ref().and_then(|source| source.downcast_ref()) {
        Some(error) => of(error),
        None => ErrorKind::Other(format!("{error:?}")),
    }
}

fn other(error: &Error) -> ErrorKind {
    let words = format!("{error}");
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    for cause in causes {
        match cause.downcast_ref::<FetchError>() {
            Some(FetchError::PastEnd { .. } | FetchError::EmptyRange { .. }) => return ErrorKind::Range,
            Some(FetchError::ShortBody { .. } | FetchError::LongBody { .. } | FetchError::Stalled { .. }) => {
                return ErrorKind::Injected(words);
            }
            _ => {}
        }
        if cause.is::<Throttled>() {
            return ErrorKind::Injected(words);
        }
    }
    // `object_store`'s type for ranges that do not exist can be had but not named.
    if words.contains("Wanted range starting at") || words.contains("Range started at") {
        return ErrorKind::Range;
    }
    if words.contains(INJECTED) { ErrorKind::Injected(words) } else { ErrorKind::Other(words) }
}
