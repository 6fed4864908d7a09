//! Where the column chunks of a file lie.

use std::ops::Range;

/// A column chunk: a leaf column of a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ColumnChunkId {
    /// Its row group, counted from 0.
    pub(crate) row_group: usize,
    /// Its leaf column, counted from 0.
    pub(crate) column: usize,
}

/// The byte ranges of all column chunks of a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowGroupLayout {
    /// By row group and column.
    row_groups: Vec<Vec<Range<u64>>>,
    /// The chunks that are not empty, by their starts.
    by_start: Vec<(u64, ColumnChunkId)>,
}

impl RowGroupLayout {
    /// A layout of `row_groups`, each with the ranges of its columns.
    pub(crate) fn new(row_groups: Vec<Vec<Range<u64>>>) -> Self {
        let mut by_start = Vec::new();
        for (row_group, columns) in row_groups.iter().enumerate() {
            for (column, range) in columns.iter().enumerate().filter(|(_, range)| !range.is_empty()) {
                by_start.push((range.start, ColumnChunkId { row_group, column }));
            }
        }
        by_start.sort_unstable();
        Self { row_groups, by_start }
    }

    /// The number of row groups.
    pub(crate) fn row_groups(&self) -> usize {
        self.row_groups.len()
    }

    /// The bytes of a chunk; empty for one that does not exist.
    pub(crate) fn range(&self, id: ColumnChunkId) -> Range<u64> {
        let columns = self.row_groups.get(id.row_group);
        columns.and_then(|columns| columns.get(id.column)).cloned().unwrap_or_default()
    }

    /// The chunks that have bytes of `range`, in the order of the file.
    pub(crate) fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = ColumnChunkId> {
        let end = self.by_start.partition_point(|(start, _)| *start < range.end);
        let overlaps = |(_, id): &&(u64, ColumnChunkId)| self.range(*id).end > range.start;
        let count = self.by_start[..end].iter().rev().take_while(overlaps).count();
        self.by_start[end - count..end].iter().map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> RowGroupLayout {
        // Column 1 of row group 1 is empty, and bytes 40..50 belong to no chunk.
        RowGroupLayout::new(vec![vec![4..10, 10..30], vec![30..40, 40..40], vec![50..60, 60..61]])
    }

    #[track_caller]
    fn check(range: Range<u64>, expected: &[(usize, usize)]) {
        let found: Vec<_> = layout().overlapping(&range).map(|id| (id.row_group, id.column)).collect();
        assert_eq!(found, expected, "{range:?}");
    }

    #[test]
    fn ranges_find_their_chunks() {
        check(0..4, &[]);
        check(4..5, &[(0, 0)]);
        check(9..11, &[(0, 0), (0, 1)]);
        check(0..100, &[(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]);
        check(40..50, &[]);
        check(60..61, &[(2, 1)]);
        check(61..70, &[]);
    }

    #[test]
    fn unknown_chunks_are_empty() {
        for (row_group, column) in [(1, 1), (0, 2), (3, 0)] {
            assert!(layout().range(ColumnChunkId { row_group, column }).is_empty());
        }
        assert_eq!(layout().row_groups(), 3);
    }
}
