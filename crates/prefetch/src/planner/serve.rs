//! Finds or requests the bytes of one read, and stops requests that the reader has left behind.

use std::ops::Range;
use std::time::Duration;

use headstart_fetch_core::Intent;

use super::Planner;
use crate::planner::messages::{PartFetch, PlannedPiece, PlannerAction, PlannerInputs, ReadPlan, ReaderId};
use crate::planner::parts::{PartId, PartState};
use crate::planner::streams::{FoundStream, PartOwner, StreamJoin};
use crate::policy::speculation::SpeculationLimits;

/// Where bytes are served once, those to which calls keep returning are served again this long after their request was
/// sent, or for `max_age` if that is shorter. Calls in quick succession return within it; a caller that looks for a new
/// version every few seconds gets new bytes each time.
pub(super) const AGAIN_WITHIN: Duration = Duration::from_secs(1);

impl Planner {
    /// The reader went elsewhere. Stops requests ahead of its old position, unless finishing is cheaper than a new
    /// request, or the reader has come back from elsewhere before, or another reader wants the bytes.
    pub(super) fn stop_unwanted(&mut self, reader: ReaderId, range: &Range<u64>, inputs: &PlannerInputs) {
        let size = self.size;
        let Some(state) = self.readers.get_mut(reader) else { return };
        let Some((left, ended)) = state.leave_latest(size) else { return };
        self.runs.extend(ended);
        let round_trip_bytes = inputs.link.round_trip_bytes();
        let unwanted: Vec<PartId> = self
            .parts
            .map()
            .of_owner(PartOwner::stream(reader, left))
            .filter(|p| p.readers == 0 && p.range.end - p.filled_to > round_trip_bytes)
            .filter(|p| p.range.end <= range.start || range.end <= p.range.start)
            .filter(|p| !self.readers.is_wanted(p, Some(reader)))
            .map(|p| p.id)
            .collect();
        for id in unwanted {
            self.parts.stop_part(id);
        }
    }

    /// Where bytes are served once: drops the parts that are too old, and those that were served and will not be again.
    /// Returns false where such a part of `range` remains, because another read is using it or it has unread bytes, so
    /// that this read cannot be served from here. A read that `polls` is served none of the bytes that were served.
    pub(super) fn drop_unservable(&mut self, now: Duration, range: &Range<u64>, polls: bool) -> bool {
        let Some(within) = self.settings.serve_once_within else { return true };
        let age = |part: &PartState| now.saturating_sub(part.sent_at);
        let is_old = |part: &PartState| age(part) >= within || part.expires_at.is_some_and(|at| at <= now);
        let readers = &self.readers;
        let is_served_again =
            |part: &PartState| age(part) < AGAIN_WITHIN && (part.is_revisited || readers.is_kept_behind(part));
        self.parts.drop_where(|part| is_old(part) || part.unread_bytes() == 0 && !is_served_again(part));
        let was_served = |part: &PartState| part.read.overlap(range) > 0 && (polls || !is_served_again(part));
        !self.parts.map().overlapping(range).any(|part| is_old(part) || was_served(part))
    }

    /// Finds or requests every byte of `range`. Lengthens the request for its last bytes by what `limits` allow, as the
    /// kernel's read-ahead does: one request serves the read and its successors.
    ///
    /// The plan has no piece where the caller has to send the request. Where the reader is expected to return to
    /// `range`, its bytes are kept, so their request is sent here.
    pub(super) fn plan_read(
        &mut self,
        reader: ReaderId,
        range: &Range<u64>,
        found: &FoundStream,
        limits: Option<SpeculationLimits>,
        inputs: &PlannerInputs,
        is_revisited: bool,
    ) -> ReadPlan {
        let lengthening_bytes = self.lengthening_bytes(limits, reader, found.stream);
        let owner = PartOwner::stream(reader, found.stream);
        let mut plan = ReadPlan { reader, stream: Some(found.stream), ..ReadPlan::default() };
        let mut at = range.start;
        while at < range.end {
            let known = self.parts.map().overlapping(&(at..range.end)).next().map(|part| (part.id, part.range.clone()));
            if let Some((part, held)) = &known
                && held.start <= at
            {
                // The stream's own reads wait for its requests. A read from elsewhere is faster with its own request
                // where the bytes it needs come late in a request in flight.
                if found.join == StreamJoin::New
                    && self.parts.is_far_off(*part, at, inputs.link.round_trip_bytes())
                    && !self.readers.is_wanted(self.parts.part(*part), Some(reader))
                {
                    self.parts.stop_part(*part);
                    continue;
                }
                let piece = at..held.end.min(range.end);
                plan.ahead_bytes += piece.end - piece.start;
                at = piece.end;
                plan.pieces.push(PlannedPiece { part: *part, range: piece });
                continue;
            }
            let hole = at..known.map_or(range.end, |(_, held)| held.start);
            let mut asked = hole.clone();
            if hole.end == range.end && lengthening_bytes > 0 {
                let wanted_bytes = self.request_bytes(reader, found.stream, hole.start, inputs);
                if lengthening_bytes >= wanted_bytes && hole.end - hole.start < wanted_bytes {
                    asked.end = self.fit(hole.start, wanted_bytes).max(hole.end);
                }
            }
            let ahead_bytes = asked.end - hole.end;
            let as_asked = asked == *range;
            plan.is_as_asked |= as_asked;
            at = hole.end;
            if as_asked && self.serves_once() && !is_revisited {
                // The caller of a call without a reader sends a request for exactly its range itself.
                self.count_request(owner);
                continue;
            }
            let id = self.add_part(inputs.now, asked.clone(), owner);
            let fetch = PartFetch { id, range: asked, intent: Intent::Demand, ahead_bytes, as_asked };
            self.parts.actions.push(PlannerAction::Fetch(fetch));
            plan.pieces.push(PlannedPiece { part: id, range: hole });
        }
        plan
    }

    /// `plan` is for a range to which `reader` is expected to return: its part is kept.
    pub(super) fn keep_for_return(&mut self, reader: ReaderId, range: &Range<u64>, plan: &ReadPlan) {
        let [PlannedPiece { part: id, .. }] = *plan.pieces.as_slice() else { return };
        let part = self.parts.part(id);
        if part.is_revisited || part.range != *range {
            return;
        }
        self.parts.change(id, |part| part.is_revisited = true);
        let given_up = self.readers.get_or_insert(reader).revisits.keep(id, range.end - range.start);
        self.keep_no_longer(given_up);
    }

    /// The parts `ids` are not kept for a return any more.
    pub(super) fn keep_no_longer(&mut self, ids: impl IntoIterator<Item = PartId>) {
        for id in ids {
            self.parts.change(id, |part| (part.is_revisited, part.is_sweep_candidate) = (false, true));
        }
    }

    /// Where a request of `wanted_bytes` from `start` ends: at the object's end or the next part at the latest.
    pub(super) fn fit(&self, start: u64, wanted_bytes: u64) -> u64 {
        let end = start.saturating_add(wanted_bytes).min(self.size.unwrap_or(u64::MAX));
        self.parts.map().next_start(start).map_or(end, |next| end.min(next))
    }

    /// Requests `range`, which no read has asked for.
    pub(super) fn speculate(&mut self, range: Range<u64>, owner: PartOwner, inputs: &PlannerInputs) {
        let ahead_bytes = range.end - range.start;
        let id = self.add_part(inputs.now, range.clone(), owner);
        let fetch = PartFetch { id, range, intent: Intent::Speculative, ahead_bytes, as_asked: false };
        self.parts.actions.push(PlannerAction::Fetch(fetch));
    }

    fn add_part(&mut self, now: Duration, range: Range<u64>, owner: PartOwner) -> PartId {
        self.count_request(owner);
        self.parts.add(range, owner, now)
    }

    fn count_request(&mut self, owner: PartOwner) {
        let state = self.readers.get_mut(owner.reader);
        if let Some(stream) = state.zip(owner.stream).and_then(|(state, stream)| state.streams.get_mut(stream)) {
            stream.requests += 1;
        }
        self.requests += 1;
    }
}
