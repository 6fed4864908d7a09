//! When a request is tried again, and after what pause. Pure.
//!
//! Exponential backoff with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the pause before a try
//! is anything from nothing to a ceiling that doubles from try to try. What the store asks for comes on top: without jitter all
//! who were refused together would come back together.

use std::time::Duration;

/// The ceiling of the first pause: about a round trip, as most refusals are one server's and another one answers next.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The highest ceiling: ten pauses then take 3.3 s on average, as long as those of `object_store`'s clients. A caller who waits longer
/// for the same error would be better off without us.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often and how long to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// RetryAttempts after the first one.
    pub(crate) retries: usize,
    /// No try begins later than this after the first one.
    pub(crate) timeout: Duration,
}

/// The tries at one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryAttempts {
    policy: RetryPolicy,
    began: Duration,
    retried: usize,
}

impl RetryAttempts {
    /// The first try begins `now`.
    pub(crate) fn new(policy: RetryPolicy, now: Duration) -> Self {
        Self { policy, began: now, retried: 0 }
    }

    /// A try has failed `now`: the pause before the next one, `None` where that was the last.
    ///
    /// `retry_after` is what the store asked for; `dice` is any number in `0.0..1.0`.
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
        let ceiling = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE);
        let pause = retry_after.unwrap_or_default().saturating_add(ceiling.mul_f64(dice));
        if now.saturating_add(pause) > self.began.saturating_add(self.policy.timeout) {
            return None;
        }
        self.retried += 1;
        Some(pause)
    }

    /// So much time went by in a queue since the latest failure: it does not count as time spent on tries.
    pub(crate) fn waited(&mut self, queued: Duration) {
        self.began = self.began.saturating_add(queued);
    }

    /// What was tried has made progress by `now`: the count begins anew.
    pub(crate) fn progressed(&mut self, now: Duration) {
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
        let mut tries = RetryAttempts::new(policy, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        while let Some(pause) = tries.after_failure(now, retry_after, dice) {
            pauses.push(pause.as_millis());
            now += pause;
        }
        pauses
    }

    #[test]
    fn time_in_a_queue_does_not_count() {
        let policy = RetryPolicy { retries: 10, timeout: 10 * S };
        let mut tries = RetryAttempts::new(policy, Duration::ZERO);
        assert!(tries.after_failure(S, None, 0.0).is_some());
        let mut waited = tries;
        waited.waited(60 * S);
        assert!(waited.after_failure(62 * S, None, 0.0).is_some());
        assert!(tries.after_failure(62 * S, None, 0.0).is_none());
    }

    #[test]
    fn pauses_double_up_to_a_ceiling() {
        let policy = RetryPolicy { retries: 10, timeout: 180_000 * MS };
        assert_eq!(pauses(policy, None, 1.0), [50, 100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000]);
        assert_eq!(pauses(policy, None, 0.0), [0; 10], "full jitter begins at nothing");
        assert_eq!(pauses(RetryPolicy { retries: 0, ..policy }, None, 0.5), [0_u128; 0]);
        assert_eq!(pauses(RetryPolicy { retries: 3, ..policy }, Some(2000 * MS), 0.5), [2025, 2050, 2100]);
    }

    #[test]
    fn no_longer_than_the_time_there_is() {
        let policy = RetryPolicy { retries: 10, timeout: 1000 * MS };
        assert_eq!(pauses(policy, None, 1.0), [50, 100, 200, 400], "800 more would be too late");
        assert_eq!(pauses(policy, Some(1001 * MS), 0.0), [0_u128; 0], "told to come back when it is too late");
    }

    proptest! {
        /// Against a table of all ceilings: the same tries at the same times.
        #[test]
        fn follows_the_table(
            retries in 0_usize..14,
            timeout_ms in 0_u32..60_000,
            failures in prop::collection::vec((0_u32..2_000, prop::option::of(0_u32..5_000), 0.0_f64..1.0, prop::bool::weighted(0.1)), 0..40),
        ) {
            let policy = RetryPolicy { retries, timeout: timeout_ms * MS };
            let mut now = 77 * MS;
            let mut tries = RetryAttempts::new(policy, now);
            let (mut began, mut used) = (now, 0);
            let ceilings: Vec<Duration> = (0..14).map(|n| (50 * 2_u32.pow(n)).min(1000) * MS).collect();
            for (took_ms, asked_ms, dice, progress) in failures {
                now += took_ms * MS;
                if progress {
                    tries.progressed(now);
                    (began, used) = (now, 0);
                }
                let asked = asked_ms.map(|ms| ms * MS);
                let expected = (used < retries)
                    .then(|| asked.unwrap_or_default() + ceilings[used].mul_f64(dice))
                    .filter(|pause| now + *pause <= began + timeout_ms * MS);
                let pause = tries.after_failure(now, asked, dice);
                prop_assert_eq!(pause, expected);
                if let Some(pause) = pause {
                    used += 1;
                    now += pause;
                }
            }
        }
    }
}
