//! The parts of one object and the books on them, kept in step: no part comes, is read or goes without its entry. Pure.

use std::ops::Range;
use std::time::Duration;

use crate::planner::messages::PlannerAction;
use crate::planner::parts::part_map::{PartId, PartMap, PartState};
use crate::planner::streams::read_stream::ReadStreamId;
use crate::policy::speculation::SpeculationAccount;

/// Which parts a sweep may drop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SweepScope {
    /// What was read to the end, and what was fetched for this stream, if for any.
    Stream(Option<ReadStreamId>),
    /// Any part.
    Everything,
}

/// What is held or in flight, and what it may cost.
#[derive(Debug, Default)]
pub(crate) struct AccountedParts {
    map: PartMap,
    /// The books. `outstanding` is what the parts have unread.
    pub(crate) ledger: SpeculationAccount,
}

impl AccountedParts {
    /// The parts.
    pub(crate) fn map(&self) -> &PartMap {
        &self.map
    }

    /// The part called `id`, which must be there.
    pub(crate) fn part(&self, id: PartId) -> &PartState {
        self.map.get(id).expect("it was found a moment ago")
    }

    /// What was fetched for `merged` streams is `stream`'s from here on.
    pub(crate) fn relabel(&mut self, merged: &[ReadStreamId], stream: ReadStreamId) {
        for merged in merged {
            let ids: Vec<PartId> = self.map.of_streams(*merged..=*merged).map(|part| part.id).collect();
            for id in ids {
                self.change(id, |part| {
                    part.stream = stream;
                    part.is_sweep_candidate = true;
                });
            }
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

    /// Drops those of the suspects that nobody reads and that are `useless`, but for what is unread of other streams than `about`.
    /// The others are suspects no more.
    ///
    /// Suspects are all parts that can be useless: what has been fetched, read, cut or given to another stream, and what its stream
    /// or any reader has moved away from, since it was last found useful. So nothing is missed, though few parts are looked at.
    pub(crate) fn sweep(
        &mut self,
        about: SweepScope,
        useless: impl Fn(&PartState) -> bool,
        out: &mut Vec<PlannerAction>,
    ) {
        let index = self.map.index();
        let mut starts: Vec<u64> = index.read_candidates().collect();
        match about {
            SweepScope::Stream(None) => {}
            SweepScope::Stream(stream) => starts.extend(index.unread_candidates(stream)),
            SweepScope::Everything => starts.extend(index.unread_candidates(None)),
        }
        starts.sort_unstable();
        for start in starts {
            let Some(part) = self.map.at(start) else { continue };
            let id = part.id;
            if useless(part) {
                self.drop_part(id, out);
            } else {
                self.change(id, |part| part.is_sweep_candidate = false);
            }
        }
    }

    /// Names no part as `other` has named one.
    pub(crate) fn begin_after(&mut self, other: &Self) {
        self.map.begin_after(&other.map);
    }

    /// A request for `range` is sent.
    pub(crate) fn add(&mut self, range: Range<u64>, stream: ReadStreamId, now: Duration) -> PartId {
        let id = self.map.add(range, stream, now);
        self.ledger.outstanding = self.map.index().unread_bytes;
        id
    }

    /// Bytes of part `id` up to `filled_to` have arrived.
    pub(crate) fn fill(&mut self, id: PartId, filled_to: u64) {
        self.change(id, |part| part.filled_to = filled_to.min(part.range.end));
    }

    /// PartState `id` is too old at `expires_at`.
    pub(crate) fn expire_at(&mut self, id: PartId, expires_at: Duration) {
        self.change(id, |part| part.expires_at = Some(expires_at));
    }

    /// Somebody reads `range` of part `id` from here on.
    pub(crate) fn begin_read(&mut self, id: PartId, range: Range<u64>) {
        self.change(id, |part| part.begin_read(range)).expect("a plan names live parts");
    }

    /// Somebody has read part `id`. True where nobody reads it any more and it is `pointless`.
    pub(crate) fn end_read(&mut self, id: PartId, pointless: impl Fn(&PartState) -> bool) -> bool {
        let ended = self.change(id, |part| {
            part.readers -= 1;
            part.is_sweep_candidate = true;
            part.readers == 0 && pointless(part)
        });
        ended.unwrap_or(false)
    }

    /// Whether waiting until part `id`, which nobody reads, has come to `offset` takes longer than asking anew does:
    /// more than `round_trip_bytes` are to come before it.
    pub(crate) fn is_far_off(&self, id: PartId, offset: u64, round_trip_bytes: u64) -> bool {
        let part = self.part(id);
        part.readers == 0 && offset.saturating_sub(part.filled_to) > round_trip_bytes
    }

    /// The object ends at `size`, and so does every part.
    pub(crate) fn end_at(&mut self, size: u64) {
        let beyond: Vec<PartId> = self.map.iter().filter(|p| p.range.end > size).map(|p| p.id).collect();
        for id in beyond {
            self.cut(id, size);
        }
    }

    /// Aborts the request of part `id`; what has arrived stays.
    pub(crate) fn stop_part(&mut self, id: PartId, out: &mut Vec<PlannerAction>) {
        match self.map.get(id).map(|part| (part.range.start, part.filled_to)) {
            Some((start, filled_to)) if filled_to > start => {
                self.cut(id, filled_to);
                out.push(PlannerAction::Stop(id));
            }
            Some(_) => self.drop_part(id, out),
            None => {}
        }
    }

    /// Drops part `id`, in flight or not.
    pub(crate) fn drop_part(&mut self, id: PartId, out: &mut Vec<PlannerAction>) {
        self.remove(id);
        out.push(PlannerAction::Drop(id));
    }

    /// What is lost by `drops` is held against nobody: whose it was has gone.
    pub(crate) fn exempt_waste(&mut self, drops: impl FnOnce(&mut Self)) {
        let before = self.ledger.wasted;
        drops(self);
        self.ledger.forgiven += self.ledger.wasted - before;
    }

    /// Drops every part that is `unwanted` and that nobody reads. Looks at every part: not for events of every read.
    pub(crate) fn drop_where(&mut self, unwanted: impl Fn(&PartState) -> bool, out: &mut Vec<PlannerAction>) {
        let ids: Vec<_> = self.map.iter().filter(|p| p.readers == 0 && unwanted(p)).map(|p| p.id).collect();
        self.drop_parts(ids, out);
    }

    /// Drops every part that is `unwanted`, that nobody reads and that was not read to the end.
    pub(crate) fn drop_unread_where(&mut self, unwanted: impl Fn(&PartState) -> bool, out: &mut Vec<PlannerAction>) {
        let idle = self.map.index().idle_unread().filter_map(|start| self.map.at(start));
        let ids: Vec<_> = idle.filter(|part| unwanted(part)).map(|part| part.id).collect();
        self.drop_parts(ids, out);
    }

    /// Drops those of the parts `ids` that nobody reads.
    pub(crate) fn drop_parts(&mut self, ids: impl IntoIterator<Item = PartId>, out: &mut Vec<PlannerAction>) {
        for id in ids {
            if self.map.get(id).is_some_and(|part| part.readers == 0) {
                self.drop_part(id, out);
            }
        }
    }

    /// PartState `id` is gone; what arrived of it unread was in vain.
    pub(crate) fn remove(&mut self, id: PartId) {
        if let Some(part) = self.map.remove(id) {
            self.ledger.outstanding = self.map.index().unread_bytes;
            self.ledger.wasted += part.arrived_unread();
        }
    }

    /// PartState `id` ends at `end`.
    fn cut(&mut self, id: PartId, end: u64) {
        self.change(id, |part| {
            part.cut(end);
            part.is_sweep_candidate = true;
        });
    }

    fn change<T>(&mut self, id: PartId, change: impl FnOnce(&mut PartState) -> T) -> Option<T> {
        let answer = self.map.change(id, change);
        self.ledger.outstanding = self.map.index().unread_bytes;
        answer
    }
}
