//! Expects which single reads a reader continues next, where it reads several streams by turns.
//!
//! A reader of 16 streams by turns makes 16 single reads before any stream has a second read. Without an expectation,
//! each of the 16 second reads takes a round trip of its own.

use crate::planner::streams::{FoundStream, ReadStream, ReadStreamId, StreamJoin, StreamShape};

/// What is expected of the next reads of one reader.
#[derive(Debug, Default)]
pub(crate) struct ReadTurns {
    /// The single read that the next read is expected to continue.
    expected: Option<ReadStreamId>,
    /// Whether an expectation was wrong. Then nothing is expected of this reader any more.
    was_wrong: bool,
}

impl ReadTurns {
    /// Takes in read number `number`, which was `found` to belong to a stream of `table`. Returns the single reads that
    /// are newly expected to be continued, in this order, and marks them.
    ///
    /// Where a read continues a single read, those of equal length that were made since then are expected to be
    /// continued next: the first of them, or all where the read before was continued in the same order.
    pub(crate) fn on_read(&mut self, table: &mut [ReadStream], number: u64, found: &FoundStream) -> Vec<ReadStreamId> {
        self.was_wrong |= self.expected.take().is_some_and(|expected| expected != found.stream);
        let is_second = |stream: &&ReadStream| stream.run_reads == 2 && stream.shape == StreamShape::Forward;
        let stream = table.iter().find(|stream| stream.id == found.stream).filter(is_second);
        let Some(stream) = stream.filter(|_| found.join == StreamJoin::Continued && !self.was_wrong) else {
            return Vec::new();
        };
        let (since, len) = (stream.read_before, stream.last_len());
        let before = table.iter().find(|other| other.read_number + 1 == number);
        let in_order = before.is_some_and(|before| before.read_before + 1 == since);
        let is_next =
            |other: &&mut ReadStream| other.is_single() && other.read_number > since && other.last_len() == len;
        let mut next = Vec::new();
        for single in table.iter_mut().filter(is_next).take(if in_order { usize::MAX } else { 1 }) {
            self.expected.get_or_insert(single.id);
            if !std::mem::replace(&mut single.is_expected, true) {
                next.push(single.id);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::planner::streams::{StreamIds, StreamTable};

    const M: u64 = 1 << 20;

    /// Replays reads of `(offset, len)` and checks the streams that each read lets be expected.
    #[track_caller]
    fn check(reads: &[(u64, u64)], expected: &[&[u64]]) {
        let (mut table, mut ids) = (StreamTable::default(), StreamIds::default());
        let in_turn = |&(at, len): &(u64, u64)| {
            let found = table.on_read(&mut ids, Duration::ZERO, &(at * M..(at + len) * M));
            found.in_turn.iter().map(|stream| stream.0).collect::<Vec<_>>()
        };
        assert_eq!(reads.iter().map(in_turn).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_read_in_turn_lets_one_more_be_expected_and_two_let_all() {
        let round = |at: u64| [0, 100, 250, 450, 700].map(|start| (start + at, 1));
        check(
            &[round(0), round(1), round(2)].concat(),
            &[&[], &[], &[], &[], &[], &[2], &[3, 4, 5], &[], &[], &[], &[], &[], &[], &[], &[]],
        );
    }

    #[test]
    fn nothing_is_expected_of_a_run_or_of_reads_of_another_length() {
        check(&[(0, 1), (1, 1), (2, 1)], &[&[], &[], &[]]);
        check(&[(0, 1), (500, 2), (1, 1), (502, 2)], &[&[], &[], &[], &[]]);
        // A long run, then single reads, then the run again.
        check(&[(0, 1), (1, 1), (500, 1), (2, 1)], &[&[], &[], &[], &[]]);
    }

    #[test]
    fn a_wrong_expectation_is_the_last() {
        let reads = [(0, 1), (100, 1), (1, 1), (300, 1), (50, 1), (700, 1), (51, 1), (701, 1)];
        check(&reads, &[&[], &[], &[2], &[], &[], &[], &[], &[]]);
    }
}
