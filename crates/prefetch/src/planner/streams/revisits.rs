//! Expects which ranges are read again: those to which the reader keeps returning between other reads.
//!
//! A reader of an index and its data returns to the index before each read of data. Reads of one range without others
//! between them are no visits: such a caller polls the range for changes.

use std::ops::Range;

/// Different ranges remembered.
const MOST_RANGES: usize = 8;
/// Returns to a range after which one more is expected.
const RETURNS: u32 = 2;

/// The ranges that were read last, the latest at the back, each with the number of returns to it.
#[derive(Debug, Default)]
pub(crate) struct Revisits {
    latest: Vec<(Range<u64>, u32)>,
}

impl Revisits {
    /// Takes in a read, and returns whether the same range is expected to be read again.
    pub(crate) fn on_read(&mut self, read: &Range<u64>) -> bool {
        let known = self.latest.iter().position(|(range, _)| range == read);
        let (range, mut returns) = known.map_or_else(|| (read.clone(), 0), |at| self.latest.remove(at));
        // Where it was the latest, it was removed from the back.
        returns += u32::from(known.is_some_and(|at| at < self.latest.len()));
        if self.latest.len() == MOST_RANGES {
            self.latest.remove(0);
        }
        self.latest.push((range, returns));
        returns >= RETURNS
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
        // Visits count only while the range is among the latest.
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 10, 11, 12, 13, 14, 15, 16, 17, 1], &[]);
    }
}
