//! What a case can fail with, and what an error of the stack is. Pure.

use std::fmt;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What kind of promise.
    pub(crate) class: &'static str,
    /// During which operation.
    pub(crate) op: &'static str,
    /// What happened.
    pub(crate) what: String,
}

impl Failure {
    /// A failure outside of any operation.
    pub(crate) fn new(class: &'static str, what: impl Into<String>) -> Self {
        Self { class, op: "", what: what.into() }
    }

    /// The same failure, during `op`.
    pub(crate) fn during(mut self, op: &'static str) -> Self {
        if self.op.is_empty() {
            self.op = op;
        }
        self
    }

    /// What failures with the same cause are likely to share.
    pub(crate) fn kind(&self) -> (&'static str, &'static str) {
        (self.class, self.op)
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
    /// A precondition of the caller's does not hold.
    Precondition,
    /// `ObjectChanged`.
    Changed,
    /// The range begins at or past the end, or is empty.
    Range,
    /// What was injected, or what it leads to.
    Injected(String),
    /// Anything else.
    Other(String),
}

impl ErrorKind {
    /// Its name, for counting.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::NotModified => "not modified",
            Self::Precondition => "precondition",
            Self::Changed => "object changed",
            Self::Range => "no such range",
            Self::Injected(_) => "injected",
            Self::Other(_) => "other error",
        }
    }
}
