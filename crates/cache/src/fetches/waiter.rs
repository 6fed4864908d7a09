//! A reader's interest in a fetch: waiting for it, taking from it, leaving it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future;
use headstart_fetch_core::mutation::Fault;
use headstart_fetch_core::runtime::has_timer;
use headstart_fetch_core::{Promotion, byte_range, depends_on_request, share};

use crate::fetches::arrived_pages::{ArrivedPages, Charge};
use crate::fetches::fetch::{Fetch, FetchOutcome, FetchProgress, WaitError};
use crate::fetches::registry::InFlight;
use crate::lookup::version_table::ObjectHead;
use crate::policy::page::{PageNeed, PageSize};

/// A reader's interest in a fetch. Dropping the last one aborts the fetch, unless it has landed.
pub(crate) struct FetchWaiter {
    pub(crate) fetch: Arc<Fetch>,
    pub(crate) in_flight: Arc<InFlight>,
    /// The reader began the fetch.
    pub(crate) mine: bool,
    /// The reader's own request would be the same as the fetch's.
    pub(crate) same_request: bool,
    /// Of a speculative reader: tells when somebody waits for it, and so for the fetch.
    pub(crate) promotion: Option<Promotion>,
    /// The reader does not know yet which pages it wants, and so wants all.
    pub(crate) is_undecided: AtomicBool,
}

/// A reader's interest in one page of a fetch. When nobody is interested any more, the fetch drops the page.
pub(crate) struct Interest {
    pub(crate) waiter: Arc<FetchWaiter>,
    pub(crate) page: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.waiter.fetch.progress.lock().pieces.unwant(self.page);
        self.waiter.fetch.room.notify_one();
    }
}

/// A reader that waits for a page of a fetch, or for all of it.
struct ActiveWait<'a> {
    fetch: &'a Fetch,
    page: u64,
}

impl Drop for ActiveWait<'_> {
    fn drop(&mut self) {
        self.fetch.progress.lock().pieces.wait_no_more(self.page);
    }
}

impl FetchWaiter {
    pub(crate) fn undecided(self: Arc<Self>) -> Arc<Self> {
        self.is_undecided.store(true, Ordering::Relaxed);
        self.fetch.progress.lock().pieces.undecided();
        self
    }

    /// The reader knows what it wants: what it has an [`Interest`] in.
    pub(crate) fn decided(&self) {
        if self.is_undecided.swap(false, Ordering::Relaxed) {
            self.fetch.progress.lock().pieces.decided();
            self.fetch.room.notify_one();
        }
    }

    /// Sets the memory for what the fetch brings.
    pub(crate) fn charge(&self, charge: Charge, pages: PageSize) {
        self.fetch.charge(charge, pages);
    }

    /// Whether the fetch is another reader's, and goes in lockstep: it does not keep pages until each reader has taken them.
    pub(crate) fn may_drop_pages(&self) -> bool {
        !self.mine && self.fetch.progress.lock().pieces.is_lockstep()
    }

    /// The reader's interest in `page` of a fetch that has not been launched yet.
    pub(crate) fn interest_in(self: &Arc<Self>, page: u64) -> Interest {
        self.fetch.progress.lock().pieces.want(page);
        Interest { waiter: Arc::clone(self), page }
    }

    /// The reader's interest in `need`, where the fetch is answered, and brings it or still has it.
    pub(crate) fn interest(self: &Arc<Self>, need: &PageNeed) -> Option<Interest> {
        let brings =
            self.fetch.span.get().is_some_and(|span| span.start <= need.bytes.start && need.bytes.end <= span.end);
        let wanted = brings && self.fetch.progress.lock().pieces.want(need.page);
        wanted.then(|| Interest { waiter: Arc::clone(self), page: need.page })
    }

    /// Turns the fetch's request into demand once somebody waits; goes down with it.
    pub(crate) fn promotion(&self) -> Option<&Promotion> {
        self.fetch.promotion.as_ref()
    }

    /// Resolves when somebody comes to wait for this reader, and so for a fetch that nobody waits for yet.
    async fn waited_for(&self) {
        match &self.promotion {
            Some(promotion) if self.fetch.is_ahead() => promotion.promoted().await,
            _ => future::pending().await,
        }
    }

    /// What the answer said.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn answer(&self) -> Result<Arc<ObjectHead>, WaitError> {
        self.until(None, |progress| progress.answer.clone()).await
    }

    /// Waits for a page of the fetch and takes from it what is needed, without a copy.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn take(&self, pages: PageSize, need: &PageNeed) -> Result<Bytes, WaitError> {
        self.until(Some(need.page), |progress| {
            let span = self.fetch.span.get()?;
            if progress.pieces.is_gone(need.page) {
                return Some(Err(WaitError::Lost));
            }
            let piece = progress.pieces.get(need.page)?;
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
    pub(crate) async fn landed(&self) -> Result<(), WaitError> {
        self.until(Some(u64::MAX), |progress| matches!(progress.end, Some(FetchOutcome::Finished)).then_some(())).await
    }

    /// Waits until `ready` finds on the progress what it looks for; `page` is what it waits for, `u64::MAX` all of the fetch.
    ///
    /// The layer below may be silent for many reasons: an outage that it rides out, a queue, memory. So a reader waits for a fetch of
    /// its own as long as that layer does. It leaves a fetch of another reader after a while, to fetch itself, and any fetch
    /// whose runtime has stopped.
    async fn until<T>(&self, page: Option<u64>, ready: impl Fn(&FetchProgress) -> Option<T>) -> Result<T, WaitError> {
        let mut awaiting = None;
        let shares_errors = Fault::SharesRangeErrors.is_back();
        loop {
            // Before the look, so that no tick is missed.
            let tick = self.fetch.tick.notified();
            {
                let mut progress = self.fetch.progress.lock();
                if let Some(found) = ready(&progress) {
                    return Ok(found);
                }
                match &progress.end {
                    // Another's range, precondition or version: a request of this reader's own may be answered.
                    Some(FetchOutcome::Failed(error))
                        if !self.same_request && depends_on_request(error) && !shares_errors =>
                    {
                        return Err(WaitError::Lost);
                    }
                    Some(FetchOutcome::Failed(error)) => return Err(WaitError::Failed(share(error))),
                    Some(FetchOutcome::Finished | FetchOutcome::Lost) => return Err(WaitError::Lost),
                    None if progress.silent && !self.is_patient() => return Err(WaitError::Lost),
                    None => {}
                }
                if let (None, Some(page)) = (&awaiting, page) {
                    progress.pieces.wait_for(page);
                    awaiting = Some(ActiveWait { fetch: &self.fetch, page });
                    self.fetch.room.notify_one();
                }
            }
            tokio::select! {
                biased;
                () = tick => {}
                () = self.waited_for() => self.fetch.promote(),
                () = self.silent_for_long() => {
                    // What nobody waits for may queue behind others for as long as there are any.
                    if !self.fetch.is_ahead() || self.fetch.span.get().is_some() {
                        let mut registry = self.in_flight.registry.lock();
                        registry.deregister(&self.fetch);
                        self.fetch.progress.lock().silent = true;
                    }
                }
                () = self.stopped() => self.give_up(),
            }
        }
    }

    /// The reader waits for the fetch however long nothing arrives.
    fn is_patient(&self) -> bool {
        self.mine && !Fault::QueueingStalls.is_back()
    }

    /// Resolves when nothing has arrived for so long that a reader who joined the fetch fetches itself.
    async fn silent_for_long(&self) {
        if self.is_patient() || !has_timer() {
            return future::pending().await;
        }
        tokio::time::sleep(self.in_flight.stall_timeout).await;
    }

    /// Resolves when the fetch's task stands still because its runtime has stopped.
    pub(crate) async fn stopped(&self) {
        match &self.fetch.home {
            Some(home) if !Fault::TrustsRuntimes.is_back() => home.stopped().await,
            _ => future::pending().await,
        }
    }

    /// The fetch's task will not go on: whoever waits for it begins anew.
    fn give_up(&self) {
        self.in_flight.end(&self.fetch, FetchOutcome::Lost);
        if let Some(task) = self.fetch.task.get() {
            task.abort();
        }
    }
}

impl Drop for FetchWaiter {
    fn drop(&mut self) {
        self.decided();
        let mut unwanted = ArrivedPages::default();
        let deserted = {
            let mut registry = self.in_flight.registry.lock();
            let waiters = {
                let mut progress = self.fetch.progress.lock();
                progress.waiters -= 1;
                progress.waiters
            };
            if waiters == 0 {
                registry.deregister(&self.fetch);
                // Its task may be on a runtime that has stopped, and keep what it holds: the memory is freed here.
                unwanted = std::mem::take(&mut self.fetch.progress.lock().pieces);
            }
            waiters == 0
        };
        drop(unwanted);
        // Outside the locks: a task that is dropped here and now runs its guard's `drop`, which takes them.
        if deserted && let Some(task) = self.fetch.task.get() {
            task.abort();
        }
    }
}
