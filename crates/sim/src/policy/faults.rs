//! Fault plans: which reads fail, how and when.

use std::time::Duration;

use crate::policy::rng::{Dice, mix};

/// How reads (GET and HEAD) fail. Probabilities are per request and add up to at most 1, except for `late`, which is
/// independent of the others. By default no read fails.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FaultPlan {
    /// The seed of all random choices.
    pub seed: u64,
    /// Probability of a 503.
    pub unavailable: f64,
    /// Probability of a 429.
    pub throttled: f64,
    /// The `Retry-After` of a 429.
    pub retry_after: Duration,
    /// Probability that the connection breaks within the body.
    pub cut: f64,
    /// Probability that the body stalls for `stall` at some byte.
    pub stalled: f64,
    /// How long a body stalls.
    pub stall: Duration,
    /// Probability that the body is shorter or longer than requested, without an error.
    pub wrong_length: f64,
    /// Probability that the first byte is delayed by `late_by`.
    pub late: f64,
    /// The delay of a late first byte.
    pub late_by: Duration,
    /// Events that happen in any case.
    pub script: Vec<(When, Event)>,
}

/// When a scripted event happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At this time after the start.
    At(Duration),
    /// At the read with this number, counted from 0.
    Read(u64),
}

/// A scripted event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The object changes.
    Change(Change),
    /// This read, or the next read after a time, is answered in this way.
    Answer(Answer),
}

/// A change of an object by another client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The object gets a new synthetic generation.
    Overwrite {
        /// The object's key.
        key: String,
        /// Its new size in bytes; `None` keeps the size.
        size: Option<u64>,
    },
    /// The object is deleted.
    Delete {
        /// The object's key.
        key: String,
    },
}

/// How a read is answered. `after` is a fraction of the body's length in `0.0..=1.0`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Answer {
    /// Correctly.
    #[default]
    Whole,
    /// 503.
    Unavailable,
    /// 429.
    Throttled {
        /// The `Retry-After` header, which has whole seconds over HTTP.
        retry_after: Duration,
    },
    /// The connection breaks within the body.
    Cut {
        /// Where in the body.
        after: f64,
    },
    /// The body stalls.
    Stalled {
        /// Where in the body.
        after: f64,
        /// For how long.
        pause: Duration,
    },
    /// The body ends as if it were complete.
    Short {
        /// Where in the body.
        after: f64,
    },
    /// Zeros follow the body.
    Long {
        /// Number of zeros.
        extra_bytes: u64,
    },
}

/// What happens to a read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fault {
    /// Changes of objects since the read before, with their times, in order. They apply before the read.
    pub changes: Vec<(Duration, Change)>,
    /// Delay of the first byte.
    pub late_by: Duration,
    /// How the read is answered.
    pub answer: Answer,
}

/// A fault plan in progress.
#[derive(Debug)]
pub struct Faults {
    plan: FaultPlan,
    reads: u64,
}

impl Faults {
    /// Starts `plan`.
    #[must_use]
    pub fn new(plan: FaultPlan) -> Self {
        Self { plan, reads: 0 }
    }

    /// Returns the fault of the read that arrives at `now`, a time since the start.
    pub fn next(&mut self, now: Duration) -> Fault {
        let read = self.reads;
        self.reads += 1;
        let mut fault = self.roll(read);
        let due = |when: &When| match *when {
            When::At(at) => at <= now,
            When::Read(number) => number <= read,
        };
        for (when, event) in self.plan.script.extract_if(.., |(when, _)| due(when)) {
            match event {
                Event::Answer(answer) => fault.answer = answer,
                Event::Change(change) => {
                    let at = if let When::At(at) = when { at } else { now };
                    fault.changes.push((at, change));
                }
            }
        }
        fault.changes.sort_by_key(|(at, _)| *at);
        fault
    }

    /// The random choices for a read. They depend on its number alone, not on earlier reads.
    fn roll(&self, read: u64) -> Fault {
        let plan = &self.plan;
        let mut dice = Dice::new(plan.seed ^ mix(read));
        let late = dice.unit() < plan.late;
        let after = dice.unit();
        let longer = dice.below(2) == 0;
        let wrong_length =
            if longer { Answer::Long { extra_bytes: 1 + dice.below(1000) } } else { Answer::Short { after } };
        let chances = [
            (plan.unavailable, Answer::Unavailable),
            (plan.throttled, Answer::Throttled { retry_after: plan.retry_after }),
            (plan.cut, Answer::Cut { after }),
            (plan.stalled, Answer::Stalled { after, pause: plan.stall }),
            (plan.wrong_length, wrong_length),
        ];
        let mut roll = dice.unit();
        let hit = chances.into_iter().find(|(probability, _)| {
            roll -= probability;
            roll < 0.0
        });
        Fault {
            changes: Vec::new(),
            late_by: if late { plan.late_by } else { Duration::ZERO },
            answer: hit.map_or(Answer::Whole, |(_, answer)| answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_seed_decides_everything_and_the_shares_are_as_planned() {
        let plan = |seed| FaultPlan {
            seed,
            unavailable: 0.1,
            throttled: 0.1,
            retry_after: SECOND,
            cut: 0.1,
            stalled: 0.1,
            stall: SECOND,
            wrong_length: 0.2,
            late: 0.5,
            late_by: SECOND,
            script: Vec::new(),
        };
        let run = |seed| {
            let mut faults = Faults::new(plan(seed));
            (0..10_000).map(|_| faults.next(Duration::ZERO)).collect::<Vec<_>>()
        };
        let faults = run(1);
        assert_eq!(faults, run(1));
        assert_ne!(faults, run(2));
        let share = |wanted: fn(&Fault) -> bool| faults.iter().filter(|fault| wanted(fault)).count();
        for (count, expected) in [
            (share(|f| f.answer == Answer::Whole), 4000),
            (share(|f| f.answer == Answer::Unavailable), 1000),
            (share(|f| f.answer == Answer::Throttled { retry_after: SECOND }), 1000),
            (share(|f| matches!(f.answer, Answer::Cut { .. })), 1000),
            (share(|f| matches!(f.answer, Answer::Stalled { pause: SECOND, .. })), 1000),
            (share(|f| matches!(f.answer, Answer::Short { .. })), 1000),
            (share(|f| matches!(f.answer, Answer::Long { extra_bytes: 1.. })), 1000),
            (share(|f| f.late_by == SECOND), 5000),
        ] {
            assert!(count.abs_diff(expected) < 150, "{count} of 10,000 instead of {expected}");
        }
    }

    #[test]
    fn scripted_events_happen_once_and_in_order_of_time() {
        let change = |key: &str| Change::Delete { key: key.into() };
        let mut faults = Faults::new(FaultPlan {
            script: vec![
                (When::At(3 * SECOND), Event::Change(change("later"))),
                (When::At(2 * SECOND), Event::Change(change("sooner"))),
                (When::Read(1), Event::Answer(Answer::Unavailable)),
                (When::Read(2), Event::Change(change("second"))),
            ],
            ..FaultPlan::default()
        });
        assert_eq!(faults.next(SECOND), Fault::default());
        assert_eq!(faults.next(SECOND), Fault { answer: Answer::Unavailable, ..Fault::default() });
        let changes =
            vec![(2 * SECOND, change("sooner")), (3 * SECOND, change("later")), (4 * SECOND, change("second"))];
        assert_eq!(faults.next(4 * SECOND), Fault { changes, ..Fault::default() });
        assert_eq!(faults.next(5 * SECOND), Fault::default());
    }
}
