//! The errors that `SimStore` returns for faults.

use std::time::Duration;

use headstart_fetch_core::{ConnectionFault, Throttled};

/// The error of a fault, in the form of a client that does not retry: the source of an
/// [`object_store::Error::Generic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SimFault {
    /// 503 or 429.
    #[error("throttled by the store")]
    Refused(#[source] Throttled),
    /// The connection was lost within the body.
    #[error("the connection was lost after {bytes} bytes of the body")]
    BodyCut {
        /// Bytes of the body that arrived before.
        bytes: u64,
        /// Marks the error as one to retry.
        #[source]
        fault: ConnectionFault,
    },
}

impl SimFault {
    /// Finds a fault among the sources of `error`.
    #[must_use]
    pub fn find(error: &object_store::Error) -> Option<Self> {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if let Some(fault) = cause.downcast_ref() {
                return Some(*fault);
            }
            source = cause.source();
        }
        None
    }

    /// 503.
    pub const UNAVAILABLE: Self = Self::Refused(Throttled { status: 503, retry_after: None });

    /// 429.
    #[must_use]
    pub const fn throttled(retry_after: Duration) -> Self {
        Self::Refused(Throttled { status: 429, retry_after: Some(retry_after) })
    }
}

impl From<SimFault> for object_store::Error {
    fn from(fault: SimFault) -> Self {
        Self::Generic { store: "SimStore", source: Box::new(fault) }
    }
}

/// The HTTP status of the answer that `error` stands for.
pub(super) fn status_of(error: &object_store::Error) -> u16 {
    match (error, SimFault::find(error)) {
        (_, Some(SimFault::Refused(Throttled { status, .. }))) => status,
        (object_store::Error::NotFound { .. }, _) => 404,
        (object_store::Error::NotModified { .. }, _) => 304,
        (object_store::Error::Precondition { .. }, _) => 412,
        _ => 416,
    }
}
