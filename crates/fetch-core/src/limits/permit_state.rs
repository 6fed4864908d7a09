//! Who holds and who waits for permits: the decisions of [`super::permits`], without clock and tasks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::internal::runtime::TaskRuntime;
use crate::limits::call_activity::CallActivity;
use crate::limits::wait_queue::WaitQueue;
use crate::policy::fill::FULL_WEIGHT;

/// One permit in this many is reserved for demand: one of 32, which a single demand finds free. With four of 32, the
/// first 256 MiB of an announced sequential read took 5 % longer, and many demands at once gained nothing, since demand
/// is served first in any case.
const RESERVED_FOR_DEMAND: usize = 32;

/// What a permit is for. Waiters are served in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PermitKind {
    /// A request that its caller waits for, and that is too small to fill the link.
    Demand,
    /// A larger request that its caller waits for, or the first part of a split read. It counts towards the fill limit,
    /// but does not wait for it.
    LargeDemand,
    /// A further part of a split read.
    Part,
    /// A request that no reader waits for.
    Speculation,
}

impl PermitKind {
    /// The priority in the wait queue.
    pub(super) fn priority(self) -> u8 {
        match self {
            Self::Demand | Self::LargeDemand => 0,
            Self::Part => 1,
            Self::Speculation => 2,
        }
    }

    /// Whether the request counts towards the fill limit.
    pub(super) fn fills(self) -> bool {
        self != Self::Demand
    }

    /// Whether the request waits for the fill limit.
    fn waits_for_fill(self) -> bool {
        matches!(self, Self::Part | Self::Speculation)
    }
}

/// Identifies a granted permit; never reused.
pub(super) type PermitId = u64;

#[derive(Debug, Default)]
pub(super) struct PermitState {
    /// The hard limit.
    pub(super) limit: usize,
    /// How many requests fill the link.
    pub(super) fill: usize,
    /// How many permits of each kind are held.
    in_flight: [usize; 4],
    /// The weights of these permits, by kind.
    weights: [u64; 4],
    pub(super) peak: usize,
    /// Requests that have found no permit free.
    pub(super) waits: u64,
    /// How long waiters have waited until they took their permits, summed.
    pub(super) waited: Duration,
    latest_id: PermitId,
    pub(super) queue: WaitQueue<PermitRequest, PermitId>,
    pub(super) held: HashMap<PermitId, PermitHolder>,
    pub(super) next_scan: Duration,
}

/// Who asks for a permit.
#[derive(Debug, Clone)]
pub(super) struct PermitRequest {
    pub(super) kind: PermitKind,
    /// How much of the link the request fills: [`fill::weight`](crate::policy::fill::weight).
    pub(super) weight: u64,
    pub(super) activity: Arc<CallActivity>,
    pub(super) runtime: Option<TaskRuntime>,
}

/// Who holds a permit.
#[derive(Debug)]
pub(super) struct PermitHolder {
    pub(super) reclaimed: Arc<AtomicBool>,
    pub(super) of: PermitRequest,
    /// When the permit was granted to a waiter that has not been polled since.
    pub(super) unclaimed_since: Option<Duration>,
}

impl PermitState {
    pub(super) fn new(limit: usize, fill: usize) -> Self {
        Self { limit, fill, ..Self::default() }
    }

    /// Permits held now.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.iter().sum()
    }

    /// Permits of this kind that are held now.
    pub(super) fn in_flight_of(&self, kind: PermitKind) -> usize {
        self.in_flight[kind as usize]
    }

    /// The weight of the permits held now that count towards the fill limit.
    fn filling(&self) -> u64 {
        self.weights.iter().sum::<u64>() - self.weights[PermitKind::Demand as usize]
    }

    pub(super) fn is_free(&self, kind: PermitKind) -> bool {
        let filled = self.filling() >= weight_of(self.fill_limit());
        let is_full = || {
            self.weights[kind as usize] >= weight_of(self.speculative_limit())
                || self.in_flight_of(kind) >= without_reserve(self.limit)
        };
        self.in_flight() < self.limit
            && !(kind.waits_for_fill() && filled)
            && !(kind == PermitKind::Speculation && is_full())
    }

    /// Whether speculation alone would wait for the fill limit.
    pub(super) fn is_filled(&self) -> bool {
        self.filling() >= weight_of(self.speculative_limit())
    }

    pub(super) fn fill_limit(&self) -> usize {
        self.fill.min(self.limit)
    }

    fn speculative_limit(&self) -> usize {
        without_reserve(self.fill_limit())
    }

    /// The waiter to be served next, if a permit is free for it.
    pub(super) fn next(&self) -> Option<PermitRequest> {
        let (priority, waiter) = self.queue.first()?;
        let promoted = priority < waiter.wants.kind.priority();
        let kind = if promoted { PermitKind::LargeDemand } else { waiter.wants.kind };
        self.is_free(kind).then(|| PermitRequest { kind, ..waiter.wants.clone() })
    }

    pub(super) fn grant(
        &mut self,
        of: PermitRequest,
        unclaimed_since: Option<Duration>,
    ) -> (PermitId, Arc<AtomicBool>) {
        self.in_flight[of.kind as usize] += 1;
        self.weights[of.kind as usize] += of.weight;
        self.peak = self.peak.max(self.in_flight());
        self.latest_id += 1;
        let reclaimed = Arc::new(AtomicBool::new(false));
        self.held.insert(self.latest_id, PermitHolder { reclaimed: Arc::clone(&reclaimed), of, unclaimed_since });
        (self.latest_id, reclaimed)
    }

    /// Takes a permit back, unless it was reclaimed before. Returns whether it was still held.
    pub(super) fn give_back(&mut self, id: PermitId, reclaim: bool) -> bool {
        let Some(holder) = self.held.remove(&id) else { return false };
        holder.reclaimed.store(reclaim, Ordering::Release);
        self.in_flight[holder.of.kind as usize] -= 1;
        self.weights[holder.of.kind as usize] -= holder.of.weight;
        true
    }
}

/// What speculation may take of a limit: all but the permits that are reserved for demand, and one at least.
fn without_reserve(limit: usize) -> usize {
    (limit - limit.div_ceil(RESERVED_FOR_DEMAND)).max(1)
}

/// The weight of so many requests that each fill as much of the link as the largest ones.
fn weight_of(requests: usize) -> u64 {
    (requests as u64).saturating_mul(FULL_WEIGHT)
}
