//! A reader's side of a fetch: waiting for it, taking pages from it, leaving it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future;
use headstart_fetch_core::internal::{Promotion, byte_range, depends_on_request, share};
use headstart_fetch_core::{internal::mutation::Mutation, internal::runtime::has_timer};

use super::fetch::{Fetch, FetchOutcome, FetchProgress, WaitError};
use super::{arrived_pages::ArrivedPages, single_flight::InFlight};
use crate::{lookup::ObjectHead, policy::PageNeed};

/// A reader that waits for a fetch or may still read from it. Without waiters, an unfinished fetch is aborted.
pub(crate) struct FetchWaiter {
    pub(super) fetch: Arc<Fetch>,
    pub(super) in_flight: Arc<InFlight>,
    /// The reader's call has begun the fetch.
    pub(crate) is_own: bool,
    /// The reader's own request would be the same as that of the fetch.
    pub(super) same_request: bool,
    /// Tells when somebody begins to wait for a speculative reader, and so for the fetch.
    pub(super) promotion: Option<Promotion>,
    /// The reader does not know yet which pages it wants. Until then the fetch keeps all of them.
    pub(super) is_undecided: AtomicBool,
}

/// A reader's interest in one page of a fetch. When nobody is interested any more, the fetch drops the page.
pub(crate) struct Interest {
    pub(crate) waiter: Arc<FetchWaiter>,
    pub(super) page: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.waiter.fetch.progress.lock().pages.remove_interest(self.page);
        self.waiter.fetch.room.notify_one();
    }
}

/// Counts a reader that waits for a page of a fetch, until it is dropped.
struct ActiveWait<'a> {
    fetch: &'a Fetch,
    page: u64,
}

impl Drop for ActiveWait<'_> {
    fn drop(&mut self) {
        self.fetch.progress.lock().pages.remove_wait(self.page);
    }
}

impl FetchWaiter {
    /// The waiter of a reader that does not know yet which pages it wants.
    pub(super) fn undecided(self: Arc<Self>) -> Arc<Self> {
        self.is_undecided.store(true, Ordering::Relaxed);
        self.fetch.progress.lock().pages.add_undecided();
        self
    }

    /// The reader wants only the pages that it has an [`Interest`] in; and all from `ahead` on, if it has begun the
    /// fetch.
    pub(crate) fn decide(&self, ahead: Option<u64>) {
        let was_undecided = self.is_undecided.swap(false, Ordering::Relaxed);
        if !was_undecided && !self.is_own {
            return;
        }
        {
            let mut progress = self.fetch.progress.lock();
            if self.is_own {
                progress.pages.follow(ahead);
            }
            if was_undecided {
                progress.pages.remove_undecided();
            }
        }
        self.fetch.room.notify_one();
    }

    /// Whether the fetch may drop pages before this reader has taken them: it is another reader's, and holds less than
    /// it brings.
    pub(crate) fn may_miss_pages(&self) -> bool {
        let bytes = self.fetch.span.get().map_or(0, byte_range::len);
        !self.is_own && self.fetch.progress.lock().pages.may_drop_some_of(bytes)
    }

    /// The reader's interest in `page` of a fetch that has not been launched yet.
    pub(super) fn interest_in(self: &Arc<Self>, page: u64) -> Interest {
        self.fetch.progress.lock().pages.add_interest(page);
        Interest { waiter: Arc::clone(self), page }
    }

    /// The reader's interest in `need`, where the fetch is answered, and brings the page soon or still has it.
    pub(crate) fn interest(self: &Arc<Self>, need: &PageNeed) -> Option<Interest> {
        let span = self.fetch.span.get()?;
        let mut progress = self.fetch.progress.lock();
        let next = progress.pages.next()?;
        let is_in_span = span.start <= need.bytes.start && need.bytes.end <= span.end;
        let is_soon = self.is_own || need.page < self.fetch.pages.joinable(&(next..u64::MAX)).end;
        let is_available =
            is_in_span && is_soon && progress.brings(need.page) && progress.pages.add_interest(need.page);
        is_available.then(|| Interest { waiter: Arc::clone(self), page: need.page })
    }

    /// Whether the fetch reads from disk.
    pub(crate) fn is_from_disk(&self) -> bool {
        self.fetch.is_from_disk.load(Ordering::Relaxed)
    }

    /// Waits for the answer: the version that the fetch brings. Cancel safe.
    pub(crate) async fn answer(&self) -> Result<Arc<ObjectHead>, WaitError> {
        self.until(None, |progress| progress.answer.clone()).await
    }

    /// Waits for a page of the fetch and takes the needed bytes of it, without a copy. Cancel safe.
    pub(crate) async fn take(&self, need: &PageNeed) -> Result<Bytes, WaitError> {
        self.until(Some(need.page), |progress| self.fetch.arrived(progress, need)).await?
    }

    /// Waits until `page` has arrived, whether it is held or dropped; if it is the last one, for the end of the fetch.
    /// Cancel safe.
    pub(crate) async fn passed(&self, page: u64) -> Result<(), WaitError> {
        let passed = |progress: &FetchProgress| match &progress.outcome {
            None => progress.pages.has_arrived(page) && !progress.pages.is_complete(),
            Some(outcome) => matches!(outcome, FetchOutcome::Finished),
        };
        self.until(Some(page), |progress| passed(progress).then_some(())).await
    }

    /// Waits until `ready` finds what it looks for; `page` is the awaited page.
    ///
    /// The layer below may be silent for many reasons: an outage, a queue, memory. A reader waits for a fetch of its
    /// own as long as that layer does. It leaves another reader's fetch after `stall_timeout`, to send a request of
    /// its own, and any fetch whose runtime has stopped.
    async fn until<T>(&self, page: Option<u64>, ready: impl Fn(&FetchProgress) -> Option<T>) -> Result<T, WaitError> {
        let mut active_wait = None;
        let shares_errors = Mutation::SharesRangeErrors.is_active();
        loop {
            // Created before the check, so that no notification is missed.
            let changed = self.fetch.changed.notified();
            {
                let mut progress = self.fetch.progress.lock();
                if let Some(found) = ready(&progress) {
                    return Ok(found);
                }
                match &progress.outcome {
                    // Another request's range, precondition or version may fail where the reader's own succeeds.
                    Some(FetchOutcome::Failed(error))
                        if self.same_request || shares_errors || !depends_on_request(error) =>
                    {
                        return Err(WaitError::Failed(share(error)));
                    }
                    Some(_) => return Err(WaitError::Lost),
                    None if progress.is_stalled && !self.has_no_timeout() => return Err(WaitError::Lost),
                    None => {}
                }
                if let (None, Some(page)) = (&active_wait, page) {
                    progress.pages.add_wait(page);
                    active_wait = Some(ActiveWait { fetch: &self.fetch, page });
                    self.fetch.room.notify_one();
                }
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.promoted() => self.fetch.promote(),
                () = self.stalled() => {
                    // Speculative requests may queue as long as there is demand: only answered ones stall.
                    if !self.fetch.is_speculative() || self.fetch.span.get().is_some() {
                        let mut registry = self.in_flight.registry.lock();
                        registry.deregister(&self.fetch);
                        self.fetch.progress.lock().is_stalled = true;
                    }
                }
                () = self.stopped() => {
                    // The task will not go on: all its waiters retry.
                    self.in_flight.end(&self.fetch, FetchOutcome::Lost);
                    self.fetch.abort();
                }
            }
        }
    }

    /// Resolves when somebody begins to wait for this speculative reader, and so for its fetch.
    async fn promoted(&self) {
        match &self.promotion {
            Some(promotion) if self.fetch.is_speculative() => promotion.promoted().await,
            _ => future::pending().await,
        }
    }

    /// Whether the reader waits however long nothing arrives.
    fn has_no_timeout(&self) -> bool {
        self.is_own && !Mutation::QueueingStalls.is_active()
    }

    /// Resolves when nothing has arrived for `stall_timeout`.
    async fn stalled(&self) {
        if self.has_no_timeout() || !has_timer() {
            return future::pending().await;
        }
        tokio::time::sleep(self.in_flight.stall_timeout).await;
    }

    /// Resolves when the task of the fetch makes no progress because its runtime has stopped.
    pub(super) async fn stopped(&self) {
        match &self.fetch.runtime {
            Some(runtime) if !Mutation::TrustsRuntimes.is_active() => runtime.stopped().await,
            _ => future::pending().await,
        }
    }
}

impl Drop for FetchWaiter {
    fn drop(&mut self) {
        self.decide(None);
        let mut unwanted = ArrivedPages::default();
        let is_last = {
            let mut registry = self.in_flight.registry.lock();
            let mut progress = self.fetch.progress.lock();
            progress.waiters -= 1;
            let is_last = progress.waiters == 0;
            if is_last {
                // The task may be on a runtime that has stopped, and never drop its pages: their memory is freed here.
                unwanted = std::mem::take(&mut progress.pages);
                drop(progress);
                registry.deregister(&self.fetch);
            }
            is_last
        };
        drop(unwanted);
        // Outside the locks: to abort the task may drop its `FetchGuard` right here, which takes them.
        if is_last {
            self.fetch.abort();
        }
    }
}
