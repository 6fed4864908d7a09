//! One stream of reads: its position and shape, and which reads belong to it.

use std::ops::Range;
use std::time::Duration;

use crate::planner::parts::RangeSet;
use crate::planner::streams::ReadStreamId;
use crate::policy::window::ConsumerRate;

/// A stream may skip this far ahead, or twice as far as its reads have been out of order.
const GAP_BYTES: u64 = 128 * 1024;
/// Reads of one stream that may be in flight at once and so arrive out of order.
const REORDER_READS: u64 = 8;
/// A hole of up to one tenth of a read is fetched along with the read: skipping it would cost a request each time.
const HOLE_SHARE: u64 = 10;
/// Bytes kept behind a reader at least, for short seeks back.
const KEEP_BEHIND_BYTES: u64 = 1024 * 1024;
/// Until a run has so many reads, its last read is kept: whether the reader repeats its reads is not known yet. Larger
/// reads than 1 MiB, each kept until the next, were a tenth of the memory of a run (docs/decisions.md).
const YOUNG_RUN_READS: u64 = 3;
/// Where bytes are served once, a caller that has gone back so often gets what it has just read again.
const TIMES_BACK: u32 = 2;
/// Bytes kept behind a reader at most, however large its reads are.
pub(crate) const KEEP_BEHIND_MOST_BYTES: u64 = 32 * 1024 * 1024;

/// The direction and distance of a stream's reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StreamShape {
    /// Each read begins where the last one ended. A single read counts as forward.
    #[default]
    Forward,
    /// Each read ends where the last one began.
    Backward,
    /// The starts of reads are equally far apart, up or down.
    Strided { step: i64 },
}

/// How well a read fits a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamMatch {
    /// The expected next read.
    Next,
    /// A read near the expected one; it may belong to the stream.
    Near,
    No,
}

/// A set of ranges: those that end at or above `min_end` and start below `start_below`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeFilter {
    pub(crate) min_end: u64,
    pub(crate) start_below: u64,
}

impl RangeFilter {
    /// Ranges with bytes at or after `start` that start below `start_below`.
    fn after(start: u64, start_below: u64) -> Self {
        Self { min_end: start.saturating_add(1), start_below }
    }

    pub(crate) fn matches(self, range: &Range<u64>) -> bool {
        self.min_end <= range.end && range.start < self.start_below
    }

    /// Filters that match the ranges which `before` matches and `now` does not. Of disjoint ranges they match at most
    /// one more at either end.
    pub(crate) fn difference(before: Option<Self>, now: Option<Self>) -> impl Iterator<Item = Self> {
        let (below, above) = match (before, now) {
            (Some(before), Some(now)) => {
                let below = Self { start_below: before.start_below.min(now.min_end), ..before };
                let above = Self { min_end: before.min_end.max(now.start_below), ..before };
                (
                    (before.min_end < now.min_end).then_some(below),
                    (now.start_below < before.start_below).then_some(above),
                )
            }
            (before, _) => (before, None),
        };
        below.into_iter().chain(above)
    }
}

/// A run of reads that follow each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadStream {
    pub(crate) id: ReadStreamId,
    pub(crate) shape: StreamShape,
    pub(crate) start: u64,
    /// One past the highest byte read.
    pub(crate) end: u64,
    /// The latest read that continued the stream.
    pub(crate) last: Range<u64>,
    /// Reads that continued the stream.
    pub(crate) run_reads: u64,
    /// Bytes of those reads.
    pub(crate) run_bytes: u64,
    pub(crate) requests: u64,
    /// How fast its reader takes bytes.
    pub(crate) rate: ConsumerRate,
    /// Bytes wanted ahead of the position.
    pub(crate) ahead_bytes: u64,
    /// The number of the latest read, among all reads of the reader.
    pub(crate) read_number: u64,
    /// The number of the read before.
    pub(crate) read_before: u64,
    /// Whether this single read is expected to be continued, because the reader continues its reads by turns.
    pub(crate) is_expected: bool,
    /// Whether the reader went elsewhere, and whether it ever came back after that.
    pub(crate) left: bool,
    pub(crate) came_back: bool,
    /// Think time of the reader when it last got an answer.
    think_time_at_answer: Duration,
    /// Reads that matched the stream, exactly or nearly.
    joins: u64,
    /// Where the latest read within already read bytes ended.
    revisited_to: Option<u64>,
    /// How far back the reader went to bytes that it had read, as far as they may be kept.
    revisit_bytes: u64,
    /// How often it went back. Reading the latest range again is not going back: such a caller polls.
    times_back: u32,
    /// How far behind `end` bytes were read for the first time.
    reorder_bytes: u64,
    /// Bytes read above `seen_from`; all bytes below count as read.
    seen: RangeSet,
    seen_from: u64,
}

impl ReadStream {
    pub(crate) fn single(id: ReadStreamId, think_time: Duration, read: &Range<u64>, read_number: u64) -> Self {
        let mut seen = RangeSet::default();
        let bytes = seen.insert(read.clone());
        Self {
            id,
            start: read.start,
            end: read.end,
            last: read.clone(),
            run_reads: 1,
            run_bytes: bytes,
            read_number,
            read_before: read_number,
            think_time_at_answer: think_time,
            seen,
            seen_from: read.start,
            ..Self::default()
        }
    }

    /// The stream of four reads that are `step` apart, of which this single read is the last. With small holes between
    /// the reads it is a forward stream.
    pub(crate) fn strided(self, step: i64) -> Self {
        let (read, len) = (self.last.clone(), self.last_len());
        let first = read.start.saturating_add_signed(step.saturating_mul(-3));
        let bridged = step > 0 && step.unsigned_abs() <= len + len / HOLE_SHARE;
        let shape = if bridged { StreamShape::Forward } else { StreamShape::Strided { step } };
        let all = first.min(read.start)..read.end.max(first.saturating_add(len));
        let seen_from = if bridged { read.end } else { all.start };
        Self { shape, start: all.start, end: all.end, run_reads: 4, run_bytes: 4 * len, joins: 3, seen_from, ..self }
    }

    pub(crate) fn is_single(&self) -> bool {
        self.run_reads == 1
    }

    /// Whether its reads are on average as long as the last one.
    pub(crate) fn is_even(&self) -> bool {
        self.run_bytes == self.run_reads * self.last_len()
    }

    pub(crate) fn last_len(&self) -> u64 {
        self.last.end - self.last.start
    }

    /// Whether bytes behind it are kept: where it is the reader's `latest`, or a later read came back to it. Where
    /// bytes are served `once`, only if the reader went back several times.
    pub(crate) fn is_kept_behind(&self, latest: bool, once: bool) -> bool {
        if once { self.times_back >= TIMES_BACK } else { latest || self.joins > 0 }
    }

    /// The position of the reader: the next read begins here, or ends here in a backward stream.
    pub(crate) fn position(&self) -> u64 {
        match self.shape {
            StreamShape::Forward => self.end,
            StreamShape::Backward => self.start,
            StreamShape::Strided { step } => self.last.start.saturating_add_signed(step),
        }
    }

    /// How well `read` fits. Only reads within a single read are near it; otherwise random reads would seem to continue
    /// it.
    pub(crate) fn match_read(&self, read: &Range<u64>) -> StreamMatch {
        let (up, down) = (read.start == self.end, read.end == self.start);
        let within = |low: u64, high: u64| (low..=high).contains(&read.start);
        let (next, near) = match self.shape {
            StreamShape::Forward if self.is_single() => (up || down, self.start <= read.start && read.end <= self.end),
            StreamShape::Forward => {
                let low = self.end.saturating_sub(self.behind_bytes()).max(self.start);
                (up, down && self.reorder_bytes > 0 || within(low, self.end.saturating_add(self.skip_bytes())))
            }
            // Two backward reads may be two reads of a forward stream in another order.
            StreamShape::Backward => {
                let low = self.start.saturating_sub(self.skip_bytes());
                let high = self.start.saturating_add(self.behind_bytes()).min(self.end);
                (down || up && self.run_reads == 2, low <= read.start && read.end <= high)
            }
            StreamShape::Strided { step } => {
                let expected = self.position();
                let skipped = expected.saturating_add_signed(step);
                let again = self.last.start <= read.start && read.end <= self.last.end;
                (read.start == expected, read.start == skipped || again)
            }
        };
        match (next, near) {
            (true, _) => StreamMatch::Next,
            (_, true) => StreamMatch::Near,
            _ => StreamMatch::No,
        }
    }

    /// Whether `read`, which is near, is the second in a row within already read bytes.
    pub(crate) fn is_second_revisit(&mut self, read: &Range<u64>) -> bool {
        let second = self.revisited_to == Some(read.start) && self.fresh_bytes(read) == 0;
        if second {
            self.revisited_to = None;
        }
        second
    }

    /// Takes in a read that belongs to the stream, `expected` or near. Returns whether the read continues the stream.
    pub(crate) fn record_read(&mut self, think_time: Duration, read: &Range<u64>, number: u64, expected: bool) -> bool {
        self.joins += 1;
        self.read_before = std::mem::replace(&mut self.read_number, number);
        let fresh = self.fresh_bytes(read);
        let evidence = expected || (fresh > 0 && self.joins > 2);
        if evidence {
            self.update_shape(read);
            self.rate.on_read(think_time.saturating_sub(self.think_time_at_answer), read.end - read.start);
            self.is_expected = false;
            self.run_reads += 1;
            self.run_bytes += read.end - read.start;
            self.came_back |= self.left;
            self.left = false;
            self.last = read.clone();
        }
        if fresh == 0 {
            let polls = self.revisited_to == Some(read.end) || self.last == *read;
            self.times_back += u32::from(!polls);
            self.revisited_to = Some(read.end);
            let back = if self.shape == StreamShape::Backward { read.end - self.start } else { self.end - read.start };
            if back <= KEEP_BEHIND_MOST_BYTES {
                self.revisit_bytes = self.revisit_bytes.max(back);
            }
        } else if self.shape == StreamShape::Forward && read.start < self.end {
            self.reorder_bytes = self.reorder_bytes.max(self.end - read.start);
        }
        self.think_time_at_answer = think_time;
        self.record_seen(read);
        evidence
    }

    /// Whether it ended because the object of `size` bytes ended.
    pub(crate) fn is_at_the_end(&self, size: Option<u64>) -> bool {
        let Some(size) = size.filter(|_| !self.is_single()) else { return false };
        match self.shape {
            StreamShape::Forward => self.end >= size,
            StreamShape::Backward => self.start == 0,
            StreamShape::Strided { step } if step > 0 => self.position() >= size,
            StreamShape::Strided { step } => self.last.start < step.unsigned_abs(),
        }
    }

    pub(crate) fn on_answered(&mut self, think_time: Duration) {
        self.think_time_at_answer = think_time;
    }

    /// The reader goes elsewhere. Returns whether it has never come back so far.
    pub(crate) fn leave(&mut self) -> bool {
        self.left = true;
        !self.came_back
    }

    /// Whether `other` lies just ahead, where reads of this stream in another order would be.
    pub(crate) fn has_caught_up_with(&self, other: &Self) -> bool {
        let reach = self.last_len().max(other.last_len()).saturating_mul(REORDER_READS);
        (self.shape, other.shape) == (StreamShape::Forward, StreamShape::Forward)
            && !self.is_single()
            && self.start < other.start
            && other.start <= self.end
            && other.end <= self.end.saturating_add(reach)
    }

    pub(crate) fn absorb(&mut self, other: &Self) {
        self.run_reads += other.run_reads;
        self.run_bytes += other.run_bytes;
        self.requests += other.requests;
        self.joins += other.joins + 1;
        if other.end > self.end {
            self.reorder_bytes = self.reorder_bytes.max(other.end - self.end + self.last_len());
        }
        self.record_seen(&(other.start..other.end));
    }

    /// Whether `range` is ahead and wanted: any part of its own (`own`), and parts of others within the window.
    pub(crate) fn is_ahead(&self, range: &Range<u64>, own: bool) -> bool {
        self.ahead(own).is_some_and(|filter| filter.matches(range))
    }

    /// The ranges that [`ReadStream::is_ahead`] accepts.
    pub(crate) fn ahead(&self, own: bool) -> Option<RangeFilter> {
        match self.shape {
            StreamShape::Forward => {
                let start_below = if own { u64::MAX } else { self.end.saturating_add(self.ahead_bytes) };
                Some(RangeFilter::after(self.end, start_below))
            }
            StreamShape::Backward if own => Some(RangeFilter { min_end: 0, start_below: self.start }),
            StreamShape::Backward => {
                let min_end = self.start.saturating_add(1).saturating_sub(self.ahead_bytes);
                Some(RangeFilter { min_end, start_below: self.start })
            }
            StreamShape::Strided { step } if step > 0 => own.then(|| RangeFilter::after(self.last.end, u64::MAX)),
            StreamShape::Strided { .. } => own.then_some(RangeFilter { min_end: 0, start_below: self.last.start }),
        }
    }

    /// The ranges kept behind the reader: at least 1 MiB, the last read where the run is young or its reads overlap,
    /// twice the disorder seen, and as far as the reader went back before.
    pub(crate) fn just_behind(&self) -> RangeFilter {
        let overlaps = self.run_bytes > self.end.saturating_sub(self.start);
        let last_bytes = if overlaps || self.run_reads <= YOUNG_RUN_READS { self.last_len() } else { 0 };
        let wanted = last_bytes.max(2 * self.reorder_bytes).max(self.revisit_bytes);
        let keep = wanted.clamp(KEEP_BEHIND_BYTES, KEEP_BEHIND_MOST_BYTES);
        match self.shape {
            StreamShape::Forward => RangeFilter::after(self.end.saturating_sub(keep), self.end),
            StreamShape::Backward => RangeFilter::after(self.start, self.start.saturating_add(keep)),
            StreamShape::Strided { .. } => RangeFilter::after(self.last.start, self.last.end),
        }
    }

    /// Updates the shape after `read`, which continues the stream.
    fn update_shape(&mut self, read: &Range<u64>) {
        let weak = self.run_reads <= 2;
        if weak && read.end == self.start && self.shape == StreamShape::Forward && self.is_single() {
            self.shape = StreamShape::Backward;
        } else if weak && read.start == self.end && self.shape == StreamShape::Backward {
            self.shape = StreamShape::Forward;
        }
    }

    /// Bytes of `read` that the stream has not read before.
    fn fresh_bytes(&self, read: &Range<u64>) -> u64 {
        match self.shape {
            StreamShape::Forward => {
                let above = read.start.max(self.seen_from)..read.end.max(self.seen_from);
                let below = read.end.min(self.start).saturating_sub(read.start);
                above.end - above.start - self.seen.overlap(&above) + below
            }
            StreamShape::Backward => read.end.min(self.start).saturating_sub(read.start),
            StreamShape::Strided { .. } => {
                let again = read.end.min(self.last.end).saturating_sub(read.start.max(self.last.start));
                read.end - read.start - again.min(read.end - read.start)
            }
        }
    }

    fn record_seen(&mut self, read: &Range<u64>) {
        if self.seen_from == self.start {
            self.seen_from = self.seen_from.min(read.start);
        }
        (self.start, self.end) = (self.start.min(read.start), self.end.max(read.end));
        if self.shape == StreamShape::Forward {
            self.seen.insert(read.clone());
            self.seen_from = self.seen_from.max(self.end.saturating_sub(2 * self.behind_bytes()));
            self.seen.forget_below(self.seen_from);
        }
    }

    /// How far behind `end` a read may belong to the stream, in bytes.
    fn behind_bytes(&self) -> u64 {
        self.last_len().saturating_mul(REORDER_READS)
    }

    fn skip_bytes(&self) -> u64 {
        GAP_BYTES.max(2 * self.reorder_bytes.min(self.behind_bytes()))
    }
}
