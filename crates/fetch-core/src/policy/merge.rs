//! Decides which of several ranges are merged into one request.

use std::ops::Range;

use crate::policy::link::Link;

/// Without queueing, a hole is fetched along only up to one part in this many of a round trip's worth of bytes.
///
/// Two parallel requests take no longer than one, and the hole makes the merged one longer. A quarter of a round
/// trip is the most that one request less is worth.
const SPARE_REQUESTS: u64 = 4;

/// The largest hole that is fetched along: an estimate of the link that is too high for a moment must not make a call
/// fetch many times what it asks for.
const MOST_HOLE_BYTES: u64 = 2 << 20;

/// The most requests in flight at once for the ranges of one call.
pub const RANGES_AT_ONCE: usize = 32;

/// Merges `ranges` (none empty, in any order) into runs, sorted and disjoint, that cover them all.
///
/// If there are more runs than `at_once` requests in flight, they queue. One request less then saves a whole
/// round trip, and a hole may cost as much.
pub fn merge_ranges(ranges: &[Range<u64>], link: &Link, at_once: usize) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let round_trip = link.round_trip_bytes().min(MOST_HOLE_BYTES);
    let runs = bridge(&sorted, round_trip / SPARE_REQUESTS);
    if runs.len() > at_once { bridge(&runs, round_trip) } else { runs }
}

/// Joins neighbours with at most `hole` bytes between them.
fn bridge(sorted: &[Range<u64>], hole: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match runs.last_mut() {
            Some(run) if range.start <= run.end.saturating_add(hole) => run.end = run.end.max(range.end),
            _ => runs.push(range.clone()),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::byte_range;
    use proptest::prelude::*;
    use std::time::Duration;

    /// A link that carries `bytes` per round trip.
    fn link(bytes: u32) -> Link {
        Link::steady(Duration::from_secs(1), bytes.into(), bytes.into())
    }

    #[track_caller]
    fn check(ranges: &[Range<u64>], concurrency: usize, expected: &[(u64, u64)]) {
        let runs: Vec<_> =
            merge_ranges(ranges, &link(400), concurrency).iter().map(|run| (run.start, run.end)).collect();
        assert_eq!(runs, expected);
    }

    #[test]
    fn a_hole_may_cost_more_where_requests_queue() {
        check(&[0..10, 110..120, 300..310], 8, &[(0, 120), (300, 310)]);
        check(&[0..10, 110..120, 300..310], 1, &[(0, 310)]);
        check(&[0..10, 111..120], 8, &[(0, 10), (111, 120)]);
    }

    #[test]
    fn no_estimate_makes_a_hole_cheap() {
        let ranges: Vec<_> = (0..100).map(|n| n * (5 << 20)..n * (5 << 20) + 65_536).collect();
        assert_eq!(merge_ranges(&ranges, &link(u32::MAX), 32), ranges);
    }

    #[test]
    fn order_and_overlap_do_not_matter() {
        check(&[], 8, &[]);
        check(&[500..600, 0..10, 550..560, 0..10], 8, &[(0, 10), (500, 600)]);
    }

    proptest! {
        #[test]
        fn runs_cover_the_ranges_and_waste_only_cheap_holes(
            ranges in prop::collection::vec((0_u64..3_000, 1_u64..200), 0..30),
            concurrency in 1_usize..10,
            worth in 0_u32..500,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, n)| start..start + n).collect();
            let runs = merge_ranges(&ranges, &link(worth), concurrency);
            prop_assert!(runs.is_sorted_by(|a, b| a.end < b.start), "sorted, with a hole between any two: {runs:?}");
            for range in &ranges {
                prop_assert!(runs.iter().any(|run| run.start <= range.start && range.end <= run.end));
            }
            let mut sorted = ranges.clone();
            sorted.sort_unstable_by_key(|range| range.start);
            for run in &runs {
                for hole in byte_range::missing(run, sorted.iter().cloned()) {
                    prop_assert!(byte_range::len(&hole) <= u64::from(worth));
                }
            }
        }
    }
}
