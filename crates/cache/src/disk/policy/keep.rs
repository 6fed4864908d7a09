//! How much a directory may hold, and which segments are deleted to make room: damaged ones, then those whose pages are
//! used least.

use super::layout::SegmentId;

/// What is in a directory, and what may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskUsage {
    /// Bytes of all files in the directory.
    pub(crate) used_bytes: u64,
    /// Bytes of the segments that were set aside: nothing is lost with them.
    pub(crate) set_aside_bytes: u64,
    /// Bytes of the segments that are being written.
    pub(crate) open_bytes: u64,
    /// Bytes that the file system has left.
    pub(crate) free_bytes: u64,
    /// The most bytes of the directory.
    pub(crate) max_bytes: u64,
    /// The free bytes that are left to others.
    pub(crate) floor_bytes: u64,
    /// Bytes of the segment that is begun next.
    pub(crate) segment_bytes: u64,
}

impl DiskUsage {
    /// Bytes that have to go before a segment is begun. May be more than there are.
    pub(crate) fn excess(&self) -> u64 {
        let of_floor = self.floor_bytes.saturating_add(self.segment_bytes).saturating_sub(self.free_bytes);
        self.used_bytes.saturating_sub(self.max_bytes).max(of_floor)
    }

    /// Whether something has to go although no segment is begun: the directory may have less than before, or others
    /// fill the file system. Open segments are what a directory may have beyond its limit.
    pub(crate) fn must_shrink(&self) -> bool {
        self.used_bytes - self.open_bytes > self.max_bytes || self.free_bytes < self.floor_bytes
    }

    /// Whether something of use has to go before the segment after the next one is begun.
    pub(crate) fn is_full(&self) -> bool {
        let used_bytes = self.used_bytes - self.set_aside_bytes + self.segment_bytes;
        let free_bytes = (self.free_bytes.saturating_add(self.set_aside_bytes)).saturating_sub(self.segment_bytes);
        Self { used_bytes, free_bytes, ..*self }.excess() > 0
    }
}

/// A segment that may be deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentToKeep {
    pub(crate) id: SegmentId,
    pub(crate) bytes: u64,
    pub(crate) is_set_aside: bool,
    /// How often its pages were used a short time ago, on average; by all processes together.
    pub(crate) uses: f32,
}

/// The segments in the order in which they are deleted: least used first; the oldest of equal ones.
pub(crate) fn in_order_of_deletion(mut segments: Vec<SegmentToKeep>) -> Vec<SegmentToKeep> {
    let rank = |segment: &SegmentToKeep| {
        let uses = if segment.is_set_aside { -1.0 } else { segment.uses };
        (uses, segment.id.number, segment.id.writer)
    };
    segments.sort_by(|one, other| rank(one).partial_cmp(&rank(other)).unwrap_or(std::cmp::Ordering::Equal));
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of at most 100 bytes, on a file system of which 20 are left to others; segments of 10.
    fn usage(used_bytes: u64, set_aside_bytes: u64, open_bytes: u64, free_bytes: u64) -> DiskUsage {
        let (max_bytes, floor_bytes, segment_bytes) = (100, 20, 10);
        DiskUsage { used_bytes, set_aside_bytes, open_bytes, free_bytes, max_bytes, floor_bytes, segment_bytes }
    }

    #[test]
    fn the_limit_is_the_directorys_own_or_what_the_file_system_has_left() {
        for (used, set_aside, free, excess, is_full) in [
            (50, 0, 1000, 0, false),
            (95, 0, 1000, 0, true),
            (95, 30, 1000, 0, false),
            (130, 0, 1000, 30, true),
            (50, 0, 40, 0, false),
            (50, 0, 35, 0, true),
            (50, 0, 20, 10, true),
            (0, 0, 5, 25, true),
        ] {
            let usage = usage(used, set_aside, 0, free);
            assert_eq!((usage.excess(), usage.is_full()), (excess, is_full), "{used} {set_aside} {free}");
        }
    }

    #[test]
    fn open_segments_may_exceed_the_limit() {
        for (used, open, free, must_shrink) in
            [(100, 0, 1000, false), (101, 0, 1000, true), (120, 20, 1000, false), (50, 0, 20, false), (50, 0, 19, true)]
        {
            assert_eq!(usage(used, 0, open, free).must_shrink(), must_shrink, "{used} {open} {free}");
        }
    }

    /// The order of segments that are `(uses, is_set_aside)`.
    fn order(segments: &[(f32, bool)]) -> Vec<u32> {
        let segments = (0..).zip(segments).map(|(number, (uses, is_set_aside))| SegmentToKeep {
            id: SegmentId { writer: 1, number },
            bytes: 50,
            is_set_aside: *is_set_aside,
            uses: *uses,
        });
        in_order_of_deletion(segments.collect()).iter().map(|segment| segment.id.number).collect()
    }

    #[test]
    fn damaged_segments_go_first_then_those_that_are_used_least() {
        assert_eq!(order(&[(5.0, false), (0.5, false), (9.0, true), (0.9, false)]), [2, 1, 3, 0]);
    }

    #[test]
    fn the_oldest_of_equal_segments_goes() {
        assert_eq!(order(&[(0.0, false); 4]), [0, 1, 2, 3]);
    }
}
