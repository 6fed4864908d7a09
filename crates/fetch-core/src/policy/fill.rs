//! How many requests fill the link.
//!
//! The bandwidth × delay product, in requests: as many as carry the whole bandwidth while each spends its first round
//! trip waiting.

use crate::policy::byte_range::{self, pow2_floor};
use crate::policy::link::Link;

/// Factor on the bandwidth × delay product: requests end at different times, and bytes are handed on in order. 32
/// requests of 4 MiB fill a link of 30 ms, 60 MB/s a stream and 1,000 MB/s.
const HEADROOM: f64 = 1.33;

/// The fewest: an estimate that is too low for a moment must not slow down the requests that correct it.
const LEAST: usize = 32;

/// The weight of a request of full size, or larger.
pub const FULL_WEIGHT: u64 = 64;

/// Round trips per request of a split range: such a request transfers bytes for three quarters of its time.
const ROUND_TRIPS: f64 = 3.0;

/// The size of one request of a split range on this link, a power of two between the bounds `parts`.
pub fn unit_bytes(link: &Link, parts: (u64, u64)) -> u64 {
    let wanted = byte_range::from_f64(ROUND_TRIPS * link.ttfb_unqueued.as_secs_f64() * link.stream_bytes_per_s);
    pow2_floor(wanted).clamp(parts.0, parts.1)
}

/// The number of requests of [`unit_bytes`] that fill the link.
pub fn requests(link: &Link, parts: (u64, u64)) -> usize {
    requests_of(link, unit_bytes(link, parts), HEADROOM).max(LEAST)
}

/// How much of the link a request of `bytes` fills, where one of [`unit_bytes`] fills [`FULL_WEIGHT`]. A smaller
/// request waits for its first byte during more of its time, and carries less in the rest.
pub fn weight(link: &Link, parts: (u64, u64), bytes: u64) -> u64 {
    let rate = |bytes: f64| bytes / (link.ttfb_unqueued.as_secs_f64() + bytes / link.stream_bytes_per_s);
    let share = rate(bytes as f64) / rate(unit_bytes(link, parts) as f64);
    byte_range::from_f64((share * FULL_WEIGHT as f64).ceil()).clamp(1, FULL_WEIGHT)
}

/// The number of requests of `bytes` that carry `headroom` times the bandwidth of the link, by Little's law.
pub fn requests_of(link: &Link, bytes: u64, headroom: f64) -> usize {
    let bytes = bytes as f64;
    let seconds = link.ttfb_unqueued.as_secs_f64() + bytes / link.stream_bytes_per_s;
    let wanted = byte_range::from_f64((headroom * link.aggregate_bytes_per_s * seconds / bytes).ceil());
    usize::try_from(wanted).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[track_caller]
    fn check(ttfb_ms: u64, stream: f64, aggregate: f64, expected: usize) {
        let link = Link::steady(Duration::from_millis(ttfb_ms), stream, aggregate);
        assert_eq!(requests(&link, (1 << 20, 16 << 20)), expected);
    }

    #[test]
    fn as_many_as_fill_the_link_and_32_at_least() {
        check(30, 60e6, 1e9, 32);
        check(25, 90e6, 1e9, 32);
        check(30, 60e6, 12.5e9, 396);
        check(2, 400e6, 12.5e9, 58);
    }

    #[test]
    fn small_requests_fill_less() {
        let link = Link::steady(Duration::from_millis(30), 60e6, 1e9);
        let weights = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20].map(|n| weight(&link, (1 << 20, 16 << 20), n));
        assert_eq!(weights, [4, 12, 34, 64, 64]);
    }

    proptest! {
        /// Enough that all of them together carry the bandwidth, each at the rate of a stream after its first byte.
        #[test]
        fn they_carry_the_bandwidth(ttfb_ms in 0_u64..2_000, stream in 1e3_f64..1e10, more in 1.0_f64..1e4) {
            let link = Link::steady(Duration::from_millis(ttfb_ms), stream, stream * more);
            let parts = (1 << 20, 16 << 20);
            let unit = unit_bytes(&link, parts) as f64;
            let rate_of_one = unit / (link.ttfb_unqueued.as_secs_f64() + unit / stream);
            prop_assert!(requests(&link, parts) as f64 * rate_of_one >= link.aggregate_bytes_per_s);
            prop_assert!(requests(&link, parts) >= LEAST);
        }
    }
}
