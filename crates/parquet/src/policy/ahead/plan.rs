//! What is to be done for a call.

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
