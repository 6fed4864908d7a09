//! The times to the first byte of the latest answers, and their quantiles.

use std::{collections::VecDeque, time::Duration};

/// Answers whose time to the first byte is remembered. With 64 lognormal times the 95th percentile would be off by
/// an eighth.
const SAMPLES: usize = 256;

/// Answers before the measured times replace those of the profile. One outlier must not decide.
const ENOUGH: usize = 8;

/// First bytes vary by themselves: on clouds the median is up to twice the 10th percentile. Beyond this factor, answers
/// wait for each other.
const QUEUED_SLOWER: u32 = 2;

/// The times to the first byte of the latest answers.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstByteTimes {
    latest: VecDeque<Duration>,
    /// The same times, in ascending order.
    sorted: Vec<Duration>,
}

impl FirstByteTimes {
    /// An answer began `ttfb` after its request.
    pub(super) fn push(&mut self, ttfb: Duration) {
        if self.latest.len() == SAMPLES
            && let Some(oldest) = self.latest.pop_front()
        {
            self.sorted.remove(self.sorted.partition_point(|sample| *sample < oldest));
        }
        self.latest.push_back(ttfb);
        self.sorted.insert(self.sorted.partition_point(|sample| *sample < ttfb), ttfb);
    }

    /// Whether there are enough answers for quantiles.
    pub(super) fn are_enough(&self) -> bool {
        self.latest.len() >= ENOUGH
    }

    /// The median and the 95th percentile, once there are enough answers.
    fn quantiles(&self) -> Option<[Duration; 2]> {
        self.are_enough().then(|| [50, 95].map(|percent| self.at(percent)))
    }

    /// The time of answers that do not wait for others, which are expected to take `expected`, and the quantiles.
    pub(super) fn times(&self, expected: Duration) -> Option<[Duration; 3]> {
        self.quantiles().map(|[p50, p95]| [self.unqueued(p50, expected), p50, p95])
    }

    /// The time of answers that do not wait for others, of all whose median is `p50`, on a link where such answers are
    /// expected to take `expected`.
    fn unqueued(&self, p50: Duration, expected: Duration) -> Duration {
        // Where even the 10th percentile waits, the shortest time shows it, unless that is as short as expected.
        let fast = self.at(10).min(self.at(0).max(expected));
        if p50 > fast.saturating_mul(QUEUED_SLOWER) { fast } else { p50 }
    }

    /// A percentile of the latest answers, of which there is at least one.
    fn at(&self, percent: usize) -> Duration {
        self.sorted[self.sorted.len() * percent / 100]
    }

    /// The shortest time of several answers.
    pub(super) fn fastest_of_several(&self) -> Option<Duration> {
        self.sorted.first().copied().filter(|_| self.sorted.len() >= 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn one_late_answer_does_not_steer() {
        let mut times = FirstByteTimes::default();
        for ms in [10, 10, 10, 10, 500, 10, 10, 10, 10, 10] {
            times.push(ms * MS);
        }
        assert_eq!(times.quantiles(), Some([10 * MS, 500 * MS]));
        assert_eq!(times.fastest_of_several(), Some(10 * MS));
    }

    #[test]
    fn a_median_far_above_the_fastest_answers_is_a_queue() {
        for (fast, slow, expected, unqueued) in
            [(30, 55, 30, 55), (30, 90, 30, 30), (90, 200, 30, 90), (25, 90, 30, 25)]
        {
            let mut times = FirstByteTimes::default();
            (0..100).for_each(|n| times.push(if n % 5 == 0 { fast * MS } else { slow * MS }));
            let [p50, _] = times.quantiles().expect("enough");
            assert_eq!((p50, times.unqueued(p50, expected * MS)), (slow * MS, unqueued * MS));
        }
    }

    proptest! {
        /// The quantiles equal those of the latest answers, sorted anew each time.
        #[test]
        fn quantiles_are_of_the_latest_answers(samples in prop::collection::vec(0_u32..500, 1..700)) {
            let mut times = FirstByteTimes::default();
            for (n, ms) in samples.iter().enumerate() {
                times.push(*ms * MS);
                let mut latest = samples[(n + 1).saturating_sub(SAMPLES)..=n].to_vec();
                latest.sort_unstable();
                let expected = [50, 95].map(|percent| latest[latest.len() * percent / 100] * MS);
                prop_assert_eq!(times.quantiles(), (latest.len() >= ENOUGH).then_some(expected));
            }
        }
    }
}
