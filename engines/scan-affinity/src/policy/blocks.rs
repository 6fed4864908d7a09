//! Cuts files into blocks. Pure: no plans, no I/O.

use std::ops::Range;

/// A part of a file that one worker reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileBlock {
    /// Offset in bytes at which the block begins; it names the block.
    pub(crate) start: u64,
    /// Size of the block in bytes.
    pub(crate) bytes: u64,
    /// What is read of it.
    pub(crate) range: Range<u64>,
}

/// Cuts a `range` of a file of `size` bytes at the multiples of `block_bytes`. A file that is no larger than a block is
/// one block.
///
/// The blocks of a file do not depend on the range, so that a block is the same however a plan divides the file. The
/// ranges are those of the blocks, in the order of the file; together they are `range`.
pub(crate) fn cut(size: u64, range: Range<u64>, block_bytes: u64) -> Vec<FileBlock> {
    if size <= block_bytes || block_bytes == 0 || range.is_empty() {
        return vec![FileBlock { start: 0, bytes: size, range }];
    }
    let first = range.start / block_bytes;
    let starts = (first..range.end.div_ceil(block_bytes)).map(|nth| nth * block_bytes);
    let block = |start: u64| {
        let end = start.saturating_add(block_bytes);
        let range = start.max(range.start)..end.min(range.end);
        FileBlock { start, bytes: end.min(size).saturating_sub(start), range }
    };
    starts.map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(size: u64, range: Range<u64>, expected: &[(u64, u64, Range<u64>)]) {
        let blocks: Vec<_> =
            cut(size, range, 100).into_iter().map(|block| (block.start, block.bytes, block.range)).collect();
        assert_eq!(blocks, expected);
    }

    #[test]
    fn files_are_cut_at_multiples_of_the_block_size() {
        check(0, 0..0, &[(0, 0, 0..0)]);
        check(100, 0..100, &[(0, 100, 0..100)]);
        check(100, 30..60, &[(0, 100, 30..60)]);
        check(250, 0..250, &[(0, 100, 0..100), (100, 100, 100..200), (200, 50, 200..250)]);
        check(250, 99..101, &[(0, 100, 99..100), (100, 100, 100..101)]);
        check(250, 100..200, &[(100, 100, 100..200)]);
    }

    proptest! {
        /// However a file is divided, the parts of a block have its name, and no byte is lost or read twice.
        #[test]
        fn blocks_do_not_depend_on_the_division(
            size in 1_u64..10_000,
            block_bytes in 1_u64..3000,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut.index(usize::try_from(size).unwrap()) as u64).collect();
            cuts.extend([0, size]);
            cuts.sort_unstable();
            cuts.dedup();
            let whole = cut(size, 0..size, block_bytes);
            let mut at = 0;
            for pair in cuts.windows(2) {
                for block in cut(size, pair[0]..pair[1], block_bytes) {
                    prop_assert_eq!(block.range.start, at);
                    prop_assert!(block.range.start < block.range.end);
                    at = block.range.end;
                    let same = whole.iter().find(|other| other.start == block.start).unwrap();
                    prop_assert_eq!(same.bytes, block.bytes);
                    prop_assert!(same.range.start <= block.range.start && block.range.end <= same.range.end);
                }
            }
            prop_assert_eq!(at, size);
            prop_assert_eq!(whole.iter().map(|block| block.bytes).sum::<u64>(), size);
        }
    }
}
