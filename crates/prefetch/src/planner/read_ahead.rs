//! Decides how far ahead of a stream to fetch, and which bytes next.

use std::iter::{successors, zip};
use std::ops::Range;
use std::time::Duration;

use headstart_fetch_core::internal::{WindowDemand, fill};

use super::Planner;
use crate::planner::hints::AnnouncedPattern;
use crate::planner::messages::{PlannerInputs, ReaderId};
use crate::planner::streams::{PartOwner, ReadStream, ReadStreamId, StreamShape};
use crate::policy::speculation::SpeculationLimits;
use crate::policy::window::{ReadAheadWindow, ramp_part_bytes, request_bytes, window};

/// Reads in a row after which a run counts as long, whatever was learned. Of runs that go on with a probability of two
/// in three, as column chunks of a Parquet file do, one in a hundred gets so far.
const LONG_RUN_READS: u64 = 12;

/// The share of the requests that fill the link that may be in flight ahead of a single reader that has announced
/// nothing. With all of them, bytes far ahead take bandwidth from those that the reader waits for (docs/decisions.md).
const AHEAD_SHARE: (usize, usize) = (5, 6);

impl Planner {
    /// Requests bytes ahead of `stream`, until its window is full or a limit is reached. Runs at every read and every
    /// answer, so that the next request goes out before the window is empty.
    ///
    /// Where the reader reads several streams by turns, the stream with the fewest bytes ahead comes first, because the
    /// reader waits for this one first.
    pub(super) fn read_ahead(&mut self, reader: ReaderId, stream: ReadStreamId, inputs: &PlannerInputs) {
        let mut sent_bytes = 0;
        loop {
            let first = self.shortest_ahead(reader).filter(|first| *first != stream);
            let mut next = |stream| self.request_next(reader, stream, sent_bytes, inputs);
            let bytes = first.and_then(&mut next).or_else(|| next(stream));
            let Some(bytes) = bytes else { break };
            sent_bytes += bytes;
        }
    }

    /// The stream with the fewest bytes ahead, of those that `reader` reads by turns.
    fn shortest_ahead(&self, reader: ReaderId) -> Option<ReadStreamId> {
        let streams = &self.readers.get(reader)?.streams;
        streams.by_turns().min_by_key(|stream| self.unread_ahead_of(reader, stream)).map(|stream| stream.id)
    }

    /// Sends the next request ahead of `stream`, if its window and the limits allow one, where `sent_bytes` were
    /// requested during this event. Returns its length. A request is sent whole or not at all: small ones would cost a
    /// round trip each.
    fn request_next(
        &mut self,
        reader: ReaderId,
        stream: ReadStreamId,
        sent_bytes: u64,
        inputs: &PlannerInputs,
    ) -> Option<u64> {
        self.size?;
        let mut limits = self.update_window(reader, stream, inputs)?;
        limits.free_bytes = limits.free_bytes.saturating_sub(sent_bytes);
        let position = self.stream(reader, stream).map_or(0, ReadStream::position);
        let request_bytes = self.request_bytes(reader, stream, position, inputs);
        let most_in_flight = self.most_in_flight(reader, request_bytes, inputs);
        if self.parts.map().index().in_flight_unasked >= most_in_flight || !self.saves_requests(reader, stream, inputs)
        {
            return None;
        }
        let range = self.next_ahead(reader, stream, inputs)?;
        let bytes = range.end - range.start;
        if bytes > self.remaining_bytes(limits, reader, stream) {
            return None;
        }
        self.speculate(range, PartOwner::stream(reader, stream), inputs);
        Some(bytes)
    }

    /// The most requests of `request_bytes` in flight ahead of the readers. Small ones fill less of the link, so
    /// several readers that begin at once may have more of them.
    fn most_in_flight(&self, reader: ReaderId, request_bytes: u64, inputs: &PlannerInputs) -> usize {
        let weight = fill::weight(&inputs.link, self.settings.part_bytes, request_bytes);
        let small = (fill::FULL_WEIGHT / weight).min(self.readers.active());
        let most = self.filling_requests(reader, inputs).saturating_mul(usize::try_from(small).unwrap_or(1).max(1));
        self.settings.concurrency.min(most)
    }

    /// The requests of full size that may be in flight ahead of the readers: as many as fill the link where the reader
    /// has announced that it will need the bytes, or where several read. A little fewer for a single one.
    fn filling_requests(&self, reader: ReaderId, inputs: &PlannerInputs) -> usize {
        let filling = fill::requests(&inputs.link, self.settings.part_bytes);
        let (share, of) =
            if self.is_announced_sequential(reader) || self.readers.active() > 1 { (1, 1) } else { AHEAD_SHARE };
        self.settings.concurrency.min((filling * share).div_ceil(of))
    }

    /// Computes the window of `stream` and the limits on speculation during this event. `None` where nothing may be
    /// fetched ahead.
    pub(super) fn update_window(
        &mut self,
        reader: ReaderId,
        id: ReadStreamId,
        inputs: &PlannerInputs,
    ) -> Option<SpeculationLimits> {
        let state = self.readers.get(reader)?;
        let stream = state.streams.get(id)?;
        let announced = state.announced == AnnouncedPattern::Sequential && stream.shape == StreamShape::Forward;
        let proven = match stream.shape {
            StreamShape::Forward => stream.run_reads + u64::from(stream.is_expected) >= self.settings.start_after,
            // Two backward reads of different lengths may be the end of a footer, and then the footer.
            StreamShape::Backward => stream.run_reads - u64::from(!stream.is_even()) >= self.settings.start_after,
            StreamShape::Strided { .. } => true,
        };
        let is_stream = proven || self.starts_at_once(reader, stream, inputs);
        if self.is_local
            || self.is_failing
            || state.announced == AnnouncedPattern::Random
            || !(announced || is_stream && !self.is_footer(stream.start))
        {
            return None;
        }
        let wanted = window(&inputs.link, stream.rate.bytes_per_s(), self.settings.part_bytes);
        let run_bytes = if announced { u64::MAX } else { inputs.runs.speculation_limit_bytes(stream.run_bytes) };
        if let Some(state) = self.readers.get_mut(reader) {
            state.window_bytes = wanted.ahead_bytes;
        }
        self.readers.on_moved(reader);
        // The memory of the object is divided among the places where it is read, so that the first reader does not
        // take all of it.
        let places = self.readers.places_apart(wanted.part_bytes);
        let (places, windows_bytes) = (places.count(), places.windows_bytes());
        let object_bytes = self.parts.account.outstanding_limit_bytes(windows_bytes);
        let most_bytes = self.settings.max_prefetch_bytes.min(inputs.share_bytes).min(object_bytes);
        // The reads of one reader follow each other, so its streams share one window of the link.
        let streams = self.readers.get(reader).map_or(1, |state| state.streams.active().count().max(1) as u64);
        let share = inputs.window_share;
        let link_bytes = share.most_bytes.max(wanted.part_bytes) / streams;
        let window = wanted.within((most_bytes / places).min(link_bytes), places.max(share.streams));
        if let Some(stream) = self.readers.get_mut(reader).and_then(|state| state.streams.get_mut(id)) {
            stream.ahead_bytes = window.ahead_bytes;
        }
        (self.window, self.window_wanted) = (window, wanted);
        Some(SpeculationLimits { run_bytes, object_bytes, free_bytes: inputs.free_bytes })
    }

    /// Whether any stream that is being read has a window.
    pub(crate) fn has_windows(&self) -> bool {
        self.readers.active() > 0
    }

    /// What the streams that are being read want ahead of them. Readers that have not read for `idle_after` want
    /// nothing.
    pub(crate) fn window_demand(&mut self, now: Duration, idle_after: Duration) -> WindowDemand {
        self.readers.activity.forget_idle(now, idle_after);
        let streams = self.readers.active();
        WindowDemand { streams, bytes_each: self.window_wanted.ahead_bytes, is_reading: self.is_being_read() }
    }

    /// Bytes that may still be fetched ahead of `stream`, with what is held and in flight now.
    fn remaining_bytes(&self, limits: SpeculationLimits, reader: ReaderId, id: ReadStreamId) -> u64 {
        let unread_bytes = self.stream(reader, id).map_or(0, |stream| self.unread_ahead_of(reader, stream));
        let announced_bytes = self.parts.map().index().announced_bytes;
        limits.remaining_bytes(unread_bytes, self.parts.account.outstanding_bytes.saturating_sub(announced_bytes))
    }

    /// Whether requests ahead of `stream` replace at least as many reads as they cost requests. This is true of small
    /// reads, and large ones are split below anyway. But where a read is about as long as a request, one request beyond
    /// the end of a run is one too many.
    fn saves_requests(&self, reader: ReaderId, stream: ReadStreamId, inputs: &PlannerInputs) -> bool {
        let Some(stream) = self.stream(reader, stream) else { return false };
        let mean_bytes = stream.run_bytes / stream.run_reads;
        let part_bytes = self.window_wanted.part_bytes;
        let alike = part_bytes / 8 * 3..part_bytes / 2 * 3;
        let known = self.is_announced_sequential(reader) || inputs.runs.is_long(stream.run_bytes);
        known
            || stream.run_reads >= LONG_RUN_READS
            || stream.shape != StreamShape::Forward
            || !alike.contains(&mean_bytes)
    }

    /// How many bytes longer than the read its own request may be. Zero but for forward streams: otherwise the reader
    /// would wait for bytes that it did not ask for.
    pub(super) fn lengthening_bytes(
        &self,
        limits: Option<SpeculationLimits>,
        reader: ReaderId,
        id: ReadStreamId,
    ) -> u64 {
        let Some(limits) = limits else { return 0 };
        match self.stream(reader, id).map(|stream| stream.shape) {
            // Without a known size, the store cuts the request off at the end of the object.
            Some(StreamShape::Forward) if self.size.is_some() || self.is_announced_sequential(reader) => {
                self.remaining_bytes(limits, reader, id)
            }
            _ => 0,
        }
    }

    /// The size of the next request ahead of `stream`, from `at` on.
    pub(super) fn request_bytes(&self, reader: ReaderId, stream: ReadStreamId, at: u64, inputs: &PlannerInputs) -> u64 {
        let Some(stream) = self.stream(reader, stream) else { return 0 };
        let announced = self.is_announced_sequential(reader);
        let limit_bytes = match inputs.runs.speculation_limit_bytes(stream.run_bytes) {
            _ if announced => u64::MAX,
            // Smaller first requests arrive earlier, and the run proves its length earlier.
            limit_bytes if self.starts_at_once(reader, stream, inputs) => limit_bytes / 2,
            limit_bytes => limit_bytes,
        };
        let requests = self.share_of_requests(reader, inputs);
        let round_trip_bytes = inputs.link.round_trip_bytes();
        let part_bytes =
            ramp_part_bytes(limit_bytes, stream.last_len(), self.window.part_bytes, requests, round_trip_bytes);
        let left_bytes = match stream.shape {
            StreamShape::Backward => at,
            _ => self.end_for(reader, stream).saturating_sub(at),
        };
        let left_bytes = if announced || stream.run_bytes >= self.window.ahead_bytes { left_bytes } else { u64::MAX };
        // Streams that share the link fill it together, so each of them needs fewer requests at its end.
        let left_bytes = left_bytes.saturating_mul(inputs.window_share.streams);
        let phase = if inputs.window_share.streams > 1 { self.settings.phase } else { 0 };
        let nth = if announced { stream.requests } else { phase.wrapping_add(self.requests) };
        request_bytes(nth, announced, part_bytes, left_bytes, self.settings.part_bytes.0)
    }

    /// Of the requests that fill the link, the share of the latest window: all, unless memory or the link is shared.
    fn share_of_requests(&self, reader: ReaderId, inputs: &PlannerInputs) -> u64 {
        let most = self.filling_requests(reader, inputs) as u64;
        self.window.ahead_bytes.saturating_mul(most) / self.window_wanted.ahead_bytes.max(1)
    }

    /// Where a forward stream of `reader` ends: where another reader began, because readers that divide an object read
    /// up to there, or with the object.
    fn end_for(&self, reader: ReaderId, stream: &ReadStream) -> u64 {
        let others = self.readers.activity.next_start(reader, stream.end).unwrap_or(u64::MAX);
        self.size.unwrap_or(u64::MAX).min(others)
    }

    fn stream(&self, reader: ReaderId, stream: ReadStreamId) -> Option<&ReadStream> {
        self.readers.get(reader)?.streams.get(stream)
    }

    /// Whether `stream` is the first of its reader, begins with byte 0, and such streams were long under this prefix.
    fn starts_at_once(&self, reader: ReaderId, stream: &ReadStream, inputs: &PlannerInputs) -> bool {
        let is_first = self.readers.get(reader).is_some_and(|state| state.streams.is_first(stream.id));
        is_first && stream.start == 0 && inputs.runs.starts_at_once()
    }

    fn is_announced_sequential(&self, reader: ReaderId) -> bool {
        self.readers.get(reader).is_some_and(|state| state.announced == AnnouncedPattern::Sequential)
    }

    /// Unread bytes ahead of `stream`, fetched for this stream or for others at the same place.
    fn unread_ahead_of(&self, reader: ReaderId, stream: &ReadStream) -> u64 {
        let parts = self.parts.map();
        let own_bytes = parts.index().unread_of(PartOwner::stream(reader, stream.id));
        let adjacent_bytes = match stream.shape {
            StreamShape::Forward => parts.covered_until(stream.end) - stream.end,
            StreamShape::Backward => stream.start - parts.covered_down_to(stream.start),
            StreamShape::Strided { .. } => 0,
        };
        adjacent_bytes.max(own_bytes)
    }

    /// The bytes to request next ahead of `stream`, if its window is not full.
    fn next_ahead(&self, reader: ReaderId, id: ReadStreamId, inputs: &PlannerInputs) -> Option<Range<u64>> {
        let stream = self.stream(reader, id)?;
        let ReadAheadWindow { ahead_bytes, part_bytes } = self.window;
        let (parts, size) = (self.parts.map(), self.size?);
        match stream.shape {
            StreamShape::Forward => {
                let at = parts.covered_until(stream.end);
                let next_stream = self.readers.get(reader)?.streams.next_start(stream).unwrap_or(u64::MAX);
                let bound = next_stream.min(self.end_for(reader, stream));
                let end = self.fit(at, self.request_bytes(reader, id, at, inputs)).min(bound);
                (at < end && end <= stream.end.saturating_add(ahead_bytes)).then_some(at..end)
            }
            StreamShape::Backward => {
                let at = parts.covered_down_to(stream.start);
                let wanted_bytes = self.request_bytes(reader, id, at, inputs);
                let start = at.saturating_sub(wanted_bytes).max(parts.end_below(at).unwrap_or(0));
                (start < at && start.saturating_add(ahead_bytes) >= stream.start).then_some(start..at)
            }
            StreamShape::Strided { step } => {
                let len = stream.last_len();
                let next = |start: &u64| start.checked_add_signed(step);
                // The first read ahead that is not fully covered, among as many as the window holds and as may be in
                // flight.
                let most = self.most_in_flight(reader, part_bytes, inputs).saturating_mul(2).saturating_add(1);
                let starts = successors(next(&stream.last.start), next).take(most);
                let reads = starts.map(|start| start..start.saturating_add(len).min(size));
                let reads = zip(1.., reads).take_while(|(n, read)| !read.is_empty() && n * len <= ahead_bytes);
                let mut missing = reads.map(|(_, read)| parts.covered_until(read.start)..read.end);
                let missing = missing.find(|missing| !missing.is_empty())?;
                Some(missing.start..self.fit(missing.start, part_bytes.min(missing.end - missing.start)))
            }
        }
    }
}
