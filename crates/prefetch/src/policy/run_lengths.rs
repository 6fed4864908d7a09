//! Learns how long runs of reads last in one part of a store, and so how much of a run's length may be bet on its going on. Pure.
//!
//! Of the runs that came as far as the present one, so many went on to twice its length, or four times, or more: where three in
//! four did, as much may be fetched ahead. (Survival analysis, as of Kaplan and Meier 1958, without their censoring: a run
//! that ends with its object counts as endless.) RunHistory of sixteen reads are so read ahead of to the sixteenth and no further.

/// What may be bet at most, in lengths of the run so far.
const MOST: u64 = 16;
/// What is bet where nothing is known, in the same measure.
const UNKNOWN: u64 = 3;
/// One in four bets may be lost.
const SAFE: f32 = 0.75;
/// As if so many runs had been seen before any was: they go on to four times their length, and half of them further.
const PRIOR_RUNS: f32 = 2.0;
/// What remains of the weight of earlier runs with each new one: the latest 30 or so count.
const MEMORY: f32 = 0.97;
/// A first read at byte 0 was the first of a long run if at least so many bytes followed.
const LONG_BYTES: u64 = 8 * 1024 * 1024;
/// Readers whose first read was at byte 0, before anything is fetched ahead of such a read.
const FIRST_READS: f32 = 4.0;

/// Four to an octave, up to 2⁶⁴.
const CLASSES: usize = 256;

/// How long runs have lasted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunLengths {
    /// Weight of the runs that were at least as long as the class's lower bound.
    at_least: Box<[f32; CLASSES]>,
    /// Of those who read byte 0 first, how many went on for long.
    first_long: f32,
    first_all: f32,
}

/// A run of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadRun {
    /// Bytes that it read; `u64::MAX` where the object ended before it.
    pub(crate) bytes: u64,
    /// Whether it was more than one read.
    pub(crate) is_proven: bool,
    /// Whether it began with byte 0, and was the reader's first read.
    pub(crate) is_first: bool,
}

/// What has become of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEvent {
    /// It has ended.
    Ended(ReadRun),
    /// It had not: its reader has come back.
    Resumed(ReadRun),
}

impl Default for RunLengths {
    fn default() -> Self {
        Self { at_least: Box::new([0.0; CLASSES]), first_long: 0.0, first_all: 0.0 }
    }
}

impl RunLengths {
    /// Takes in what has become of a run.
    pub(crate) fn on_event(&mut self, event: RunEvent) {
        match event {
            RunEvent::Ended(run) => self.on_ended(run),
            RunEvent::Resumed(run) => self.on_resumed(run),
        }
    }

    fn on_ended(&mut self, run: ReadRun) {
        if run.is_first {
            self.first_long = self.first_long * MEMORY + f32::from(u8::from(run.bytes >= LONG_BYTES));
            self.first_all = self.first_all * MEMORY + 1.0;
        }
        if run.is_proven {
            self.at_least.iter_mut().for_each(|weight| *weight *= MEMORY);
            self.at_least[..=class(run.bytes)].iter_mut().for_each(|weight| *weight += 1.0);
        }
    }

    /// Takes the run out again, as far as it has not been forgotten.
    fn on_resumed(&mut self, run: ReadRun) {
        if run.is_first {
            self.first_all = (self.first_all - 1.0).max(0.0);
            self.first_long = self.first_long.min(self.first_all);
        }
        if run.is_proven {
            let (counted_ends, longer) = self.at_least.split_at_mut(class(run.bytes) + 1);
            let least = longer.first().copied().unwrap_or(0.0);
            counted_ends.iter_mut().for_each(|weight| *weight = (*weight - 1.0).max(least));
        }
    }

    /// How many bytes may be unread ahead of a run that has read `run_bytes`.
    #[must_use]
    pub(crate) fn speculation_limit_bytes(&self, run_bytes: u64) -> u64 {
        let reached = self.at_least[class(run_bytes)] + PRIOR_RUNS;
        let is_safe = |times: u64| {
            let prior = if times <= UNKNOWN { PRIOR_RUNS } else { PRIOR_RUNS / 2.0 };
            self.at_least[class_above(run_bytes.saturating_mul(1 + times))] + prior >= SAFE * reached
        };
        run_bytes.saturating_mul((1..=MOST).rev().find(|times| is_safe(*times)).unwrap_or(0))
    }

    /// Whether a run that has read `run_bytes` is known to go on for longer than an unknown one.
    #[must_use]
    pub(crate) fn is_long(&self, run_bytes: u64) -> bool {
        self.speculation_limit_bytes(run_bytes) > run_bytes.saturating_mul(UNKNOWN)
    }

    /// Whether a first read at byte 0 is the first of a long run, most probably.
    #[must_use]
    pub(crate) fn starts_at_once(&self) -> bool {
        self.first_all >= FIRST_READS * MEMORY.powi(4) && self.first_long >= SAFE * self.first_all
    }
}

/// The class of a length: the greatest whose lower bound is not above it.
fn class(bytes: u64) -> usize {
    let bytes = bytes.max(1);
    let octave = bytes.ilog2();
    let quarter = if octave >= 2 { (bytes >> (octave - 2)) & 3 } else { 0 };
    (octave as usize) * 4 + usize::try_from(quarter).unwrap_or(0)
}

/// The lowest class of which every length is at least `bytes`.
fn class_above(bytes: u64) -> usize {
    (class(bytes.saturating_sub(1)) + 1).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn run(bytes: u64) -> ReadRun {
        ReadRun { bytes, is_proven: true, is_first: false }
    }

    /// What may be ahead at each length, in MiB, after `runs` of so many MiB.
    #[track_caller]
    fn check(runs: &[u64], expected: &[(u64, u64)]) {
        let mut lengths = RunLengths::default();
        runs.iter().for_each(|mib| lengths.on_ended(run(mib.saturating_mul(MIB))));
        for &(at, ahead) in expected {
            assert_eq!(lengths.speculation_limit_bytes(at * MIB) / MIB, ahead, "at {at} MiB after {runs:?}");
        }
    }

    #[test]
    fn begins_with_three_and_is_taught() {
        check(&[], &[(1, 3), (2, 6), (100, 300)]);
        check(&[u64::MAX; 8], &[(1, 16), (2, 32), (100, 1600)]);
        // To the sixteenth, and no further; beyond what was ever seen nothing is known.
        check(&[16; 8], &[(2, 14), (3, 12), (4, 12), (5, 10), (8, 8), (9, 0), (16, 0), (20, 60)]);
        check(&[1; 8], &[(1, 0), (2, 6)]);
    }

    #[test]
    fn long_runs_are_unlearnt_as_quickly() {
        let mut lengths = RunLengths::default();
        (0..50).for_each(|_| lengths.on_ended(run(u64::MAX)));
        (0..12).for_each(|_| lengths.on_ended(run(4 * MIB)));
        assert!(
            lengths.speculation_limit_bytes(4 * MIB) < 16 * 4 * MIB,
            "{}",
            lengths.speculation_limit_bytes(4 * MIB)
        );
        (0..30).for_each(|_| lengths.on_ended(run(4 * MIB)));
        assert_eq!(lengths.speculation_limit_bytes(4 * MIB), 0);
    }

    #[test]
    fn what_comes_back_was_no_end() {
        let mut lengths = RunLengths::default();
        (0..3).for_each(|_| lengths.on_ended(run(64 * MIB)));
        let before = lengths.clone();
        for run in [run(MIB), ReadRun { is_first: true, ..run(200 * MIB) }] {
            lengths.on_event(RunEvent::Ended(run));
            lengths.on_event(RunEvent::Resumed(run));
            for mib in [1, 2, 16, 64, 128] {
                assert_eq!(
                    lengths.speculation_limit_bytes(mib * MIB),
                    before.speculation_limit_bytes(mib * MIB),
                    "{mib} MiB"
                );
            }
            assert!(lengths.at_least.is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn first_reads_are_told_apart_from_probes() {
        let first = |bytes| ReadRun { is_first: true, ..run(bytes) };
        let mut lengths = RunLengths::default();
        assert!(!lengths.starts_at_once());
        (0..4).for_each(|_| lengths.on_ended(first(u64::MAX)));
        assert!(lengths.starts_at_once());
        (0..3).for_each(|_| lengths.on_ended(ReadRun { is_proven: false, ..first(4096) }));
        assert!(!lengths.starts_at_once());
    }

    proptest! {
        /// Against a list of all runs, each weighed by its age.
        #[test]
        fn as_a_list_of_runs_would_say(runs in prop::collection::vec(1_u64..1 << 40, 0..60), at in 1_u64..1 << 40) {
            let mut lengths = RunLengths::default();
            runs.iter().for_each(|bytes| lengths.on_ended(run(*bytes)));
            let weight = |least: usize| -> f32 {
                let ages = runs.iter().rev().zip(0..);
                ages.filter(|(bytes, _)| class(**bytes) >= least).map(|(_, age)| 0.97_f32.powi(age)).sum()
            };
            let times = lengths.speculation_limit_bytes(at) / at;
            prop_assert!(times <= 16);
            let share = |times: u64| {
                let prior = if times <= 3 { PRIOR_RUNS } else { PRIOR_RUNS / 2.0 };
                (weight(class_above(at * (1 + times))) + prior) / (weight(class(at)) + PRIOR_RUNS)
            };
            prop_assert!(times == 0 || share(times) > 0.749);
            prop_assert!((times + 1..=16).all(|more| share(more) < 0.751));
        }
    }
}
