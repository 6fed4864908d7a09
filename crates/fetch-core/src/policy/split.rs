//! Decides how a range is cut into parts: their sizes, and how far ahead of the reader they are sent.
//!
//! One *unit* is what a stream carries in about three round trips; a smaller request spends most of its time
//! waiting. A range that fits into one wave (at most two units for every request that may be in flight) is cut into
//! equal parts: they end together, and nothing comes after them that could wait for a round trip.
//!
//! Equal parts of a longer range would form convoys: parts of one size that are sent together share the link, end
//! together, and leave it idle until the next ones begin. So its parts are of about one unit each, and their sizes grow
//! over the first ones and vary from then on ([`spread_bytes`]). After the first wave, each part is sent when another
//! has ended. Near the end, each is an equal share of what has not arrived (guided self-scheduling, Polychronopoulos
//! and Kuck 1987), so the last ones end together again. Parts of two units would reach one per cent more bandwidth, but
//! hold twice the memory, and memory that is touched for the first time costs more CPU time than all of the requests.

use crate::policy::byte_range::pow2_floor;
use crate::policy::{fill, link::Link, profile::BackendProfile};

/// If one stream gets this share of the bandwidth, more streams only cost requests.
const ONE_STREAM_IS_ENOUGH: f64 = 0.8;

/// The smallest of the first parts of a long range is one in this many of a unit, or the minimum.
const FIRST_SHARE: u64 = 4;

/// The most waves that a long range is cut into, within [`STRETCHED_BYTES`]. Requests cost money, and a short round
/// trip is no reason to send a thousand.
const WAVES: u64 = 2;

/// No unit is enlarged beyond this size to save requests: the memory of a wave grows with it.
const STRETCHED_BYTES: u64 = 4 * 1024 * 1024;

/// How ranges are cut on a link as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    /// The size of a unit: smaller requests do not pay.
    unit_bytes: u64,
    /// The smallest part, except for a remainder.
    min_bytes: u64,
    /// The largest part.
    max_bytes: u64,
    /// Requests of one read in flight at once.
    slots: u64,
    /// All parts of the range are sent at once, at most this many.
    one_wave: Option<u64>,
    /// Where the sequence of part sizes begins: reads at the same time have different ones.
    phase: u64,
}

impl Split {
    /// How to cut on `link` with `slots` requests in flight; `None` if one stream gets nearly the whole bandwidth.
    pub(crate) fn plan(link: &Link, profile: &BackendProfile, slots: usize) -> Option<Self> {
        let stream = link.stream_bytes_per_s;
        let reachable = link.aggregate_bytes_per_s.min(slots as f64 * stream);
        if stream >= ONE_STREAM_IS_ENOUGH * reachable {
            return None;
        }
        let (min_bytes, max_bytes) = (profile.min_part_bytes, profile.max_part_bytes);
        let unit_bytes = fill::unit_bytes(link, (min_bytes, max_bytes));
        Some(Self { unit_bytes, min_bytes, max_bytes, slots: slots as u64, one_wave: None, phase: 0 })
    }

    /// The same for a range of `bytes`, the `nth` read of its store and one of `reads` that share the link now. A long
    /// range is cut into larger parts.
    pub(crate) fn for_range(self, bytes: u64, nth: u64, reads: usize) -> Self {
        let stretched = pow2_floor(bytes / (WAVES * self.slots)).min(STRETCHED_BYTES).min(self.max_bytes);
        let stretched = Self { unit_bytes: self.unit_bytes.max(stretched), ..self };
        let share = (self.slots / reads.max(1) as u64).max(1);
        let largest = stretched.wave_part_bytes();
        let one_wave = (bytes <= largest.saturating_mul(share)).then_some(share);
        // A range that would be one wave alone has parts as large as it would have then.
        let shared = one_wave.is_none() && bytes <= largest.saturating_mul(self.slots);
        let unit_bytes = if shared { (largest / 5 * 4).max(self.min_bytes) } else { stretched.unit_bytes };
        Self { unit_bytes, one_wave, phase: nth, ..stretched }
    }

    /// The same with `slots` requests in flight: the link was found to carry more, or less.
    pub(crate) fn with_slots(self, slots: usize) -> Self {
        Self { slots: slots.max(1) as u64, ..self }
    }

    /// The same while other reads fill the link: one large part after the other, since more would only share the link.
    pub(crate) fn one_at_a_time(self) -> Self {
        Self { unit_bytes: self.max_bytes, slots: 1, one_wave: Some(1), ..self }
    }

    /// Whether a range of `bytes` is one request. A range is one request up to one and a half units: its halves
    /// would be smaller than three quarters of a unit.
    pub(crate) fn is_one(&self, bytes: u64) -> bool {
        self.waves(bytes) == 1
    }

    /// The first request if the size is unknown: the largest range that would be one request if the size were known.
    pub(crate) fn first_bytes(&self) -> u64 {
        (self.unit_bytes + self.unit_bytes / 2).min(self.wave_part_bytes())
    }

    /// Requests of one read in flight at once.
    pub(crate) fn slots(&self) -> usize {
        usize::try_from(self.slots).unwrap_or(usize::MAX)
    }

    /// The largest part of a range that is sent at once: two units.
    fn wave_part_bytes(&self) -> u64 {
        self.unit_bytes.saturating_mul(2).min(self.max_bytes)
    }

    /// The largest part of the range.
    fn largest_bytes(&self) -> u64 {
        let spread = self.unit_bytes.saturating_add(self.unit_bytes / 4);
        if self.one_wave.is_some() { self.wave_part_bytes() } else { spread.min(self.max_bytes) }
    }

    /// How far ahead of its reader a read fetches, in bytes: one wave, and a quarter more for parts that
    /// overtake the first one.
    pub(crate) fn window_bytes(&self) -> u64 {
        (self.slots + self.slots.div_ceil(4)).saturating_mul(self.largest_bytes())
    }

    /// The size of the next part, if `sent` parts were sent, `outstanding` bytes of them have not arrived, and
    /// `unsent` bytes (at least one) have not been requested.
    pub(crate) fn next_bytes(&self, sent: u64, outstanding: u64, unsent: u64) -> u64 {
        let left = outstanding.saturating_add(unsent);
        let share = left.div_ceil(self.waves(left));
        let largest = self.largest_bytes();
        let size = if self.one_wave.is_some() && share <= largest {
            share
        } else {
            // The sizes of the first parts grow.
            let grown = sent.saturating_add(self.slots / FIRST_SHARE).min(self.slots);
            let spread = u128::from(spread_bytes(sent.wrapping_add(self.phase), self.unit_bytes)) * u128::from(grown)
                / u128::from(self.slots);
            share.min(u64::try_from(spread).unwrap_or(largest)).clamp(self.min_bytes, largest)
        };
        self.without_scrap(size, unsent)
    }

    /// The number of parts of a range of `bytes` that is sent at once.
    fn waves(&self, bytes: u64) -> u64 {
        let rounded = bytes.saturating_add(self.unit_bytes / 2) / self.unit_bytes;
        rounded.min(bytes / self.min_bytes).clamp(1, self.one_wave.unwrap_or(self.slots).min(self.slots))
    }

    /// Avoids a remainder below the minimum: takes it too, or leaves half of the bytes.
    fn without_scrap(&self, size: u64, unsent: u64) -> u64 {
        let size = size.min(unsent);
        match unsent - size {
            0 => size,
            rest if rest >= self.min_bytes => size,
            _ if unsent <= self.largest_bytes() => unsent,
            _ if unsent / 2 >= self.min_bytes => unsent.div_ceil(2),
            _ => size,
        }
    }
}

/// The fraction of the golden ratio, in 1,024ths.
const GOLDEN_1024: u64 = 633;

/// The size of request number `nth` among requests of `mean_bytes` on average: three quarters to five quarters of it.
///
/// Varying sizes avoid convoys (see the top of this file). Multiples of the golden ratio, modulo one, are the
/// sequence of which any few consecutive members are spread most evenly (Knuth, *The Art of Computer Programming*
/// 3, section 6.4).
pub fn spread_bytes(nth: u64, mean_bytes: u64) -> u64 {
    mean_bytes / 4 * 3 + mean_bytes / 2048 * (nth % 1024 * GOLDEN_1024 % 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MIB: u64 = 1 << 20;

    fn link(ttfb_ms: u64, stream: f64, aggregate: f64) -> Link {
        Link::steady(Duration::from_millis(ttfb_ms), stream, aggregate)
    }

    fn gcs(concurrency: usize) -> Split {
        Split::plan(&link(30, 60e6, 1e9), &BackendProfile::default(), concurrency).expect("splitting pays")
    }

    /// Cuts `bytes`: all parts are sent before any arrives, then one for each that has arrived, oldest first.
    fn cut(split: &Split, bytes: u64) -> Vec<u64> {
        let (mut unsent, mut sizes, mut arrived) = (bytes, Vec::new(), 0);
        while unsent > 0 {
            let in_flight: u64 = sizes[arrived..].iter().sum();
            let size = split.next_bytes(sizes.len() as u64, in_flight, unsent);
            assert!(size > 0 && size <= unsent, "{size} of {unsent}");
            sizes.push(size);
            unsent -= size;
            if sizes.len() - arrived >= split.slots() {
                arrived += 1;
            }
        }
        sizes
    }

    #[test]
    fn units_of_the_usual_links() {
        for (name, link, unit) in [
            ("gcs", link(30, 60e6, 1e9), 4 * MIB),
            ("s3", link(25, 90e6, 1e9), 4 * MIB),
            ("near", link(5, 200e6, 1e9), 2 * MIB),
            ("wan", link(100, 20e6, 200e6), 4 * MIB),
            ("far and fast", link(200, 200e6, 1e10), 16 * MIB),
        ] {
            let split = Split::plan(&link, &BackendProfile::default(), 32).expect(name);
            assert_eq!(split.unit_bytes, unit, "{name}");
        }
    }

    #[test]
    fn not_split_where_one_stream_gets_nearly_all() {
        let profile = BackendProfile::default();
        assert_eq!(Split::plan(&link(30, 60e6, 70e6), &profile, 32), None);
        assert_eq!(Split::plan(&link(30, 60e6, 1e9), &profile, 1), None, "one request at a time");
        assert!(Split::plan(&link(30, 60e6, 80e6), &profile, 32).is_some());
        assert_eq!(Split::plan(&link(0, 2e9, 2e9), &BackendProfile::local(), 32), None);
    }

    #[test]
    fn up_to_one_and_a_half_units_is_one_request() {
        let split = gcs(32);
        assert!(split.is_one(1));
        assert!(split.is_one(6 * MIB - 1));
        assert!(!split.is_one(6 * MIB));
        assert_eq!(split.first_bytes(), 6 * MIB);
        assert_eq!(cut(&split.for_range(6 * MIB, 0, 1), 6 * MIB), [3 * MIB, 3 * MIB]);
    }

    #[test]
    fn one_wave_is_cut_evenly_and_a_longer_range_is_not() {
        assert_eq!(cut(&gcs(32).for_range(64 * MIB, 0, 1), 64 * MIB), [4 * MIB; 16]);
        assert_eq!(cut(&gcs(32).for_range(256 * MIB, 0, 1), 256 * MIB), [8 * MIB; 32]);
        let long = cut(&gcs(32).for_range(1024 * MIB, 0, 1), 1024 * MIB);
        assert!(
            long[..4].iter().sum::<u64>() < 8 * MIB && long[28..32].iter().sum::<u64>() > 14 * MIB,
            "the first wave grows"
        );
        assert!(long[32..200].windows(4).all(|few| few[1..].iter().all(|size| size.abs_diff(few[0]) >= MIB / 8)));
        assert!(long.len() <= 360, "{} GETs", long.len());
    }

    #[test]
    fn a_short_round_trip_makes_no_thousand_requests() {
        let near = Split::plan(&link(5, 60e6, 1e9), &BackendProfile::default(), 32).expect("splitting pays");
        assert_eq!(near.unit_bytes, MIB);
        assert_eq!(near.for_range(64 * MIB, 0, 1), Split { one_wave: Some(32), ..near }, "parts of two units");
        for mib in [256, 512, 1024, 4096] {
            let sizes = cut(&near.for_range(mib * MIB, 0, 1), mib * MIB);
            assert!(sizes.len() as u64 * 1024 / mib <= 360, "{} parts of {mib} MiB", sizes.len());
        }
    }

    #[test]
    fn high_concurrency_makes_no_small_parts() {
        assert_eq!(cut(&gcs(1000).for_range(64 * MIB, 0, 1), 64 * MIB), [4 * MIB; 16]);
        assert!(cut(&gcs(1000).for_range(16 << 30, 0, 1), 16 << 30).iter().all(|&size| size >= MIB));
    }

    #[test]
    fn any_few_in_a_row_differ_and_the_mean_is_kept() {
        let mean = 4 << 20;
        for first in [0, 1, 1000, u64::MAX - 2000] {
            let sizes: Vec<u64> = (0..1024).map(|n| spread_bytes(first + n, mean)).collect();
            assert!(sizes.iter().all(|size| (mean / 4 * 3..=mean / 4 * 5).contains(size)));
            assert!(sizes.windows(4).all(|few| few[1..].iter().all(|size| size.abs_diff(few[0]) >= mean / 32)));
            assert!((sizes.iter().sum::<u64>() / 1024).abs_diff(mean) < mean / 1000);
        }
    }

    proptest! {
        #[test]
        fn parts_tile_the_range_within_their_bounds(
            bytes in 1_u64..3_000,
            min in 1_u64..40,
            more in 0_u64..100,
            concurrency in 2_usize..40,
            stream in 1.0_f64..2_000.0,
            arrived in prop::collection::vec(0_u64..50, 0..20),
            nth in any::<u64>(),
            reads in 0_usize..80,
        ) {
            let (min_part_bytes, max_part_bytes) = (min, min + more);
            let profile = BackendProfile { min_part_bytes, max_part_bytes, ..BackendProfile::default() };
            let split = Split::plan(&link(30, stream, 1e9), &profile, concurrency).expect("splitting pays");
            let split = split.for_range(bytes, nth, reads);
            let (mut unsent, mut outstanding, mut sizes) = (bytes, 0_u64, Vec::new());
            while unsent > 0 {
                let size = split.next_bytes(sizes.len() as u64, outstanding, unsent);
                prop_assert!(size >= 1 && size <= unsent);
                prop_assert!(size <= split.largest_bytes() || sizes.is_empty() && split.is_one(bytes));
                unsent -= size;
                outstanding += size;
                outstanding -= arrived.get(sizes.len()).copied().unwrap_or(size).min(outstanding);
                sizes.push(size);
            }
            let last = sizes.pop().expect("at least one");
            prop_assert!(sizes.iter().all(|&size| size >= min), "{sizes:?} {last}");
            if split.largest_bytes() >= 2 * min {
                prop_assert!(last >= min.min(bytes), "{sizes:?} {last}");
            }
        }

        /// Numbers at the limits of their types do not overflow.
        #[test]
        fn absurd_sizes(bytes in any::<u64>(), outstanding in any::<u64>(), sent in 0_u64..100) {
            let split = gcs(32);
            let size = split.next_bytes(sent, outstanding, bytes.max(1));
            prop_assert!(size >= 1 && size <= bytes.max(1));
        }
    }
}
