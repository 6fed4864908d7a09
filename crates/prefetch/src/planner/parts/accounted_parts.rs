//! The parts of one object together with their accounting: each change of a part updates both.

use std::ops::Range;
use std::time::Duration;

use crate::planner::messages::PlannerAction;
use crate::planner::parts::{PartId, PartMap, PartState};
use crate::planner::readers::ReaderStates;
use crate::planner::streams::{KEEP_BEHIND_MOST_BYTES, PartOwner};
use crate::policy::speculation::SpeculationAccount;

/// The parts that a sweep may drop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SweepScope {
    /// Parts that were read to the end, and parts of this owner.
    Owner(Option<PartOwner>),
    Everything,
}

/// Parts held or in flight, and the accounting of them.
#[derive(Debug, Default)]
pub(crate) struct AccountedParts {
    map: PartMap,
    /// The accounting. `outstanding_bytes` is always the sum of the parts' unread bytes.
    pub(crate) account: SpeculationAccount,
    /// What the engine has to do, in order.
    pub(crate) actions: Vec<PlannerAction>,
}

impl AccountedParts {
    pub(crate) fn map(&self) -> &PartMap {
        &self.map
    }

    /// Part `id`, which must exist.
    pub(crate) fn part(&self, id: PartId) -> &PartState {
        self.map.get(id).expect("it was found a moment ago")
    }

    /// Gives the parts of one owner to another.
    pub(crate) fn change_owner(&mut self, from: PartOwner, to: PartOwner) {
        let ids: Vec<PartId> = self.map.of_owner(from).map(|part| part.id).collect();
        for id in ids {
            self.change(id, |part| {
                part.owner = to;
                part.is_sweep_candidate = true;
            });
        }
    }

    /// The parts that start at `starts` may have become useless.
    pub(crate) fn mark_sweep_candidates(&mut self, starts: impl IntoIterator<Item = u64>) {
        for start in starts {
            if let Some(id) = self.map.at(start).filter(|part| !part.is_sweep_candidate).map(|part| part.id) {
                self.change(id, |part| part.is_sweep_candidate = true);
            }
        }
    }

    /// Drops the sweep candidates that are useless and not being read; candidates with unread bytes only within
    /// `scope`. The others are no longer candidates.
    ///
    /// Every part that can be useless is a candidate: a part becomes one when it is added, read, truncated or given to
    /// another owner, and when a reader moves away from it. So a sweep misses no part although it looks at few.
    pub(crate) fn sweep(&mut self, scope: SweepScope, readers: &ReaderStates) {
        let index = self.map.index();
        let mut starts: Vec<u64> = index.read_candidates().collect();
        match scope {
            SweepScope::Owner(None) => {}
            SweepScope::Owner(owner) => starts.extend(index.unread_candidates(owner)),
            SweepScope::Everything => starts.extend(index.unread_candidates(None)),
        }
        starts.sort_unstable();
        for start in starts {
            let Some(part) = self.map.at(start) else { continue };
            let id = part.id;
            if is_useless(part, readers, |part| readers.is_wanted(part, None)) {
                self.drop_part(id);
            } else {
                self.change(id, |part| part.is_sweep_candidate = false);
            }
        }
    }

    /// Uses no part id that `other` has used.
    pub(crate) fn continue_ids_of(&mut self, other: &Self) {
        self.map.next_id = other.map.next_id;
    }

    /// Adds a part for a request of `range`. Returns its id.
    pub(crate) fn add(&mut self, range: Range<u64>, owner: PartOwner, now: Duration) -> PartId {
        let id = self.map.add(range, owner, now);
        self.account.outstanding_bytes = self.map.index().unread_bytes;
        id
    }

    pub(crate) fn begin_read(&mut self, id: PartId, range: Range<u64>) {
        self.change(id, |part| part.begin_read(range)).expect("a plan names live parts");
    }

    /// A read of part `id` ends. Returns whether it was the last one and the part is `pointless`.
    pub(crate) fn end_read(&mut self, id: PartId, pointless: impl Fn(&PartState) -> bool) -> bool {
        let ended = self.change(id, |part| {
            part.readers -= 1;
            part.is_sweep_candidate = true;
            part.readers == 0 && pointless(part)
        });
        ended.unwrap_or(false)
    }

    /// Whether waiting for `offset` of part `id` takes longer than a new request: no read uses the part, and more than
    /// `round_trip_bytes` have to arrive before `offset`.
    pub(crate) fn is_far_off(&self, id: PartId, offset: u64, round_trip_bytes: u64) -> bool {
        let part = self.part(id);
        part.readers == 0 && offset.saturating_sub(part.filled_to) > round_trip_bytes
    }

    pub(crate) fn end_at(&mut self, size: u64) {
        let beyond: Vec<PartId> = self.map.iter().filter(|p| p.range.end > size).map(|p| p.id).collect();
        for id in beyond {
            self.truncate(id, size);
        }
    }

    /// Aborts the request of part `id` and keeps the bytes that have arrived.
    pub(crate) fn stop_part(&mut self, id: PartId) {
        match self.map.get(id).map(|part| (part.range.start, part.filled_to)) {
            Some((start, filled_to)) if filled_to > start => {
                self.truncate(id, filled_to);
                self.actions.push(PlannerAction::Stop(id));
            }
            Some(_) => self.drop_part(id),
            None => {}
        }
    }

    pub(crate) fn drop_part(&mut self, id: PartId) {
        self.remove(id);
        self.actions.push(PlannerAction::Drop(id));
    }

    /// Exempts the waste of `drops` from the limits.
    pub(crate) fn exempt_waste(&mut self, drops: impl FnOnce(&mut Self)) {
        let before = self.account.wasted_bytes;
        drops(self);
        self.account.exempt_bytes += self.account.wasted_bytes - before;
    }

    /// Drops all `unwanted` parts that are not being read. Visits every part, so it must not run at every read.
    pub(crate) fn drop_where(&mut self, unwanted: impl Fn(&PartState) -> bool) {
        let ids: Vec<_> = self.map.iter().filter(|p| p.readers == 0 && unwanted(p)).map(|p| p.id).collect();
        self.drop_parts(ids);
    }

    /// Drops all `unwanted` parts that are not being read and have unread bytes.
    pub(crate) fn drop_unread_where(&mut self, unwanted: impl Fn(&PartState) -> bool) {
        let idle = self.map.index().idle_unread().filter_map(|start| self.map.at(start));
        let ids: Vec<_> = idle.filter(|part| unwanted(part)).map(|part| part.id).collect();
        self.drop_parts(ids);
    }

    /// Drops the parts `ids`, except those being read.
    pub(crate) fn drop_parts(&mut self, ids: impl IntoIterator<Item = PartId>) {
        for id in ids {
            if self.map.get(id).is_some_and(|part| part.readers == 0) {
                self.drop_part(id);
            }
        }
    }

    /// Removes part `id`. Its arrived and unread bytes count as wasted.
    pub(crate) fn remove(&mut self, id: PartId) {
        if let Some(part) = self.map.remove(id) {
            self.account.outstanding_bytes = self.map.index().unread_bytes;
            self.account.wasted_bytes += part.arrived_unread_bytes();
        }
    }

    fn truncate(&mut self, id: PartId, end: u64) {
        self.change(id, |part| {
            part.truncate(end);
            part.is_sweep_candidate = true;
        });
    }

    /// Changes part `id` as [`PartMap::change`] does.
    pub(crate) fn change<T>(&mut self, id: PartId, change: impl FnOnce(&mut PartState) -> T) -> Option<T> {
        let answer = self.map.change(id, change);
        self.account.outstanding_bytes = self.map.index().unread_bytes;
        answer
    }
}

/// Whether no read is expected of `part`, which is not being read now.
pub(crate) fn is_useless(part: &PartState, readers: &ReaderStates, is_wanted: impl Fn(&PartState) -> bool) -> bool {
    if part.is_given_up {
        return true;
    }
    if part.is_announced() && part.unread_bytes() > 0 {
        // The announced read is still to come, unless its reader is closed.
        return !readers.contains(part.owner.reader);
    }
    if part.is_revisited {
        return false;
    }
    let is_kept = || {
        part.range.end - part.range.start <= KEEP_BEHIND_MOST_BYTES && (!readers.once || readers.is_kept_behind(part))
    };
    if part.unread_bytes() == 0 && !is_kept() {
        return true;
    }
    !is_wanted(part)
}
