//! One request of an object and its state. The engine holds the bytes.

use std::ops::Range;
use std::time::Duration;

use crate::planner::parts::RangeSet;
use crate::planner::streams::PartOwner;

/// Identifies a part; never used twice within one object.
pub(crate) type PartId = u64;

/// One request and its state.
#[derive(Debug, Clone)]
pub(crate) struct PartState {
    pub(crate) id: PartId,
    pub(crate) range: Range<u64>,
    /// One past the last byte that has arrived.
    pub(crate) filled_to: u64,
    pub(crate) sent_at: Duration,
    /// When it is too old to be served as the present version, where a cache below has stated that.
    pub(crate) expires_at: Option<Duration>,
    /// Whether it is dropped as soon as no read uses it.
    pub(crate) is_given_up: bool,
    pub(crate) owner: PartOwner,
    /// Whether it is a range to which a reader keeps returning: it is kept, and served again where others are served
    /// once.
    pub(crate) is_revisited: bool,
    /// The bytes that reads have asked for.
    pub(crate) read: RangeSet,
    /// Reads that wait for it or copy from it now.
    pub(crate) readers: u32,
    /// Whether it may have become useless since the last sweep that looked at it.
    pub(crate) is_sweep_candidate: bool,
    /// Bytes of `range` that are not in `read`.
    unread_bytes: u64,
}

impl PartState {
    /// A part whose request for `range` has just been sent.
    pub(crate) fn new(id: PartId, range: Range<u64>, owner: PartOwner, now: Duration) -> Self {
        Self {
            id,
            filled_to: range.start,
            unread_bytes: range.end - range.start,
            range,
            sent_at: now,
            expires_at: None,
            is_given_up: false,
            owner,
            is_revisited: false,
            read: RangeSet::default(),
            readers: 0,
            is_sweep_candidate: true,
        }
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.filled_to < self.range.end
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.owner.stream.is_none()
    }

    pub(crate) fn unread_bytes(&self) -> u64 {
        self.unread_bytes
    }

    pub(crate) fn arrived_unread_bytes(&self) -> u64 {
        let arrived = self.range.start..self.filled_to;
        arrived.end - arrived.start - self.read.overlap(&arrived)
    }

    pub(crate) fn begin_read(&mut self, range: Range<u64>) {
        self.readers += 1;
        self.read.insert(range);
        self.count_unread();
    }

    /// Truncates it to end at `end`, or at its start.
    pub(crate) fn truncate(&mut self, end: u64) {
        self.range.end = end.max(self.range.start);
        self.filled_to = self.filled_to.min(self.range.end);
        self.count_unread();
    }

    fn count_unread(&mut self) {
        self.unread_bytes = self.range.end - self.range.start - self.read.overlap(&self.range);
    }
}
