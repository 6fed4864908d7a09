//! How far ahead of a stream to ask, and for which bytes next. Pure.

use std::ops::Range;
use std::time::Duration;

use super::Planner;
use crate::planner::messages::{AnnouncedPattern, PlannerAction, PlannerInputs, ReaderId};
use crate::planner::streams::read_stream::{ReadStream, ReadStreamId, StreamShape};
use crate::policy::window::{ReadAheadWindow, ramp_part_bytes, request_bytes, window};

/// Reads in a row after which a run is taken to be long whatever is known: of runs that go on with two reads in three, as column
/// chunks of a Parquet file do, one in a hundred gets so far.
const LONG_RUN_READS: u64 = 12;

impl Planner {
    /// Keeps the window ahead of `stream` full, as far as the ledger allows. The next request goes out at every read, not when the
    /// window has run dry.
    pub(super) fn read_ahead(
        &mut self,
        now: Duration,
        reader: ReaderId,
        stream: ReadStreamId,
        inputs: &PlannerInputs,
        out: &mut Vec<PlannerAction>,
    ) {
        let mut allowed = self.may_ask(reader, stream, inputs);
        if self.size.is_none() || !self.saves_requests(reader, stream, inputs) {
            return;
        }
        for _ in self.parts.map().index().in_flight_unasked..self.settings.concurrency {
            // A request is sent whole or not yet: small ones would cost a round trip each.
            let next = self.next_ahead(reader, stream, inputs);
            let Some(range) = next.filter(|range| range.end - range.start <= allowed) else { break };
            allowed -= range.end - range.start;
            self.speculate(now, range, stream, out);
        }
    }

    /// Whether requests ahead of `stream` replace as many reads as they cost requests. Of small reads they replace many, and large ones
    /// are split below anyway; but where a read is about as long as a request, one that ends up beyond the end of a run is one too many.
    fn saves_requests(&self, reader: ReaderId, stream: ReadStreamId, inputs: &PlannerInputs) -> bool {
        let Some(stream) = self.stream(reader, stream) else { return false };
        let mean = stream.run_bytes / stream.run_reads;
        let part = self.window_wanted.part_bytes;
        let alike = part / 8 * 3..part / 2 * 3;
        let known = self.is_announced(reader) || inputs.runs.is_long(stream.run_bytes);
        known || stream.run_reads >= LONG_RUN_READS || stream.shape != StreamShape::Forward || !alike.contains(&mean)
    }

    /// How many bytes a request for what `stream` reads now may be longer than that. Only what goes up is served so: of any other
    /// request the reader would have to wait for bytes that it did not ask for.
    pub(super) fn may_lengthen(&mut self, reader: ReaderId, stream: ReadStreamId, inputs: &PlannerInputs) -> u64 {
        let allowed = self.may_ask(reader, stream, inputs);
        match self.stream(reader, stream).map(|stream| stream.shape) {
            // The end of an object is not known yet: the store cuts the request off there.
            Some(StreamShape::Forward) if self.size.is_some() || self.is_announced(reader) => allowed,
            _ => 0,
        }
    }

    /// The size of the next request ahead of `stream`, from `at` on.
    pub(super) fn request_bytes(&self, reader: ReaderId, stream: ReadStreamId, at: u64, inputs: &PlannerInputs) -> u64 {
        let Some(stream) = self.stream(reader, stream) else { return 0 };
        let announced = self.is_announced(reader);
        let bet = match inputs.runs.speculation_limit_bytes(stream.run_bytes) {
            _ if announced => u64::MAX,
            // The sooner the first ones are here, the sooner the run is longer.
            bet if self.starts_at_once(reader, stream, inputs) => bet / 2,
            bet => bet,
        };
        let part = ramp_part_bytes(bet, stream.last_len(), self.window.part_bytes);
        let size = self.size.unwrap_or(u64::MAX);
        let left = if stream.shape == StreamShape::Backward { at } else { size.saturating_sub(at) };
        let left = if announced || stream.run_bytes >= self.window.ahead_bytes { left } else { u64::MAX };
        let nth = if announced { stream.requests } else { self.requests };
        request_bytes(nth, announced, part, left, self.settings.part_bytes.0)
    }

    fn stream(&self, reader: ReaderId, stream: ReadStreamId) -> Option<&ReadStream> {
        self.readers.get(reader)?.streams.get(stream)
    }

    /// Whether `stream` is a reader's first, begins with byte 0, and such streams are known to be long.
    fn starts_at_once(&self, reader: ReaderId, stream: &ReadStream, inputs: &PlannerInputs) -> bool {
        let is_first = self.readers.get(reader).is_some_and(|reading| reading.is_first(stream.id));
        is_first && stream.start == 0 && inputs.runs.starts_at_once()
    }

    fn is_announced(&self, reader: ReaderId) -> bool {
        self.readers.get(reader).is_some_and(|reading| reading.announced == AnnouncedPattern::Sequential)
    }

    /// How many bytes may be asked for ahead of `stream` now, the read in progress included; sets the window.
    fn may_ask(&mut self, reader: ReaderId, id: ReadStreamId, inputs: &PlannerInputs) -> u64 {
        let Some(reading) = self.readers.get(reader) else { return 0 };
        let Some(stream) = reading.streams.get(id) else { return 0 };
        let announced = reading.announced == AnnouncedPattern::Sequential && stream.shape == StreamShape::Forward;
        let proven = match stream.shape {
            StreamShape::Forward => stream.run_reads >= self.settings.start_after,
            // Two reads down may be two reads of one stream in another order.
            StreamShape::Backward => stream.run_reads > self.settings.start_after,
            StreamShape::Strided { .. } => true,
        };
        let starts_at_once = self.starts_at_once(reader, stream, inputs);
        if self.local
            || self.failing
            || reading.announced == AnnouncedPattern::Random
            || !(announced || (proven || starts_at_once) && !self.is_footer(stream.start))
        {
            return 0;
        }
        let wanted = window(&inputs.link, stream.rate.bytes_per_s(), self.settings.part_bytes);
        let bet = if announced { u64::MAX } else { inputs.runs.speculation_limit_bytes(stream.run_bytes) };
        let unread = if announced { 0 } else { self.unread_ahead_of(stream) };
        if let Some(reading) = self.readers.get_mut(reader) {
            reading.window_bytes = wanted.ahead_bytes;
        }
        self.readers.on_moved(reader);
        // What all may have is shared by those who read at different places, lest the first one takes it.
        let places = self.readers.places_apart(wanted.part_bytes);
        let (places, windows_bytes) = (places.count(), places.windows_bytes());
        let most = self.settings.max_prefetch_bytes.min(inputs.share_bytes).min(self.parts.ledger.most(windows_bytes));
        let window = wanted.within(most / places);
        if let Some(stream) = self.readers.get_mut(reader).and_then(|reading| reading.streams.get_mut(id)) {
            stream.ahead_bytes = window.ahead_bytes;
        }
        (self.window, self.window_wanted) = (window, wanted);
        let announced_bytes = self.parts.map().index().announced_bytes;
        self.parts.ledger.allowance(bet, unread, windows_bytes, announced_bytes).min(inputs.free_bytes)
    }

    /// What has been asked for ahead of `stream`, be it for this one or for others that are at the same place.
    fn unread_ahead_of(&self, stream: &ReadStream) -> u64 {
        let parts = self.parts.map();
        let own = parts.index().unread_of(stream.id);
        let next_to_it = match stream.shape {
            StreamShape::Forward => parts.covered_until(stream.end) - stream.end,
            StreamShape::Backward => stream.start - parts.covered_down_to(stream.start),
            StreamShape::Strided { .. } => 0,
        };
        next_to_it.max(own)
    }

    /// The bytes to ask for next ahead of `stream`, if its window is not full.
    fn next_ahead(&self, reader: ReaderId, id: ReadStreamId, inputs: &PlannerInputs) -> Option<Range<u64>> {
        let stream = self.stream(reader, id)?;
        let ReadAheadWindow { ahead_bytes, part_bytes } = self.window;
        let (parts, size) = (self.parts.map(), self.size?);
        match stream.shape {
            StreamShape::Forward => {
                let at = parts.covered_until(stream.end);
                let bound = self.readers.get(reader)?.streams.next_start(stream).unwrap_or(u64::MAX);
                let end = self.fit(at, self.request_bytes(reader, id, at, inputs)).min(bound);
                (at < end && end <= stream.end.saturating_add(ahead_bytes)).then_some(at..end)
            }
            StreamShape::Backward => {
                let at = parts.covered_down_to(stream.start);
                let wanted = self.request_bytes(reader, id, at, inputs);
                let start = at.saturating_sub(wanted).max(parts.end_below(at).unwrap_or(0));
                (start < at && start.saturating_add(ahead_bytes) >= stream.start).then_some(start..at)
            }
            StreamShape::Strided { step } => {
                let len = stream.last_len();
                let mut ahead = 0;
                let mut start = stream.last.start.checked_add_signed(step)?;
                // As many reads as the window holds, and no more than may be in flight: the first one with a hole.
                for _ in 0..=self.settings.concurrency.saturating_mul(2) {
                    let read = start..start.saturating_add(len).min(size);
                    ahead += len;
                    if read.start >= read.end || ahead > ahead_bytes {
                        return None;
                    }
                    let at = parts.covered_until(read.start);
                    if at < read.end {
                        return Some(at..self.fit(at, part_bytes.min(read.end - at)));
                    }
                    start = start.checked_add_signed(step)?;
                }
                None
            }
        }
    }
}
