//! Expects which ranges are read again: those to which the reader keeps returning between other reads.
//!
//! A reader of an index and its data returns to the index before each read of data. Reads of one range without others
//! between them are no visits: such a caller polls the range for changes.

use std::ops::Range;

use crate::planner::parts::PartId;

/// Different ranges remembered, and kept.
const MOST_RANGES: usize = 8;
/// The ranges that are kept have at most so many bytes together.
const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// Returns to a range after which one more is expected.
const RETURNS: u32 = 2;

/// The ranges that one reader has read last, and those to which it is expected to return.
#[derive(Debug, Default)]
pub(crate) struct Revisits {
    /// The latest at the back, each with the number of returns to it.
    latest: Vec<(Range<u64>, u32)>,
    /// The parts that are kept for returns, with their bytes, the latest at the back.
    kept: Vec<(PartId, u64)>,
}

impl Revisits {
    /// Whether `read` is the latest range once more: its reader looks for changes.
    pub(crate) fn is_latest(&self, read: &Range<u64>) -> bool {
        self.latest.last().is_some_and(|(range, _)| range == read)
    }

    /// Takes in a read, and returns whether the same range is expected to be read again and worth keeping.
    pub(crate) fn on_read(&mut self, read: &Range<u64>) -> bool {
        if self.is_latest(read) {
            return false;
        }
        let known = self.latest.iter().position(|(range, _)| range == read);
        let (range, returns) = known.map_or_else(|| (read.clone(), 0), |at| self.latest.remove(at));
        let returns = returns + u32::from(known.is_some());
        if self.latest.len() == MOST_RANGES {
            self.latest.remove(0);
        }
        self.latest.push((range, returns));
        returns >= RETURNS && read.end - read.start <= MOST_BYTES
    }

    /// Part `id` is kept for returns. Returns the parts that are no longer kept for it.
    pub(crate) fn keep(&mut self, id: PartId, bytes: u64) -> Vec<PartId> {
        self.kept.push((id, bytes));
        let mut given_up = Vec::new();
        while self.kept.len() > MOST_RANGES || self.kept.iter().map(|(_, bytes)| bytes).sum::<u64>() > MOST_BYTES {
            given_up.push(self.kept.remove(0).0);
        }
        given_up
    }

    /// The parts that are kept for returns.
    pub(crate) fn into_kept(self) -> impl Iterator<Item = PartId> {
        self.kept.into_iter().map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replays reads of one byte at these offsets and checks after which of them a return is expected.
    #[track_caller]
    fn check(reads: &[u64], expected: &[u64]) {
        let mut revisits = Revisits::default();
        let expects = |at: &&u64| revisits.on_read(&(**at..**at + 1));
        assert_eq!(reads.iter().filter(expects).copied().collect::<Vec<_>>(), expected, "{reads:?}");
    }

    #[test]
    fn a_range_that_is_visited_between_others_is_visited_again() {
        check(&[1, 2, 1, 3, 1, 4, 1, 5], &[1, 1]);
        check(&[1, 2, 3, 1, 2, 3, 1, 2, 3], &[1, 2, 3]);
    }

    /// A caller may read a range again by chance, and looks for a new version by reading nothing else.
    #[test]
    fn going_back_once_polling_and_reading_on_are_no_visits() {
        check(&[1, 2, 3, 4, 2, 5, 6, 7, 5, 8, 9, 10, 8], &[]);
        check(&[1, 1, 1, 1, 1, 1], &[]);
        check(&[1, 2, 1, 2, 1, 1, 1], &[1]);
        // Visits count only while the range is among the latest.
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 10, 11, 12, 13, 14, 15, 16, 17, 1], &[]);
    }
    #[test]
    fn few_ranges_with_few_bytes_are_kept() {
        let mut revisits = Revisits::default();
        let half = MOST_BYTES / 2;
        assert!([1, 2].iter().all(|id| revisits.keep(*id, half).is_empty()));
        assert_eq!(revisits.keep(3, half + 1), [1, 2]);
        assert!((4..11).all(|id| revisits.keep(id, 1).is_empty()));
        assert_eq!(revisits.keep(11, 1), [3]);
        assert_eq!(revisits.into_kept().collect::<Vec<_>>(), (4..12).collect::<Vec<_>>());
        // A larger range is not expected at all.
        let mut revisits = Revisits::default();
        let reads = (0..9).flat_map(|_| [0..MOST_BYTES + 1, 9..10]);
        assert_eq!(reads.filter(|read| revisits.on_read(read)).count(), 7);
    }
}
