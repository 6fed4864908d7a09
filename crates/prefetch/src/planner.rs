//! Decides what to fetch, keep and drop: events come in with `now`, actions go out. Pure; `engine.rs` acts.
//!
//! One planner serves one open object. It owns the stream table, the part map and the ledger, and keeps these true
//! after every event: parts are disjoint (no byte is fetched twice while held or in flight), a part somebody reads
//! is never dropped, and nothing is fetched ahead that the ledger does not allow.

use std::ops::Range;
use std::time::Duration;

use headstart_fetch_core::Intent;

use crate::holdings::Holdings;
use crate::parts::{Part, PartId};
use crate::plan::{Action, Announced, Piece, Plan, Settings, Surroundings};
use crate::streams::{Joined, Stream, StreamId, Streams};
use crate::waiting::Waiting;
use crate::waste::{Ledger, RHO};
use crate::window::{GROWTH_REQUESTS, Window, ramp_part_bytes, request_bytes, window};

/// A read this close to the object's end is a footer: it neither breaks a stream nor starts one.
const FOOTER_BYTES: u64 = 1024 * 1024;
/// Kept behind a reader at least, in bytes: people look back a little.
const KEEP_BEHIND: u64 = 1024 * 1024;
/// Kept behind a reader at most, in bytes, however large its reads are.
const KEEP_BEHIND_MOST: u64 = 32 * 1024 * 1024;

/// Decides for one open object.
#[derive(Debug)]
pub(crate) struct Planner {
    settings: Settings,
    streams: Streams,
    holdings: Holdings,
    size: Option<u64>,
    announced: Announced,
    local: bool,
    /// A request ahead has failed, and no read was answered since.
    failing: bool,
    /// The stream of the latest read.
    read_last: Option<StreamId>,
    window: Window,
    waiting: Waiting,
}

impl Planner {
    /// A planner for an object just opened.
    #[must_use]
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            streams: Streams::default(),
            holdings: Holdings::default(),
            size: None,
            announced: Announced::Nothing,
            local: false,
            failing: false,
            read_last: None,
            window: Window::default(),
            waiting: Waiting::default(),
        }
    }

    /// The books.
    #[must_use]
    pub(crate) fn ledger(&self) -> Ledger {
        self.holdings.ledger
    }

    /// The window of the latest read.
    #[must_use]
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// Where bytes are served once, how long after they were asked for.
    #[must_use]
    pub(crate) fn serve_once_within(&self) -> Option<Duration> {
        self.settings.serve_once_within
    }

    /// Whether bytes are on their way, or here and not read yet.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        self.holdings.parts().iter().any(|part| part.in_flight() || part.unread() > 0)
    }

    /// Somebody asks for `range` (not empty, not past a known end). Every plan must be ended by [`Planner::on_read_end`];
    /// one without pieces says that nothing here may answer.
    pub(crate) fn on_read(
        &mut self,
        now: Duration,
        range: &Range<u64>,
        around: &Surroundings,
        out: &mut Vec<Action>,
    ) -> Plan {
        let thinking = self.waiting.begin(now);
        if !self.forget_unservable(now, range, out) {
            return Plan::default();
        }
        let (joined, forgotten) = self.streams.on_read(thinking, range);
        self.holdings.ledger.demanded += range.end - range.start;
        if forgotten.is_some() {
            self.holdings.drop_where(|part| part.stream == forgotten, out);
        }
        let (Joined::New(stream) | Joined::Continued(stream) | Joined::Near(stream)) = joined;
        if matches!(joined, Joined::New(_)) && !self.is_footer(range.start) {
            self.stop_unwanted(range, around, out);
        }
        self.read_last = Some(stream);
        let ahead = self.speculation(stream, around).min(around.free_bytes);
        let mut plan = self.cover(now, range, stream, ahead, around, out);
        plan.stream = Some(stream);
        for piece in &plan.pieces {
            self.holdings.begin_read(piece.part, piece.range.clone());
        }
        self.read_ahead(now, range.end, stream, around, out);
        plan
    }

    /// The read of `plan` was answered, failed, or was given up by its caller.
    pub(crate) fn on_read_end(&mut self, now: Duration, plan: &Plan, answered: bool, out: &mut Vec<Action>) {
        let thinking = self.waiting.end(now);
        for piece in &plan.pieces {
            // What nobody waits for any more and nobody bet on is not worth finishing.
            let pointless = |part: &Part| !answered && part.in_flight() && part.unread() == 0;
            if self.holdings.end_read(piece.part, pointless) {
                self.holdings.drop_part(piece.part, out);
            }
        }
        if answered {
            self.failing = false;
        }
        if let Some(stream) = plan.stream {
            self.streams.on_answered(stream, thinking);
        }
        self.sweep(plan.stream, out);
    }

    /// Bytes of part `id` up to `filled_to` have arrived.
    pub(crate) fn on_filled(&mut self, id: PartId, filled_to: u64) {
        self.holdings.fill(id, filled_to);
    }

    /// The request of part `id` failed. Reads that wait for it have the error; the next one starts clean, and nothing more is
    /// asked for ahead until one is answered.
    pub(crate) fn on_failed(&mut self, id: PartId) {
        self.failing = true;
        self.holdings.remove(id);
    }

    /// The request of part `id` was not sent.
    pub(crate) fn on_not_sent(&mut self, id: PartId) {
        self.holdings.remove(id);
    }

    /// Memory is short and somebody waits: gives up what nobody has asked for.
    pub(crate) fn on_memory_short(&mut self, out: &mut Vec<Action>) {
        self.holdings.drop_where(|part| part.unread() > 0, out);
    }

    /// Part `id` is too old to be served.
    pub(crate) fn on_expired(&mut self, id: PartId, out: &mut Vec<Action>) {
        self.holdings.drop_where(|part| part.id == id, out);
    }

    /// The object's length is known: parts end there.
    pub(crate) fn on_size(&mut self, size: u64) {
        if self.size.replace(size) != Some(size) {
            self.holdings.end_at(size);
            self.streams.end_at(size);
        }
    }

    /// The reader says what it will do.
    pub(crate) fn on_announced(&mut self, announced: Announced, out: &mut Vec<Action>) {
        self.announced = if self.local { Announced::Random } else { announced };
        if self.announced == Announced::Random {
            self.holdings.drop_where(|part| part.unread() > 0, out);
        }
    }

    /// The object is a local file: the kernel reads ahead of it, and its bytes are not worth holding twice.
    pub(crate) fn on_local(&mut self, out: &mut Vec<Action>) {
        self.local = true;
        self.on_announced(Announced::Random, out);
    }

    /// The reader will need `ranges` soon: they are fetched ahead whatever the pattern, as far as there is memory for them.
    pub(crate) fn on_will_need(
        &mut self,
        now: Duration,
        ranges: &[Range<u64>],
        around: &Surroundings,
        out: &mut Vec<Action>,
    ) {
        if self.local {
            return;
        }
        let window = window(&around.link, f64::INFINITY, self.settings.part_bytes);
        let most = around.share_bytes.min(self.settings.max_prefetch_bytes);
        for range in ranges {
            let mut at = range.start;
            let end = self.size.map_or(range.end, |size| range.end.min(size));
            loop {
                at = self.holdings.parts().covered_until(at);
                let left = most.saturating_sub(self.holdings.ledger.outstanding);
                if at >= end || left == 0 {
                    break;
                }
                let next = self.holdings.parts().next_start(at).unwrap_or(end);
                let part = at..end.min(next).min(at.saturating_add(window.part_bytes.min(left)));
                at = part.end;
                self.fetch(now, part, None, Intent::Speculative, out);
            }
        }
    }

    /// The reader will not read `ranges` again.
    pub(crate) fn on_dont_need(&mut self, ranges: &[Range<u64>], out: &mut Vec<Action>) {
        self.holdings
            .drop_where(|part| ranges.iter().any(|r| r.start <= part.range.start && part.range.end <= r.end), out);
    }

    /// Nothing that is held or in flight may be served from here on.
    pub(crate) fn clear(&mut self, out: &mut Vec<Action>) {
        self.holdings.drop_where(|_| true, out);
    }

    /// Serving once: what was served before, or asked for too long ago, is gone. False where another read still needs some of
    /// that for itself: then this one is the raw store's to answer.
    fn forget_unservable(&mut self, now: Duration, range: &Range<u64>, out: &mut Vec<Action>) -> bool {
        let Some(within) = self.settings.serve_once_within else { return true };
        let stale = |part: &Part| now.saturating_sub(part.sent_at) >= within || part.read.overlap(range) > 0;
        self.holdings.drop_where(stale, out);
        !self.holdings.parts().overlapping(range).any(stale)
    }

    fn is_footer(&self, offset: u64) -> bool {
        self.size.is_some_and(|size| size >= 2 * FOOTER_BYTES && offset >= size - FOOTER_BYTES)
    }

    /// A reader that has gone elsewhere: requests ahead of where it was stop, unless finishing is cheaper than asking anew, or
    /// it has been away before and came back.
    fn stop_unwanted(&mut self, range: &Range<u64>, around: &Surroundings, out: &mut Vec<Action>) {
        let Some(left) = self.read_last.filter(|left| self.streams.leave(*left)) else { return };
        let round_trip = around.link.round_trip_bytes();
        let unwanted: Vec<PartId> = self
            .holdings
            .parts()
            .iter()
            .filter(|p| p.stream == Some(left) && p.readers == 0 && p.range.end - p.filled_to > round_trip)
            .filter(|p| p.range.end <= range.start || range.end <= p.range.start)
            .map(|p| p.id)
            .collect();
        for id in unwanted {
            self.holdings.stop_part(id, out);
        }
    }

    /// How many bytes may be asked for ahead of `stream` now, the read in progress included; sets the window.
    fn speculation(&mut self, stream: StreamId, around: &Surroundings) -> u64 {
        let Some(stream) = self.streams.get(stream) else { return 0 };
        let announced = self.announced == Announced::Sequential;
        let proven = stream.run_reads >= self.settings.start_after && !self.is_footer(stream.start);
        if self.announced == Announced::Random || self.failing || self.size.is_none() || !(proven || announced) {
            return 0;
        }
        self.window = window(&around.link, stream.rate.bytes_per_s(), self.settings.part_bytes);
        let cap = self.settings.max_prefetch_bytes.min(around.share_bytes);
        self.window = self.window.within(cap);
        if announced {
            self.holdings.ledger.lifetime_allowance(self.window.ahead_bytes)
        } else {
            self.holdings.ledger.allowance(stream.run_bytes, self.unread_ahead_of(stream), self.window.ahead_bytes)
        }
    }

    fn unread_ahead_of(&self, stream: &Stream) -> u64 {
        self.holdings.parts().iter().filter(|p| p.stream == Some(stream.id)).map(Part::unread).sum()
    }

    /// Finds or asks for every byte of `range`. A request for its last bytes is made longer by what may be fetched ahead
    /// (as the kernel does): one request serves the read and what follows.
    fn cover(
        &mut self,
        now: Duration,
        range: &Range<u64>,
        stream: StreamId,
        ahead: u64,
        around: &Surroundings,
        out: &mut Vec<Action>,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut at = range.start;
        while at < range.end {
            let known =
                self.holdings.parts().overlapping(&(at..range.end)).next().map(|part| (part.id, part.range.clone()));
            if let Some((part, held)) = &known
                && held.start <= at
            {
                if self.holdings.is_far_off(*part, at, around.link.round_trip_bytes()) {
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
                let wanted = self.request_bytes(stream, hole.start);
                if ahead > 0 && ahead >= wanted && hole.end - hole.start < wanted {
                    asked.end = self.fit(hole.start, wanted).max(hole.end);
                }
            }
            let id = self.fetch(now, asked, Some(stream), Intent::Demand, out);
            at = hole.end;
            plan.pieces.push(Piece { part: id, range: hole });
        }
        plan
    }

    /// Keeps the window ahead of `offset` full, as far as the ledger allows.
    fn read_ahead(
        &mut self,
        now: Duration,
        offset: u64,
        stream: StreamId,
        around: &Surroundings,
        out: &mut Vec<Action>,
    ) {
        let mut allowed = self.speculation(stream, around);
        let limit = offset.saturating_add(self.window.ahead_bytes);
        let in_flight = self.holdings.parts().iter().filter(|p| p.in_flight() && p.readers == 0).count();
        let mut at = offset;
        for _ in in_flight..self.settings.concurrency {
            at = self.holdings.parts().covered_until(at);
            let end = self.fit(at, self.request_bytes(stream, at));
            // A request is sent whole or not yet: small ones would cost a round trip each.
            if end <= at || end > limit || end - at > allowed {
                break;
            }
            allowed -= end - at;
            self.fetch(now, at..end, Some(stream), Intent::Speculative, out);
        }
    }

    /// The size of the next request ahead of `stream`, from `at` on.
    fn request_bytes(&self, stream: StreamId, at: u64) -> u64 {
        let Some(stream) = self.streams.get(stream) else { return 0 };
        let announced = self.announced == Announced::Sequential;
        let ahead = if announced { u64::MAX } else { stream.run_bytes.saturating_mul(RHO) };
        let part = ramp_part_bytes(ahead, stream.last_len, self.window.part_bytes);
        let left = self.size.unwrap_or(u64::MAX).saturating_sub(at);
        // A run that is not announced grows by the ledger already.
        let nth = if announced { stream.requests } else { stream.requests + GROWTH_REQUESTS };
        request_bytes(nth, part, self.window, left, self.settings.part_bytes.0)
    }

    /// Where a request of `wanted` bytes from `start` ends: at the object's end or the next part at the latest.
    fn fit(&self, start: u64, wanted: u64) -> u64 {
        let end = start.saturating_add(wanted).min(self.size.unwrap_or(u64::MAX));
        self.holdings.parts().next_start(start).map_or(end, |next| end.min(next))
    }

    fn fetch(
        &mut self,
        now: Duration,
        range: Range<u64>,
        stream: Option<StreamId>,
        intent: Intent,
        out: &mut Vec<Action>,
    ) -> PartId {
        if let Some(stream) = stream {
            self.streams.on_request(stream);
        }
        let id = self.holdings.add(range.clone(), stream, now);
        out.push(Action::Fetch { id, range, intent });
        id
    }

    /// Drops what no stream can still want.
    fn sweep(&mut self, latest: Option<StreamId>, out: &mut Vec<Action>) {
        let once = self.settings.serve_once_within.is_some();
        let streams = &self.streams;
        let useless = |part: &Part| {
            if part.stream.is_none() && part.unread() > 0 {
                return false; // announced, still to come
            }
            if part.unread() == 0 && (once || part.range.end - part.range.start > KEEP_BEHIND_MOST) {
                return true;
            }
            !streams.iter().any(|s| {
                let behind = if once { 0 } else { s.last_len.clamp(KEEP_BEHIND, KEEP_BEHIND_MOST) };
                let lives = s.is_revisited() || Some(s.id) == latest;
                let ahead = part.stream == Some(s.id) && part.range.end > s.end;
                ahead || lives && part.range.start < s.end && part.range.end > s.end.saturating_sub(behind)
            })
        };
        let ids: Vec<_> = self.holdings.parts().iter().filter(|p| p.readers == 0 && useless(p)).map(|p| p.id).collect();
        for id in ids {
            self.holdings.drop_part(id, out);
        }
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
