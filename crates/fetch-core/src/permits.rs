//! One hard cap on the GETs in flight: demand goes before speculation, first come, first served within each.
//!
//! Speculation never holds all permits, so that a demand seldom waits for a speculative body to end. A speculative waiter that
//! somebody begins to wait for is moved to the end of the demand queue.
//!
//! A body that nobody reads for a while may be robbed of its permit by those who wait: an
//! application may open a hundred objects and read them in any order without locking itself out.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use object_store::Extensions;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::intent::{Intent, Promotion};

/// How long a body may lie unread before it loses its permit: long enough for a reader that works on what it
/// got, short beside any timeout.
const PATIENCE: Duration = Duration::from_millis(100);

/// One permit in so many is left to demand. Of 32 that is one, which a single demand finds free; with four, reading ahead of an
/// announced reader took a twentieth more time over the first 256 MiB, and many demands at once go first either way.
const DEMANDS_OWN: usize = 32;

/// A number of GETs that may be in flight.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limit: usize,
    in_flight: usize,
    /// Of these, granted to speculation.
    speculative: usize,
    peak: usize,
    next_id: u64,
    demand: VecDeque<Waiter>,
    speculation: VecDeque<Waiter>,
    /// Permits whose body waits for its reader, since when, and for what they were granted.
    resting: BTreeMap<u64, (Instant, Intent)>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    granted: oneshot::Sender<Permit>,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { limit, ..State::default() }) })
    }

    /// Lets `limit` GETs be in flight from now on. Where more are, they end in their own time.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: usize) {
        let before = std::mem::replace(&mut self.state.lock().limit, limit);
        if limit > before {
            self.serve();
        }
    }

    /// GETs in flight now.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().in_flight
    }

    /// The most GETs that were ever in flight at once.
    pub(crate) fn peak(&self) -> usize {
        self.state.lock().peak
    }

    /// Waits for a permit for a request with `extensions`.
    ///
    /// # Cancel safety
    /// As of [`Permits::acquire`].
    pub(crate) async fn acquire_for(self: &Arc<Self>, extensions: &Extensions) -> Permit {
        match (Intent::of(extensions), Promotion::of(extensions)) {
            (Intent::Speculative, Some(promotion)) => self.acquire_promotable(promotion).await,
            (intent, _) => self.acquire(intent).await,
        }
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue; a permit handed over in that moment goes to the next.
    pub(crate) async fn acquire(self: &Arc<Self>, intent: Intent) -> Permit {
        match self.try_acquire(intent) {
            Ok(permit) => permit,
            Err((_, granted)) => self.granted(granted).await,
        }
    }

    /// Waits for a permit for speculation, and for demand from its promotion on.
    async fn acquire_promotable(self: &Arc<Self>, promotion: &Promotion) -> Permit {
        let (id, granted) = match self.try_acquire(Intent::Speculative) {
            Ok(permit) => return permit,
            Err(waiting) => waiting,
        };
        match select(pin!(self.granted(granted)), pin!(promotion.promoted())).await {
            Either::Left((permit, _)) => permit,
            Either::Right(((), granted)) => {
                self.promote(id);
                granted.await
            }
        }
    }

    /// A permit, or a place in the queue.
    fn try_acquire(self: &Arc<Self>, intent: Intent) -> Result<Permit, (u64, oneshot::Receiver<Permit>)> {
        let mut state = self.state.lock();
        if state.is_free(intent) {
            return Ok(self.grant(&mut state, intent));
        }
        let (sender, receiver) = oneshot::channel();
        let id = state.id();
        let queue = match intent {
            Intent::Demand => &mut state.demand,
            Intent::Speculative => &mut state.speculation,
        };
        // Those who gave up leave their entries behind; this keeps them from piling up.
        queue.retain(|waiter| !waiter.granted.is_closed());
        queue.push_back(Waiter { id, granted: sender });
        Err((id, receiver))
    }

    /// Waits for the turn of a waiter.
    async fn granted(self: &Arc<Self>, mut granted: oneshot::Receiver<Permit>) -> Permit {
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

    fn grant(self: &Arc<Self>, state: &mut State, intent: Intent) -> Permit {
        state.in_flight += 1;
        state.speculative += usize::from(intent == Intent::Speculative);
        state.peak = state.peak.max(state.in_flight);
        Permit { permits: Arc::clone(self), id: state.id(), intent, resting: false }
    }

    /// Somebody waits for what the waiter `id` is to fetch.
    fn promote(self: &Arc<Self>, id: u64) {
        {
            let mut state = self.state.lock();
            let Some(place) = state.speculation.iter().position(|waiter| waiter.id == id) else { return };
            let waiter = state.speculation.remove(place);
            state.demand.extend(waiter);
        }
        self.serve();
    }

    /// Takes the permit that has rested longest, if it has rested long enough.
    fn rob(self: &Arc<Self>, now: Instant) {
        {
            let mut state = self.state.lock();
            let longest = state.resting.iter().min_by_key(|(_, (since, _))| *since);
            let Some((&id, &(since, intent))) = longest else { return };
            if now.duration_since(since) < PATIENCE {
                return;
            }
            state.resting.remove(&id);
            state.give_back(intent);
        }
        self.serve();
    }

    /// Hands free permits to those who wait.
    fn serve(self: &Arc<Self>) {
        let mut refused = Vec::new();
        {
            let mut state = self.state.lock();
            while let Some((waiter, intent)) = state.next() {
                if waiter.granted.is_closed() {
                    continue;
                }
                let permit = self.grant(&mut state, intent);
                if let Err(unwanted) = waiter.granted.send(permit) {
                    refused.push(unwanted);
                }
            }
        }
        // Waiters that left in this very moment: their permits are dropped here, outside the lock, and go on.
        drop(refused);
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn is_free(&self, intent: Intent) -> bool {
        let speculative_limit = (self.limit - self.limit.div_ceil(DEMANDS_OWN)).max(1);
        self.in_flight < self.limit && (intent == Intent::Demand || self.speculative < speculative_limit)
    }

    /// Takes the next one to be served out of its queue.
    fn next(&mut self) -> Option<(Waiter, Intent)> {
        for intent in [Intent::Demand, Intent::Speculative] {
            if !self.is_free(intent) {
                return None;
            }
            let queue = match intent {
                Intent::Demand => &mut self.demand,
                Intent::Speculative => &mut self.speculation,
            };
            if let Some(waiter) = queue.pop_front() {
                return Some((waiter, intent));
            }
        }
        None
    }

    fn give_back(&mut self, intent: Intent) {
        self.in_flight -= 1;
        self.speculative -= usize::from(intent == Intent::Speculative);
    }
}

/// The right to have one GET in flight; dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    id: u64,
    intent: Intent,
    resting: bool,
}

impl Permit {
    /// The body waits for its reader from now on: whoever waits long enough may take the permit.
    pub(crate) fn rest(&mut self) {
        if !self.resting {
            self.resting = true;
            self.permits.state.lock().resting.insert(self.id, (Instant::now(), self.intent));
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
            state.give_back(self.intent);
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
        let permits = Arc::clone(permits);
        async move { permits.acquire(intent).await }.boxed()
    }

    fn speculate(permits: &Arc<Permits>, promotion: &Promotion) -> BoxFuture<'static, Permit> {
        let (permits, promotion) = (Arc::clone(permits), promotion.clone());
        let mut extensions = Extensions::new();
        extensions.insert(Intent::Speculative);
        extensions.insert(promotion);
        async move { permits.acquire_for(&extensions).await }.boxed()
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

    #[tokio::test(start_paused = true)]
    async fn a_promoted_waiter_goes_before_speculation_and_after_demand() {
        let permits = Permits::new(1);
        let held = wait(&permits, Intent::Demand).await;
        let promotion = Promotion::default();
        let mut waiting =
            [wait(&permits, Intent::Speculative), speculate(&permits, &promotion), wait(&permits, Intent::Demand)];
        for waiting in &mut waiting {
            assert!(futures::poll!(waiting).is_pending());
        }
        promotion.promote();
        let [mut speculation, mut promoted, demand] = waiting;
        assert!(futures::poll!(&mut promoted).is_pending());
        drop(held);
        drop(demand.now_or_never().expect("demand was first"));
        assert!(futures::poll!(&mut speculation).is_pending());
        drop(promoted.now_or_never().expect("then what was promoted"));
        drop(speculation.now_or_never().expect("then speculation"));
        assert_eq!(permits.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn speculation_leaves_permits_to_demand_and_to_what_is_promoted() {
        let permits = Permits::new(64);
        let promotion = Promotion::default();
        let speculation: Vec<Permit> =
            (0..62).filter_map(|_| wait(&permits, Intent::Speculative).now_or_never()).collect();
        assert_eq!(speculation.len(), 62);
        let mut next = speculate(&permits, &promotion);
        assert!(futures::poll!(&mut next).is_pending(), "all but two are taken");
        let demand = wait(&permits, Intent::Demand).now_or_never().expect("the rest is demand's");
        promotion.promote();
        assert!(next.now_or_never().is_some(), "it is demand now");
        drop((speculation, demand));
        assert_eq!(permits.in_flight(), 0);
        assert_eq!(permits.state.lock().speculative, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_raised_serves_at_once() {
        let permits = Permits::new(2);
        let held = [wait(&permits, Intent::Demand).await, wait(&permits, Intent::Demand).await];
        permits.set_limit(1);
        let [first, second] = held;
        let mut next = wait(&permits, Intent::Demand);
        drop(first);
        assert!(futures::poll!(&mut next).is_pending(), "one is in flight, and no more may be");
        permits.set_limit(2);
        let next = next.now_or_never().expect("two may be in flight again");
        drop((second, next));
        assert_eq!(permits.in_flight(), 0);
    }

    proptest! {
        /// Acquire, release, rest, promote and give up in any order against two plain queues: the same waiters are served.
        #[test]
        fn serves_like_two_queues(
            limit in 1_usize..9,
            ops in prop::collection::vec((0_u8..7, 0_usize..8), 1..100),
        ) {
            let permits = Permits::new(limit);
            let most_speculative = (limit - limit.div_ceil(8)).max(1);
            let mut held: Vec<Permit> = Vec::new();
            // In the order in which each became what it is.
            let mut waiting: Vec<(Intent, Promotion, BoxFuture<'static, Permit>)> = Vec::new();
            for (op, n) in ops {
                let speculative = held.iter().filter(|permit| permit.intent == Intent::Speculative).count();
                match op {
                    0 | 1 => {
                        let intent = if op == 0 { Intent::Demand } else { Intent::Speculative };
                        let free = held.len() < limit && (op == 0 || speculative < most_speculative);
                        let promotion = Promotion::default();
                        let mut future = match intent {
                            Intent::Demand => wait(&permits, intent),
                            Intent::Speculative => speculate(&permits, &promotion),
                        };
                        match (&mut future).now_or_never() {
                            Some(permit) => { prop_assert!(free); held.push(permit); }
                            None => { prop_assert!(!free); waiting.push((intent, promotion, future)); }
                        }
                    }
                    2 if !held.is_empty() => drop(held.remove(n % held.len())),
                    3 if !waiting.is_empty() => drop(waiting.remove(n % waiting.len())),
                    4 if !held.is_empty() => { let n = n % held.len(); held[n].rest(); }
                    5 if !held.is_empty() => { let n = n % held.len(); prop_assert!(held[n].resume()); }
                    6 if !waiting.is_empty() => {
                        let n = n % waiting.len();
                        if waiting[n].0 == Intent::Speculative {
                            let (_, promotion, mut future) = waiting.remove(n);
                            promotion.promote();
                            match (&mut future).now_or_never() {
                                Some(permit) => { prop_assert!(held.len() < limit); held.push(permit); }
                                None => waiting.push((Intent::Demand, promotion, future)),
                            }
                        }
                    }
                    _ => {}
                }
                // The model: while something is free, the oldest demand is served, then the oldest speculation.
                while held.len() < limit {
                    let speculative = held.iter().filter(|permit| permit.intent == Intent::Speculative).count();
                    let first = |wanted| waiting.iter().position(|(intent, ..)| *intent == wanted);
                    let next = first(Intent::Demand)
                        .or_else(|| first(Intent::Speculative).filter(|_| speculative < most_speculative));
                    let Some(next) = next else { break };
                    let (.., future) = waiting.remove(next);
                    held.push(future.now_or_never().expect("the model serves it, so must we"));
                }
                for (.., future) in &mut waiting {
                    prop_assert!(future.now_or_never().is_none(), "served out of turn");
                }
                prop_assert_eq!(permits.in_flight(), held.len());
                prop_assert!(permits.peak() <= limit);
            }
            drop(waiting);
            held.clear();
            prop_assert_eq!(permits.in_flight(), 0);
            prop_assert_eq!(permits.state.lock().speculative, 0);
        }
    }
}
