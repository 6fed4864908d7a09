//! What goes wrong, and when: a plan that follows from its seed. Pure.

use std::time::Duration;

use crate::policy::rng::{Dice, mix};

/// How reads (GET and HEAD) go wrong. Probabilities are per request and add up to at most 1, but for `late`, which is
/// independent of the others. By default nothing does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FaultPlan {
    /// What the whole plan follows from.
    pub seed: u64,
    /// Probability of a 503.
    pub unavailable: f64,
    /// Probability of a 429.
    pub throttled: f64,
    /// What a 429 asks the client to wait.
    pub retry_after: Duration,
    /// Probability that the connection breaks within the body.
    pub cut: f64,
    /// Probability that the body stands still for `stall` at some byte.
    pub stalled: f64,
    /// How long a stalled body stands still.
    pub stall: Duration,
    /// Probability that the body ends early, or goes on after its end, and nobody says so.
    pub wrong_length: f64,
    /// Probability that the first byte is late by `late_by`.
    pub late: f64,
    /// How late a late first byte is.
    pub late_by: Duration,
    /// What happens for certain.
    pub script: Vec<(When, Event)>,
}

/// The moment of a scripted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At this time after the start.
    At(Duration),
    /// Just before the read of this number, counted from 0.
    Read(u64),
}

/// What a script makes happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The object changes.
    Change(Change),
    /// This read, or at a time the next one, is answered so.
    Answer(Answer),
}

/// A change of an object by somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new synthetic generation, of the same size where none is given.
    Overwrite {
        /// The object's key.
        key: String,
        /// Its new size in bytes.
        size: Option<u64>,
    },
    /// The object is deleted.
    Delete {
        /// The object's key.
        key: String,
    },
}

/// How one read is answered. Where in the body something happens is a share of its length in `0.0..=1.0`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Answer {
    /// As it should be.
    #[default]
    Whole,
    /// 503.
    Unavailable,
    /// 429.
    Throttled {
        /// What `Retry-After` says; HTTP has whole seconds.
        retry_after: Duration,
    },
    /// The connection breaks.
    Cut {
        /// After this share of the body.
        after: f64,
    },
    /// The body stands still.
    Stalled {
        /// After this share of the body.
        after: f64,
        /// For so long.
        pause: Duration,
    },
    /// The body ends as if it were complete.
    Short {
        /// After this share of it.
        after: f64,
    },
    /// The body goes on after its end, with zeros.
    Long {
        /// For so many bytes.
        extra_bytes: u64,
    },
}

/// What happens to one read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fault {
    /// What has changed in the bucket since the read before, in order, and when. Apply these first.
    pub changes: Vec<(Duration, Change)>,
    /// By how much the first byte is late.
    pub late_by: Duration,
    /// How the read is answered.
    pub answer: Answer,
}

/// A plan being carried out.
#[derive(Debug)]
pub struct Faults {
    plan: FaultPlan,
    reads: u64,
}

impl Faults {
    /// Begins to carry out `plan`.
    #[must_use]
    pub fn new(plan: FaultPlan) -> Self {
        Self { plan, reads: 0 }
    }

    /// What happens to the read that arrives `now`, counted from the start.
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

    /// The chances of one read depend on its number alone, not on what happened to others.
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
