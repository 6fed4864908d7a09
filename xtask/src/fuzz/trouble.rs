//! Reads what an error of `object_store` says.

use std::error::Error as _;
use std::io;

use headstart_fetch_core::{FetchError, ObjectChanged, Throttled};
use object_store::Error;

use super::cloud::INJECTED;
use super::failure::Trouble;

/// What `error` says.
pub(crate) fn of(error: &Error) -> Trouble {
    if ObjectChanged::find(error).is_some() {
        return Trouble::Changed;
    }
    match error {
        Error::NotFound { .. } => Trouble::NotFound,
        Error::NotModified { .. } => Trouble::NotModified,
        Error::Precondition { .. } => Trouble::Precondition,
        _ => other(error),
    }
}

/// What an error of `AsyncRead` says.
pub(crate) fn of_io(error: &io::Error) -> Trouble {
    match error.get_ref().and_then(|source| source.downcast_ref()) {
        Some(error) => of(error),
        None => Trouble::Other(format!("{error:?}")),
    }
}

fn other(error: &Error) -> Trouble {
    let words = format!("{error}");
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    for cause in causes {
        match cause.downcast_ref::<FetchError>() {
            Some(FetchError::PastEnd { .. } | FetchError::EmptyRange { .. }) => return Trouble::Range,
            Some(FetchError::ShortBody { .. } | FetchError::LongBody { .. } | FetchError::Stalled { .. }) => {
                return Trouble::Injected(words);
            }
            _ => {}
        }
        if cause.is::<Throttled>() {
            return Trouble::Injected(words);
        }
    }
    // `object_store`'s type for ranges that do not exist can be had but not named.
    if words.contains("Wanted range starting at") || words.contains("Range started at") {
        return Trouble::Range;
    }
    if words.contains(INJECTED) { Trouble::Injected(words) } else { Trouble::Other(words) }
}
