//! Finds or asks for the bytes of one read, and gives up what its reader has left behind. Pure.

use std::ops::Range;
use std::time::Duration;

use headstart_fetch_core::Intent;

use super::Planner;
use crate::parts::PartId;
use crate::plan::{Action, Piece, Plan, ReaderId, Surroundings};
use crate::stream::{StreamId, reader_of};
use crate::streams::{Found, Joined};

impl Planner {
    /// A reader that has gone elsewhere: requests ahead of where it was stop, unless finishing is cheaper than asking anew, or
    /// it has been away before and came back, or another reader wants them.
    pub(super) fn stop_unwanted(
        &mut self,
        reader: ReaderId,
        range: &Range<u64>,
        around: &Surroundings,
        out: &mut Vec<Action>,
    ) {
        let size = self.size;
        let Some(reading) = self.readings.get_mut(reader) else { return };
        let Some((left, ended)) = reading.leave_last(size) else { return };
        self.runs.extend(ended);
        let round_trip = around.link.round_trip_bytes();
        let unwanted: Vec<PartId> = self
            .holdings
            .parts()
            .of_streams(left..=left)
            .filter(|p| p.readers == 0 && p.range.end - p.filled_to > round_trip)
            .filter(|p| p.range.end <= range.start || range.end <= p.range.start)
            .filter(|p| !self.readings.want(p, Some(reader)))
            .map(|p| p.id)
            .collect();
        for id in unwanted {
            self.holdings.stop_part(id, out);
        }
    }

    /// Finds or asks for every byte of `range`. A request for its last bytes is made longer by what may be fetched ahead
    /// (as the kernel does): one request serves the read and what follows.
    pub(super) fn cover(
        &mut self,
        now: Duration,
        reader: ReaderId,
        range: &Range<u64>,
        found: &Found,
        around: &Surroundings,
        out: &mut Vec<Action>,
    ) -> Plan {
        let ahead = self.may_lengthen(reader, found.stream, around);
        let mut plan = Plan::default();
        let mut at = range.start;
        while at < range.end {
            let known =
                self.holdings.parts().overlapping(&(at..range.end)).next().map(|part| (part.id, part.range.clone()));
            if let Some((part, held)) = &known
                && held.start <= at
            {
                // A stream's own reads wait for its own requests; whoever comes from elsewhere may be better off alone.
                if found.joined == Joined::New
                    && self.holdings.is_far_off(*part, at, around.link.round_trip_bytes())
                    && !self.readings.want(self.holdings.part(*part), Some(reader))
                {
                    self.holdings.stop_part(*part, out);
                    continue;
                }
                let piece = at..held.end.min(range.end);
                plan.ahead_bytes += piece.end - piece.start;
                at = piece.end;
                plan.pieces.push(Piece { part: *part, range: piece });
                continue;
            }
            let hole = at..known.map_or(range.end, |(_, held)| held.start);
            let mut asked = hole.clone();
            if hole.end == range.end {
                let wanted = self.request_bytes(reader, found.stream, hole.start, around);
                if ahead > 0 && ahead >= wanted && hole.end - hole.start < wanted {
                    asked.end = self.fit(hole.start, wanted).max(hole.end);
                }
            }
            let ahead_bytes = asked.end - hole.end;
            let id = self.fetch(now, asked, found.stream, Intent::Demand, ahead_bytes, out);
            at = hole.end;
            plan.pieces.push(Piece { part: id, range: hole });
        }
        plan
    }

    /// Where a request of `wanted` bytes from `start` ends: at the object's end or the next part at the latest.
    pub(super) fn fit(&self, start: u64, wanted: u64) -> u64 {
        let end = start.saturating_add(wanted).min(self.size.unwrap_or(u64::MAX));
        self.holdings.parts().next_start(start).map_or(end, |next| end.min(next))
    }

    pub(super) fn speculate(&mut self, now: Duration, range: Range<u64>, stream: StreamId, out: &mut Vec<Action>) {
        let ahead_bytes = range.end - range.start;
        self.fetch(now, range, stream, Intent::Speculative, ahead_bytes, out);
    }

    fn fetch(
        &mut self,
        now: Duration,
        range: Range<u64>,
        stream: StreamId,
        intent: Intent,
        ahead_bytes: u64,
        out: &mut Vec<Action>,
    ) -> PartId {
        let reading = self.readings.get_mut(reader_of(stream));
        if let Some(stream) = reading.and_then(|reading| reading.streams.get_mut(stream)) {
            stream.requests += 1;
        }
        self.requests += 1;
        let id = self.holdings.add(range.clone(), stream, now);
        out.push(Action::Fetch { id, range, intent, ahead_bytes });
        id
    }
}
