//! Closes one reader's reads, whoever else reads the object.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::Result;
use object_store::path::Path;
use tokio::sync::Notify;

use crate::planner::messages::ReaderId;

/// What a reader's reads pass through.
#[derive(Debug)]
pub(crate) struct CloseSignal {
    pub(crate) reader: ReaderId,
    closed: AtomicBool,
    changed: Notify,
}

impl CloseSignal {
    /// An open gate.
    pub(crate) fn new(reader: ReaderId) -> Arc<Self> {
        Arc::new(Self { reader, closed: AtomicBool::new(false), changed: Notify::new() })
    }

    /// Closes it for good. Returns whether it was open.
    pub(crate) fn close(&self) -> bool {
        let was_open = !self.closed.swap(true, Ordering::AcqRel);
        self.changed.notify_waiters();
        was_open
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The outcome of `work`, or an error as soon as the gate is closed.
    ///
    /// # Cancel safety
    /// As cancel safe as `work`.
    pub(crate) async fn pass<T>(&self, path: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.closed() => Err(closed(path)),
            outcome = work => outcome,
        }
    }

    async fn closed(&self) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if !self.is_closed() {
            changed.await;
        }
    }
}

/// The error of a read whose reader was closed.
pub(crate) fn closed(path: &Path) -> object_store::Error {
    object_store::Error::Generic { store: "headstart", source: format!("the reader of {path} was closed").into() }
}
