//! The hard limit on GETs in flight: only throttling lowers it.
//!
//! Additive increase, multiplicative decrease, as in TCP, in rounds: a round in which the store throttled many
//! requests takes three tenths of what was in flight away; every other round that used the whole limit gives a part
//! back.

use std::time::Duration;

/// The shortest round. Requests that were sent together and throttled together count as one event.
const MIN_ROUND: Duration = Duration::from_millis(100);

/// The fewest answers in a round.
const MIN_ANSWERS: u32 = 8;

/// The limit decreases if at least one in this many answers was throttled. One in twenty, as stores have on a bad
/// day, is not our doing and not worth fewer streams: the request is soon retried.
const THROTTLED_SHARE: u32 = 4;

/// The factor of the decrease.
const DECREASE: f64 = 0.7;

/// With fewer in flight, one round says too little: two refusals among eight answers are often chance, and a limit of
/// one would keep the hedge of a single read waiting. Such rounds decrease the limit step by step.
const FEW: usize = 32;

/// A round gives back one in this many of the limit, or one if that is more. A limit that one bad minute has taken from
/// 1,000 to 50 is back after ten seconds of full rounds.
const INCREASE_SHARE: f64 = 32.0;

/// Controls the limit of one store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Concurrency {
    cap: usize,
    limit: f64,
    round: Round,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Round {
    began: Duration,
    answers: u32,
    throttled: u32,
    most_in_flight: usize,
}

/// The state of the store's requests when a GET has been answered or refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerSample {
    /// The store has throttled this GET.
    pub(crate) is_throttled: bool,
    /// GETs in flight, this one included.
    pub(crate) in_flight: usize,
}

impl Concurrency {
    /// A limit of at most `cap`.
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, limit: cap as f64, round: Round::default() }
    }

    /// GETs that may be in flight now.
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and the cap")]
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A GET has been answered `now`.
    pub(crate) fn on_answer(&mut self, now: Duration, sample: AnswerSample) {
        if self.round.answers == 0 {
            self.round = Round { began: now, ..Round::default() };
        }
        self.round.answers += 1;
        self.round.throttled += u32::from(sample.is_throttled);
        self.round.most_in_flight = self.round.most_in_flight.max(sample.in_flight);
        if now.saturating_sub(self.round.began) >= MIN_ROUND && self.round.answers >= MIN_ANSWERS {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        let Round { answers, throttled, most_in_flight, .. } = std::mem::take(&mut self.round);
        if throttled * THROTTLED_SHARE >= answers {
            // The limit may be far above what was in flight, and has then nothing to do with the refusals.
            let reached = self.limit.min(most_in_flight.max(FEW) as f64);
            self.limit = (reached * DECREASE).max(1.0);
        } else if most_in_flight >= self.limit() {
            self.limit = (self.limit + (self.limit / INCREASE_SHARE).max(1.0)).min(self.cap as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// A store that serves `bearable` requests at once and throttles the rest, used by `wanted` callers. Returns the
    /// share of throttled answers.
    fn run(concurrency: &mut Concurrency, rounds: u32, bearable: usize, wanted: usize) -> f64 {
        let (mut throttled, mut answers) = (0.0, 0.0);
        concurrency.round = Round::default();
        for round in 1..=rounds {
            let in_flight = concurrency.limit().min(wanted);
            for n in 0..in_flight.max(8) {
                let is_throttled = n >= bearable;
                throttled += f64::from(u8::from(is_throttled));
                answers += 1.0;
                concurrency.on_answer(round * 100 * MS, AnswerSample { is_throttled, in_flight });
            }
        }
        throttled / answers
    }

    #[test]
    fn fewer_when_throttled_and_back_when_not() {
        for (cap, bearable) in [(32, 8), (1024, 100)] {
            let mut concurrency = Concurrency::new(cap);
            assert_eq!(concurrency.limit(), cap);
            run(&mut concurrency, 40, bearable, 1000);
            let limits = bearable / 2..=bearable * 3 / 2;
            assert!(limits.contains(&concurrency.limit()), "{} for {bearable}", concurrency.limit());
            let throttled = run(&mut concurrency, 1000, bearable, 1000);
            assert!(throttled < 0.2, "{throttled}");
            run(&mut concurrency, 150, 10_000, 10_000);
            assert_eq!(concurrency.limit(), cap);
        }
    }

    #[test]
    fn a_limit_far_above_what_is_in_flight_falls_below_it() {
        let mut concurrency = Concurrency::new(1024);
        run(&mut concurrency, 3, 20, 40);
        assert!(concurrency.limit() < 40, "{}", concurrency.limit());
    }

    #[test]
    fn a_few_refusals_cost_nothing() {
        let mut concurrency = Concurrency::new(32);
        for n in 0..10_000_u32 {
            concurrency.on_answer(n * 5 * MS, AnswerSample { is_throttled: n % 20 == 0, in_flight: 32 });
        }
        assert_eq!(concurrency.limit(), 32);
    }

    proptest! {
        #[test]
        fn between_one_and_the_cap(
            cap in 1_usize..5000,
            answers in prop::collection::vec((0_u32..300, any::<bool>(), 0_usize..5000), 0..300),
        ) {
            let mut concurrency = Concurrency::new(cap);
            let mut now = Duration::ZERO;
            for (ms, is_throttled, in_flight) in answers {
                now += ms * MS;
                let before = concurrency.limit();
                concurrency.on_answer(now, AnswerSample { is_throttled, in_flight });
                prop_assert!((1..=cap).contains(&concurrency.limit()));
                prop_assert!(concurrency.limit() <= before + before / 32 + 1);
            }
        }
    }
}
