//! How a case can fail, and what kinds of errors the stack returns.

use std::error::Error as _;
use std::{fmt, io};

use headstart_fetch_core::{FetchError, ObjectChanged, Throttled};
use object_store::Error;

use super::cloud::INJECTED;

/// What a check returns: a broken rule is an error.
pub(crate) type Checked<T = ()> = Result<T, Failure>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: &'static str,
    /// The operation during which it broke; empty if none.
    pub(crate) op: String,
    pub(crate) what: String,
}

impl Failure {
    /// A failure outside of operations.
    pub(crate) fn new(class: &'static str, what: impl Into<String>) -> Self {
        Self { class, op: String::new(), what: what.into() }
    }

    /// The same failure, during `op`.
    pub(crate) fn during(mut self, op: String) -> Self {
        if self.op.is_empty() {
            self.op = op;
        }
        self
    }

    /// Failures of the same kind are likely to have the same cause.
    pub(crate) fn kind(&self) -> (&'static str, String) {
        (self.class, self.op.clone())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.op.is_empty() {
            write!(f, "{}: {}", self.class, self.what)
        } else {
            write!(f, "{} ({}): {}", self.class, self.op, self.what)
        }
    }
}

/// What an error of the stack says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    NotFound,
    NotModified,
    /// A precondition of the caller does not hold.
    Precondition,
    /// `ObjectChanged`.
    Changed,
    /// The range begins at or past the end, or is empty.
    Range,
    /// An injected error, or a consequence of one.
    Injected(String),
    /// Any other error.
    Other(String),
}

impl ErrorKind {
    pub(crate) fn of(error: &Error) -> Self {
        if ObjectChanged::find(error).is_some() {
            return Self::Changed;
        }
        match error {
            Error::NotFound { .. } => Self::NotFound,
            Error::NotModified { .. } => Self::NotModified,
            Error::Precondition { .. } => Self::Precondition,
            _ => unspecific(error),
        }
    }

    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|source| source.downcast_ref()) {
            Some(error) => Self::of(error),
            None => Self::Other(format!("{error:?}")),
        }
    }
}

/// The kind of an error whose variant does not determine it.
fn unspecific(error: &Error) -> ErrorKind {
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
    // `object_store`'s type for invalid ranges is private, so that only its text can be examined.
    if words.contains("Wanted range starting at") || words.contains("Range started at") {
        return ErrorKind::Range;
    }
    if words.contains(INJECTED) { ErrorKind::Injected(words) } else { ErrorKind::Other(words) }
}
