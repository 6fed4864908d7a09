//! Joins the ranges of one call into requests, and sizes the window of bytes fetched ahead.

use std::ops::Range;

use headstart::Link;

/// The largest hole that a request bridges: what `object_store` uses for `get_ranges`.
pub(crate) const MOST_HOLE_BYTES: u64 = 1024 * 1024;

/// Factor on the bandwidth × delay product, as in headstart's read-ahead: requests end at different times.
const HEADROOM: f64 = 1.75;

/// The ranges to request for `ranges`, in the order of the file. A hole of at most `hole_bytes` is bridged where both
/// of its neighbours have yet to be fetched: `is_held` tells which ranges were requested before. Overlapping ranges are
/// joined always. Empty ranges need no request.
pub(crate) fn runs(ranges: &[Range<u64>], hole_bytes: u64, is_held: impl Fn(&Range<u64>) -> bool) -> Vec<Range<u64>> {
    let mut sorted: Vec<(&Range<u64>, bool)> =
        ranges.iter().filter(|range| !range.is_empty()).map(|range| (range, is_held(range))).collect();
    sorted.sort_unstable_by_key(|(range, _)| (range.start, range.end));
    let mut runs: Vec<(Range<u64>, bool)> = Vec::with_capacity(sorted.len());
    for (range, held) in sorted {
        if let Some((run, run_held)) = runs.last_mut() {
            let hole = if held || *run_held { 0 } else { hole_bytes };
            let adjoins = range.start < run.end || range.start <= run.end.saturating_add(hole) && held == *run_held;
            if adjoins {
                run.end = run.end.max(range.end);
                *run_held &= held;
                continue;
            }
        }
        runs.push((range.clone(), held));
    }
    runs.into_iter().map(|(run, _)| run).collect()
}

/// The bytes that keep a link busy with requests of `request_bytes` while a decoder works.
#[expect(clippy::cast_precision_loss, reason = "sizes and rates need no 53 bits")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of floats saturates")]
pub(crate) fn window_bytes(link: &Link, request_bytes: u64) -> u64 {
    let delay = link.ttfb_p95.as_secs_f64() + request_bytes as f64 / link.stream_bytes_per_s;
    request_bytes.saturating_add((HEADROOM * link.aggregate_bytes_per_s * delay) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[track_caller]
    fn check(ranges: &[Range<u64>], held: &[Range<u64>], expected: &[Range<u64>]) {
        assert_eq!(runs(ranges, 10, |range| held.contains(range)), expected);
    }

    #[test]
    fn small_holes_are_bridged_unless_the_neighbours_are_held() {
        check(&[0..5, 5..9, 19..20], &[], &[0..20]);
        check(&[0..5, 16..20], &[], &[0..5, 16..20]);
        check(&[0..5, 6..9], &[0..5], &[0..5, 6..9]);
        check(&[0..5, 6..9], &[0..5, 6..9], &[0..5, 6..9]);
        check(&[0..5, 5..9], &[0..5, 5..9], &[0..9]);
        check(&[0..5, 5..9], &[0..5], &[0..5, 5..9]);
        check(&[7..9, 3..3, 0..8], &[0..8], &[0..9]);
    }

    #[test]
    fn the_window_covers_bandwidth_times_delay() {
        let link = Link::steady(Duration::from_millis(30), 60e6, 1e9);
        assert_eq!(window_bytes(&link, 600_000), 600_000 + 70_000_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Every range lies within one run, and the runs are in order and do not overlap.
        #[test]
        fn runs_cover_the_ranges(
            ranges in prop::collection::vec((0_u64..1000, 0_u64..100, any::<bool>()), 0..20),
            hole in 0_u64..50,
        ) {
            let held: Vec<_> = ranges.iter().filter(|r| r.2).map(|(start, len, _)| *start..start + len).collect();
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len, _)| start..start + len).collect();
            let runs = runs(&ranges, hole, |range| held.contains(range));
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                prop_assert_eq!(runs.iter().filter(|r| r.start <= range.start && range.end <= r.end).count(), 1);
            }
            prop_assert!(runs.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
