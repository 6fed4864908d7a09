//! Decides how many objects of a list are fetched at once, and how much of each is asked for first.
//!
//! By Little's law, a link is full when `bandwidth × time per request ÷ bytes per request` requests are in flight. For
//! objects of 100 KB at 30 ms and 1,000 MB/s that is 317. Sizes are learned from answers, so the numbers follow the
//! objects of the list.

use std::collections::VecDeque;

use headstart_fetch_core::Link;
use headstart_fetch_core::internal::{byte_range::from_f64, fill};

/// The default limit on requests in flight: more would only queue for the permits of a `FetchStore`, in front of other
/// reads.
pub(crate) const MOST_REQUESTS: usize = 1024;

/// Sizes remembered: enough for a steady mean, and few enough to follow a list whose objects grow.
const SIZES: usize = 64;

/// The size assumed before the first answer. With 57 requests of it in flight at 30 ms, the first round trip costs a
/// list of 10,000 objects of 100 KB 2 % of its time, and a list of large objects no more than 57 MiB of memory.
const UNKNOWN_BYTES: u64 = 1 << 20;

/// Requests in flight, and bytes requested a second, beyond those that fill the link: times to the first byte vary, and
/// only a link that is asked for more shows that it can carry more (the pacing gain of BBR).
const HEADROOM: f64 = 1.25;

/// Fewer requests would leave the link idle between two objects.
const LEAST_REQUESTS: usize = 2;

/// Complete objects may wait for as many bytes as the link brings in this many times the 95th percentile of the time to
/// the first byte. So a late answer at the front of the list does not stop the objects behind it.
const LATE_ANSWERS: f64 = 4.0;

/// Round trips that one further request of a large object lasts: as for the parts of a split read.
const PIECE_ROUND_TRIPS: u64 = 3;

/// The bounds of such a request, in bytes.
const PIECE_BYTES: (u64, u64) = (1 << 20, 16 << 20);

/// The smallest first request, in bytes: objects of a few KiB vary by a large factor at no cost.
const LEAST_FIRST_BYTES: u64 = 16 << 10;

/// The largest first request has this many bytes, or those of a round trip if they are more. A second request then
/// costs no more time than the bytes of the first one.
const MOST_FIRST_BYTES: u64 = 1 << 20;

/// Objects are large if the mean is this many times the largest first request. The one that the consumer reads then has
/// most of the bytes in flight, in parts that the layer below fetches.
const LARGE_OBJECTS: u64 = 4;

/// Of large objects, the list uses one part in this many of its memory for the objects behind the first one: enough to
/// begin with when their turn comes. The rest is left to the layer below. With 32 MiB of memory, objects of 100 MB came
/// at 144 MB/s when the list used all of its share.
const LARGE_OBJECTS_SHARE: u64 = 8;

/// A large object is requested as many bytes before the end of the previous one as the link brings in this many round
/// trips: the last parts of the previous one are in flight then, and one round trip later the first of the next begin.
const LEAD_ROUND_TRIPS: f64 = 2.0;

/// The sizes of the objects of a list, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObjectWindow {
    latest: VecDeque<u64>,
    sum_bytes: u128,
}

/// What may be in flight now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ObjectLimits {
    /// Requests in flight.
    pub(crate) requests: usize,
    /// Bytes that the first request for an object asks for. Its memory is reserved before.
    pub(crate) first_bytes: u64,
    /// Bytes that each further request for a larger object asks for.
    pub(crate) piece_bytes: u64,
    /// Bytes that are missing of a large object when the next one is requested.
    pub(crate) lead_bytes: u64,
    /// Bytes that one request usually brings, and the bytes that may be requested a second.
    pub(crate) usual_bytes: u64,
    pub(crate) bytes_per_s: f64,
    /// Memory for bytes in flight and complete objects.
    pub(crate) memory_bytes: u64,
    /// Bytes of complete objects that wait for the consumer. From here on, no object is requested.
    pub(crate) waiting_bytes: u64,
}

/// What is in flight and waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ObjectLoad {
    /// Objects that are not complete.
    pub(crate) in_flight: usize,
    /// Bytes of the complete ones.
    pub(crate) waiting_bytes: u64,
}

impl ObjectLimits {
    /// Whether one more object may be requested. Memory is the caller's to check.
    pub(crate) fn admits(&self, load: ObjectLoad) -> bool {
        load.in_flight < self.requests && load.waiting_bytes < self.waiting_bytes
    }

    /// The memory that the list would use if there were enough, in bytes.
    pub(crate) fn wanted_bytes(&self) -> u64 {
        self.waiting_bytes.saturating_add(self.first_bytes.saturating_mul(self.requests as u64))
    }
}

impl ObjectWindow {
    /// An answer has shown that an object has `bytes`.
    pub(crate) fn on_size(&mut self, bytes: u64) {
        if self.latest.len() == SIZES {
            self.sum_bytes -= u128::from(self.latest.pop_front().unwrap_or(0));
        }
        self.latest.push_back(bytes);
        self.sum_bytes += u128::from(bytes);
    }

    /// The limits on `link`, with `share_bytes` of memory and at most `most` requests in flight.
    pub(crate) fn limits(&self, link: &Link, share_bytes: u64, most: usize) -> ObjectLimits {
        let round_trip_bytes = link.round_trip_bytes();
        let is_large = self.mean_bytes() > LARGE_OBJECTS.saturating_mul(MOST_FIRST_BYTES.max(round_trip_bytes));
        let share_bytes = if is_large { share_bytes / LARGE_OBJECTS_SHARE } else { share_bytes };
        let (least, largest) = PIECE_BYTES;
        let piece_bytes = round_trip_bytes.saturating_mul(PIECE_ROUND_TRIPS).clamp(least, largest);
        // A large object has one request of at most a piece in flight at a time.
        let usual_bytes = self.mean_bytes().min(piece_bytes).max(1);
        let requests = fill::requests_of(link, usual_bytes, HEADROOM).max(LEAST_REQUESTS).min(most.max(1));
        let late_seconds = LATE_ANSWERS * link.ttfb_p95.as_secs_f64();
        ObjectLimits {
            requests,
            first_bytes: self.first_bytes(round_trip_bytes, share_bytes, requests),
            piece_bytes,
            lead_bytes: from_f64(LEAD_ROUND_TRIPS * link.aggregate_bytes_per_s * link.ttfb_p50.as_secs_f64()),
            usual_bytes,
            bytes_per_s: HEADROOM * link.aggregate_bytes_per_s,
            memory_bytes: share_bytes,
            waiting_bytes: from_f64(link.aggregate_bytes_per_s * late_seconds).max(piece_bytes),
        }
    }

    fn mean_bytes(&self) -> u64 {
        let mean = self.sum_bytes.checked_div(self.latest.len() as u128);
        mean.map_or(UNKNOWN_BYTES, |mean| u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// Covers every object of the latest sizes, within what a request may cost. The first requests of all objects get
    /// at most half of the memory, unless the usual object needs more.
    fn first_bytes(&self, round_trip_bytes: u64, share_bytes: u64, requests: usize) -> u64 {
        let largest = self.latest.iter().max().copied().unwrap_or(UNKNOWN_BYTES);
        let covers_all = largest.checked_next_power_of_two().unwrap_or(u64::MAX);
        let affordable = (share_bytes / 2 / requests as u64).max(self.mean_bytes().saturating_mul(2));
        covers_all
            .min(affordable)
            .min(MOST_FIRST_BYTES.max(round_trip_bytes))
            .min(share_bytes / 2)
            .max(LEAST_FIRST_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::request_pacer::RequestPacer;
    use proptest::prelude::*;
    use std::time::Duration;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    fn link(ttfb_ms: u64, stream_bytes_per_s: f64, aggregate_bytes_per_s: f64) -> Link {
        Link::steady(Duration::from_millis(ttfb_ms), stream_bytes_per_s, aggregate_bytes_per_s)
    }

    fn gcs() -> Link {
        link(30, 60e6, 1e9)
    }

    fn after(sizes: impl IntoIterator<Item = u64>) -> ObjectWindow {
        let mut window = ObjectWindow::default();
        sizes.into_iter().for_each(|bytes| window.on_size(bytes));
        window
    }

    #[test]
    fn requests_that_fill_the_usual_links() {
        for (name, link, bytes, requests) in [
            ("gcs, tiny", gcs(), 4_000, MOST_REQUESTS),
            ("gcs, small", gcs(), 100_000, 396),
            ("gcs, medium", gcs(), 1_000_000, 59),
            ("gcs, large", gcs(), 1_000_000_000, 28),
            ("near", link(5, 200e6, 1e9), 100_000, 69),
            ("wan", link(100, 20e6, 200e6), 100_000, 263),
            ("local", link(0, 2e9, 2e9), 100_000, 2),
        ] {
            assert_eq!(after([bytes; 8]).limits(&link, 384 * MIB, MOST_REQUESTS).requests, requests, "{name}");
        }
    }

    #[test]
    fn the_first_request_covers_the_latest_sizes() {
        for (sizes, share_bytes, first_bytes) in [
            (vec![], 384 * MIB, MIB),
            (vec![1_000], 384 * MIB, 16 * KIB),
            (vec![100_000], 384 * MIB, 128 * KIB),
            (vec![90_000, 140_000], 384 * MIB, 256 * KIB),
            // A round trip is worth 1.8 MB; more is asked for by a second request.
            (vec![10_000_000], 384 * MIB, 1_800_000),
            // One large object among small ones: 329 requests get half of the memory.
            ([vec![100_000; 63], vec![1_500_000]].concat(), 384 * MIB, 384 * MIB / 2 / 329),
            // Little memory: fewer requests, but of the usual size.
            (vec![100_000], 12 * MIB, 128 * KIB),
            (vec![100_000], 100 * KIB, 50 * KIB),
            (vec![100_000], 0, 16 * KIB),
        ] {
            let limits = after(sizes.clone()).limits(&gcs(), share_bytes, MOST_REQUESTS);
            assert_eq!(limits.first_bytes, first_bytes, "{sizes:?} with {share_bytes} bytes of memory");
        }
    }

    #[test]
    fn sizes_are_forgotten() {
        let mut window = after([50_000_000; 100]);
        assert_eq!(window.limits(&gcs(), 384 * MIB, MOST_REQUESTS).requests, 28);
        (0..SIZES).for_each(|_| window.on_size(100_000));
        assert_eq!(window, after([100_000; SIZES]));
    }

    #[test]
    fn a_slow_consumer_stops_requests() {
        let limits = after([100_000]).limits(&gcs(), 384 * MIB, MOST_REQUESTS);
        assert_eq!(limits.waiting_bytes, 120_000_000, "1,000 MB/s for four times 30 ms");
        assert!(limits.admits(ObjectLoad { in_flight: 395, waiting_bytes: 119_999_999 }));
        assert!(!limits.admits(ObjectLoad { in_flight: 396, waiting_bytes: 0 }));
        assert!(!limits.admits(ObjectLoad { in_flight: 0, waiting_bytes: 120_000_000 }));
    }

    /// Objects of `bytes` over `link` for two seconds, in steps of a millisecond: the share of the bandwidth in use.
    fn utilisation(link: &Link, bytes: u64, limits: &ObjectLimits) -> f64 {
        let (mut pacer, mut next_at) = (RequestPacer::default(), Duration::ZERO);
        let mut in_flight: Vec<(Duration, f64)> = Vec::new();
        let mut carried = 0.0;
        for now in (0..2000).map(Duration::from_millis) {
            while next_at <= now && limits.admits(ObjectLoad { in_flight: in_flight.len(), waiting_bytes: 0 }) {
                in_flight.push((now + link.ttfb_p50, bytes as f64));
                next_at = now + pacer.pause(now, limits.usual_bytes, limits.bytes_per_s);
            }
            let sending = in_flight.iter().filter(|(from, _)| *from <= now).count().max(1);
            let each = link.stream_bytes_per_s.min(link.aggregate_bytes_per_s / sending as f64) / 1000.0;
            for (_, left) in in_flight.iter_mut().filter(|(from, _)| *from <= now) {
                carried += each.min(*left);
                *left -= each.min(*left);
            }
            in_flight.retain(|(_, left)| *left > 0.0);
        }
        carried / (2.0 * link.aggregate_bytes_per_s)
    }

    #[test]
    fn that_many_requests_fill_the_link_and_half_do_not() {
        for (link, bytes) in [(gcs(), 100_000), (gcs(), 1_000_000), (link(100, 20e6, 200e6), 300_000)] {
            let limits = after([bytes; 8]).limits(&link, 384 * MIB, MOST_REQUESTS);
            let used = utilisation(&link, bytes, &limits);
            assert!(used > 0.85, "{} requests for {bytes} bytes use {used:.2} of the bandwidth", limits.requests);
            let half = ObjectLimits { requests: limits.requests / 2, ..limits };
            let used = utilisation(&link, bytes, &half);
            assert!(used < 0.7, "half of them would do: {used:.2}");
        }
    }

    proptest! {
        #[test]
        fn any_sizes_on_any_link(
            sizes in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..10_000_000], 0..200),
            (ttfb_ms, stream, aggregate) in (0_u64..10_000, 1.0_f64..1e12, 1.0_f64..1e13),
            share_bytes in any::<u64>(),
            most in 0_usize..5000,
        ) {
            let limits = after(sizes).limits(&link(ttfb_ms, stream, aggregate), share_bytes, most);
            prop_assert!((1..=most.max(1)).contains(&limits.requests));
            prop_assert!(limits.first_bytes >= LEAST_FIRST_BYTES);
            prop_assert!(limits.first_bytes <= LEAST_FIRST_BYTES.max(share_bytes / 2));
            prop_assert!((PIECE_BYTES.0..=PIECE_BYTES.1).contains(&limits.piece_bytes));
            prop_assert!(limits.admits(ObjectLoad::default()), "an idle list goes on");
        }

        /// Larger objects never need more requests, and a faster link never fewer.
        #[test]
        fn requests_follow_sizes_and_the_link(
            bytes in 1_u64..1 << 30,
            more in 1_u64..1 << 30,
            faster in 1.0_f64..10.0,
        ) {
            let requests = |bytes, link: &Link| after([bytes]).limits(link, 384 * MIB, usize::MAX).requests;
            prop_assert!(requests(bytes, &gcs()) >= requests(bytes + more, &gcs()));
            prop_assert!(requests(bytes, &gcs()) <= requests(bytes, &link(30, 60e6, faster * 1e9)));
        }
    }
}
