//! Sizes the read-ahead window and the requests that fill it.
//!
//! As with BBR's congestion window, the size is the bandwidth × delay product: enough requests in flight that the link,
//! or the reader if that is slower, never waits for a round trip.

use std::time::Duration;

use headstart_fetch_core::Link;
use headstart_fetch_core::internal::byte_range::{from_f64, pow2_floor};
use headstart_fetch_core::internal::{fill, spread_bytes};

/// The smallest request of a young run, in bytes, so that its ramp takes tens of requests, not thousands.
const MIN_RAMP_PART: u64 = 192 * 1024;
/// The fewest and the most requests into which a young run divides what it may have ahead.
const RAMP_REQUESTS: (u64, u64) = (4, 12);
/// Factor on the bandwidth × delay product. BBR and AnyBlob use 1.25. Our bytes are handed on in order, so arrived
/// bytes wait for those before them. Reading 1 GiB over the simulated GCS link, 1.25 reached 0.78–0.90 of the limit,
/// 1.75 reaches 0.81–0.89, and 2.0 no more.
const HEADROOM: f64 = 1.75;
/// The most that a first byte is expected to take, in times of one that waits for no other. The rest of the 95th
/// percentile is the wait in queues, which a larger window only lengthens.
const LATE_FIRST_BYTES: u32 = 3;
/// Request sizes are multiples of this many bytes.
const GRAIN: u64 = 64 * 1024;
/// Requests of a burst over which their size grows: as many as may be in flight, minus those reserved for demand.
const GROWTH_REQUESTS: u64 = 28;
/// Requests of a burst that are smaller than later ones: about 400 MiB with requests of 4 MiB. Reading 1 GiB with an
/// announced pattern over the simulated GCS link reached 0.86 of the limit over the first 256 MiB and 0.94 over all;
/// with full size from the start 0.77 and 0.95.
const BURST_REQUESTS: u64 = 120;
/// About as many requests as fill a link. The end of an object is divided into so many.
const FULL_LINK_REQUESTS: u64 = 16;
/// Weight of earlier reads in the measured rate of a reader.
const RATE_MEMORY: f64 = 0.75;

/// How far ahead of a reader to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ReadAheadWindow {
    /// Bytes that may be in flight or held unread, ahead of the reader.
    pub(crate) ahead_bytes: u64,
    /// Size of one request in bytes; a power of two.
    pub(crate) part_bytes: u64,
}

impl ReadAheadWindow {
    /// This window with at most `most_bytes` ahead, where `streams` streams read at once. Its requests shrink with it,
    /// so that several fit: four, and two where the requests of eight streams fill the link.
    pub(crate) fn within(self, most_bytes: u64, streams: u64) -> Self {
        let ahead_bytes = self.ahead_bytes.min(most_bytes);
        let requests = (FULL_LINK_REQUESTS / streams.max(1)).clamp(2, 4);
        let part_bytes = pow2_floor(self.ahead_bytes / 4).min(pow2_floor(ahead_bytes / requests)).max(GRAIN);
        Self { ahead_bytes, part_bytes: self.part_bytes.min(part_bytes) }
    }
}

/// The window for a reader that takes `consumer_bytes_per_s`.
pub(crate) fn window(link: &Link, consumer_bytes_per_s: f64, parts: (u64, u64)) -> ReadAheadWindow {
    let part = fill::unit_bytes(link, parts);
    let rate = consumer_bytes_per_s.min(link.aggregate_bytes_per_s);
    let ttfb = link.ttfb_p95.min(link.ttfb_unqueued.saturating_mul(LATE_FIRST_BYTES));
    let delay = ttfb.as_secs_f64() + to_f64(part) / link.stream_bytes_per_s;
    ReadAheadWindow { ahead_bytes: part + from_f64(HEADROOM * rate * delay), part_bytes: part }
}

/// How long after its latest read a stream is idle: two delays, in which a reader that still reads would have read on.
pub(crate) fn idle_after(link: &Link, parts: (u64, u64)) -> Duration {
    let transfer = to_f64(fill::unit_bytes(link, parts)) / link.stream_bytes_per_s;
    link.ttfb_p95.saturating_add(Duration::try_from_secs_f64(transfer).unwrap_or(Duration::MAX)).saturating_mul(2)
}

/// The size of one request of a run that may be `allowed_bytes` ahead and whose share of the requests that fill the
/// link is `requests`. One stream carries `round_trip_bytes` in a round trip.
///
/// The run divides what it may have ahead by its share: many small requests bring the next bytes sooner. Where many
/// runs share the link, or the transfer takes less than half a round trip, small requests only cost more, and four do.
/// One request is half as long again as a read, so that there are fewer requests than reads.
pub(crate) fn ramp_part_bytes(
    allowed_bytes: u64,
    read_bytes: u64,
    part_bytes: u64,
    requests: u64,
    round_trip_bytes: u64,
) -> u64 {
    let (least, most) = RAMP_REQUESTS;
    let share_bytes = (allowed_bytes / requests.clamp(least, most)).max(round_trip_bytes / 2);
    let wanted = share_bytes.min(allowed_bytes / least).max(read_bytes.saturating_add(read_bytes / 2));
    wanted.clamp(MIN_RAMP_PART.min(part_bytes), part_bytes)
}

/// The size of request number `nth` of a stream, near `part_bytes`, where `left_bytes` of the object are not requested
/// yet. A stream that has its whole window from the start `bursts`.
///
/// Requests of one size that are sent together end together, and then leave the link idle for a round trip. So the
/// requests of a burst grow evenly: the nearest to the reader ends first, and each later one is sent when another ends.
/// They stay a little smaller for a while, because bytes in flight beyond a byte delay that byte. All other sizes are
/// spread ([`spread_bytes`]). The last requests of an object shrink: a large last one would end alone, at the rate of
/// one stream.
pub(crate) fn request_bytes(nth: u64, bursts: bool, part_bytes: u64, left_bytes: u64, smallest: u64) -> u64 {
    let wanted = if bursts && nth < BURST_REQUESTS {
        let full = part_bytes / 5 * 4;
        full / GROWTH_REQUESTS * (nth + 1).min(GROWTH_REQUESTS)
    } else {
        spread_bytes(nth, part_bytes)
    };
    let tail = (left_bytes / FULL_LINK_REQUESTS).max(smallest);
    (wanted.min(tail).max(smallest.min(part_bytes)) / GRAIN).max(1) * GRAIN
}

/// Measures how fast a reader takes bytes, without the time it waits for bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConsumerRate {
    bytes: f64,
    seconds: f64,
}

impl ConsumerRate {
    /// The reader asked for `bytes` after `think_time`.
    pub(crate) fn on_read(&mut self, think_time: Duration, bytes: u64) {
        self.bytes = RATE_MEMORY * self.bytes + to_f64(bytes);
        self.seconds = RATE_MEMORY * self.seconds + think_time.as_secs_f64();
    }

    /// Bytes per second; infinite for a reader without think time.
    pub(crate) fn bytes_per_s(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes / self.seconds } else { f64::INFINITY }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes and rates need no 53 bits")]
pub(crate) fn to_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1024 * 1024;
    const PARTS: (u64, u64) = (MIB, 16 * MIB);

    fn gcs() -> Link {
        Link::steady(Duration::from_millis(30), 60e6, 1e9)
    }

    #[test]
    fn covers_bandwidth_times_delay() {
        let window = window(&gcs(), f64::INFINITY, PARTS);
        assert_eq!(window.part_bytes, 4 * MIB);
        // 1 GB/s × (30 ms + 70 ms of a part) × 1.75, and one part.
        assert_eq!(window.ahead_bytes / MIB, 4 + 166);
    }

    #[test]
    fn a_slow_reader_needs_little() {
        assert!(window(&gcs(), 20e6, PARTS).ahead_bytes < 8 * MIB);
    }

    #[test]
    fn several_requests_fit_into_a_share() {
        let wanted = window(&gcs(), f64::INFINITY, PARTS);
        let parts = |mib: u64, streams| wanted.within(mib * MIB, streams).part_bytes / MIB;
        assert_eq!([parts(200, 1), parts(12, 1), parts(12, 5), parts(12, 8), parts(12, 16)], [4, 2, 4, 4, 4]);
        assert_eq!([parts(4, 1), parts(4, 8), parts(0, 1)], [1, 2, 0]);
    }

    #[test]
    fn a_young_run_asks_for_small_parts() {
        let size = |allowed, read, requests| ramp_part_bytes(allowed, read, 4 * MIB, requests, 2 * MIB);
        assert_eq!(size(384 * 1024, 1024, 27), 192 * 1024);
        assert_eq!([6, 12, 24, 36].map(|mib| size(mib * MIB, 1024, 27)), [MIB, MIB, 2 * MIB, 3 * MIB]);
        assert_eq!([27, 8, 1].map(|requests| size(12 * MIB, 1024, requests)), [MIB, 3 * MIB / 2, 3 * MIB]);
        assert_eq!(size(3 * MIB, MIB, 27), 3 * MIB / 2);
        assert_eq!(size(1 << 40, 1024, 27), 4 * MIB);
    }

    #[test]
    fn requests_sent_together_end_apart_and_the_last_are_small() {
        let size = |nth, part, left| request_bytes(nth, false, part, left, MIB);
        let sizes: Vec<_> = (100..200).map(|nth| size(nth, 4 * MIB, 1 << 40)).collect();
        assert!(sizes.windows(4).all(|w| (1..4).all(|i| w[0].abs_diff(w[i]) >= MIB / 8)), "{sizes:?}");
        let mean = sizes.iter().sum::<u64>() / 100;
        assert!(mean.abs_diff(4 * MIB) < MIB / 8, "{mean}");
        assert!(sizes.iter().all(|size| *size <= 6 * MIB), "still one request for whoever is below");
        assert_eq!(size(40, 4 * MIB, 100), MIB, "the last are small");
        assert_eq!(size(40, 256 * 1024, 100), 256 * 1024);
        let burst: Vec<_> = (0..28).map(|nth| request_bytes(nth, true, 4 * MIB, 1 << 40, MIB)).collect();
        assert!(burst.is_sorted() && burst[0] == MIB && burst[27] >= 3 * MIB, "{burst:?}");
        assert!(burst[9..].windows(4).all(|w| w[3] > w[0]), "{burst:?}");
    }

    #[test]
    fn waiting_does_not_slow_a_reader() {
        let mut rate = ConsumerRate::default();
        rate.on_read(Duration::ZERO, MIB);
        assert_eq!(rate.bytes_per_s(), f64::INFINITY);
        for _ in 0..50 {
            rate.on_read(Duration::from_millis(10), 1_000_000);
        }
        assert!((rate.bytes_per_s() - 100e6).abs() < 1e6);
    }

    proptest! {
        #[test]
        fn grows_with_the_reader_and_stays_finite(
            ttfb_ms in 0_u64..2_000,
            stream_bytes_per_s in 1e3_f64..1e10,
            aggregate_bytes_per_s in 1e3_f64..1e11,
            slow in 0.0_f64..1e9,
            more in 1.0_f64..100.0,
        ) {
            let link = Link::steady(Duration::from_millis(ttfb_ms), stream_bytes_per_s, aggregate_bytes_per_s);
            let (a, b) = (window(&link, slow, PARTS), window(&link, slow * more, PARTS));
            prop_assert!(a.ahead_bytes <= b.ahead_bytes);
            prop_assert!(a.part_bytes.is_power_of_two() && a.ahead_bytes >= a.part_bytes);
            prop_assert!(b.ahead_bytes <= window(&link, f64::INFINITY, PARTS).ahead_bytes);
        }
    }
}
