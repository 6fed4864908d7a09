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
#[path = "permits_tests.rs"]
mod tests;
