//! The pages that wait to be written: a bounded queue between the readers and the disk thread.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use headstart_fetch_core::internal::locks::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::object::DiskPage;

/// How long the disk thread lets pages gather after its last write, before it waits to be woken. A reader that wakes it
/// for every page pays for each a system call and a switch of threads.
const GATHER: Duration = Duration::from_millis(2);

/// What the disk thread does next.
pub(crate) enum DiskWork {
    Write(DiskPage, Bytes),
    /// Nothing has come for a while.
    Idle,
    /// Everything is written. Seal the segment; tell these callers.
    Close(Vec<oneshot::Sender<()>>),
    /// The cache is gone.
    Stop,
}

/// Why a page was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It waits already.
    Queued,
    Full,
    Closed,
}

/// Pages that wait to be written.
pub(crate) struct WriteQueue {
    state: Mutex<WriteQueueState>,
    changed: Condvar,
    max_bytes: usize,
}

#[derive(Default)]
struct WriteQueueState {
    pages: VecDeque<(DiskPage, Bytes)>,
    bytes: usize,
    /// The fingerprints of `pages`, and of the page that is being written.
    waiting: HashSet<u64>,
    closing: Vec<oneshot::Sender<()>>,
    /// The disk thread waits to be woken.
    is_idle: bool,
    /// The disk thread has taken a page since it waited last.
    has_written: bool,
    is_closed: bool,
    is_stopped: bool,
}

impl WriteQueueState {
    fn has_no_work(&self) -> bool {
        self.pages.is_empty() && self.closing.is_empty() && !self.is_stopped
    }
}

impl WriteQueue {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), max_bytes }
    }

    /// Adds a page.
    pub(crate) fn push(&self, page: DiskPage, bytes: Bytes) -> Result<(), Refused> {
        self.push_within(self.max_bytes, page, bytes)
    }

    /// Adds a page that takes no memory of its own, however many wait.
    pub(crate) fn push_held(&self, page: DiskPage, bytes: Bytes) -> Result<(), Refused> {
        self.push_within(usize::MAX, page, bytes)
    }

    fn push_within(&self, max_bytes: usize, page: DiskPage, bytes: Bytes) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if state.bytes + bytes.len() > max_bytes {
            return Err(Refused::Full);
        }
        if !state.waiting.insert(page.key.fingerprint()) {
            return Err(Refused::Queued);
        }
        let half = self.max_bytes / 2;
        let is_half_full = state.bytes < half && state.bytes + bytes.len() >= half;
        state.bytes += bytes.len();
        state.pages.push_back((page, bytes));
        let wakes = std::mem::take(&mut state.is_idle) || is_half_full;
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Waits for work, at most `patience`.
    pub(crate) fn next(&self, patience: Duration) -> DiskWork {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.has_written) && state.has_no_work() {
            state = self.changed.wait_for(state, GATHER.min(patience));
        }
        if state.has_no_work() {
            state.is_idle = true;
            state = self.changed.wait_for(state, patience);
            state.is_idle = false;
        }
        if let Some((page, bytes)) = state.pages.pop_front() {
            state.has_written = true;
            return DiskWork::Write(page, bytes);
        }
        if !state.closing.is_empty() {
            return DiskWork::Close(std::mem::take(&mut state.closing));
        }
        if state.is_stopped { DiskWork::Stop } else { DiskWork::Idle }
    }

    /// A page is written, or was dropped.
    pub(crate) fn done(&self, page: &DiskPage) {
        let mut state = self.state.lock();
        state.waiting.remove(&page.key.fingerprint());
        state.bytes -= page.bytes as usize;
    }

    /// Takes no more pages. The receiver hears when those that wait are written.
    pub(crate) fn close(&self) -> oneshot::Receiver<()> {
        let (done, closed) = oneshot::channel();
        let mut state = self.state.lock();
        state.is_closed = true;
        if !state.is_stopped {
            state.closing.push(done);
        }
        drop(state);
        self.changed.notify_one();
        closed
    }

    /// Takes no more pages, and ends the disk thread when those that wait are written.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        (state.is_closed, state.is_stopped) = (true, true);
        drop(state);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::entry::DiskKey;
    use super::*;

    fn page(n: u32) -> DiskPage {
        DiskPage { key: DiskKey { digest: [1; 32], page: n }, path_tag: 0, bytes: 10 }
    }

    fn push(queue: &WriteQueue, n: u32) -> Result<(), Refused> {
        queue.push(page(n), Bytes::from(vec![0; 10]))
    }

    #[test]
    fn a_full_queue_refuses_and_each_page_waits_once() {
        let queue = WriteQueue::new(25);
        assert_eq!([push(&queue, 1), push(&queue, 1), push(&queue, 2)], [Ok(()), Err(Refused::Queued), Ok(())]);
        assert_eq!(push(&queue, 3), Err(Refused::Full));
        let DiskWork::Write(first, _) = queue.next(Duration::ZERO) else { panic!("a page waits") };
        assert_eq!(first, page(1));
        assert_eq!(queue.bytes(), 20, "it is being written");
        queue.done(&first);
        assert_eq!(push(&queue, 3), Ok(()));
    }

    #[test]
    fn a_closed_queue_is_drained_before_the_caller_hears() {
        let queue = WriteQueue::new(100);
        push(&queue, 1).expect("room");
        let _closed = queue.close();
        assert_eq!(push(&queue, 2), Err(Refused::Closed));
        assert!(matches!(queue.next(Duration::ZERO), DiskWork::Write(..)));
        assert!(matches!(queue.next(Duration::ZERO), DiskWork::Close(callers) if callers.len() == 1));
        assert!(matches!(queue.next(Duration::ZERO), DiskWork::Idle));
        queue.stop();
        assert!(matches!(queue.next(Duration::ZERO), DiskWork::Stop));
    }
}
