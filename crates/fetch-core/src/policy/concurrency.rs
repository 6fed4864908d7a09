//! How many GETs may be in flight. Pure.
//!
//! Additive increase, multiplicative decrease, as TCP has it, in rounds: a round in which the store refused many requests costs
//! three tenths of the limit, every other one that used the limit up gives back one. A limit beyond [`START`] must be earned:
//! it grows while more streams carry more bytes.

use std::time::Duration;

/// What a store is taken to bear without asking.
const START: usize = 64;

/// The shortest round: refusals of requests that were sent together are one event.
const ROUND: Duration = Duration::from_millis(100);

/// Answers in a round, at the least.
const ANSWERS: u32 = 8;

/// One refusal in so many answers is one too many. One in twenty, which stores have on a bad day, is not worth fewer streams: it is
/// not ours, and the next try is soon.
const TOO_MANY: u32 = 4;

/// What is left of the limit then.
const DECREASE: f64 = 0.7;

/// How much more a larger limit must have carried before it grows again.
const WORTH_MORE: f64 = 1.05;

/// By how much it grows then.
const GROWTH: f64 = 1.25;

/// Full rounds until a growth that was in vain is tried again; twice as many after each that is in vain again…
const PATIENCE: u32 = 16;

/// …up to this many: about a minute of nothing but full rounds.
const MOST_PATIENCE: u32 = 512;

/// Sets the limit of one store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Concurrency {
    cap: usize,
    limit: f64,
    /// Where refusals aside the limit would be, and the rate that has earned it.
    earned: f64,
    earned_bytes_per_s: f64,
    /// Where the latest growth began, as long as nobody knows whether it is worth anything.
    grown_from: Option<f64>,
    /// Full rounds to go until growth is tried again, and how many there were to begin with.
    wait: u32,
    patience: u32,
    round: Round,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Round {
    began: Duration,
    bytes_before: u64,
    answers: u32,
    refused: u32,
    full: bool,
}

/// What is known when a GET has been answered or refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// The store asked for fewer requests.
    pub(crate) refused: bool,
    /// GETs in flight, this one included.
    pub(crate) in_flight: usize,
    /// Bytes that all GETs have carried so far.
    pub(crate) all_bytes: u64,
}

impl Concurrency {
    /// Never more than `cap`.
    pub(crate) fn new(cap: usize) -> Self {
        let limit = to_limit(cap.min(START));
        Self {
            cap,
            limit,
            earned: limit,
            earned_bytes_per_s: 0.0,
            grown_from: None,
            wait: 0,
            patience: PATIENCE,
            round: Round::default(),
        }
    }

    /// GETs that may be in flight now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the cap")]
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A GET has been answered `now`.
    pub(crate) fn on_answer(&mut self, now: Duration, answered: Answered) {
        if self.round.answers == 0 {
            self.round = Round { began: now, bytes_before: answered.all_bytes, ..Round::default() };
        }
        self.round.answers += 1;
        self.round.refused += u32::from(answered.refused);
        self.round.full |= answered.in_flight >= self.limit();
        let elapsed = now.saturating_sub(self.round.began);
        if elapsed >= ROUND && self.round.answers >= ANSWERS {
            self.end_round(elapsed, answered.all_bytes);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn end_round(&mut self, elapsed: Duration, all_bytes: u64) {
        let Round { bytes_before, answers, refused, full, .. } = std::mem::take(&mut self.round);
        if refused * TOO_MANY >= answers {
            self.limit = (self.limit * DECREASE).max(1.0);
        } else if full && self.limit < self.earned {
            self.limit = (self.limit + 1.0).min(self.earned);
        } else if full {
            self.judge_growth(all_bytes.saturating_sub(bytes_before) as f64 / elapsed.as_secs_f64());
        }
    }

    /// A round that used the limit up carried `rate` bytes per second: grows, or takes back what was in vain.
    fn judge_growth(&mut self, rate: f64) {
        let carries_more = rate > self.earned_bytes_per_s * WORTH_MORE;
        if let (Some(before), false) = (self.grown_from, carries_more) {
            self.grown_from = None;
            self.earned = before;
            self.limit = before;
            self.wait = self.patience;
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
            return;
        }
        self.wait = self.wait.saturating_sub(1);
        if !carries_more && self.wait > 0 {
            return;
        }
        if carries_more {
            self.patience = PATIENCE;
        }
        self.earned_bytes_per_s = rate;
        let grown = (self.earned * GROWTH).min(to_limit(self.cap));
        self.grown_from = (grown > self.earned).then_some(self.earned);
        self.earned = grown;
        self.limit = grown;
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most a few thousand")]
fn to_limit(requests: usize) -> f64 {
    requests as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// A store that serves `bearable` requests at once and refuses the rest, each of 1 MB at `stream` bytes per second up to `all`.
    fn run(concurrency: &mut Concurrency, rounds: u32, bearable: usize, stream: f64, all: f64) -> f64 {
        let (mut bytes, mut refused_in_all, mut answers) = (0_u64, 0.0, 0.0);
        concurrency.round = Round::default();
        for round in 1..=rounds {
            let now = round * 100 * MS;
            let in_flight = concurrency.limit();
            let rate = all.min(stream * to_limit(in_flight.min(bearable)));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
            let carried = (rate / 10.0) as u64;
            bytes += carried;
            for n in 0..in_flight.max(8) {
                let refused = n >= bearable;
                refused_in_all += f64::from(u8::from(refused));
                answers += 1.0;
                concurrency.on_answer(now, Answered { refused, in_flight, all_bytes: bytes });
            }
        }
        refused_in_all / answers
    }

    #[test]
    fn fewer_when_refused_and_back_when_not() {
        let mut concurrency = Concurrency::new(32);
        assert_eq!(concurrency.limit(), 32);
        run(&mut concurrency, 40, 8, 60e6, 1e9);
        assert!((4..=12).contains(&concurrency.limit()), "{}", concurrency.limit());
        let refused = run(&mut concurrency, 1000, 8, 60e6, 1e9);
        assert!(refused < 0.2, "{refused}");
        run(&mut concurrency, 100, 1000, 60e6, 1e9);
        assert_eq!(concurrency.limit(), 32, "the cap is all there is");
    }

    #[test]
    fn more_only_while_that_carries_more() {
        for (all, limit) in [(1e9, 64..=64), (6e9, 95..=125), (1e12, 1000..=1000)] {
            let mut concurrency = Concurrency::new(1000);
            assert_eq!(concurrency.limit(), START);
            run(&mut concurrency, 205, 10_000, 60e6, all);
            assert!(limit.contains(&concurrency.limit()), "{} streams for {all} bytes per second", concurrency.limit());
        }
    }

    /// A store that 64 streams fill: most of the time no more are tried, and ever more seldom.
    #[test]
    fn growth_in_vain_is_taken_back() {
        let mut concurrency = Concurrency::new(1000);
        let rounds_beyond = |concurrency: &mut Concurrency, rounds: u32| {
            (0..rounds).filter(|_| (run(concurrency, 2, 10_000, 60e6, 1e9), concurrency.limit() > START).1).count()
        };
        let first = rounds_beyond(&mut concurrency, 100);
        assert!((1..15).contains(&first), "{first} of 100");
        rounds_beyond(&mut concurrency, 400);
        let later = rounds_beyond(&mut concurrency, 500);
        assert!(later <= 2, "{later} of 500");
        // Now there is more to be had, and it is found.
        run(&mut concurrency, 2000, 10_000, 60e6, 1e12);
        assert_eq!(concurrency.limit(), 1000);
    }

    #[test]
    fn a_few_refusals_cost_nothing() {
        let mut concurrency = Concurrency::new(32);
        for n in 0..10_000_u32 {
            let answered = Answered { refused: n % 20 == 0, in_flight: 32, all_bytes: u64::from(n) };
            concurrency.on_answer(n * 5 * MS, answered);
        }
        assert_eq!(concurrency.limit(), 32);
    }

    proptest! {
        #[test]
        fn between_one_and_the_cap(
            cap in 1_usize..5000,
            answers in prop::collection::vec((0_u32..300, any::<bool>(), 0_usize..5000, 0_u64..1 << 40), 0..300),
        ) {
            let mut concurrency = Concurrency::new(cap);
            let mut now = Duration::ZERO;
            for (ms, refused, in_flight, all_bytes) in answers {
                now += ms * MS;
                let before = concurrency.limit();
                concurrency.on_answer(now, Answered { refused, in_flight, all_bytes });
                prop_assert!((1..=cap).contains(&concurrency.limit()));
                if in_flight < before {
                    // Who does not use the limit does not raise it; in one round others may have.
                    prop_assert!(concurrency.limit() <= before.max(1) * 5 / 4 + 2);
                }
            }
        }
    }
}
