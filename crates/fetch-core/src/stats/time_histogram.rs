//! How many requests took how long: counts and sums by bucket, written by many tasks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The upper bounds of all buckets of a [`TimeHistogram`] but the last, in microseconds; a bound belongs to its bucket.
///
/// From a cache on the same host (100 µs) to an answer that is given up: three bounds a decade.
pub const TIME_BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

const BUCKETS: usize = TIME_BOUNDS_US.len() + 1;

/// Times that were measured, in buckets with the bounds [`TIME_BOUNDS_US`]; the last bucket has those beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeHistogram {
    /// One for each bound, and the last one.
    pub buckets: [TimeBucket; BUCKETS],
}

/// The times of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeBucket {
    /// How many there were.
    pub count: u64,
    /// Their sum in microseconds.
    pub total_us: u64,
}

impl TimeHistogram {
    /// How many times were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The sum of all times in microseconds.
    #[must_use]
    pub fn total_us(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.total_us).sum()
    }
}

/// The counters behind a [`TimeHistogram`]. To record a time takes two additions.
#[derive(Debug, Default)]
pub(crate) struct TimeRecorder([[AtomicU64; 2]; BUCKETS]);

impl TimeRecorder {
    /// Adds one time.
    pub(crate) fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let [count, total_us] = &self.0[TIME_BOUNDS_US.partition_point(|bound| *bound < us)];
        count.fetch_add(1, Ordering::Relaxed);
        total_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The times so far.
    pub(crate) fn snapshot(&self) -> TimeHistogram {
        let bucket = |[count, total_us]: &[AtomicU64; 2]| TimeBucket {
            count: count.load(Ordering::Relaxed),
            total_us: total_us.load(Ordering::Relaxed),
        };
        TimeHistogram { buckets: self.0.each_ref().map(bucket) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let recorder = TimeRecorder::default();
        let times = [(0, 0), (100, 0), (101, 1), (30_000, 8), (30_000_000, 16), (30_000_001, 17), (u64::MAX / 4, 17)];
        for (us, _) in times {
            recorder.record(Duration::from_micros(us));
        }
        let histogram = recorder.snapshot();
        for (at, bucket) in histogram.buckets.iter().enumerate() {
            let here: Vec<u64> = times.iter().filter(|(_, bucket)| *bucket == at).map(|(us, _)| *us).collect();
            assert_eq!((bucket.count, bucket.total_us), (here.len() as u64, here.iter().sum()), "bucket {at}");
        }
        assert_eq!((histogram.count(), histogram.total_us()), (7, times.iter().map(|(us, _)| us).sum()));
    }
}
