//! One hard cap on the GETs in flight: demand goes before speculation, first come, first served within each.
//!
//! Speculation never holds all permits if there are two or more, so that a demand seldom waits for a speculative body to end. A speculative waiter that
//! somebody begins to wait for is moved to the end of the demand queue.
//!
//! A permit is reclaimed for those who wait when its holder makes no use of it: nobody polls the call it belongs to
//! ([`Attention`]), or the runtime of its task has stopped ([`Home`]). So an application may open a hundred objects and read them in
//! any order, or poll a body once and leave it alone, without locking itself out. To queue, to leave the queue and to be served are
//! each O(log n).

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use object_store::Extensions;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::attention::Attention;
use crate::intent::{Intent, Promotion};
use crate::mutation::Fault;
use crate::runtime::{Home, has_timer};
use crate::sync::Mutex;

/// How long a call may be idle before its permit is reclaimed: long enough for a reader that works on what it
/// got, short beside any timeout.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often a waiter that is not the next one looks for idle permits: the next one may itself be left alone.
const RARELY: Duration = Duration::from_secs(1);

/// Idle permits are looked for at most this often, however many wait.
const BETWEEN_SCANS: Duration = Duration::from_millis(10);

/// One permit in so many is left to demand: one of 32, which a single demand finds free. With four of 32, the first 256 MiB of an
/// announced sequential read took 5 % longer, and many demands at once gained nothing, since they are served first in any case.
const DEMANDS_OWN: usize = 32;

/// A number of GETs that may be in flight.
#[derive(Debug)]
pub(crate) struct Permits {
    started: Instant,
    state: Mutex<State>,
}

/// Names a permit or a waiter; never used twice.
type Ticket = u64;

#[derive(Debug, Default)]
struct State {
    limit: usize,
    in_flight: usize,
    /// Of these, granted to speculation.
    speculative: usize,
    peak: usize,
    next_ticket: Ticket,
    demand: BTreeMap<Ticket, Arc<Waiter>>,
    speculation: BTreeMap<Ticket, Arc<Waiter>>,
    held: HashMap<Ticket, Holder>,
    /// Permits granted to waiters that have not come for them yet: the waiter's ticket, the permit's.
    granted: HashMap<Ticket, Ticket>,
    next_scan: Duration,
}

#[derive(Debug)]
struct Waiter {
    /// Tells that a permit was granted, or that this waiter is the next one.
    changed: Notify,
    attention: Arc<Attention>,
    home: Option<Home>,
}

/// Who holds a permit.
#[derive(Debug)]
struct Holder {
    intent: Intent,
    reclaimed: Arc<AtomicBool>,
    attention: Arc<Attention>,
    home: Option<Home>,
    /// Since when it has been waiting for its waiter to come.
    unclaimed_since: Option<Duration>,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let state = State { limit, ..State::default() };
        Arc::new(Self { started: Instant::now(), state: Mutex::new(state) })
    }

    /// Attention of a new call, on the clock of these permits.
    pub(crate) fn attention(&self) -> Arc<Attention> {
        Attention::new(self.started)
    }

    /// Lets `limit` GETs be in flight from now on; [`Permits::serve`] is to follow. Where more are, they end in their own time.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.state.lock().limit = limit;
    }

    /// GETs in flight now.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().in_flight
    }

    /// The most GETs that were ever in flight at once.
    pub(crate) fn peak(&self) -> usize {
        self.state.lock().peak
    }

    /// Waits for a permit for a request with `extensions`, sent for a call with this `attention`.
    ///
    /// # Cancel safety
    /// As of [`Permits::acquire`].
    pub(crate) async fn acquire_for(self: &Arc<Self>, extensions: &Extensions, attention: &Arc<Attention>) -> Permit {
        match (Intent::of(extensions), Promotion::of(extensions)) {
            (Intent::Speculative, Some(promotion)) => self.acquire_promotable(promotion, attention).await,
            (intent, _) => self.acquire(intent, attention).await,
        }
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue; a permit granted in that moment goes to the next.
    pub(crate) async fn acquire(self: &Arc<Self>, intent: Intent, attention: &Arc<Attention>) -> Permit {
        match self.take_or_queue(intent, attention) {
            Ok(permit) => permit,
            Err(mut place) => place.granted().await,
        }
    }

    /// Waits for a permit for speculation, and for demand from its promotion on.
    async fn acquire_promotable(self: &Arc<Self>, promotion: &Promotion, attention: &Arc<Attention>) -> Permit {
        let mut place = match self.take_or_queue(Intent::Speculative, attention) {
            Ok(permit) => return permit,
            Err(place) => place,
        };
        {
            let granted = pin!(place.granted());
            if let Either::Left((permit, _)) = select(granted, pin!(promotion.promoted())).await {
                return permit;
            }
        }
        place.promote();
        place.granted().await
    }

    /// A permit, or a place in the queue.
    fn take_or_queue(self: &Arc<Self>, intent: Intent, attention: &Arc<Attention>) -> Result<Permit, Place> {
        let home = Home::current();
        let mut state = self.state.lock();
        if state.is_free(intent) {
            let (ticket, reclaimed) = state.grant(intent, attention, home, None);
            return Ok(Permit { permits: Arc::clone(self), ticket, reclaimed });
        }
        let waiter = Arc::new(Waiter { changed: Notify::new(), attention: Arc::clone(attention), home });
        let ticket = state.ticket();
        state.queue(intent).insert(ticket, Arc::clone(&waiter));
        Err(Place { permits: Arc::clone(self), waiter, ticket, intent })
    }

    /// Hands free permits to those who wait.
    pub(crate) fn serve(&self) {
        let now = self.started.elapsed();
        let mut told = Vec::new();
        {
            let mut state = self.state.lock();
            while let Some((ticket, waiter, intent)) = state.next() {
                let (permit, _) = state.grant(intent, &waiter.attention, waiter.home.clone(), Some(now));
                state.granted.insert(ticket, permit);
                told.push(waiter);
            }
            if !told.is_empty() {
                let State { demand, speculation, .. } = &*state;
                let next = [demand, speculation].into_iter().filter_map(|queue| queue.values().next());
                told.extend(next.map(Arc::clone));
            }
        }
        // Outside the lock, in FIFO order. This makes virtual-time runs reproducible.
        told.iter().for_each(|waiter| waiter.changed.notify_one());
    }

    /// Reclaims permits that nobody makes use of, at most as many as there are waiters: those of calls that have been idle for
    /// `patience`, and those of `stopped`, a runtime that runs no tasks. Returns whether there were any.
    fn reclaim(&self, patience: Duration, stopped: Option<&Home>) -> bool {
        let now = self.started.elapsed();
        let reclaimed = {
            let mut state = self.state.lock();
            if stopped.is_none() && !patience.is_zero() && now < state.next_scan {
                return false;
            }
            state.next_scan = now + BETWEEN_SCANS;
            let unused_since = |holder: &Holder| {
                if stopped.is_some_and(|stopped| holder.home.as_ref().is_some_and(|home| home.id() == stopped.id())) {
                    return Some(Duration::ZERO);
                }
                let (since, patience) = match holder.unclaimed_since {
                    Some(since) => (since, PATIENCE),
                    None => (holder.attention.idle_since()?, patience),
                };
                (now.saturating_sub(since) >= patience).then_some(since)
            };
            let unused = state.held.iter().filter_map(|(ticket, holder)| Some((unused_since(holder)?, *ticket)));
            let mut unused: Vec<_> = unused.collect();
            unused.sort_unstable();
            let waiters = state.demand.len() + state.speculation.len();
            unused.into_iter().take(waiters).filter(|(_, ticket)| state.give_back(*ticket, true)).count()
        };
        self.serve();
        reclaimed > 0
    }

    /// The runtimes, other than the caller's, that hold permits.
    fn other_homes(&self) -> Vec<Home> {
        let mut homes: Vec<Home> = Vec::new();
        for home in self.state.lock().held.values().filter_map(|holder| holder.home.as_ref()) {
            if !home.is_current() && homes.iter().all(|known| known.id() != home.id()) {
                homes.push(home.clone());
            }
        }
        homes
    }
}

/// A place in a queue; dropping it gives it up.
struct Place {
    permits: Arc<Permits>,
    waiter: Arc<Waiter>,
    ticket: Ticket,
    intent: Intent,
}

impl Place {
    /// Waits for the permit.
    async fn granted(&mut self) -> Permit {
        // Where one permit lay idle, others may: waiters that nobody polls pass them on to each other.
        let mut found_idle = false;
        loop {
            if let Some(permit) = self.claim() {
                return permit;
            }
            let changed = self.waiter.changed.notified();
            if !has_timer() {
                // Nothing would wake it once a call has been idle for long enough.
                if !self.permits.reclaim(Duration::ZERO, None) {
                    changed.await;
                }
                continue;
            }
            let patience = if found_idle || self.is_next() { PATIENCE } else { RARELY };
            if let Either::Left(_) = select(pin!(changed), pin!(tokio::time::sleep(patience))).await {
                continue;
            }
            found_idle = self.permits.reclaim(PATIENCE, None);
            if Fault::TrustsRuntimes.is_back() {
                continue;
            }
            for home in self.permits.other_homes() {
                if !home.responds().await {
                    found_idle |= self.permits.reclaim(PATIENCE, Some(&home));
                }
            }
        }
    }

    /// The permit, if it has been granted. One that was reclaimed before its waiter came is waited for again, at the same place.
    fn claim(&mut self) -> Option<Permit> {
        loop {
            {
                let mut state = self.permits.state.lock();
                let ticket = state.granted.remove(&self.ticket)?;
                if let Some(holder) = state.held.get_mut(&ticket) {
                    holder.unclaimed_since = None;
                    let reclaimed = Arc::clone(&holder.reclaimed);
                    return Some(Permit { permits: Arc::clone(&self.permits), ticket, reclaimed });
                }
                state.queue(self.intent).insert(self.ticket, Arc::clone(&self.waiter));
            }
            self.permits.serve();
        }
    }

    fn is_next(&self) -> bool {
        self.permits.state.lock().queue(self.intent).keys().next() == Some(&self.ticket)
    }

    /// Somebody waits for what this is to fetch: it goes to the end of the demand queue.
    fn promote(&mut self) {
        {
            let mut state = self.permits.state.lock();
            self.intent = Intent::Demand;
            let Some(waiter) = state.speculation.remove(&self.ticket) else { return };
            self.ticket = state.ticket();
            state.demand.insert(self.ticket, waiter);
        }
        self.permits.serve();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let unwanted = {
            let mut state = self.permits.state.lock();
            state.queue(self.intent).remove(&self.ticket);
            let granted = state.granted.remove(&self.ticket);
            granted.is_some_and(|permit| state.give_back(permit, false))
        };
        if unwanted {
            self.permits.serve();
        }
    }
}

impl State {
    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    fn queue(&mut self, intent: Intent) -> &mut BTreeMap<Ticket, Arc<Waiter>> {
        match intent {
            Intent::Demand => &mut self.demand,
            Intent::Speculative => &mut self.speculation,
        }
    }

    fn is_free(&self, intent: Intent) -> bool {
        let speculative_limit = (self.limit - self.limit.div_ceil(DEMANDS_OWN)).max(1);
        self.in_flight < self.limit && (intent == Intent::Demand || self.speculative < speculative_limit)
    }

    /// Takes the next waiter to be served out of its queue.
    fn next(&mut self) -> Option<(Ticket, Arc<Waiter>, Intent)> {
        for intent in [Intent::Demand, Intent::Speculative] {
            if !self.is_free(intent) {
                return None;
            }
            if let Some((ticket, waiter)) = self.queue(intent).pop_first() {
                return Some((ticket, waiter, intent));
            }
        }
        None
    }

    fn grant(
        &mut self,
        intent: Intent,
        attention: &Arc<Attention>,
        home: Option<Home>,
        unclaimed_since: Option<Duration>,
    ) -> (Ticket, Arc<AtomicBool>) {
        self.in_flight += 1;
        self.speculative += usize::from(intent == Intent::Speculative);
        self.peak = self.peak.max(self.in_flight);
        let (ticket, reclaimed) = (self.ticket(), Arc::new(AtomicBool::new(false)));
        let attention = Arc::clone(attention);
        let holder = Holder { intent, reclaimed: Arc::clone(&reclaimed), attention, home, unclaimed_since };
        self.held.insert(ticket, holder);
        (ticket, reclaimed)
    }

    /// Takes a permit back, unless it was reclaimed before. Returns whether it was still held.
    fn give_back(&mut self, ticket: Ticket, reclaim: bool) -> bool {
        let Some(holder) = self.held.remove(&ticket) else { return false };
        holder.reclaimed.store(reclaim, Ordering::Release);
        self.in_flight -= 1;
        self.speculative -= usize::from(holder.intent == Intent::Speculative);
        true
    }
}

/// The right to have one GET in flight; dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    ticket: Ticket,
    reclaimed: Arc<AtomicBool>,
}

impl Permit {
    /// Whether it was reclaimed because nobody made use of it: drop it, and acquire another before going on.
    pub(crate) fn is_reclaimed(&self) -> bool {
        self.reclaimed.load(Ordering::Acquire)
    }

    /// What it is used for belongs to a call with this `attention` from now on.
    pub(crate) fn attend(&self, attention: &Arc<Attention>) {
        if let Some(holder) = self.permits.state.lock().held.get_mut(&self.ticket) {
            holder.attention = Arc::clone(attention);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let held = self.permits.state.lock().give_back(self.ticket, false);
        if held {
            self.permits.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::sync::explore;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use proptest::prelude::*;

    fn wait(permits: &Arc<Permits>, intent: Intent) -> BoxFuture<'static, Permit> {
        let (permits, attention) = (Arc::clone(permits), permits.attention());
        async move { permits.acquire(intent, &attention).await }.boxed()
    }

    /// A call that holds a permit for as long as it likes, polled by nobody after that; and its attention.
    async fn held(permits: &Arc<Permits>) -> (Permit, Arc<Attention>) {
        let attention = permits.attention();
        (permits.acquire(Intent::Demand, &attention).await, attention)
    }

    fn speculate(permits: &Arc<Permits>, promotion: &Promotion) -> BoxFuture<'static, Permit> {
        let (permits, promotion) = (Arc::clone(permits), promotion.clone());
        let mut extensions = Extensions::new();
        extensions.insert(Intent::Speculative);
        extensions.insert(promotion);
        let attention = permits.attention();
        async move { permits.acquire_for(&extensions, &attention).await }.boxed()
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
    async fn a_call_that_nobody_polls_loses_its_permit_to_a_waiter() {
        let permits = Permits::new(1);
        let (unread, attention) = held(&permits).await;
        attention.mark_idle();
        let start = Instant::now();
        let next = wait(&permits, Intent::Demand).await;
        assert!(start.elapsed() >= PATIENCE, "not before its reader had a chance");
        assert!(unread.is_reclaimed());
        drop(unread);
        assert_eq!(permits.in_flight(), 1, "a permit that was reclaimed is not given back twice");
        drop(next);
        assert_eq!(permits.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_polled_keeps_its_permit() {
        let permits = Permits::new(1);
        let (held, attention) = held(&permits).await;
        attention.mark_idle();
        let mut waiting = wait(&permits, Intent::Demand);
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::time::sleep(PATIENCE / 2).await;
        attention.mark_active();
        for _ in 0..3 {
            tokio::time::sleep(PATIENCE).await;
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        assert!(!held.is_reclaimed());
        drop(held);
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_nobody_polls_holds_up_nobody() {
        let permits = Permits::new(1);
        let held = wait(&permits, Intent::Demand).await;
        let mut left_alone: Vec<_> = (0..5).map(|_| wait(&permits, Intent::Demand)).collect();
        for waiter in &mut left_alone {
            assert!(futures::poll!(waiter).is_pending());
        }
        let mut last = wait(&permits, Intent::Demand);
        assert!(futures::poll!(&mut last).is_pending());
        drop(held);
        let start = Instant::now();
        drop(last.await);
        assert!(start.elapsed() < 3 * RARELY, "{:?}", start.elapsed());
        // Who comes late has not lost its place.
        for waiter in left_alone {
            drop(waiter.await);
        }
        assert_eq!((permits.in_flight(), permits.peak()), (0, 1));
    }

    #[test]
    fn permits_of_tasks_on_a_runtime_that_has_stopped_are_reclaimed() {
        let new = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let (stopped, here) = (new().expect("a runtime"), new().expect("a runtime"));
        let permits = Permits::new(2);
        let tasks = stopped.block_on(async {
            let hold = |permits: Arc<Permits>| async move {
                let _held = wait(&permits, Intent::Demand).await;
                std::future::pending::<()>().await;
            };
            let tasks = [0, 1].map(|_| tokio::spawn(hold(Arc::clone(&permits))));
            tokio::time::sleep(PATIENCE * 20).await;
            assert_eq!(permits.in_flight(), 2);
            tasks
        });
        here.block_on(async {
            let start = Instant::now();
            let pair = [wait(&permits, Intent::Demand).await, wait(&permits, Intent::Demand).await];
            assert!(start.elapsed() < RARELY, "{:?}", start.elapsed());
            drop(pair);
        });
        drop((tasks, stopped));
        assert_eq!(permits.in_flight(), 0);
    }

    /// With a queue that is searched for each waiter, four times as many took sixteen times as long: 4.1 s.
    #[tokio::test(start_paused = true)]
    async fn forty_thousand_waiters_are_served_in_order() {
        let permits = Permits::new(1);
        let held = wait(&permits, Intent::Demand).await;
        let mut waiting: VecDeque<_> = (0..40_000).map(|_| wait(&permits, Intent::Demand)).collect();
        for waiter in &mut waiting {
            assert!(futures::poll!(waiter).is_pending());
        }
        drop(held);
        while let Some(first) = waiting.pop_front() {
            drop(first.now_or_never().expect("it is the first one"));
            // Every other one gives up.
            drop(waiting.pop_back());
        }
        assert_eq!((permits.in_flight(), permits.peak()), (0, 1));
    }

    /// Under schedules chosen at random: no permit is lost or granted twice, and every waiter is served.
    #[test]
    fn no_schedule_loses_a_permit_or_a_waiter() {
        explore(3000, || {
            let permits = Permits::new(2);
            let (using, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let task = |n: usize| {
                let (permits, using, most) = (Arc::clone(&permits), Arc::clone(&using), Arc::clone(&most));
                let promotion = Promotion::default();
                let promote = promotion.clone();
                shuttle::future::spawn(async move {
                    let mut waiting = match n % 3 {
                        0 => wait(&permits, Intent::Speculative),
                        1 => speculate(&permits, &promotion),
                        _ => wait(&permits, Intent::Demand),
                    };
                    if n == 4 {
                        // Gives up, perhaps in the moment in which it is served.
                        if (&mut waiting).now_or_never().is_none() {
                            shuttle::future::yield_now().await;
                            drop((&mut waiting).now_or_never());
                        }
                        return;
                    }
                    let served = shuttle::future::spawn(async move {
                        let permit = waiting.await;
                        most.fetch_max(using.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        shuttle::future::yield_now().await;
                        using.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    });
                    promote.promote();
                    served.await.expect("it is served");
                })
            };
            let tasks: Vec<_> = (0..6).map(task).collect();
            let limits = Arc::clone(&permits);
            let limit = shuttle::future::spawn(async move {
                limits.set_limit(1);
                limits.serve();
                limits.set_limit(3);
                limits.serve();
            });
            shuttle::future::block_on(async {
                for task in tasks {
                    task.await.expect("no task panics");
                }
                limit.await.expect("no task panics");
            });
            assert!(most.load(Ordering::SeqCst) <= 3);
            let state = permits.state.lock();
            assert_eq!((state.in_flight, state.speculative), (0, 0));
            assert!(state.held.is_empty() && state.granted.is_empty());
        });
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
        permits.serve();
        let [first, second] = held;
        let mut next = wait(&permits, Intent::Demand);
        drop(first);
        assert!(futures::poll!(&mut next).is_pending(), "one is in flight, and no more may be");
        permits.set_limit(2);
        permits.serve();
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
            let mut held: Vec<(Intent, Permit)> = Vec::new();
            // In the order in which each became what it is.
            let mut waiting: Vec<(Intent, Promotion, BoxFuture<'static, Permit>)> = Vec::new();
            for (op, n) in ops {
                let speculative = held.iter().filter(|(intent, _)| *intent == Intent::Speculative).count();
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
                            Some(permit) => { prop_assert!(free); held.push((intent, permit)); }
                            None => { prop_assert!(!free); waiting.push((intent, promotion, future)); }
                        }
                    }
                    2 if !held.is_empty() => drop(held.remove(n % held.len())),
                    3 if !waiting.is_empty() => drop(waiting.remove(n % waiting.len())),
                    4 if !held.is_empty() => prop_assert!(!held[n % held.len()].1.is_reclaimed()),
                    5 | 6 if !waiting.is_empty() => {
                        let n = n % waiting.len();
                        if waiting[n].0 == Intent::Speculative {
                            let (_, promotion, mut future) = waiting.remove(n);
                            promotion.promote();
                            match (&mut future).now_or_never() {
                                Some(permit) => { prop_assert!(held.len() < limit); held.push((Intent::Demand, permit)); }
                                None => waiting.push((Intent::Demand, promotion, future)),
                            }
                        }
                    }
                    _ => {}
                }
                // The model: while something is free, the oldest demand is served, then the oldest speculation.
                while held.len() < limit {
                    let speculative = held.iter().filter(|(intent, _)| *intent == Intent::Speculative).count();
                    let first = |wanted| waiting.iter().position(|(intent, ..)| *intent == wanted);
                    let next = first(Intent::Demand)
                        .or_else(|| first(Intent::Speculative).filter(|_| speculative < most_speculative));
                    let Some(next) = next else { break };
                    let (intent, _, future) = waiting.remove(next);
                    held.push((intent, future.now_or_never().expect("the model serves it, so must we")));
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
