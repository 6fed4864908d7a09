//! One stream of reads: where it is, which way it goes, and which reads belong to it. Pure.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crate::planner::messages::ReaderId;
use crate::planner::parts::range_set::RangeSet;
use crate::policy::window::ConsumerRate;

/// A stream skips ahead at most this far, or twice as far as its reads have been out of order, and is still the same stream.
const GAP_BYTES: u64 = 128 * 1024;
/// Reads of one stream that may be on their way at once and so arrive out of order.
const REORDER_READS: u64 = 8;
/// A hole up to this share of a read is fetched along with it: skipping it would cost a request each time.
const HOLE_SHARE: u64 = 10;
/// Kept behind a reader at least, in bytes: people look back a little.
const KEEP_BEHIND: u64 = 1024 * 1024;
/// Kept behind a reader at most, in bytes, however large its reads are.
pub(crate) const KEEP_BEHIND_MOST: u64 = 32 * 1024 * 1024;

/// Names a stream; never used twice within one object.
pub(crate) type ReadStreamId = u64;

/// StreamTable that one reader can name.
const NAMES_BITS: u32 = 40;

/// The name under which `reader` has parts that it announced; no stream has it, and all of its streams' names are higher.
pub(crate) fn announced_by(reader: ReaderId) -> ReadStreamId {
    reader << NAMES_BITS
}

/// The names of all of `reader`'s streams and of what it announced.
pub(crate) fn names_of(reader: ReaderId) -> RangeInclusive<ReadStreamId> {
    announced_by(reader)..=announced_by(reader) | ((1 << NAMES_BITS) - 1)
}

/// Whose stream, or announcement, `stream` is.
pub(crate) fn reader_of(stream: ReadStreamId) -> ReaderId {
    stream >> NAMES_BITS
}

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamShape {
    /// Up, each read where the last one ended. A single read counts as this.
    Forward,
    /// Down, each read ends where the last one began.
    Backward,
    /// Each read as far from the last one as that from the one before; up or down.
    Strided {
        /// From the start of one to the start of the next, in bytes.
        step: i64,
    },
}

/// How near a read is to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamMatch {
    /// It is just the read that was expected.
    Next,
    /// It may belong to it.
    Near,
    /// It does not belong to it.
    No,
}

/// Ranges that reach into a stretch of an object: those that end at or above `from` and start below `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeFilter {
    /// The lowest end.
    pub(crate) from: u64,
    /// One above the highest start.
    pub(crate) to: u64,
}

impl RangeFilter {
    /// Ranges with bytes at or after `start` that start below `to`.
    fn after(start: u64, to: u64) -> Self {
        Self { from: start.saturating_add(1), to }
    }

    /// Whether `range` is one of them.
    pub(crate) fn holds(self, range: &Range<u64>) -> bool {
        self.from <= range.end && range.start < self.to
    }

    /// All disjoint ranges that `before` holds and `now` does not, and at most one more at either end.
    pub(crate) fn lost(before: Option<Self>, now: Option<Self>) -> impl Iterator<Item = Self> {
        let (below, above) = match (before, now) {
            (Some(before), Some(now)) => {
                let below = Self { to: before.to.min(now.from), ..before };
                let above = Self { from: before.from.max(now.to), ..before };
                ((before.from < now.from).then_some(below), (now.to < before.to).then_some(above))
            }
            (before, _) => (before, None),
        };
        below.into_iter().chain(above)
    }
}

/// A run of reads, each where an earlier one has led.
#[derive(Debug, Clone)]
pub(crate) struct ReadStream {
    /// Its name.
    pub(crate) id: ReadStreamId,
    /// Which way it goes.
    pub(crate) shape: StreamShape,
    /// The lowest byte it has read.
    pub(crate) start: u64,
    /// One past the highest byte it has read.
    pub(crate) end: u64,
    /// Its latest read that went on.
    pub(crate) last: Range<u64>,
    /// Reads that count as evidence.
    pub(crate) run_reads: u64,
    /// Bytes of those reads.
    pub(crate) run_bytes: u64,
    /// Requests sent for it.
    pub(crate) requests: u64,
    /// How fast it is being read.
    pub(crate) rate: ConsumerRate,
    /// How far ahead of it bytes are wanted.
    pub(crate) ahead_bytes: u64,
    /// The number, among all reads of its reader, of its latest.
    pub(crate) read_number: u64,
    /// And that of the one before.
    pub(crate) read_before: u64,
    /// Whether the reader went elsewhere, and whether it ever came back after that.
    pub(crate) left: bool,
    pub(crate) came_back: bool,
    /// When it last waited for nothing, on the clock that stops while a read waits for us.
    think_time_at_last: Duration,
    /// Reads that came near its end, exact or not.
    joins: u64,
    /// Where the latest read that went back into it ended.
    revisited_to: Option<u64>,
    /// How far behind its end bytes were read for the first time.
    reorder_bytes: u64,
    /// What has been read above `seen_from`; below that, everything counts as read.
    seen: RangeSet,
    seen_from: u64,
}

impl ReadStream {
    /// A stream of one read.
    pub(crate) fn single(id: ReadStreamId, think_time: Duration, read: &Range<u64>, read_number: u64) -> Self {
        let mut seen = RangeSet::default();
        let bytes = seen.insert(read.clone());
        Self {
            id,
            shape: StreamShape::Forward,
            start: read.start,
            end: read.end,
            last: read.clone(),
            run_reads: 1,
            run_bytes: bytes,
            requests: 0,
            rate: ConsumerRate::default(),
            ahead_bytes: 0,
            read_number,
            read_before: read_number,
            left: false,
            came_back: false,
            think_time_at_last: think_time,
            joins: 0,
            revisited_to: None,
            reorder_bytes: 0,
            seen,
            seen_from: read.start,
        }
    }

    /// A stream of four reads, `step` apart, of which `read` is the last. Where little lies between them it is an ordinary one.
    pub(crate) fn strided(
        id: ReadStreamId,
        think_time: Duration,
        read: &Range<u64>,
        read_number: u64,
        step: i64,
    ) -> Self {
        let len = read.end - read.start;
        let first = read.start.saturating_add_signed(step.saturating_mul(-3));
        let bridged = step > 0 && step.unsigned_abs() <= len + len / HOLE_SHARE;
        let shape = if bridged { StreamShape::Forward } else { StreamShape::Strided { step } };
        let all = first.min(read.start)..read.end.max(first.saturating_add(len));
        let single = Self::single(id, think_time, read, read_number);
        let seen_from = if bridged { read.end } else { all.start };
        Self { shape, start: all.start, end: all.end, run_reads: 4, run_bytes: 4 * len, joins: 3, seen_from, ..single }
    }

    /// Whether it is a single read so far.
    pub(crate) fn is_single(&self) -> bool {
        self.run_reads == 1
    }

    /// Length of its latest read in bytes.
    pub(crate) fn last_len(&self) -> u64 {
        self.last.end - self.last.start
    }

    /// Whether anybody has come back to it: it is worth keeping.
    pub(crate) fn is_revisited(&self) -> bool {
        self.joins > 0
    }

    /// Where its reader is: the next read begins here, or ends here if it goes down.
    pub(crate) fn position(&self) -> u64 {
        match self.shape {
            StreamShape::Forward => self.end,
            StreamShape::Backward => self.start,
            StreamShape::Strided { step } => self.last.start.saturating_add_signed(step),
        }
    }

    /// How near `read` is. A single read has no neighbourhood but itself: otherwise random reads would seem to join.
    pub(crate) fn reach(&self, read: &Range<u64>) -> StreamMatch {
        let (up, down) = (read.start == self.end, read.end == self.start);
        let within = |low: u64, high: u64| (low..=high).contains(&read.start);
        let (next, near) = match self.shape {
            StreamShape::Forward if self.is_single() => (up || down, self.start <= read.start && read.end <= self.end),
            StreamShape::Forward => {
                let low = self.end.saturating_sub(self.behind_bytes()).max(self.start);
                (up, down && self.reorder_bytes > 0 || within(low, self.end.saturating_add(self.skip_bytes())))
            }
            // Two reads down may as well be two reads of a stream in another order.
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

    /// Whether `read`, which is near, is the second in a row within what has been read already.
    pub(crate) fn is_second_revisit(&mut self, read: &Range<u64>) -> bool {
        let second = self.revisited_to == Some(read.start) && self.fresh_bytes(read) == 0;
        if second {
            self.revisited_to = None;
        }
        second
    }

    /// Takes in a read that belongs to it, `expected` or near. Returns whether it is evidence that the stream goes on.
    pub(crate) fn take(&mut self, think_time: Duration, read: &Range<u64>, read_number: u64, expected: bool) -> bool {
        self.joins += 1;
        self.read_before = std::mem::replace(&mut self.read_number, read_number);
        let fresh = self.fresh_bytes(read);
        let evidence = expected || (fresh > 0 && self.joins > 2);
        if evidence {
            self.turn(read);
            self.rate.on_read(think_time.saturating_sub(self.think_time_at_last), read.end - read.start);
            self.run_reads += 1;
            self.run_bytes += read.end - read.start;
            self.came_back |= self.left;
            self.left = false;
            self.last = read.clone();
        }
        if fresh == 0 {
            self.revisited_to = Some(read.end);
        } else if self.shape == StreamShape::Forward && read.start < self.end {
            self.reorder_bytes = self.reorder_bytes.max(self.end - read.start);
        }
        self.think_time_at_last = think_time;
        self.see(read);
        evidence
    }

    /// Whether it ended because the object of `size` bytes did.
    pub(crate) fn is_at_the_end(&self, size: Option<u64>) -> bool {
        let Some(size) = size.filter(|_| !self.is_single()) else { return false };
        match self.shape {
            StreamShape::Forward => self.end >= size,
            StreamShape::Backward => self.start == 0,
            StreamShape::Strided { step } if step > 0 => self.position() >= size,
            StreamShape::Strided { step } => self.last.start < step.unsigned_abs(),
        }
    }

    /// A read was answered.
    pub(crate) fn on_answered(&mut self, think_time: Duration) {
        self.think_time_at_last = think_time;
    }

    /// The reader goes elsewhere. True where it has not yet shown that it comes back.
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

    /// Becomes one with `other`, which it has caught up with.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.run_reads += other.run_reads;
        self.run_bytes += other.run_bytes;
        self.requests += other.requests;
        self.joins += other.joins + 1;
        if other.end > self.end {
            self.reorder_bytes = self.reorder_bytes.max(other.end - self.end + self.last_len());
        }
        self.see(&(other.start..other.end));
    }

    /// Whether bytes of `range` lie ahead of it and are wanted: all that was fetched for it (`own`), and what others have fetched as
    /// far as the window reaches.
    pub(crate) fn is_ahead(&self, range: &Range<u64>, own: bool) -> bool {
        self.ahead(own).is_some_and(|reached| reached.holds(range))
    }

    /// The ranges for which [`ReadStream::is_ahead`] is true.
    pub(crate) fn ahead(&self, own: bool) -> Option<RangeFilter> {
        match self.shape {
            StreamShape::Forward => {
                let to = if own { u64::MAX } else { self.end.saturating_add(self.ahead_bytes) };
                Some(RangeFilter::after(self.end, to))
            }
            StreamShape::Backward if own => Some(RangeFilter { from: 0, to: self.start }),
            StreamShape::Backward => {
                let from = self.start.saturating_add(1).saturating_sub(self.ahead_bytes);
                Some(RangeFilter { from, to: self.start })
            }
            StreamShape::Strided { step } if step > 0 => own.then(|| RangeFilter::after(self.last.end, u64::MAX)),
            StreamShape::Strided { .. } => own.then_some(RangeFilter { from: 0, to: self.last.start }),
        }
    }

    /// The ranges with bytes that are kept behind the reader: the last read, a mebibyte, twice the disorder seen.
    pub(crate) fn just_behind(&self) -> RangeFilter {
        let wanted = self.last_len().max(2 * self.reorder_bytes);
        let keep = wanted.clamp(KEEP_BEHIND, KEEP_BEHIND_MOST);
        match self.shape {
            StreamShape::Forward => RangeFilter::after(self.end.saturating_sub(keep), self.end),
            StreamShape::Backward => RangeFilter::after(self.start, self.start.saturating_add(keep)),
            StreamShape::Strided { .. } => RangeFilter::after(self.last.start, self.last.end),
        }
    }

    /// Goes the way that `read`, which is evidence, leads.
    fn turn(&mut self, read: &Range<u64>) {
        let weak = self.run_reads <= 2;
        if weak && read.end == self.start && self.shape == StreamShape::Forward && self.is_single() {
            self.shape = StreamShape::Backward;
        } else if weak && read.start == self.end && self.shape == StreamShape::Backward {
            self.shape = StreamShape::Forward;
        }
    }

    /// Bytes of `read` that it has not read before.
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

    fn see(&mut self, read: &Range<u64>) {
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

    /// How far behind its end a read may still belong to it, in bytes.
    fn behind_bytes(&self) -> u64 {
        self.last_len().saturating_mul(REORDER_READS)
    }

    fn skip_bytes(&self) -> u64 {
        GAP_BYTES.max(2 * self.reorder_bytes.min(self.behind_bytes()))
    }
}
