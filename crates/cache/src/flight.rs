//! One fetch, as its task and those who wait for it share it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use headstart_fetch_core::internal::runtime::TaskRuntime;
use headstart_fetch_core::internal::{Promotion, byte_range};
use object_store::path::Path;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::call::Call;
use crate::error::CacheError;
use crate::flights::Flights;
use crate::memory::{Arrival, PageKey};
use crate::page::PageSize;
use crate::pieces::{Charge, Pieces};
use crate::sync::Mutex;
use crate::version_table::Head;

/// One request, or one window of a long body.
pub(crate) struct Flight {
    /// Which bytes it brings; known when it is answered.
    pub(crate) span: OnceLock<Range<u64>>,
    /// Keep what it brings. A reader that keeps pages may join one that does not.
    pub(crate) admit: AtomicBool,
    /// Of a speculative flight: turns it into one that is waited for. A reader that waits may join one that nobody waits for.
    pub(crate) promotion: Option<Promotion>,
    /// Its caller has said that what it brings will be read.
    pub(crate) announced: bool,
    /// The version that its request names, if any.
    pub(crate) version: Option<String>,
    /// Nobody joins it.
    pub(crate) alone: bool,
    pub(crate) board: Mutex<Board>,
    /// Ticks whenever the board changes. Whoever has waited longest is woken first, so that virtual time repeats itself.
    pub(crate) tick: Notify,
    /// Ticks whenever the fetch may have room to read on.
    pub(crate) room: Notify,
    pub(crate) task: OnceLock<AbortHandle>,
    /// Where its task runs.
    pub(crate) home: Option<TaskRuntime>,
}

#[derive(Default)]
pub(crate) struct Board {
    /// Readers that wait or may still read. Changed under the air's lock only.
    pub(crate) seats: usize,
    /// The pages registered in its name. Changed under the air's lock only.
    pub(crate) keys: Vec<PageKey>,
    /// The path it is an opening of, as long as it is registered as one.
    pub(crate) opens: Option<Path>,
    pub(crate) answer: Option<Arc<Head>>,
    /// A reader that had joined it has left, because nothing had arrived for long.
    pub(crate) silent: bool,
    pub(crate) pieces: Pieces,
    pub(crate) end: Option<End>,
}

/// How a flight ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// Everything arrived.
    Landed,
    /// All who wait get this error, once.
    Failed(Arc<object_store::Error>),
    /// It brings nothing, and that is nobody's error: its task is gone, or the answer is of no use to a cache.
    Lost,
}

/// Why a wait was in vain.
#[derive(Debug)]
pub(crate) enum Vain {
    /// The fetch failed.
    Failed(object_store::Error),
    /// The fetch is gone; another one may succeed.
    Lost,
}

impl From<object_store::Error> for Vain {
    fn from(error: object_store::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Vain> for object_store::Error {
    fn from(vain: Vain) -> Self {
        match vain {
            Vain::Failed(error) => error,
            Vain::Lost => CacheError::Lost.into(),
        }
    }
}

impl Flight {
    /// A flight that begins for `call`.
    pub(crate) fn of(call: &Call, admit: bool, alone: bool) -> Arc<Self> {
        Arc::new(Self {
            span: OnceLock::new(),
            admit: AtomicBool::new(admit),
            promotion: call.is_ahead().then(Promotion::default),
            announced: call.plan.announced,
            version: call.version.clone(),
            alone,
            board: Mutex::default(),
            tick: Notify::new(),
            room: Notify::new(),
            task: OnceLock::new(),
            home: TaskRuntime::current(),
        })
    }

    pub(crate) fn charge(&self, charge: Charge, pages: PageSize) {
        self.board.lock().pieces.charge(charge, byte_range::in_memory(pages.bytes()));
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
            (false, true) => Arrival::Ahead,
            (false, false) => Arrival::Demanded,
        }
    }
}

/// A flight as its task sees it. Dropped without [`Pilot::land`], by a panic, an abort or a runtime that shuts down, it is lost.
pub(crate) struct Pilot {
    pub(crate) flight: Arc<Flight>,
    pub(crate) flights: Arc<Flights>,
}

impl Pilot {
    /// The request is answered: the flight will bring `span`, and the pages that lie wholly in it can be joined from now on.
    pub(crate) fn answered(&self, head: &Arc<Head>, pages: PageSize, span: Range<u64>, whole_pages: Range<u64>) {
        {
            let mut air = self.flights.air.lock();
            if self.flight.board.lock().seats > 0 {
                // From an opening to pages in one step: a reader finds one or the other.
                air.strike_off(&self.flight);
                if !self.flight.alone {
                    air.register(&self.flight, head.id, whole_pages);
                }
            }
        }
        let starts = (pages.of(span.start), byte_range::in_memory(byte_range::len(&span)));
        let _ = self.flight.span.set(span);
        {
            let mut board = self.flight.board.lock();
            board.pieces.starts(starts.0, starts.1);
            board.answer = Some(Arc::clone(head));
            board.silent = false;
        }
        self.flight.tick.notify_waiters();
    }

    /// Sets the memory for what the flight brings.
    pub(crate) fn charge(&self, charge: Charge, pages: PageSize) {
        self.flight.charge(charge, pages);
    }

    /// Waits until there is room for `page`, of `bytes`.
    ///
    /// # Cancel safety
    /// Cancel safe: it only watches.
    pub(crate) async fn room(&self, page: u64, bytes: usize) {
        self.until(|board| board.pieces.may_read(page, bytes)).await;
        if self.flight.board.lock().pieces.makes_room_for(bytes) {
            // The readers of the pages that go were woken when these arrived, and may take them now.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a reader waits for something of the flight.
    ///
    /// # Cancel safety
    /// Cancel safe: it only watches.
    pub(crate) async fn awaited(&self) {
        self.until(|board| board.pieces.is_awaited()).await;
    }

    async fn until(&self, ready: impl Fn(&Board) -> bool) {
        // The task is the only one that waits for room, so that a tick before it waits is not lost.
        while !ready(&self.flight.board.lock()) {
            self.flight.room.notified().await;
        }
    }

    /// `page`, or part of it, arrived; `keep` stores it, told how it comes.
    pub(crate) fn arrived(&self, page: u64, piece: Bytes, keep: impl FnOnce(Bytes, Arrival)) {
        if self.flight.admit.load(Ordering::Relaxed) {
            keep(piece.clone(), self.flight.arrival());
        }
        {
            let mut board = self.flight.board.lock();
            board.pieces.push(page, piece);
            board.silent = false;
        }
        self.flight.tick.notify_waiters();
    }

    /// The flight is over.
    pub(crate) fn land(self, end: End) {
        self.flights.end(&self.flight, end);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.flights.end(&self.flight, End::Lost);
    }
}
