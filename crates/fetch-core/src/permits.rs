//! One hard cap on the GETs in flight: demand goes before speculation, first come, first served within each.
//!
//! A body that nobody reads for a while may be robbed of its permit by those who wait: an
//! application may open a hundred objects and read them in any order without locking itself out.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::intent::Intent;

/// How long a body may lie unread before it loses its permit: long enough for a reader that works on what it
/// got, short beside any timeout.
const PATIENCE: Duration = Duration::from_millis(100);

/// A number of GETs that may be in flight.
#[derive(Debug)]
pub(crate) struct Permits {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    peak: usize,
    next_id: u64,
    demand: VecDeque<oneshot::Sender<Permit>>,
    speculation: VecDeque<oneshot::Sender<Permit>>,
    /// Permits whose body waits for its reader, and since when.
    resting: BTreeMap<u64, Instant>,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    /// GETs in flight now.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().in_flight
    }

    /// The most GETs that were ever in flight at once.
    pub(crate) fn peak(&self) -> usize {
        self.state.lock().peak
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue; a permit handed over in that moment goes to the next.
    pub(crate) async fn acquire(self: Arc<Self>, intent: Intent) -> Permit {
        let mut granted = {
            let mut state = self.state.lock();
            if state.in_flight < self.limit {
                return self.grant(&mut state);
            }
            let (sender, receiver) = oneshot::channel();
            let queue = match intent {
                Intent::Demand => &mut state.demand,
                Intent::Speculative => &mut state.speculation,
            };
            // Those who gave up leave their entries behind; this keeps them from piling up.
            queue.retain(|waiter| !waiter.is_closed());
            queue.push_back(sender);
            receiver
        };
        let never_dropped = "a waiter leaves the queue only with its permit";
        if Handle::try_current().is_err() {
            return granted.await.expect(never_dropped);
        }
        loop {
            match select(&mut granted, pin!(tokio::time::sleep(PATIENCE))).await {
                Either::Left((permit, _)) => return permit.expect(never_dropped),
                Either::Right(_) => self.rob(Instant::now()),
            }
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State) -> Permit {
        state.in_flight += 1;
        state.peak = state.peak.max(state.in_flight);
        state.next_id += 1;
        Permit { permits: Arc::clone(self), id: state.next_id, resting: false }
    }

    /// Takes the permit that has rested longest, if it has rested long enough.
    fn rob(self: &Arc<Self>, now: Instant) {
        {
            let mut state = self.state.lock();
            let longest = state.resting.iter().min_by_key(|(_, since)| **since).map(|(id, since)| (*id, *since));
            let Some((id, since)) = longest else { return };
            if now.duration_since(since) < PATIENCE {
                return;
            }
            state.resting.remove(&id);
            state.in_flight -= 1;
        }
        self.serve();
    }

    /// Hands free permits to those who wait.
    fn serve(self: &Arc<Self>) {
        let mut refused = Vec::new();
        {
            let mut state = self.state.lock();
            while state.in_flight < self.limit {
                let Some(sender) = state.demand.pop_front().or_else(|| state.speculation.pop_front()) else {
                    break;
                };
                if sender.is_closed() {
                    continue;
                }
                let permit = self.grant(&mut state);
                if let Err(unwanted) = sender.send(permit) {
                    refused.push(unwanted);
                }
            }
        }
        // Waiters that left in this very moment: their permits are dropped here, outside the lock, and go on.
        drop(refused);
    }
}

/// The right to have one GET in flight; dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    id: u64,
    resting: bool,
}

impl Permit {
    /// The body waits for its reader from now on: whoever waits long enough may take the permit.
    pub(crate) fn rest(&mut self) {
        if !self.resting {
            self.resting = true;
            self.permits.state.lock().resting.insert(self.id, Instant::now());
        }
    }

    /// The reader is back. False where the permit is gone: drop it and acquire another.
    pub(crate) fn resume(&mut self) -> bool {
        if !self.resting {
            return true;
        }
        let held = self.permits.state.lock().resting.remove(&self.id).is_some();
        self.resting = !held;
        held
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.permits.state.lock();
            if self.resting && state.resting.remove(&self.id).is_none() {
                return;
            }
            state.in_flight -= 1;
        }
        self.permits.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use proptest::prelude::*;

    fn wait(permits: &Arc<Permits>, intent: Intent) -> BoxFuture<'static, Permit> {
        Arc::clone(permits).acquire(intent).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn demand_goes_before_speculation_that_waited_longer() {
        let permits = Permits::new(1);
        let held = wait(&permits, Intent::Demand).await;
        let mut speculative = wait(&permits, Intent::Speculative);
        assert!(futures::poll!(&mut speculative).is_pending());
        let mut demand = wait(&permits, Intent::Demand);
        assert!(futures::poll!(&mut demand).is_pending());
        drop(held);
        assert!(futures::poll!(&mut speculative).is_pending());
        drop(demand.now_or_never().expect("demand is next"));
        drop(speculative.now_or_never().expect("then speculation"));
        assert_eq!((permits.in_flight(), permits.peak()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_nobody_reads_loses_its_permit_to_whoever_waits() {
        let permits = Permits::new(1);
        let mut unread = wait(&permits, Intent::Demand).await;
        unread.rest();
        let start = Instant::now();
        let next = wait(&permits, Intent::Demand).await;
        assert!(start.elapsed() >= PATIENCE, "not before its reader had a chance");
        assert!(!unread.resume());
        drop(unread);
        assert_eq!(permits.in_flight(), 1, "a permit that was taken is not given back twice");
        drop(next);
        assert_eq!(permits.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_read_keeps_its_permit() {
        let permits = Permits::new(1);
        let mut held = wait(&permits, Intent::Demand).await;
        held.rest();
        let mut waiting = wait(&permits, Intent::Demand);
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::time::sleep(PATIENCE / 2).await;
        assert!(held.resume());
        tokio::time::sleep(PATIENCE * 3).await;
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(held);
        assert!(waiting.now_or_never().is_some());
    }

    proptest! {
        /// Acquire, release, rest and give up in any order against two plain queues: the same waiters are served.
        #[test]
        fn serves_like_two_queues(
            limit in 1_usize..4,
            ops in prop::collection::vec((0_u8..6, 0_usize..8), 1..100),
        ) {
            let permits = Permits::new(limit);
            let mut held: Vec<Permit> = Vec::new();
            let mut waiting: Vec<(Intent, BoxFuture<'static, Permit>)> = Vec::new();
            for (op, n) in ops {
                match op {
                    0 | 1 => {
                        let intent = if op == 0 { Intent::Demand } else { Intent::Speculative };
                        let free = permits.in_flight() < limit;
                        let mut future = wait(&permits, intent);
                        match (&mut future).now_or_never() {
                            Some(permit) => { prop_assert!(free); held.push(permit); }
                            None => { prop_assert!(!free); waiting.push((intent, future)); }
                        }
                    }
                    2 if !held.is_empty() => drop(held.remove(n % held.len())),
                    3 if !waiting.is_empty() => drop(waiting.remove(n % waiting.len())),
                    4 if !held.is_empty() => { let n = n % held.len(); held[n].rest(); }
                    5 if !held.is_empty() => { let n = n % held.len(); prop_assert!(held[n].resume()); }
                    _ => {}
                }
                // The model: while something is free, the oldest demand is served, then the oldest speculation.
                while held.len() < limit && !waiting.is_empty() {
                    let next = waiting.iter().position(|(intent, _)| *intent == Intent::Demand).unwrap_or(0);
                    let (_, future) = waiting.remove(next);
                    held.push(future.now_or_never().expect("the model serves it, so must we"));
                }
                for (_, future) in &mut waiting {
                    prop_assert!(future.now_or_never().is_none(), "served out of turn");
                }
                prop_assert_eq!(permits.in_flight(), held.len());
                prop_assert!(permits.peak() <= limit);
            }
            drop(waiting);
            held.clear();
            prop_assert_eq!(permits.in_flight(), 0);
        }
    }
}
