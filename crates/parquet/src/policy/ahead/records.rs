//! What is to be done for a call, and what is recorded of the calls before.

use std::collections::BTreeSet;
use std::ops::Range;

/// What to do for a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AheadPlan {
    /// Ranges to request, most urgent first.
    pub(crate) advise: Vec<Range<u64>>,
    /// Ranges that were requested and will not be read.
    pub(crate) forget: Vec<Range<u64>>,
}

impl AheadPlan {
    /// Adds a range to request, joined to the last one where they adjoin: neighbouring columns are one request.
    pub(super) fn request(&mut self, range: Range<u64>) {
        match self.advise.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => self.advise.push(range),
        }
    }
}

/// Bytes of one reader, by their fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AheadCounts {
    /// Asked for, of column chunks.
    pub(crate) demanded_bytes: u64,
    /// Requested ahead.
    pub(crate) advised_bytes: u64,
    /// Of those, asked for later.
    pub(crate) used_bytes: u64,
    /// Of those, not asked for before the reader went on.
    pub(crate) wasted_bytes: u64,
}

/// A chunk that was requested ahead, at least its first bytes.
#[derive(Debug, Clone)]
pub(super) struct AdvisedChunk {
    pub(super) range: Range<u64>,
    pub(super) used_bytes: u64,
}

impl AdvisedChunk {
    pub(super) fn unread_bytes(&self) -> u64 {
        len(&self.range).saturating_sub(self.used_bytes)
    }
}

/// The row group that is being read.
#[derive(Debug, Default)]
pub(super) struct RowGroupInProgress {
    pub(super) row_group: usize,
    /// Columns of which bytes were asked for.
    pub(super) asked: BTreeSet<usize>,
    /// Columns that were asked for as a whole. Where only pages were, the next row group needs others.
    pub(super) whole: BTreeSet<usize>,
}

/// The bytes of a range.
pub(super) fn len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}
