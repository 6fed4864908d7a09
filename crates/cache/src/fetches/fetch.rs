//! One fetch: the state that its task shares with the readers that wait for it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use headstart_fetch_core::internal::runtime::TaskRuntime;
use headstart_fetch_core::internal::{Promotion, byte_range};
use object_store::path::Path;
use tokio::{sync::Notify, task::AbortHandle};

use super::arrived_pages::{ArrivedPages, Charge};
use super::{single_flight::InFlight, sync::Mutex};
use crate::error::CacheError;
use crate::lookup::{Arrival, CacheCall, ObjectHead, PageKey};
use crate::policy::{PageNeed, PageSize};

/// One request and its body.
pub(crate) struct Fetch {
    /// The bytes that it brings; set when the request is answered.
    pub(super) span: OnceLock<Range<u64>>,
    /// Whether its pages are kept. A reader that keeps pages may join a fetch that does not.
    pub(super) admit: AtomicBool,
    /// Turns a speculative fetch into a demanded one, when a reader begins to wait for it.
    pub(super) promotion: Option<Promotion>,
    /// Its caller has announced that the pages will be read.
    pub(super) announced: bool,
    /// The version that its request names, if any.
    pub(super) version: Option<String>,
    /// It reads pages from disk. What it brings does not prove that its version is the present one.
    pub(super) is_from_disk: AtomicBool,
    /// No other call joins it.
    pub(super) is_private: bool,
    pub(super) pages: PageSize,
    pub(super) progress: Mutex<FetchProgress>,
    /// Notified whenever `progress` changes. Wakes waiters in FIFO order, which makes virtual-time runs reproducible.
    pub(super) changed: Notify,
    /// Notified whenever the fetch may have room to read on.
    pub(super) room: Notify,
    pub(super) task: OnceLock<AbortHandle>,
    /// The runtime of its task.
    pub(super) runtime: Option<TaskRuntime>,
}

#[derive(Default)]
pub(super) struct FetchProgress {
    /// Readers that wait or may still read. Changed under the registry's lock only.
    pub(super) waiters: usize,
    /// The pages registered for it. Changed under the registry's lock only.
    pub(super) keys: Vec<PageKey>,
    /// The path that it opens, while it is registered as an opening fetch.
    pub(super) opens: Option<Path>,
    pub(super) answer: Option<Arc<ObjectHead>>,
    /// A reader that had joined it has left, because nothing had arrived for `stall_timeout`.
    pub(super) is_stalled: bool,
    pub(super) pages: ArrivedPages,
    pub(super) outcome: Option<FetchOutcome>,
}

/// How a fetch ended.
#[derive(Debug, Clone)]
pub(crate) enum FetchOutcome {
    /// Everything arrived.
    Finished,
    /// All waiters get this error, once.
    Failed(Arc<object_store::Error>),
    /// The fetch ended without data and without an error: its task was dropped, or the answer cannot be cached.
    Lost,
}

/// Why a waiter got nothing.
#[derive(Debug)]
pub(crate) enum WaitError {
    /// The fetch failed.
    Failed(object_store::Error),
    /// The fetch is gone; another one may succeed.
    Lost,
}

impl From<object_store::Error> for WaitError {
    fn from(error: object_store::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<WaitError> for object_store::Error {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Failed(error) => error,
            WaitError::Lost => CacheError::Lost.into(),
        }
    }
}

impl FetchProgress {
    /// Whether the fetch is under way, or has brought `page` and still holds it.
    pub(super) fn brings(&self, page: u64) -> bool {
        self.outcome.is_none() || self.pages.get(page).is_some()
    }
}

impl Fetch {
    pub(super) fn new(call: &CacheCall, pages: PageSize, admit: bool, is_private: bool) -> Arc<Self> {
        Arc::new(Self {
            span: OnceLock::new(),
            admit: AtomicBool::new(admit),
            promotion: call.is_speculative().then(Promotion::default),
            announced: call.plan.announced,
            version: call.version.clone(),
            is_from_disk: AtomicBool::new(false),
            is_private,
            pages,
            progress: Mutex::default(),
            changed: Notify::new(),
            room: Notify::new(),
            task: OnceLock::new(),
            runtime: TaskRuntime::current(),
        })
    }

    /// Sets the memory for its pages.
    pub(super) fn charge(&self, charge: Charge) {
        self.progress.lock().pages.charge(charge, byte_range::in_memory(self.pages.bytes()));
    }

    /// The needed bytes of a page that has arrived; `None` while it has not, an error where it was dropped.
    pub(super) fn arrived(&self, progress: &FetchProgress, need: &PageNeed) -> Option<Result<Bytes, WaitError>> {
        let span = self.span.get()?;
        if progress.pages.is_dropped(need.page) {
            return Some(Err(WaitError::Lost));
        }
        let page_start = span.start.max(self.pages.start(need.page));
        let at = |offset: u64| byte_range::in_memory(offset - page_start);
        Some(Ok(progress.pages.get(need.page)?.slice(at(need.bytes.start)..at(need.bytes.end))))
    }

    /// Changes the progress and wakes all waiters.
    pub(super) fn update(&self, change: impl FnOnce(&mut FetchProgress)) {
        change(&mut self.progress.lock());
        self.changed.notify_waiters();
    }

    /// Aborts its task, if that was launched.
    pub(super) fn abort(&self) {
        self.task.get().inspect(|task| task.abort());
    }

    /// A reader waits for it from now on.
    pub(super) fn promote(&self) {
        self.promotion.iter().for_each(Promotion::promote);
    }

    /// Whether it is speculative: no reader waits for it yet.
    pub(super) fn is_speculative(&self) -> bool {
        self.promotion.as_ref().is_some_and(|promotion| !promotion.is_promoted())
    }

    fn arrival(&self) -> Arrival {
        match (self.announced, self.is_speculative()) {
            (true, _) => Arrival::Announced,
            (false, true) => Arrival::Speculative,
            (false, false) => Arrival::Demanded,
        }
    }
}

/// A fetch, as its task sees it. Dropped without [`FetchGuard::finish`] (panic, abort, shutdown), the fetch is lost.
pub(crate) struct FetchGuard {
    pub(super) fetch: Arc<Fetch>,
    pub(super) in_flight: Arc<InFlight>,
}

impl FetchGuard {
    /// The request is answered: the fetch brings `span`. From now on, other calls can join it for the first of
    /// `whole_pages`.
    pub(crate) fn answered(&self, head: &Arc<ObjectHead>, span: Range<u64>, whole_pages: Range<u64>) {
        {
            let mut registry = self.in_flight.registry.lock();
            if self.fetch.progress.lock().waiters > 0 {
                // From an opening fetch to registered pages in one step: a reader finds one or the other.
                registry.deregister(&self.fetch);
                registry.register(&self.fetch, head.id, whole_pages);
            }
        }
        let (first, bytes) = (self.fetch.pages.of(span.start), byte_range::in_memory(byte_range::len(&span)));
        let _ = self.fetch.span.set(span);
        self.fetch.update(|progress| {
            progress.pages.begin(first, bytes);
            progress.answer = Some(Arc::clone(head));
            progress.is_stalled = false;
        });
    }

    /// From now on, other calls can join the fetch for the first of `whole_pages`, of the version `id`.
    pub(crate) fn register_next(&self, id: u64, whole_pages: Range<u64>) {
        let mut registry = self.in_flight.registry.lock();
        if self.fetch.progress.lock().waiters > 0 {
            registry.register(&self.fetch, id, whole_pages);
            registry.deregister_dropped(&self.fetch);
        }
    }

    /// Whether no memory was free for the fetch.
    pub(crate) fn is_lockstep(&self) -> bool {
        self.fetch.progress.lock().pages.is_lockstep()
    }

    /// Whether there is room for `page`, of `bytes`, without dropping others.
    pub(crate) fn has_room(&self, page: u64, bytes: usize) -> bool {
        let progress = self.fetch.progress.lock();
        progress.pages.may_read(page, bytes) && !progress.pages.makes_room_for(bytes)
    }

    /// Waits until there is room for `page`, of `bytes`. Cancel safe.
    pub(crate) async fn room(&self, page: u64, bytes: usize) {
        // Only the task waits for `room`, so a notification sent before it waits is kept for it.
        while !self.fetch.progress.lock().pages.may_read(page, bytes) {
            self.fetch.room.notified().await;
        }
        if self.fetch.progress.lock().pages.makes_room_for(bytes) {
            // The pages that have to go have woken their readers when they arrived; now these can take them.
            tokio::task::yield_now().await;
        }
    }

    /// `page`, or a part of it, has arrived. `keep` stores it.
    pub(crate) fn arrived(&self, page: u64, bytes: Bytes, keep: impl FnOnce(Bytes, Arrival)) {
        if self.fetch.admit.load(Ordering::Relaxed) {
            keep(bytes.clone(), self.fetch.arrival());
        }
        self.fetch.update(|progress| {
            progress.pages.push(page, bytes);
            progress.is_stalled = false;
        });
    }

    /// Ends the fetch.
    pub(crate) fn finish(self, outcome: object_store::Result<FetchOutcome>) {
        self.in_flight.end(&self.fetch, outcome.unwrap_or_else(|error| FetchOutcome::Failed(Arc::new(error))));
    }
}

impl Drop for FetchGuard {
    fn drop(&mut self) {
        self.in_flight.end(&self.fetch, FetchOutcome::Lost);
    }
}
