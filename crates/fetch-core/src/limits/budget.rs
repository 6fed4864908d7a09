//! The memory budget that all layers of a process share: bytes are reserved before they are filled, and released when
//! they are handed to the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::internal::sync::Mutex;
use crate::limits::wait_queue::{QueuedWaiter, Ticket, WaitQueue};

/// A limit on the bytes that may be held at once.
///
/// Reservations are granted in FIFO order: small ones do not overtake a large one that waits.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: usize,
    /// Changes under the lock. Every read looks at it, and needs no lock to do so.
    used_bytes: AtomicUsize,
    state: Mutex<BudgetState>,
}

#[derive(Debug, Default)]
struct BudgetState {
    peak_bytes: usize,
    /// What each waiter wants and what it was granted, in bytes.
    queue: WaitQueue<usize, usize>,
}

/// All reservations wait in one order.
const PRIORITY: u8 = 0;

impl MemoryBudget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes: bytes, used_bytes: AtomicUsize::new(0), state: Mutex::default() })
    }

    /// The budget in bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Bytes reserved now.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever reserved at once.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.state.lock().peak_bytes
    }

    /// Bytes that are not reserved.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.limit_bytes - self.used_bytes()
    }

    /// Reserves `bytes` if they are free and no reservation waits.
    #[must_use]
    pub fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let mut state = self.state.lock();
        (state.queue.is_empty() && self.take(&mut state, bytes)).then(|| self.reservation(bytes))
    }

    /// Reserves `bytes` as soon as they are free. A reservation of more than the whole budget gets the whole budget.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and reserves nothing.
    pub async fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.limit_bytes);
        let place = {
            let mut state = self.state.lock();
            if state.queue.is_empty() && self.take(&mut state, bytes) {
                return self.reservation(bytes);
            }
            let waiter = QueuedWaiter::new(bytes);
            let ticket = state.queue.join(PRIORITY, &waiter);
            ReservationPlace { budget: self, waiter, ticket }
        };
        loop {
            let claimed = self.state.lock().queue.claim(place.ticket);
            if let Some(bytes) = claimed {
                return self.reservation(bytes);
            }
            place.waiter.woken().await;
        }
    }

    fn reservation(self: &Arc<Self>, bytes: usize) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes }
    }

    fn release(&self, bytes: usize) {
        let has_waiters = {
            let state = self.state.lock();
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            !state.queue.is_empty()
        };
        if has_waiters {
            self.serve();
        }
    }

    /// Takes `bytes` if they are free. `state` is locked.
    fn take(&self, state: &mut BudgetState, bytes: usize) -> bool {
        let used = self.used_bytes().checked_add(bytes).filter(|used| *used <= self.limit_bytes);
        let Some(used) = used else { return false };
        self.used_bytes.store(used, Ordering::Relaxed);
        state.peak_bytes = state.peak_bytes.max(used);
        true
    }

    /// Grants free bytes to waiters, in FIFO order, until the first one does not fit.
    fn serve(&self) {
        let mut to_wake = Vec::new();
        {
            let mut state = self.state.lock();
            while let Some(wanted) = state.queue.first().map(|(_, waiter)| waiter.wants)
                && self.take(&mut state, wanted)
            {
                to_wake.extend(state.queue.grant_first(wanted));
            }
        }
        to_wake.iter().for_each(|waiter| waiter.wake());
    }
}

/// A place in the wait queue; dropping it gives it up.
struct ReservationPlace<'a> {
    budget: &'a MemoryBudget,
    waiter: Arc<QueuedWaiter<usize>>,
    ticket: Ticket,
}

impl Drop for ReservationPlace<'_> {
    fn drop(&mut self) {
        let unclaimed = self.budget.state.lock().queue.leave(PRIORITY, self.ticket);
        // Also without a grant: the waiters behind a large reservation may fit.
        self.budget.release(unclaimed.unwrap_or_default());
    }
}

/// Bytes reserved from a [`MemoryBudget`]; dropping it releases them.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Reservation {
    /// Bytes still reserved.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Releases `bytes` of it, or all if it has fewer.
    pub fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        if bytes > 0 {
            self.bytes -= bytes;
            self.budget.release(bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::sync::explore;
    use futures::{FutureExt, future::BoxFuture};
    use proptest::prelude::*;

    #[tokio::test]
    async fn a_large_request_is_not_overtaken() {
        let budget = MemoryBudget::new(10);
        let mut held = budget.try_reserve(8).expect("8 of 10 are free");
        let mut large = budget.reserve(9).boxed();
        assert!(futures::poll!(&mut large).is_pending());
        assert!(budget.try_reserve(1).is_none(), "a reservation waits");
        held.release(8);
        assert_eq!(large.await.bytes(), 9);
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!(budget.peak_bytes(), 9);
    }

    #[tokio::test]
    async fn a_reservation_beyond_the_budget_gets_the_whole_budget() {
        let budget = MemoryBudget::new(10);
        assert_eq!(budget.reserve(100).await.bytes(), 10);
    }

    /// Random schedules: never over the limit, no byte lost, every waiter served.
    #[test]
    fn no_schedule_loses_bytes_or_a_waiter() {
        explore(3000, || {
            let budget = MemoryBudget::new(10);
            let tasks: Vec<_> = [3, 7, 10, 4, 6]
                .into_iter()
                .map(|bytes| {
                    let budget = Arc::clone(&budget);
                    shuttle::future::spawn(async move {
                        if bytes == 7 {
                            // Gives up, perhaps at the moment it is served.
                            drop(budget.reserve(bytes).now_or_never());
                            return;
                        }
                        let mut held = budget.reserve(bytes).await;
                        assert!(budget.used_bytes() <= 10);
                        held.release(1);
                        shuttle::future::yield_now().await;
                        drop(held);
                    })
                })
                .collect();
            shuttle::future::block_on(async {
                for task in tasks {
                    task.await.expect("no task panics");
                }
            });
            assert_eq!(budget.used_bytes(), 0);
            assert!(budget.try_reserve(10).is_some(), "the queue is empty");
        });
    }

    proptest! {
        /// Reserve, wait, give up and release in any order: never over the limit, no byte lost, no waiter starves.
        #[test]
        fn never_over_the_limit_and_nothing_lost(ops in prop::collection::vec((0_u8..4, 1_usize..8), 1..80)) {
            let budget = MemoryBudget::new(10);
            let mut held: Vec<Reservation> = Vec::new();
            let mut waiting: Vec<BoxFuture<'_, Reservation>> = Vec::new();
            for (op, n) in ops {
                match op {
                    0 => held.extend(budget.try_reserve(n)),
                    1 => waiting.push(budget.reserve(n).boxed()),
                    2 if !held.is_empty() => drop(held.remove(n % held.len())),
                    3 if !waiting.is_empty() => drop(waiting.remove(n % waiting.len())),
                    _ => {}
                }
                waiting.retain_mut(|future| match future.now_or_never() {
                    Some(got) => { held.push(got); false }
                    None => true,
                });
                prop_assert_eq!(budget.used_bytes(), held.iter().map(Reservation::bytes).sum::<usize>());
                prop_assert!(budget.used_bytes() <= 10);
            }
            while !waiting.is_empty() {
                held.clear();
                let before = waiting.len();
                waiting.retain_mut(|future| future.now_or_never().is_none());
                prop_assert!(waiting.len() < before, "with everything released the first waiter is served");
            }
            held.clear();
            prop_assert_eq!(budget.used_bytes(), 0);
        }
    }
}
