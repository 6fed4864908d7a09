//! How what goes wrong looks to a client of `SimStore`.

use std::time::Duration;

/// How a fault looks to a client that does not retry: the source of an [`object_store::Error::Generic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SimFault {
    /// 503.
    #[error("503: the service is unavailable")]
    Unavailable,
    /// 429.
    #[error("429: too many requests; retry after {retry_after:?}")]
    Throttled {
        /// What `Retry-After` said.
        retry_after: Duration,
    },
    /// The connection broke within the body.
    #[error("the connection was lost after {bytes} bytes of the body")]
    BodyCut {
        /// Bytes of the body that had arrived.
        bytes: u64,
    },
}

impl SimFault {
    /// Finds a fault in the sources of `error`.
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
}

impl From<SimFault> for object_store::Error {
    fn from(fault: SimFault) -> Self {
        Self::Generic { store: "SimStore", source: Box::new(fault) }
    }
}
