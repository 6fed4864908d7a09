//! Permits: one hard limit on the GETs in flight. Demand is served before speculation, each in FIFO order.
//!
//! If there are two permits or more, speculation never holds all of them, so a demand rarely waits for a speculative
//! body to end. A speculative waiter whose [`Promotion`] is used moves to the end of the demand queue.
//!
//! A permit that its holder does not use is reclaimed for the waiters: nobody polls the call it belongs to
//! ([`CallActivity`]), or the runtime of its task has stopped ([`TaskRuntime`]). An application may therefore open a
//! hundred objects and read them in any order, or poll a body once and leave it, without blocking itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use futures::future::{Either, select};
use object_store::Extensions;
use tokio::time::Instant;

use crate::internal::runtime::{TaskRuntime, has_timer};
use crate::internal::{mutation::Mutation, sync::Mutex};
use crate::limits::call_activity::CallActivity;
use crate::limits::wait_queue::{QueuedWaiter, Ticket, WaitQueue};
use crate::protocol::extensions::{Intent, Promotion};

/// How long a call may be idle before its permit is reclaimed: long enough for a reader that processes what it got, and
/// short compared with any timeout.
const IDLE_TIMEOUT: Duration = Duration::from_millis(100);

/// How often a waiter that is not first in its queue looks for idle permits. The first one may not be polled itself.
const LATER_WAITERS_SCAN_EVERY: Duration = Duration::from_secs(1);

/// The shortest time between two scans for idle permits, however many calls wait.
const BETWEEN_SCANS: Duration = Duration::from_millis(10);

/// One permit in this many is reserved for demand: one of 32, which a single demand finds free. With four of 32, the
/// first 256 MiB of an announced sequential read took 5 % longer, and many demands at once gained nothing, since demand
/// is served first in any case.
const RESERVED_FOR_DEMAND: usize = 32;

/// Limits the number of GETs in flight.
#[derive(Debug)]
pub(crate) struct Permits {
    started: Instant,
    state: Mutex<PermitState>,
}

/// Identifies a granted permit; never reused.
type PermitId = u64;

#[derive(Debug, Default)]
struct PermitState {
    limit: usize,
    in_flight: usize,
    /// How many of the permits in flight were granted to speculation.
    speculative: usize,
    peak: usize,
    latest_id: PermitId,
    queue: WaitQueue<PermitRequest, PermitId>,
    held: HashMap<PermitId, PermitHolder>,
    next_scan: Duration,
}

/// Who asks for a permit.
#[derive(Debug, Clone)]
struct PermitRequest {
    activity: Arc<CallActivity>,
    runtime: Option<TaskRuntime>,
}

/// Who holds a permit.
#[derive(Debug)]
struct PermitHolder {
    intent: Intent,
    reclaimed: Arc<AtomicBool>,
    of: PermitRequest,
    /// When the permit was granted to a waiter that has not been polled since.
    unclaimed_since: Option<Duration>,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let state = PermitState { limit, ..PermitState::default() };
        Arc::new(Self { started: Instant::now(), state: Mutex::new(state) })
    }

    /// The activity of a new call, on the clock of these permits.
    pub(crate) fn activity(&self) -> Arc<CallActivity> {
        CallActivity::new(self.started)
    }

    /// Sets the limit; the caller calls [`Permits::serve`] next. If more GETs are in flight, they end by themselves.
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

    /// Waits for a permit for a request with `extensions`, sent for the call with this `activity`.
    ///
    /// # Cancel safety
    /// As for [`Permits::acquire`].
    pub(crate) async fn acquire_for(self: &Arc<Self>, extensions: &Extensions, activity: &Arc<CallActivity>) -> Permit {
        match (Intent::of(extensions), Promotion::of(extensions)) {
            (Intent::Speculative, Some(promotion)) => self.acquire_promotable(promotion, activity).await,
            (intent, _) => self.acquire(intent, activity).await,
        }
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue. A permit granted at that moment goes to the next waiter.
    pub(crate) async fn acquire(self: &Arc<Self>, intent: Intent, activity: &Arc<CallActivity>) -> Permit {
        match self.take_or_queue(intent, activity) {
            Ok(permit) => permit,
            Err(mut place) => place.granted().await,
        }
    }

    /// Waits for a permit as speculation, and as demand once `promotion` is used.
    async fn acquire_promotable(self: &Arc<Self>, promotion: &Promotion, activity: &Arc<CallActivity>) -> Permit {
        let mut place = match self.take_or_queue(Intent::Speculative, activity) {
            Ok(permit) => return permit,
            Err(place) => place,
        };
        if let Either::Left((permit, _)) = select(pin!(place.granted()), pin!(promotion.promoted())).await {
            return permit;
        }
        place.promote();
        place.granted().await
    }

    /// Takes a free permit, or joins the queue.
    fn take_or_queue(self: &Arc<Self>, intent: Intent, activity: &Arc<CallActivity>) -> Result<Permit, PermitPlace> {
        let request = PermitRequest { activity: Arc::clone(activity), runtime: TaskRuntime::current() };
        let mut state = self.state.lock();
        if state.is_free(intent) {
            let (id, reclaimed) = state.grant(intent, request, None);
            return Ok(Permit { permits: Arc::clone(self), id, reclaimed });
        }
        let waiter = QueuedWaiter::new(request);
        let ticket = state.queue.join(priority(intent), &waiter);
        Err(PermitPlace { permits: Arc::clone(self), waiter, ticket, intent })
    }

    /// Grants free permits to waiters.
    pub(crate) fn serve(&self) {
        let now = self.started.elapsed();
        let mut to_wake = Vec::new();
        {
            let mut state = self.state.lock();
            while let Some((intent, request)) = state.next() {
                let (id, _) = state.grant(intent, request, Some(now));
                to_wake.extend(state.queue.grant_first(id));
            }
            if !to_wake.is_empty() {
                let first = [Intent::Demand, Intent::Speculative].map(|intent| state.queue.first_of(priority(intent)));
                to_wake.extend(first.into_iter().flatten().map(|(_, waiter)| Arc::clone(waiter)));
            }
        }
        // Outside the lock, in FIFO order. This makes virtual-time runs reproducible.
        to_wake.iter().for_each(|waiter| waiter.wake());
    }

    /// Reclaims unused permits, at most as many as there are waiters: those of calls that have been idle for
    /// `idle_timeout`, and those of `stopped`, a runtime that runs no tasks. Returns whether there were any.
    fn reclaim_idle(&self, idle_timeout: Duration, stopped: Option<&TaskRuntime>) -> bool {
        let now = self.started.elapsed();
        let reclaimed = {
            let mut state = self.state.lock();
            if stopped.is_none() && !idle_timeout.is_zero() && now < state.next_scan {
                return false;
            }
            state.next_scan = now + BETWEEN_SCANS;
            let unused_since = |holder: &PermitHolder| {
                let id_of = |runtime: &Option<TaskRuntime>| runtime.as_ref().map(TaskRuntime::id);
                if stopped.is_some_and(|stopped| id_of(&holder.of.runtime) == Some(stopped.id())) {
                    return Some(Duration::ZERO);
                }
                let (since, timeout) = match holder.unclaimed_since {
                    Some(since) => (since, IDLE_TIMEOUT),
                    None => (holder.of.activity.idle_since()?, idle_timeout),
                };
                (now.saturating_sub(since) >= timeout).then_some(since)
            };
            let mut unused: Vec<_> =
                state.held.iter().filter_map(|(id, holder)| Some((unused_since(holder)?, *id))).collect();
            unused.sort_unstable();
            let waiters = state.queue.len();
            unused.into_iter().take(waiters).filter(|(_, id)| state.give_back(*id, true)).count()
        };
        self.serve();
        reclaimed > 0
    }

    /// The runtimes, other than the caller's, whose tasks hold permits.
    fn other_runtimes(&self) -> Vec<TaskRuntime> {
        let mut runtimes: Vec<TaskRuntime> = Vec::new();
        for runtime in self.state.lock().held.values().filter_map(|holder| holder.of.runtime.as_ref()) {
            if !runtime.is_current() && runtimes.iter().all(|known| known.id() != runtime.id()) {
                runtimes.push(runtime.clone());
            }
        }
        runtimes
    }
}

/// The priority of `intent` in the wait queue.
fn priority(intent: Intent) -> u8 {
    match intent {
        Intent::Demand => 0,
        Intent::Speculative => 1,
    }
}

/// A place in the wait queue; dropping it gives it up.
struct PermitPlace {
    permits: Arc<Permits>,
    waiter: Arc<QueuedWaiter<PermitRequest>>,
    ticket: Ticket,
    intent: Intent,
}

impl PermitPlace {
    /// Waits for the permit.
    async fn granted(&mut self) -> Permit {
        // If one permit was idle, others may be: waiters that nobody polls can be granted one permit after the other.
        let mut found_idle = false;
        loop {
            if let Some(permit) = self.claim() {
                return permit;
            }
            let woken = self.waiter.woken();
            if !has_timer() {
                // Without a timer nothing would wake this waiter when a call has been idle for long enough.
                if !self.permits.reclaim_idle(Duration::ZERO, None) {
                    woken.await;
                }
                continue;
            }
            let scan_after = if found_idle || self.is_first() { IDLE_TIMEOUT } else { LATER_WAITERS_SCAN_EVERY };
            if let Either::Left(_) = select(pin!(woken), pin!(tokio::time::sleep(scan_after))).await {
                continue;
            }
            found_idle = self.permits.reclaim_idle(IDLE_TIMEOUT, None);
            if Mutation::TrustsRuntimes.is_active() {
                continue;
            }
            for runtime in self.permits.other_runtimes() {
                if !runtime.responds().await {
                    found_idle |= self.permits.reclaim_idle(IDLE_TIMEOUT, Some(&runtime));
                }
            }
        }
    }

    /// Claims the permit if it has been granted. If it was reclaimed meanwhile, the waiter returns to its old place.
    fn claim(&mut self) -> Option<Permit> {
        loop {
            {
                let mut state = self.permits.state.lock();
                let id = state.queue.claim(self.ticket)?;
                if let Some(holder) = state.held.get_mut(&id) {
                    holder.unclaimed_since = None;
                    let reclaimed = Arc::clone(&holder.reclaimed);
                    return Some(Permit { permits: Arc::clone(&self.permits), id, reclaimed });
                }
                state.queue.rejoin(priority(self.intent), self.ticket, &self.waiter);
            }
            self.permits.serve();
        }
    }

    fn is_first(&self) -> bool {
        let state = self.permits.state.lock();
        state.queue.first_of(priority(self.intent)).is_some_and(|(ticket, _)| ticket == self.ticket)
    }

    /// Moves the waiter to the end of the demand queue.
    fn promote(&mut self) {
        {
            let mut state = self.permits.state.lock();
            let before = std::mem::replace(&mut self.intent, Intent::Demand);
            let ticket = state.queue.change_priority(priority(before), self.ticket, priority(Intent::Demand));
            let Some(ticket) = ticket else { return };
            self.ticket = ticket;
        }
        self.permits.serve();
    }
}

impl Drop for PermitPlace {
    fn drop(&mut self) {
        let was_granted = {
            let mut state = self.permits.state.lock();
            let granted = state.queue.leave(priority(self.intent), self.ticket);
            granted.is_some_and(|id| state.give_back(id, false))
        };
        if was_granted {
            self.permits.serve();
        }
    }
}

impl PermitState {
    fn is_free(&self, intent: Intent) -> bool {
        let speculative_limit = (self.limit - self.limit.div_ceil(RESERVED_FOR_DEMAND)).max(1);
        self.in_flight < self.limit && (intent == Intent::Demand || self.speculative < speculative_limit)
    }

    /// The waiter to be served next, if a permit is free for it.
    fn next(&self) -> Option<(Intent, PermitRequest)> {
        let (first, waiter) = self.queue.first()?;
        let intent = if first == priority(Intent::Demand) { Intent::Demand } else { Intent::Speculative };
        self.is_free(intent).then(|| (intent, waiter.wants.clone()))
    }

    fn grant(
        &mut self,
        intent: Intent,
        of: PermitRequest,
        unclaimed_since: Option<Duration>,
    ) -> (PermitId, Arc<AtomicBool>) {
        self.in_flight += 1;
        self.speculative += usize::from(intent == Intent::Speculative);
        self.peak = self.peak.max(self.in_flight);
        self.latest_id += 1;
        let reclaimed = Arc::new(AtomicBool::new(false));
        let holder = PermitHolder { intent, reclaimed: Arc::clone(&reclaimed), of, unclaimed_since };
        self.held.insert(self.latest_id, holder);
        (self.latest_id, reclaimed)
    }

    /// Takes a permit back, unless it was reclaimed before. Returns whether it was still held.
    fn give_back(&mut self, id: PermitId, reclaim: bool) -> bool {
        let Some(holder) = self.held.remove(&id) else { return false };
        holder.reclaimed.store(reclaim, Ordering::Release);
        self.in_flight -= 1;
        self.speculative -= usize::from(holder.intent == Intent::Speculative);
        true
    }
}

/// The right to have one GET in flight; dropping it returns it.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    id: PermitId,
    reclaimed: Arc<AtomicBool>,
}

impl Permit {
    /// Whether the permit was reclaimed because it was not used. Its holder drops it and acquires another one to
    /// continue.
    pub(crate) fn is_reclaimed(&self) -> bool {
        self.reclaimed.load(Ordering::Acquire)
    }

    /// Ties the permit to the call with this `activity` from now on.
    pub(crate) fn set_activity(&self, activity: &Arc<CallActivity>) {
        if let Some(holder) = self.permits.state.lock().held.get_mut(&self.id) {
            holder.of.activity = Arc::clone(activity);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let was_held = self.permits.state.lock().give_back(self.id, false);
        if was_held {
            self.permits.serve();
        }
    }
}

#[cfg(test)]
#[path = "permits_tests.rs"]
mod tests;
