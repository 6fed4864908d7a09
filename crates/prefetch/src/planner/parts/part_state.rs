//! One request of an object and what became of it. Pure; the engine holds the bytes.

use std::ops::Range;
use std::time::Duration;

use crate::planner::parts::range_set::RangeSet;
use crate::planner::streams::read_stream::{ReadStreamId, announced_by, reader_of};

/// Names a part; never used twice within one object.
pub(crate) type PartId = u64;

/// One request and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct PartState {
    /// Its name.
    pub(crate) id: PartId,
    /// The bytes it covers.
    pub(crate) range: Range<u64>,
    /// One past the last byte that has arrived.
    pub(crate) filled_to: u64,
    /// When it was sent.
    pub(crate) sent_at: Duration,
    /// When it is too old to be served as the present version, where a cache below has said so.
    pub(crate) expires_at: Option<Duration>,
    /// The stream it was fetched for, or the name of a reader's announcements.
    pub(crate) stream: ReadStreamId,
    /// The bytes of it that were read.
    pub(crate) read: RangeSet,
    /// Reads that wait for it or copy from it now.
    pub(crate) readers: u32,
    /// Whether it may have become useless since that was last looked into.
    pub(crate) is_sweep_candidate: bool,
    /// Bytes of `range` that are not in `read`.
    unread: u64,
}

impl PartState {
    /// A request for `range` that has just been sent.
    pub(crate) fn new(id: PartId, range: Range<u64>, stream: ReadStreamId, now: Duration) -> Self {
        Self {
            id,
            filled_to: range.start,
            unread: range.end - range.start,
            range,
            sent_at: now,
            expires_at: None,
            stream,
            read: RangeSet::default(),
            readers: 0,
            is_sweep_candidate: true,
        }
    }

    /// Whether bytes are still on their way.
    #[must_use]
    pub(crate) fn in_flight(&self) -> bool {
        self.filled_to < self.range.end
    }

    /// Whether a hint has announced it.
    #[must_use]
    pub(crate) fn is_announced(&self) -> bool {
        self.stream == announced_by(reader_of(self.stream))
    }

    /// Bytes nobody has read.
    #[must_use]
    pub(crate) fn unread(&self) -> u64 {
        self.unread
    }

    /// Bytes that have arrived and that nobody has read.
    #[must_use]
    pub(crate) fn arrived_unread(&self) -> u64 {
        let arrived = self.range.start..self.filled_to;
        arrived.end - arrived.start - self.read.overlap(&arrived)
    }

    /// Somebody reads `range` of it from here on.
    pub(crate) fn begin_read(&mut self, range: Range<u64>) {
        self.readers += 1;
        self.read.insert(range);
        self.count_unread();
    }

    /// It ends at `end`, or where it starts.
    pub(crate) fn cut(&mut self, end: u64) {
        self.range.end = end.max(self.range.start);
        self.filled_to = self.filled_to.min(self.range.end);
        self.count_unread();
    }

    fn count_unread(&mut self) {
        self.unread = self.range.end - self.range.start - self.read.overlap(&self.range);
    }
}
