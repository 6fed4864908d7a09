//! Retry backoff: whether a request is sent again, and after what pause.
//!
//! Exponential backoff with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the pause
//! before an attempt is random between zero and a ceiling that doubles with each attempt. `Retry-After` is added to it:
//! without jitter, clients that were throttled together would return together.

use std::time::Duration;

/// The ceiling of the first pause: about a round trip, since most refusals come from one server and the next attempt
/// meets another one.
const FIRST_CEILING: Duration = Duration::from_millis(50);

/// The highest ceiling: ten pauses then take 3.3 s on average, as long as those of `object_store`'s clients. With a
/// higher one, callers would get the same error later than without this crate.
const MAX_CEILING: Duration = Duration::from_secs(1);

/// How often and for how long a request is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// Attempts after the first one.
    pub(crate) retries: usize,
    /// No attempt begins later than this after the first one.
    pub(crate) timeout: Duration,
}

/// The attempts at one request or body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryAttempts {
    policy: RetryPolicy,
    began: Duration,
    retried: usize,
}

impl RetryAttempts {
    /// The first attempt begins `now`.
    pub(crate) fn new(policy: RetryPolicy, now: Duration) -> Self {
        Self { policy, began: now, retried: 0 }
    }

    /// An attempt has failed `now`. Returns the pause before the next one; `None` if it was the last.
    ///
    /// `retry_after` is the pause that the store demands; `dice` is a random number in `0.0..1.0`.
    pub(crate) fn after_failure(
        &mut self,
        now: Duration,
        retry_after: Option<Duration>,
        dice: f64,
    ) -> Option<Duration> {
        if self.retried >= self.policy.retries {
            return None;
        }
        let doublings = u32::try_from(self.retried).unwrap_or(u32::MAX);
        let ceiling = FIRST_CEILING.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_CEILING);
        let pause = retry_after.unwrap_or_default().saturating_add(ceiling.mul_f64(dice));
        if now.saturating_add(pause) > self.began.saturating_add(self.policy.timeout) {
            return None;
        }
        self.retried += 1;
        Some(pause)
    }

    /// The number of the next attempt, counted from 1.
    pub(crate) fn number(&self) -> usize {
        self.retried + 1
    }

    /// Excludes time spent in a queue since the latest failure from the retry timeout.
    pub(crate) fn exclude_queueing(&mut self, queued: Duration) {
        self.began = self.began.saturating_add(queued);
    }

    /// Counts anew from `now`: the body has made progress.
    pub(crate) fn restart(&mut self, now: Duration) {
        *self = Self::new(self.policy, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn pauses(policy: RetryPolicy, retry_after: Option<Duration>, dice: f64) -> Vec<u128> {
        let mut attempts = RetryAttempts::new(policy, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        while let Some(pause) = attempts.after_failure(now, retry_after, dice) {
            pauses.push(pause.as_millis());
            now += pause;
        }
        pauses
    }

    #[test]
    fn time_in_a_queue_does_not_count() {
        let policy = RetryPolicy { retries: 10, timeout: 10 * S };
        let mut attempts = RetryAttempts::new(policy, Duration::ZERO);
        assert!(attempts.after_failure(S, None, 0.0).is_some());
        let mut waited = attempts;
        waited.exclude_queueing(60 * S);
        assert!(waited.after_failure(62 * S, None, 0.0).is_some());
        assert!(attempts.after_failure(62 * S, None, 0.0).is_none());
    }

    #[test]
    fn pauses_double_up_to_a_ceiling() {
        let policy = RetryPolicy { retries: 10, timeout: 180_000 * MS };
        assert_eq!(pauses(policy, None, 1.0), [50, 100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000]);
        assert_eq!(pauses(policy, None, 0.0), [0; 10], "full jitter begins at zero");
        assert_eq!(pauses(RetryPolicy { retries: 0, ..policy }, None, 0.5), [0_u128; 0]);
        assert_eq!(pauses(RetryPolicy { retries: 3, ..policy }, Some(2000 * MS), 0.5), [2025, 2050, 2100]);
    }

    #[test]
    fn no_longer_than_the_time_there_is() {
        let policy = RetryPolicy { retries: 10, timeout: 1000 * MS };
        assert_eq!(pauses(policy, None, 1.0), [50, 100, 200, 400], "800 more would be too late");
        assert_eq!(pauses(policy, Some(1001 * MS), 0.0), [0_u128; 0], "the store demands a pause beyond the timeout");
    }

    proptest! {
        /// Compared with a table of all ceilings: the same attempts at the same times.
        #[test]
        fn follows_the_table(
            retries in 0_usize..14,
            timeout_ms in 0_u32..60_000,
            failures in prop::collection::vec(
                (0_u32..2_000, prop::option::of(0_u32..5_000), 0.0_f64..1.0, prop::bool::weighted(0.1)),
                0..40,
            ),
        ) {
            let policy = RetryPolicy { retries, timeout: timeout_ms * MS };
            let mut now = 77 * MS;
            let mut attempts = RetryAttempts::new(policy, now);
            let (mut began, mut used) = (now, 0);
            let ceilings: Vec<Duration> = (0..14).map(|n| (50 * 2_u32.pow(n)).min(1000) * MS).collect();
            for (took_ms, asked_ms, dice, progress) in failures {
                now += took_ms * MS;
                if progress {
                    attempts.restart(now);
                    (began, used) = (now, 0);
                }
                let asked = asked_ms.map(|ms| ms * MS);
                let expected = (used < retries)
                    .then(|| asked.unwrap_or_default() + ceilings[used].mul_f64(dice))
                    .filter(|pause| now + *pause <= began + timeout_ms * MS);
                let pause = attempts.after_failure(now, asked, dice);
                prop_assert_eq!(pause, expected);
                if let Some(pause) = pause {
                    used += 1;
                    now += pause;
                }
            }
        }
    }
}
