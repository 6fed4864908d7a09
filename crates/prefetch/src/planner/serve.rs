//! Finds or asks for the bytes of one read, and gives up what its reader has left behind. Pure.

use std::ops::Range;
use std::time::Duration;

use headstart_fetch_core::Intent;

use super::Planner;
use crate::planner::messages::{PlannedPiece, PlannerAction, PlannerInputs, ReadPlan, ReaderId};
use crate::planner::parts::part_map::PartId;
use crate::planner::streams::read_stream::{ReadStreamId, reader_of};
use crate::planner::streams::stream_table::{FoundStream, StreamJoin};

impl Planner {
    /// A reader that has gone elsewhere: requests ahead of where it was stop, unless finishing is cheaper than asking anew, or
    /// it has been away before and came back, or another reader wants them.
    pub(super) fn stop_unwanted(
        &mut self,
        reader: ReaderId,
        range: &Range<u64>,
        inputs: &PlannerInputs,
        out: &mut Vec<PlannerAction>,
    ) {
        let size = self.size;
        let Some(reading) = self.readers.get_mut(reader) else { return };
        let Some((left, ended)) = reading.leave_latest(size) else { return };
        self.runs.extend(ended);
        let round_trip = inputs.link.round_trip_bytes();
        let unwanted: Vec<PartId> = self
            .parts
            .map()
            .of_streams(left..=left)
            .filter(|p| p.readers == 0 && p.range.end - p.filled_to > round_trip)
            .filter(|p| p.range.end <= range.start || range.end <= p.range.start)
            .filter(|p| !self.readers.want(p, Some(reader)))
            .map(|p| p.id)
            .collect();
        for id in unwanted {
            self.parts.stop_part(id, out);
        }
    }

    /// Finds or asks for every byte of `range`. A request for its last bytes is made longer by what may be fetched ahead
    /// (as the kernel does): one request serves the read and what follows.
    pub(super) fn cover(
        &mut self,
        now: Duration,
        reader: ReaderId,
        range: &Range<u64>,
        found: &FoundStream,
        inputs: &PlannerInputs,
        out: &mut Vec<PlannerAction>,
    ) -> ReadPlan {
        let ahead = self.may_lengthen(reader, found.stream, inputs);
        let mut plan = ReadPlan::default();
        let mut at = range.start;
        while at < range.end {
            let known = self.parts.map().overlapping(&(at..range.end)).next().map(|part| (part.id, part.range.clone()));
            if let Some((part, held)) = &known
                && held.start <= at
            {
                // A stream's own reads wait for its own requests; whoever comes from elsewhere may be better off alone.
                if found.joined == StreamJoin::New
                    && self.parts.is_far_off(*part, at, inputs.link.round_trip_bytes())
                    && !self.readers.want(self.parts.part(*part), Some(reader))
                {
                    self.parts.stop_part(*part, out);
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
            if hole.end == range.end {
                let wanted = self.request_bytes(reader, found.stream, hole.start, inputs);
                if ahead > 0 && ahead >= wanted && hole.end - hole.start < wanted {
                    asked.end = self.fit(hole.start, wanted).max(hole.end);
                }
            }
            let ahead_bytes = asked.end - hole.end;
            let id = self.fetch(now, asked, found.stream, Intent::Demand, ahead_bytes, out);
            at = hole.end;
            plan.pieces.push(PlannedPiece { part: id, range: hole });
        }
        plan
    }

    /// Where a request of `wanted` bytes from `start` ends: at the object's end or the next part at the latest.
    pub(super) fn fit(&self, start: u64, wanted: u64) -> u64 {
        let end = start.saturating_add(wanted).min(self.size.unwrap_or(u64::MAX));
        self.parts.map().next_start(start).map_or(end, |next| end.min(next))
    }

    pub(super) fn speculate(
        &mut self,
        now: Duration,
        range: Range<u64>,
        stream: ReadStreamId,
        out: &mut Vec<PlannerAction>,
    ) {
        let ahead_bytes = range.end - range.start;
        self.fetch(now, range, stream, Intent::Speculative, ahead_bytes, out);
    }

    fn fetch(
        &mut self,
        now: Duration,
        range: Range<u64>,
        stream: ReadStreamId,
        intent: Intent,
        ahead_bytes: u64,
        out: &mut Vec<PlannerAction>,
    ) -> PartId {
        let reading = self.readers.get_mut(reader_of(stream));
        if let Some(stream) = reading.and_then(|reading| reading.streams.get_mut(stream)) {
            stream.requests += 1;
        }
        self.requests += 1;
        let id = self.parts.add(range.clone(), stream, now);
        out.push(PlannerAction::Fetch { id, range, intent, ahead_bytes });
        id
    }
}
