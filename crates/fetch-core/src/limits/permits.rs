//! Permits: the limits on the GETs in flight. Demand is served before speculation, each in FIFO order.
//!
//! Two limits hold. The *hard limit* applies to all GETs; only the settings and a store that throttles lower it. The
//! *fill limit* is the number of requests that fill the link. It applies to requests that exist to fill it: the further
//! parts of a split read, and speculation. A request that its caller waits for is never delayed by the fill limit:
//! many small reads at once wait for latency, not for the link, and each read has at least one request in flight, as
//! it would have through the bare client.
//!
//! Speculation never holds the whole of either limit if that is two or more, so a demand rarely waits for a speculative
//! body to end. A waiter whose [`Promotion`] is used moves to the end of the demand queue.
//!
//! A permit that its holder does not use is reclaimed for the waiters: nobody polls the call it belongs to
//! ([`CallActivity`]), or the runtime of its task has stopped ([`TaskRuntime`]). An application may therefore open a
//! hundred objects and read them in any order, or poll a body once and leave it, without blocking itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{pin::pin, sync::Arc, time::Duration};

use futures::FutureExt;
use futures::future::{Either, select};
use object_store::Extensions;
use tokio::time::Instant;

use crate::internal::runtime::{TaskRuntime, has_timer};
use crate::internal::{mutation::Mutation, sync::Mutex};
use crate::limits::call_activity::CallActivity;
use crate::limits::permit_state::{PermitHolder, PermitId, PermitKind, PermitRequest, PermitState};
use crate::limits::wait_queue::{QueuedWaiter, Ticket};
use crate::protocol::extensions::{Intent, Promotion};

/// How long a call may be idle before its permit is reclaimed: long enough for a reader that processes what it got, and
/// short compared with any timeout.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_millis(100);

/// How often a waiter that is not first in its queue looks for idle permits. The first one may not be polled itself.
const LATER_WAITERS_SCAN_EVERY: Duration = Duration::from_secs(1);

/// The shortest time between two scans for idle permits, however many calls wait.
const BETWEEN_SCANS: Duration = Duration::from_millis(10);

/// Limits the number of GETs in flight.
#[derive(Debug)]
pub(crate) struct Permits {
    started: Instant,
    state: Mutex<PermitState>,
}

impl Permits {
    pub(crate) fn new(limit: usize, fill: usize) -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), state: Mutex::new(PermitState::new(limit, fill)) })
    }

    /// The activity of a new call, on the clock of these permits.
    pub(crate) fn activity(&self) -> Arc<CallActivity> {
        CallActivity::new(self.started)
    }

    /// Sets the hard limit; the caller calls [`Permits::serve`] next. If more GETs are in flight, they end by
    /// themselves.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.state.lock().limit = limit;
    }

    /// Sets the number of requests that fill the link. Returns the one before.
    pub(crate) fn set_fill(&self, fill: usize) -> usize {
        let before = std::mem::replace(&mut self.state.lock().fill, fill);
        if before < fill {
            self.serve();
        }
        before
    }

    /// The most requests in flight that exist to fill the link.
    pub(crate) fn fill_limit(&self) -> usize {
        self.state.lock().fill_limit()
    }

    /// GETs in flight now, and whether the fill limit is reached.
    pub(crate) fn load(&self) -> (usize, bool) {
        let state = self.state.lock();
        (state.in_flight(), state.is_filled())
    }

    /// Large demanded requests in flight. Each read in parts has at least one.
    pub(crate) fn large_in_flight(&self) -> usize {
        self.state.lock().in_flight_of(PermitKind::LargeDemand)
    }

    /// Whether large demand fills the link, also without one request of the caller.
    pub(crate) fn is_filled_by_demand(&self) -> bool {
        let state = self.state.lock();
        state.in_flight_of(PermitKind::LargeDemand) > state.fill_limit()
    }

    /// GETs in flight now.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().in_flight()
    }

    /// The most GETs that were ever in flight at once.
    pub(crate) fn peak(&self) -> usize {
        self.state.lock().peak
    }

    /// How many waits for a permit there were, how long those took that have ended with one, and how many wait now.
    pub(crate) fn waits(&self) -> (u64, Duration, usize) {
        let state = self.state.lock();
        (state.waits, state.waited, state.queue.len())
    }

    /// Waits for a permit for a request with `extensions`, sent for the call with this `activity`: speculation if they
    /// say so, else of the given `kind`.
    ///
    /// # Cancel safety
    /// As for [`Permits::acquire`].
    pub(crate) async fn acquire_for(
        self: &Arc<Self>,
        extensions: &Extensions,
        kind: PermitKind,
        weight: u64,
        activity: &Arc<CallActivity>,
    ) -> Permit {
        match (Intent::of(extensions), Promotion::of(extensions)) {
            (Intent::Speculative, Some(promotion)) => {
                self.acquire_promotable(PermitKind::Speculation, weight, promotion, activity).await
            }
            (Intent::Speculative, None) => self.acquire(PermitKind::Speculation, weight, activity).await,
            (Intent::Demand, _) => self.acquire(kind, weight, activity).await,
        }
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue. A permit granted at that moment goes to the next waiter.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        kind: PermitKind,
        weight: u64,
        activity: &Arc<CallActivity>,
    ) -> Permit {
        match self.take_or_queue(kind, weight, activity) {
            Ok(permit) => permit,
            // Boxed, because most requests find a permit free.
            Err(mut place) => place.granted().boxed().await,
        }
    }

    /// Waits for a permit of this `kind`, and as demand once `promotion` is used.
    ///
    /// # Cancel safety
    /// As for [`Permits::acquire`].
    pub(crate) async fn acquire_promotable(
        self: &Arc<Self>,
        kind: PermitKind,
        weight: u64,
        promotion: &Promotion,
        activity: &Arc<CallActivity>,
    ) -> Permit {
        let mut place = match self.take_or_queue(kind, weight, activity) {
            Ok(permit) => return permit,
            Err(place) => place,
        };
        let granted = async {
            if let Either::Left((permit, _)) = select(pin!(place.granted()), pin!(promotion.promoted())).await {
                return permit;
            }
            place.promote();
            place.granted().await
        };
        granted.boxed().await
    }

    /// Takes a free permit, or joins the queue.
    fn take_or_queue(
        self: &Arc<Self>,
        kind: PermitKind,
        weight: u64,
        activity: &Arc<CallActivity>,
    ) -> Result<Permit, PermitPlace> {
        let request = PermitRequest { kind, weight, activity: Arc::clone(activity), runtime: TaskRuntime::current() };
        let mut state = self.state.lock();
        if state.is_free(kind) {
            let (id, reclaimed) = state.grant(request, None);
            return Ok(Permit { permits: Arc::clone(self), id, reclaimed });
        }
        let waiter = QueuedWaiter::new(request);
        let ticket = state.queue.join(kind.priority(), &waiter);
        state.waits += 1;
        let since = self.started.elapsed();
        Err(PermitPlace { permits: Arc::clone(self), waiter, ticket, priority: kind.priority(), since })
    }

    /// Grants free permits to waiters.
    pub(crate) fn serve(&self) {
        let now = self.started.elapsed();
        let mut to_wake = Vec::new();
        {
            let mut state = self.state.lock();
            while let Some(request) = state.next() {
                let (id, _) = state.grant(request, Some(now));
                to_wake.extend(state.queue.grant_first(id));
            }
            if !to_wake.is_empty() {
                let kinds = [PermitKind::Demand, PermitKind::Part, PermitKind::Speculation];
                let first = kinds.map(|kind| state.queue.first_of(kind.priority()));
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
            // If only the fill limit is reached, other permits would not help.
            let any_helps = state.in_flight() >= state.limit;
            let helping = state.held.iter().filter(|(_, holder)| any_helps || holder.of.kind.fills());
            let mut unused: Vec<_> = helping.filter_map(|(id, holder)| Some((unused_since(holder)?, *id))).collect();
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

/// A place in the wait queue; dropping it gives it up.
struct PermitPlace {
    permits: Arc<Permits>,
    waiter: Arc<QueuedWaiter<PermitRequest>>,
    ticket: Ticket,
    priority: u8,
    /// When the wait began.
    since: Duration,
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
                    state.waited += self.permits.started.elapsed().saturating_sub(self.since);
                    return Some(Permit { permits: Arc::clone(&self.permits), id, reclaimed });
                }
                state.queue.rejoin(self.priority, self.ticket, &self.waiter);
            }
            self.permits.serve();
        }
    }

    fn is_first(&self) -> bool {
        let state = self.permits.state.lock();
        state.queue.first_of(self.priority).is_some_and(|(ticket, _)| ticket == self.ticket)
    }

    /// Moves the waiter to the end of the demand queue.
    fn promote(&mut self) {
        {
            let mut state = self.permits.state.lock();
            let before = std::mem::replace(&mut self.priority, PermitKind::LargeDemand.priority());
            let ticket = state.queue.change_priority(before, self.ticket, self.priority);
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
            let granted = state.queue.leave(self.priority, self.ticket);
            granted.is_some_and(|id| state.give_back(id, false))
        };
        if was_granted {
            self.permits.serve();
        }
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
        let helps_waiters = {
            let mut state = self.permits.state.lock();
            state.give_back(self.id, false) && !state.queue.is_empty()
        };
        if helps_waiters {
            self.permits.serve();
        }
    }
}

#[cfg(test)]
#[path = "permits_tests.rs"]
mod tests;
