//! The memory that all layers of a process share: reserved before it is filled, given back when it is handed on.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::sync::Mutex;

/// A number of bytes that may be held at once.
///
/// Reservations are first come, first served: a large one that waits is not overtaken by small ones.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used_bytes: usize,
    peak_bytes: usize,
    waiters: VecDeque<(usize, oneshot::Sender<Reservation>)>,
}

impl MemoryBudget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes: bytes, state: Mutex::default() })
    }

    /// The budget in bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Bytes reserved now.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.state.lock().used_bytes
    }

    /// The most that was ever reserved at once, in bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.state.lock().peak_bytes
    }

    /// Reserves `bytes` if they are free and nobody waits.
    #[must_use]
    pub fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let mut state = self.state.lock();
        (state.waiters.is_empty() && state.fits(bytes, self.limit_bytes)).then(|| self.grant(&mut state, bytes))
    }

    /// Bytes that nobody has reserved.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.limit_bytes - self.used_bytes()
    }

    /// Reserves `bytes` as soon as they are free. More than the whole budget is granted as the whole budget.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and reserves nothing.
    pub async fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.limit_bytes);
        let mut waiting = {
            let mut state = self.state.lock();
            if state.waiters.is_empty() && state.fits(bytes, self.limit_bytes) {
                return self.grant(&mut state, bytes);
            }
            let (sender, receiver) = oneshot::channel();
            state.waiters.push_back((bytes, sender));
            Waiting { budget: self, granted: receiver }
        };
        (&mut waiting.granted).await.expect("a waiter leaves the queue only with its grant")
    }

    fn grant(self: &Arc<Self>, state: &mut State, bytes: usize) -> Reservation {
        state.used_bytes += bytes;
        state.peak_bytes = state.peak_bytes.max(state.used_bytes);
        Reservation { budget: Arc::clone(self), bytes }
    }

    fn release(self: &Arc<Self>, bytes: usize) {
        self.state.lock().used_bytes -= bytes;
        self.serve();
    }

    /// Grants what fits to those who wait, in their order.
    fn serve(self: &Arc<Self>) {
        let mut refused = Vec::new();
        {
            let mut state = self.state.lock();
            while let Some((wanted, sender)) = state.waiters.pop_front() {
                if sender.is_closed() {
                    continue;
                }
                if !state.fits(wanted, self.limit_bytes) {
                    state.waiters.push_front((wanted, sender));
                    break;
                }
                let reservation = self.grant(&mut state, wanted);
                if let Err(unwanted) = sender.send(reservation) {
                    refused.push(unwanted);
                }
            }
        }
        // A waiter that left in this very moment: its grant is dropped here, outside the lock, and released in turn.
        drop(refused);
    }
}

/// A place in the queue; leaving it lets the next one in.
struct Waiting<'a> {
    budget: &'a Arc<MemoryBudget>,
    granted: oneshot::Receiver<Reservation>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.granted.close();
        self.budget.serve();
    }
}

impl State {
    fn fits(&self, bytes: usize, limit_bytes: usize) -> bool {
        self.used_bytes.checked_add(bytes).is_some_and(|used| used <= limit_bytes)
    }
}

/// Bytes reserved from a [`MemoryBudget`]; dropping it gives them back.
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

    /// Gives back up to `bytes` of it.
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
    use crate::sync::explore;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use proptest::prelude::*;

    #[tokio::test]
    async fn a_large_request_is_not_overtaken() {
        let budget = MemoryBudget::new(10);
        let mut held = budget.try_reserve(8).expect("8 of 10 are free");
        let mut large = budget.reserve(9).boxed();
        assert!(futures::poll!(&mut large).is_pending());
        assert!(budget.try_reserve(1).is_none(), "somebody waits");
        held.release(8);
        assert_eq!(large.await.bytes(), 9);
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!(budget.peak_bytes(), 9);
    }

    #[tokio::test]
    async fn more_than_everything_is_everything() {
        let budget = MemoryBudget::new(10);
        assert_eq!(budget.reserve(100).await.bytes(), 10);
    }

    /// Under schedules chosen at random: never over the limit, nothing lost, every waiter served.
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
                            // Gives up, perhaps in the moment in which it is served.
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
            assert!(budget.try_reserve(10).is_some(), "nobody is left in the queue");
        });
    }

    proptest! {
        /// Reserve, wait, give up and release in any order: never over the limit, never a byte lost, nobody starves.
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
                prop_assert!(waiting.len() < before, "with everything released somebody is served");
            }
            held.clear();
            prop_assert_eq!(budget.used_bytes(), 0);
        }
    }
}
