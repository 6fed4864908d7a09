//! ReadFault plans: which reads fail, how and when.

use std::time::Duration;

use crate::policy::rng::{SeededRng, mix};

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
    pub script: Vec<(When, FaultEvent)>,
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
pub enum FaultEvent {
    /// The object changes.
    Change(ExternalChange),
    /// This read, or the next read after a time, is answered in this way.
    Answer(ReadAnswer),
}

/// A change of an object by another client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternalChange {
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
pub enum ReadAnswer {
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
pub struct ReadFault {
    /// Changes of objects since the read before, with their times, in order. They apply before the read.
    pub changes: Vec<(Duration, ExternalChange)>,
    /// Delay of the first byte.
    pub late_by: Duration,
    /// How the read is answered.
    pub answer: ReadAnswer,
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
    pub fn next(&mut self, now: Duration) -> ReadFault {
        let read = self.reads;
        self.reads += 1;
        let mut fault = self.roll(read);
        let due = |when: &When| match *when {
            When::At(at) => at <= now,
            When::Read(number) => number <= read,
        };
        for (when, event) in self.plan.script.extract_if(.., |(when, _)| due(when)) {
            match event {
                FaultEvent::Answer(answer) => fault.answer = answer,
                FaultEvent::Change(change) => {
                    let at = if let When::At(at) = when { at } else { now };
                    fault.changes.push((at, change));
                }
            }
        }
        fault.changes.sort_by_key(|(at, _)| *at);
        fault
    }

    /// The random choices for a read. They depend on its number alone, not on earlier reads.
    fn roll(&self, read: u64) -> ReadFault {
        let plan = &self.plan;
        let mut rng = SeededRng::new(plan.seed ^ mix(read));
        let late = rng.unit() < plan.late;
        let after = rng.unit();
        let longer = rng.below(2) == 0;
        let wrong_length =
            if longer { ReadAnswer::Long { extra_bytes: 1 + rng.below(1000) } } else { ReadAnswer::Short { after } };
        let chances = [
            (plan.unavailable, ReadAnswer::Unavailable),
            (plan.throttled, ReadAnswer::Throttled { retry_after: plan.retry_after }),
            (plan.cut, ReadAnswer::Cut { after }),
            (plan.stalled, ReadAnswer::Stalled { after, pause: plan.stall }),
            (plan.wrong_length, wrong_length),
        ];
        let mut roll = rng.unit();
        let hit = chances.into_iter().find(|(probability, _)| {
            roll -= probability;
            roll < 0.0
        });
        ReadFault {
            changes: Vec::new(),
            late_by: if late { plan.late_by } else { Duration::ZERO },
            answer: hit.map_or(ReadAnswer::Whole, |(_, answer)| answer),
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
        let share = |wanted: fn(&ReadFault) -> bool| faults.iter().filter(|fault| wanted(fault)).count();
        for (count, expected) in [
            (share(|f| f.answer == ReadAnswer::Whole), 4000),
            (share(|f| f.answer == ReadAnswer::Unavailable), 1000),
            (share(|f| f.answer == ReadAnswer::Throttled { retry_after: SECOND }), 1000),
            (share(|f| matches!(f.answer, ReadAnswer::Cut { .. })), 1000),
            (share(|f| matches!(f.answer, ReadAnswer::Stalled { pause: SECOND, .. })), 1000),
            (share(|f| matches!(f.answer, ReadAnswer::Short { .. })), 1000),
            (share(|f| matches!(f.answer, ReadAnswer::Long { extra_bytes: 1.. })), 1000),
            (share(|f| f.late_by == SECOND), 5000),
        ] {
            assert!(count.abs_diff(expected) < 150, "{count} of 10,000 instead of {expected}");
        }
    }

    #[test]
    fn scripted_events_happen_once_and_in_order_of_time() {
        let change = |key: &str| ExternalChange::Delete { key: key.into() };
        let mut faults = Faults::new(FaultPlan {
            script: vec![
                (When::At(3 * SECOND), FaultEvent::Change(change("later"))),
                (When::At(2 * SECOND), FaultEvent::Change(change("sooner"))),
                (When::Read(1), FaultEvent::Answer(ReadAnswer::Unavailable)),
                (When::Read(2), FaultEvent::Change(change("second"))),
            ],
            ..FaultPlan::default()
        });
        assert_eq!(faults.next(SECOND), ReadFault::default());
        assert_eq!(faults.next(SECOND), ReadFault { answer: ReadAnswer::Unavailable, ..ReadFault::default() });
        let changes =
            vec![(2 * SECOND, change("sooner")), (3 * SECOND, change("later")), (4 * SECOND, change("second"))];
        assert_eq!(faults.next(4 * SECOND), ReadFault { changes, ..ReadFault::default() });
        assert_eq!(faults.next(5 * SECOND), ReadFault::default());
    }
}
