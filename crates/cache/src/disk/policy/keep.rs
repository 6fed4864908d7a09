//! Which segments are deleted to make room: damaged ones, then those whose pages are used least.

use super::layout::SegmentId;

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
