//! The limit on GETs in flight.
//!
//! Additive increase, multiplicative decrease, as in TCP, in rounds: a round in which the store throttled many
//! requests takes three tenths of the limit away; every other round that used the whole limit gives one back.
//! Beyond [`START`] the limit grows only while more streams bring more bandwidth.

use std::time::Duration;

/// The number of GETs that a store is assumed to accept.
const START: usize = 64;

/// The shortest round. Requests that were sent together and throttled together count as one event.
const MIN_ROUND: Duration = Duration::from_millis(100);

/// The fewest answers in a round.
const MIN_ANSWERS: u32 = 8;

/// The limit decreases if at least one in this many answers was throttled. One in twenty, as stores have on a bad
/// day, is not our doing and not worth fewer streams: the request is soon retried.
const THROTTLED_SHARE: u32 = 4;

/// The factor of the decrease.
const DECREASE: f64 = 0.7;

/// The factor by which a larger limit must increase the bandwidth before it grows again.
const MIN_GAIN: f64 = 1.05;

/// The factor of the growth.
const GROWTH: f64 = 1.25;

/// Full rounds until a growth without effect is tried again. The number doubles after each further growth without
/// effect…
const GROWTH_WAIT: u32 = 16;

/// …up to this many: about a minute of nothing but full rounds.
const MAX_GROWTH_WAIT: u32 = 512;

/// Controls the limit of one store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Concurrency {
    cap: usize,
    limit: f64,
    /// The limit that bandwidth justifies, apart from throttling, and the bandwidth measured with it.
    justified: f64,
    justified_bytes_per_s: f64,
    /// The limit before the latest growth, until its effect is known.
    grown_from: Option<f64>,
    /// Full rounds until the next growth, and how many there were at first.
    wait: u32,
    next_wait: u32,
    round: Round,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Round {
    began: Duration,
    bytes_before: u64,
    answers: u32,
    throttled: u32,
    full: bool,
}

/// The state of the store's requests when a GET has been answered or refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerSample {
    /// The store has throttled this GET.
    pub(crate) is_throttled: bool,
    /// GETs in flight, this one included.
    pub(crate) in_flight: usize,
    /// Bytes that all GETs have carried so far.
    pub(crate) all_bytes: u64,
}

impl Concurrency {
    /// A limit of at most `cap`.
    pub(crate) fn new(cap: usize) -> Self {
        let limit = cap.min(START) as f64;
        Self {
            cap,
            limit,
            justified: limit,
            justified_bytes_per_s: 0.0,
            grown_from: None,
            wait: 0,
            next_wait: GROWTH_WAIT,
            round: Round::default(),
        }
    }

    /// GETs that may be in flight now.
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and the cap")]
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A GET has been answered `now`.
    pub(crate) fn on_answer(&mut self, now: Duration, sample: AnswerSample) {
        if self.round.answers == 0 {
            self.round = Round { began: now, bytes_before: sample.all_bytes, ..Round::default() };
        }
        self.round.answers += 1;
        self.round.throttled += u32::from(sample.is_throttled);
        self.round.full |= sample.in_flight >= self.limit();
        let elapsed = now.saturating_sub(self.round.began);
        if elapsed >= MIN_ROUND && self.round.answers >= MIN_ANSWERS {
            self.end_round(elapsed, sample.all_bytes);
        }
    }

    fn end_round(&mut self, elapsed: Duration, all_bytes: u64) {
        let Round { bytes_before, answers, throttled, full, .. } = std::mem::take(&mut self.round);
        if throttled * THROTTLED_SHARE >= answers {
            self.limit = (self.limit * DECREASE).max(1.0);
        } else if full && self.limit < self.justified {
            self.limit = (self.limit + 1.0).min(self.justified);
        } else if full {
            self.judge_growth(all_bytes.saturating_sub(bytes_before) as f64 / elapsed.as_secs_f64());
        }
    }

    /// A round that used the whole limit carried `rate` bytes per second: grows, or undoes a growth without effect.
    fn judge_growth(&mut self, rate: f64) {
        let carries_more = rate > self.justified_bytes_per_s * MIN_GAIN;
        if let (Some(before), false) = (self.grown_from, carries_more) {
            self.grown_from = None;
            self.justified = before;
            self.limit = before;
            self.wait = self.next_wait;
            self.next_wait = (self.next_wait * 2).min(MAX_GROWTH_WAIT);
            return;
        }
        self.wait = self.wait.saturating_sub(1);
        if carries_more {
            self.next_wait = GROWTH_WAIT;
        } else if self.wait > 0 {
            return;
        }
        self.justified_bytes_per_s = rate;
        let grown = (self.justified * GROWTH).min(self.cap as f64);
        self.grown_from = (grown > self.justified).then_some(self.justified);
        self.justified = grown;
        self.limit = grown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// A store that serves `bearable` requests at once and throttles the rest; each carries 1 MB at `stream`
    /// bytes per second, up to `all`.
    fn run(concurrency: &mut Concurrency, rounds: u32, bearable: usize, stream: f64, all: f64) -> f64 {
        let (mut bytes, mut refused_in_all, mut answers) = (0_u64, 0.0, 0.0);
        concurrency.round = Round::default();
        for round in 1..=rounds {
            let now = round * 100 * MS;
            let in_flight = concurrency.limit();
            let rate = all.min(stream * in_flight.min(bearable) as f64);
            #[expect(clippy::cast_possible_truncation, reason = "a test")]
            let carried = (rate / 10.0) as u64;
            bytes += carried;
            for n in 0..in_flight.max(8) {
                let refused = n >= bearable;
                refused_in_all += f64::from(u8::from(refused));
                answers += 1.0;
                concurrency.on_answer(now, AnswerSample { is_throttled: refused, in_flight, all_bytes: bytes });
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

    /// A store that 64 streams saturate: more are tried rarely, and ever more rarely.
    #[test]
    fn growth_without_effect_is_undone() {
        let mut concurrency = Concurrency::new(1000);
        let rounds_beyond = |concurrency: &mut Concurrency, rounds: u32| {
            (0..rounds).filter(|_| (run(concurrency, 2, 10_000, 60e6, 1e9), concurrency.limit() > START).1).count()
        };
        let first = rounds_beyond(&mut concurrency, 100);
        assert!((1..15).contains(&first), "{first} of 100");
        rounds_beyond(&mut concurrency, 400);
        let later = rounds_beyond(&mut concurrency, 500);
        assert!(later <= 2, "{later} of 500");
        // More bandwidth is available now, and it is found.
        run(&mut concurrency, 2000, 10_000, 60e6, 1e12);
        assert_eq!(concurrency.limit(), 1000);
    }

    #[test]
    fn a_few_refusals_cost_nothing() {
        let mut concurrency = Concurrency::new(32);
        for n in 0..10_000_u32 {
            let answered = AnswerSample { is_throttled: n % 20 == 0, in_flight: 32, all_bytes: u64::from(n) };
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
                concurrency.on_answer(now, AnswerSample { is_throttled: refused, in_flight, all_bytes });
                prop_assert!((1..=cap).contains(&concurrency.limit()));
                if in_flight < before {
                    // A caller that does not use the limit does not raise it. In one round others may have.
                    prop_assert!(concurrency.limit() <= before.max(1) * 5 / 4 + 2);
                }
            }
        }
    }
}
