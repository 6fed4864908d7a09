//! One fetch, as its task and those who wait for it share it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use headstart_fetch_core::runtime::Home;
use headstart_fetch_core::{Promotion, byte_range};
use object_store::path::Path;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::error::CacheError;
use crate::fetches::arrived_pages::{ArrivedPages, Charge};
use crate::fetches::registry::InFlight;
use crate::fetches::sync::Mutex;
use crate::lookup::call::ReadCall;
use crate::lookup::memory_tier::{Arrival, PageKey};
use crate::lookup::version_table::ObjectHead;
use crate::policy::page::PageSize;

/// One request, or one window of a long body.
pub(crate) struct Fetch {
    /// Which bytes it brings; known when it is answered.
    pub(crate) span: OnceLock<Range<u64>>,
    /// Keep what it brings. A reader that keeps pages may join one that does not.
    pub(crate) admit: AtomicBool,
    /// Of a speculative fetch: turns it into one that is waited for. A reader that waits may join one that nobody waits for.
    pub(crate) promotion: Option<Promotion>,
    /// Its caller has said that what it brings will be read.
    pub(crate) announced: bool,
    /// The version that its request names, if any.
    pub(crate) version: Option<String>,
    /// Nobody joins it.
    pub(crate) alone: bool,
    pub(crate) progress: Mutex<FetchProgress>,
    /// Ticks whenever the progress changes. Whoever has waited longest is woken first, so that virtual time repeats itself.
    pub(crate) tick: Notify,
    /// Ticks whenever the fetch may have room to read on.
    pub(crate) room: Notify,
    pub(crate) task: OnceLock<AbortHandle>,
    /// Where its task runs.
    pub(crate) home: Option<Home>,
}

#[derive(Default)]
pub(crate) struct FetchProgress {
    /// Readers that wait or may still read. Changed under the registry's lock only.
    pub(crate) waiters: usize,
    /// The pages registered in its name. Changed under the registry's lock only.
    pub(crate) keys: Vec<PageKey>,
    /// The path it is an opening of, as long as it is registered as one.
    pub(crate) opens: Option<Path>,
    pub(crate) answer: Option<Arc<ObjectHead>>,
    /// A reader that had joined it has left, because nothing had arrived for long.
    pub(crate) silent: bool,
    pub(crate) pieces: ArrivedPages,
    pub(crate) end: Option<FetchOutcome>,
}

/// How a fetch ended.
#[derive(Debug, Clone)]
pub(crate) enum FetchOutcome {
    /// Everything arrived.
    Finished,
    /// All who wait get this error, once.
    Failed(Arc<object_store::Error>),
    /// It brings nothing, and that is nobody's error: its task is gone, or the answer is of no use to a cache.
    Lost,
}

/// Why a wait was in error.
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

impl Fetch {
    /// A fetch that begins for `call`.
    pub(crate) fn of(call: &ReadCall, admit: bool, alone: bool) -> Arc<Self> {
        Arc::new(Self {
            span: OnceLock::new(),
            admit: AtomicBool::new(admit),
            promotion: call.is_ahead().then(Promotion::default),
            announced: call.plan.announced,
            version: call.version.clone(),
            alone,
            progress: Mutex::default(),
            tick: Notify::new(),
            room: Notify::new(),
            task: OnceLock::new(),
            home: Home::current(),
        })
    }

    pub(crate) fn charge(&self, charge: Charge, pages: PageSize) {
        self.progress.lock().pieces.charge(charge, byte_range::in_memory(pages.bytes()));
    }

    /// Somebody waits for it.
    pub(crate) fn promote(&self) {
        if let Some(promotion) = &self.promotion {
            promotion.promote();
        }
    }

    /// Nobody waits for it yet.
    pub(crate) fn is_ahead(&self) -> bool {
        self.promotion.as_ref().is_some_and(|promotion| !promotion.is_promoted())
    }

    /// How its pages come.
    fn arrival(&self) -> Arrival {
        match (self.announced, self.is_ahead()) {
            (true, _) => Arrival::Announced,
            (false, true) => Arrival::Speculative,
            (false, false) => Arrival::Demanded,
        }
    }
}

/// A fetch as its task sees it. Dropped without [`FetchGuard::finish`], by a panic, an abort or a runtime that shuts down, it is lost.
pub(crate) struct FetchGuard {
    pub(crate) fetch: Arc<Fetch>,
    pub(crate) in_flight: Arc<InFlight>,
}

impl FetchGuard {
    /// The request is answered: the fetch will bring `span`, and the pages that lie wholly in it can be joined from now on.
    pub(crate) fn answered(&self, head: &Arc<ObjectHead>, pages: PageSize, span: Range<u64>, whole_pages: Range<u64>) {
        {
            let mut registry = self.in_flight.registry.lock();
            if self.fetch.progress.lock().waiters > 0 {
                // From an opening to pages in one step: a reader finds one or the other.
                registry.deregister(&self.fetch);
                if !self.fetch.alone {
                    registry.register(&self.fetch, head.id, whole_pages);
                }
            }
        }
        let starts = (pages.of(span.start), byte_range::in_memory(byte_range::len(&span)));
        let _ = self.fetch.span.set(span);
        {
            let mut progress = self.fetch.progress.lock();
            progress.pieces.starts(starts.0, starts.1);
            progress.answer = Some(Arc::clone(head));
            progress.silent = false;
        }
        self.fetch.tick.notify_waiters();
    }

    /// Sets the memory for what the fetch brings.
    pub(crate) fn charge(&self, charge: Charge, pages: PageSize) {
        self.fetch.charge(charge, pages);
    }

    /// Waits until there is room for `page`, of `bytes`.
    ///
    /// # Cancel safety
    /// Cancel safe: it only watches.
    pub(crate) async fn room(&self, page: u64, bytes: usize) {
        self.until(|progress| progress.pieces.may_read(page, bytes)).await;
        if self.fetch.progress.lock().pieces.makes_room_for(bytes) {
            // The readers of the pages that go were woken when these arrived, and may take them now.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a reader waits for something of the fetch.
    ///
    /// # Cancel safety
    /// Cancel safe: it only watches.
    pub(crate) async fn awaited(&self) {
        self.until(|progress| progress.pieces.is_awaited()).await;
    }

    async fn until(&self, ready: impl Fn(&FetchProgress) -> bool) {
        // The task is the only one that waits for room, so that a tick before it waits is not lost.
        while !ready(&self.fetch.progress.lock()) {
            self.fetch.room.notified().await;
        }
    }

    /// `page`, or part of it, arrived; `keep` stores it, told how it comes.
    pub(crate) fn arrived(&self, page: u64, piece: Bytes, keep: impl FnOnce(Bytes, Arrival)) {
        if self.fetch.admit.load(Ordering::Relaxed) {
            keep(piece.clone(), self.fetch.arrival());
        }
        {
            let mut progress = self.fetch.progress.lock();
            progress.pieces.push(page, piece);
            progress.silent = false;
        }
        self.fetch.tick.notify_waiters();
    }

    /// The fetch is over.
    pub(crate) fn finish(self, end: FetchOutcome) {
        self.in_flight.end(&self.fetch, end);
    }
}

impl Drop for FetchGuard {
    fn drop(&mut self) {
        self.in_flight.end(&self.fetch, FetchOutcome::Lost);
    }
}
