//! Which segments are deleted to make room: damaged ones, then those whose pages are used least.

use super::layout::SegmentId;

/// How much a segment was used.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct SegmentUse {
    /// Pages that were read from it.
    pub(crate) hits: f32,
    /// For how long it has been watched: reads of all pages on disk, as a multiple of their number.
    pub(crate) rounds: f32,
}

/// A segment that may be deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentToKeep {
    pub(crate) id: SegmentId,
    pub(crate) bytes: u64,
    pub(crate) pages: u32,
    pub(crate) is_set_aside: bool,
    /// By all processes together.
    pub(crate) uses: SegmentUse,
}

impl SegmentUse {
    /// Adds what another process has seen.
    pub(crate) fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.rounds += other.rounds;
    }

    /// Halves what is known: a use counts half as much after some time.
    pub(crate) fn fade(&mut self) {
        self.hits *= 0.5;
        self.rounds *= 0.5;
    }

    /// Reads of a page in a round. A new segment counts as read like the average one: once a page and round.
    fn density(self, pages: u32) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a segment has few pages")]
        let pages = pages.max(1) as f32;
        (self.hits / pages + 1.0) / (self.rounds + 1.0)
    }
}

/// The segments to delete so that `excess` bytes go, least used first; the oldest of equal ones.
pub(crate) fn victims(mut segments: Vec<SegmentToKeep>, excess: u64) -> Vec<SegmentToKeep> {
    let rank = |segment: &SegmentToKeep| {
        let density = if segment.is_set_aside { -1.0 } else { segment.uses.density(segment.pages) };
        (density, segment.id.number, segment.id.writer)
    };
    segments.sort_by(|one, other| rank(one).partial_cmp(&rank(other)).unwrap_or(std::cmp::Ordering::Equal));
    let mut freed = 0;
    let enough = segments.iter().take_while(|segment| {
        let is_needed = freed < excess;
        freed += segment.bytes;
        is_needed
    });
    let count = enough.count();
    segments.truncate(count);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deletes until 100 bytes are free; segments are `(hits, rounds, is_set_aside)`, of 50 bytes and 10 pages each.
    fn deleted(segments: &[(f32, f32, bool)]) -> Vec<u32> {
        let segments = (0..).zip(segments).map(|(number, (hits, rounds, is_set_aside))| SegmentToKeep {
            id: SegmentId { writer: 1, number },
            bytes: 50,
            pages: 10,
            is_set_aside: *is_set_aside,
            uses: SegmentUse { hits: *hits, rounds: *rounds },
        });
        victims(segments.collect(), 100).iter().map(|segment| segment.id.number).collect()
    }

    #[test]
    fn damaged_segments_go_first_then_those_that_are_read_least() {
        assert_eq!(deleted(&[(50.0, 9.0, false), (5.0, 9.0, false), (90.0, 9.0, true), (9.0, 9.0, false)]), [2, 1]);
    }

    #[test]
    fn a_new_segment_counts_as_the_average_one() {
        assert_eq!(deleted(&[(0.0, 0.0, false), (2.0, 5.0, false), (30.0, 5.0, false), (100.0, 5.0, false)]), [1, 0]);
    }

    #[test]
    fn the_oldest_of_equal_segments_goes_and_no_more_than_needed() {
        assert_eq!(deleted(&[(0.0, 0.0, false); 4]), [0, 1]);
        assert_eq!(victims(Vec::new(), 100).len(), 0);
    }
}
