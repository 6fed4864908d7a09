//! The times to the first byte of the latest answers, and their quantiles.

use std::{collections::VecDeque, time::Duration};

/// Answers whose time to the first byte is remembered. With 64 lognormal times the 95th percentile would be off by
/// an eighth.
const SAMPLES: usize = 256;

/// Answers before the measured times replace those of the profile. One outlier must not decide.
const ENOUGH: usize = 8;

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

    /// The 10th percentile, the median and the 95th percentile, once there are enough answers.
    pub(super) fn quantiles(&self) -> Option<[Duration; 3]> {
        self.are_enough().then(|| [10, 50, 95].map(|percent| self.sorted[self.sorted.len() * percent / 100]))
    }

    /// The shortest time of all; zero before the first answer.
    pub(super) fn fastest(&self) -> Duration {
        self.sorted.first().copied().unwrap_or_default()
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
        assert_eq!(times.quantiles(), Some([10 * MS, 10 * MS, 500 * MS]));
        assert_eq!(times.fastest_of_several(), Some(10 * MS));
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
                let expected = [10, 50, 95].map(|percent| latest[latest.len() * percent / 100] * MS);
                prop_assert_eq!(times.quantiles(), (latest.len() >= ENOUGH).then_some(expected));
            }
        }
    }
}
