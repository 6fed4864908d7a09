//! Ends the reads of one reader when it is closed, while other readers of the object go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::Result;
use object_store::path::Path;
use tokio::sync::Notify;

use crate::planner::messages::ReaderId;

/// Tells the reads of one reader that it was closed.
#[derive(Debug)]
pub(crate) struct CloseSignal {
    pub(crate) reader: ReaderId,
    closed: AtomicBool,
    changed: Notify,
}

impl CloseSignal {
    pub(crate) fn new(reader: ReaderId) -> Arc<Self> {
        Arc::new(Self { reader, closed: AtomicBool::new(false), changed: Notify::new() })
    }

    /// Closes the reader for good. Returns whether it was open.
    pub(crate) fn close(&self) -> bool {
        let was_open = !self.closed.swap(true, Ordering::AcqRel);
        self.changed.notify_waiters();
        was_open
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The outcome of `work`, or an error as soon as the reader is closed.
    ///
    /// # Cancel safety
    /// As cancel safe as `work`.
    pub(crate) async fn run_until_closed<T>(&self, path: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
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

/// The error of reads whose reader was closed.
pub(crate) fn closed(path: &Path) -> object_store::Error {
    object_store::Error::Generic { store: "headstart", source: format!("the reader of {path} was closed").into() }
}
