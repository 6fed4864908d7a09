//! A reader's interest in a fetch: waiting for it, taking from it, leaving it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future;
use headstart_fetch_core::internal::mutation::Mutation;
use headstart_fetch_core::internal::runtime::has_timer;
use headstart_fetch_core::internal::{Promotion, byte_range, depends_on_request, share};

use crate::flight::{Board, End, Flight, Vain};
use crate::flights::Flights;
use crate::page::{Need, PageSize};
use crate::pieces::{Charge, Pieces};
use crate::version_table::Head;

/// A reader's interest in a flight. Dropping the last one aborts the flight, unless it has landed.
pub(crate) struct Seat {
    pub(crate) flight: Arc<Flight>,
    pub(crate) flights: Arc<Flights>,
    /// The reader began the flight.
    pub(crate) mine: bool,
    /// The reader's own request would be the same as the flight's.
    pub(crate) same_request: bool,
    /// Of a speculative reader: tells when somebody waits for it, and so for the flight.
    pub(crate) promotion: Option<Promotion>,
    /// The reader does not know yet which pages it wants, and so wants all.
    pub(crate) is_undecided: AtomicBool,
}

/// A reader's interest in one page of a flight. When nobody is interested any more, the flight drops the page.
pub(crate) struct Interest {
    pub(crate) seat: Arc<Seat>,
    pub(crate) page: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.seat.flight.board.lock().pieces.unwant(self.page);
        self.seat.flight.room.notify_one();
    }
}

/// A reader that waits for a page of a flight, or for all of it.
struct Awaiting<'a> {
    flight: &'a Flight,
    page: u64,
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.flight.board.lock().pieces.wait_no_more(self.page);
    }
}

impl Seat {
    pub(crate) fn undecided(self: Arc<Self>) -> Arc<Self> {
        self.is_undecided.store(true, Ordering::Relaxed);
        self.flight.board.lock().pieces.undecided();
        self
    }

    /// The reader knows what it wants: what it has an [`Interest`] in.
    pub(crate) fn decided(&self) {
        if self.is_undecided.swap(false, Ordering::Relaxed) {
            self.flight.board.lock().pieces.decided();
            self.flight.room.notify_one();
        }
    }

    /// Sets the memory for what the flight brings.
    pub(crate) fn charge(&self, charge: Charge, pages: PageSize) {
        self.flight.charge(charge, pages);
    }

    /// Whether the flight is another reader's, and goes in lockstep: it does not keep pages until each reader has taken them.
    pub(crate) fn may_lose_pages(&self) -> bool {
        !self.mine && self.flight.board.lock().pieces.is_lockstep()
    }

    /// The reader's interest in `page` of a flight that has not been launched yet.
    pub(crate) fn interest_in(self: &Arc<Self>, page: u64) -> Interest {
        self.flight.board.lock().pieces.want(page);
        Interest { seat: Arc::clone(self), page }
    }

    /// The reader's interest in `need`, where the flight is answered, and brings it or still has it.
    pub(crate) fn interest(self: &Arc<Self>, need: &Need) -> Option<Interest> {
        let brings =
            self.flight.span.get().is_some_and(|span| span.start <= need.bytes.start && need.bytes.end <= span.end);
        let wanted = brings && self.flight.board.lock().pieces.want(need.page);
        wanted.then(|| Interest { seat: Arc::clone(self), page: need.page })
    }

    /// Turns the flight's request into demand once somebody waits; goes down with it.
    pub(crate) fn promotion(&self) -> Option<&Promotion> {
        self.flight.promotion.as_ref()
    }

    /// Resolves when somebody comes to wait for this reader, and so for a flight that nobody waits for yet.
    async fn waited_for(&self) {
        match &self.promotion {
            Some(promotion) if self.flight.is_ahead() => promotion.promoted().await,
            _ => future::pending().await,
        }
    }

    /// What the answer said.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn answer(&self) -> Result<Arc<Head>, Vain> {
        self.until(None, |board| board.answer.clone()).await
    }

    /// Waits for a page of the flight and takes from it what is needed, without a copy.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn take(&self, pages: PageSize, need: &Need) -> Result<Bytes, Vain> {
        self.until(Some(need.page), |board| {
            let span = self.flight.span.get()?;
            if board.pieces.is_gone(need.page) {
                return Some(Err(Vain::Lost));
            }
            let piece = board.pieces.get(need.page)?;
            let begins = span.start.max(pages.start(need.page));
            let slice = need.bytes.start - begins..need.bytes.end - begins;
            Some(Ok(piece.slice(byte_range::in_memory(slice.start)..byte_range::in_memory(slice.end))))
        })
        .await?
    }

    /// Waits until everything has arrived.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn landed(&self) -> Result<(), Vain> {
        self.until(Some(u64::MAX), |board| matches!(board.end, Some(End::Landed)).then_some(())).await
    }

    /// Waits until `ready` finds on the board what it looks for; `page` is what it waits for, `u64::MAX` all of the flight.
    ///
    /// The layer below may be silent for many reasons: an outage that it rides out, a queue, memory. So a reader waits for a fetch of
    /// its own as long as that layer does. It leaves a fetch of another reader after a while, to fetch itself, and any fetch
    /// whose runtime has stopped.
    async fn until<T>(&self, page: Option<u64>, ready: impl Fn(&Board) -> Option<T>) -> Result<T, Vain> {
        let mut awaiting = None;
        let shares_errors = Mutation::SharesRangeErrors.is_active();
        loop {
            // Before the look, so that no tick is missed.
            let tick = self.flight.tick.notified();
            {
                let mut board = self.flight.board.lock();
                if let Some(found) = ready(&board) {
                    return Ok(found);
                }
                match &board.end {
                    // Another's range, precondition or version: a request of this reader's own may be answered.
                    Some(End::Failed(error)) if !self.same_request && depends_on_request(error) && !shares_errors => {
                        return Err(Vain::Lost);
                    }
                    Some(End::Failed(error)) => return Err(Vain::Failed(share(error))),
                    Some(End::Landed | End::Lost) => return Err(Vain::Lost),
                    None if board.silent && !self.is_patient() => return Err(Vain::Lost),
                    None => {}
                }
                if let (None, Some(page)) = (&awaiting, page) {
                    board.pieces.wait_for(page);
                    awaiting = Some(Awaiting { flight: &self.flight, page });
                    self.flight.room.notify_one();
                }
            }
            tokio::select! {
                biased;
                () = tick => {}
                () = self.waited_for() => self.flight.promote(),
                () = self.silent_for_long() => {
                    // What nobody waits for may queue behind others for as long as there are any.
                    if !self.flight.is_ahead() || self.flight.span.get().is_some() {
                        let mut air = self.flights.air.lock();
                        air.strike_off(&self.flight);
                        self.flight.board.lock().silent = true;
                    }
                }
                () = self.stopped() => self.give_up(),
            }
        }
    }

    /// The reader waits for the flight however long nothing arrives.
    fn is_patient(&self) -> bool {
        self.mine && !Mutation::QueueingStalls.is_active()
    }

    /// Resolves when nothing has arrived for so long that a reader who joined the flight fetches itself.
    async fn silent_for_long(&self) {
        if self.is_patient() || !has_timer() {
            return future::pending().await;
        }
        tokio::time::sleep(self.flights.stall_timeout).await;
    }

    /// Resolves when the flight's task stands still because its runtime has stopped.
    pub(crate) async fn stopped(&self) {
        match &self.flight.home {
            Some(home) if !Mutation::TrustsRuntimes.is_active() => home.stopped().await,
            _ => future::pending().await,
        }
    }

    /// The flight's task will not go on: whoever waits for it begins anew.
    fn give_up(&self) {
        self.flights.end(&self.flight, End::Lost);
        if let Some(task) = self.flight.task.get() {
            task.abort();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.decided();
        let mut unwanted = Pieces::default();
        let deserted = {
            let mut air = self.flights.air.lock();
            let seats = {
                let mut board = self.flight.board.lock();
                board.seats -= 1;
                board.seats
            };
            if seats == 0 {
                air.strike_off(&self.flight);
                // Its task may be on a runtime that has stopped, and keep what it holds: the memory is freed here.
                unwanted = std::mem::take(&mut self.flight.board.lock().pieces);
            }
            seats == 0
        };
        drop(unwanted);
        // Outside the locks: a task that is dropped here and now runs its pilot's `drop`, which takes them.
        if deserted && let Some(task) = self.flight.task.get() {
            task.abort();
        }
    }
}
