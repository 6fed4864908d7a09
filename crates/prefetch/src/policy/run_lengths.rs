//! Learns how long runs of reads last under a prefix, and limits speculation by that.
//!
//! Of the earlier runs that came as far as the present one, some went on to twice its length, four times, or more.
//! Bytes may be fetched ahead up to the length that three in four of them reached. (Survival analysis as in Kaplan and
//! Meier 1958, without censoring: a run that ends with its object counts as endless.) So runs of sixteen reads are read
//! ahead to the sixteenth read and hardly further.

/// The highest speculation limit, in lengths of the run so far.
const MOST: u64 = 16;
/// The limit without any knowledge, in the same unit.
const UNKNOWN: u64 = 3;
/// A run is read ahead by this fraction of itself at least. Otherwise a run that goes on, of a length at which others
/// ended, would take a round trip for each read.
const LEAST_DIVISOR: u64 = 16;
/// The share of earlier runs that must have reached a length.
const SAFE: f32 = 0.75;
/// Weight of the prior: runs that reach four times their length, and half of them more.
const PRIOR_RUNS: f32 = 2.0;
/// Factor on the weight of earlier runs at each new run: about the latest 30 count.
const MEMORY: f32 = 0.97;
/// A reader whose first read was at byte 0 made a long run if it read at least so many bytes.
const LONG_BYTES: u64 = 8 * 1024 * 1024;
/// Readers that began at byte 0, before such a first read starts read-ahead.
const FIRST_READS: f32 = 4.0;

/// Classes of run lengths: four to an octave, up to 2⁶⁴.
const CLASSES: usize = 256;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunLengths {
    /// Weight of the runs that were at least as long as the lower bound of the class.
    at_least: Box<[f32; CLASSES]>,
    /// Weight of the long runs among those that began with a first read at byte 0, and of all of those.
    first_long: f32,
    first_all: f32,
}

/// A run of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadRun {
    /// Bytes read; `u64::MAX` where the run ended with its object.
    pub(crate) bytes: u64,
    pub(crate) is_proven: bool,
    /// Whether it began with the reader's first read, at byte 0.
    pub(crate) is_first: bool,
}

/// The end of a run, or its correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEvent {
    Ended(ReadRun),
    /// The run was reported as ended, but its reader came back.
    Resumed(ReadRun),
}

impl RunEvent {
    /// Whether [`RunLengths::on_event`] changes anything.
    pub(crate) fn teaches(self) -> bool {
        let (Self::Ended(run) | Self::Resumed(run)) = self;
        run.is_first || run.is_proven
    }
}

impl Default for RunLengths {
    fn default() -> Self {
        Self { at_least: Box::new([0.0; CLASSES]), first_long: 0.0, first_all: 0.0 }
    }
}

impl RunLengths {
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

    /// Removes a run that was reported as ended, as far as its weight is still there.
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
    pub(crate) fn speculation_limit_bytes(&self, run_bytes: u64) -> u64 {
        let most = run_bytes.saturating_mul(1 + MOST);
        let unknown = run_bytes.saturating_mul(1 + UNKNOWN);
        let reached = self.at_least[class(run_bytes)] + PRIOR_RUNS;
        let is_safe = |length: u64| {
            let prior = if length <= unknown { PRIOR_RUNS } else { PRIOR_RUNS / 2.0 };
            self.at_least[class_above(length)] + prior >= SAFE * reached
        };
        let classes = (class(run_bytes) + 1..=class(most)).rev().map(shortest);
        let lengths = [most].into_iter().chain(classes).chain([unknown]);
        let safe_bytes = lengths.filter(|length| is_safe(*length)).max().unwrap_or(0);
        safe_bytes.saturating_sub(run_bytes).max(run_bytes / LEAST_DIVISOR)
    }

    /// Whether a run that has read `run_bytes` goes on for longer than the prior assumes.
    pub(crate) fn is_long(&self, run_bytes: u64) -> bool {
        self.speculation_limit_bytes(run_bytes) > run_bytes.saturating_mul(UNKNOWN)
    }

    /// Whether a reader's first read at byte 0 most probably begins a long run.
    pub(crate) fn starts_at_once(&self) -> bool {
        self.first_all >= FIRST_READS * MEMORY.powi(4) && self.first_long >= SAFE * self.first_all
    }
}

/// The shortest length of a class.
fn shortest(class: usize) -> u64 {
    let (octave, quarter) = (class / 4, (class % 4) as u64);
    if octave >= 2 { (4 + quarter) << (octave - 2) } else { 1 << octave }
}

/// The class of a length: the greatest whose lower bound is at most `bytes`.
fn class(bytes: u64) -> usize {
    let bytes = bytes.max(1);
    let octave = bytes.ilog2();
    let quarter = if octave >= 2 { (bytes >> (octave - 2)) & 3 } else { 0 };
    (octave as usize) * 4 + usize::try_from(quarter).unwrap_or(0)
}

/// The lowest class whose lengths are all at least `bytes`.
fn class_above(bytes: u64) -> usize {
    (class(bytes.saturating_sub(1)) + 1).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::window::to_f64;
    use headstart_fetch_core::internal::byte_range::from_f64;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn run(bytes: u64) -> ReadRun {
        ReadRun { bytes, is_proven: true, is_first: false }
    }

    /// Checks the limits in MiB at each run length in MiB, after `runs` of so many MiB.
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
        // Up to the sixteenth, and a sixteenth of the run further. Beyond the longest run the prior decides.
        check(&[16; 8], &[(2, 14), (3, 13), (4, 12), (5, 11), (8, 8), (9, 7), (16, 1), (20, 60)]);
        check(&[1; 8], &[(1, 0), (2, 6)]);
        // Within the class of the longest run, from 56 to 64.
        check(&[60; 8], &[(40, 16), (55, 3), (57, 3), (63, 3)]);
    }

    #[test]
    fn long_runs_are_unlearnt_as_quickly() {
        let mut lengths = RunLengths::default();
        let limit = |lengths: &RunLengths| lengths.speculation_limit_bytes(4 * MIB);
        (0..50).for_each(|_| lengths.on_ended(run(u64::MAX)));
        (0..12).for_each(|_| lengths.on_ended(run(4 * MIB)));
        assert!(limit(&lengths) < 16 * 4 * MIB, "{}", limit(&lengths));
        (0..30).for_each(|_| lengths.on_ended(run(4 * MIB)));
        assert_eq!(limit(&lengths), 4 * MIB / LEAST_DIVISOR);
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
                let limits = [&lengths, &before].map(|lengths| lengths.speculation_limit_bytes(mib * MIB));
                assert_eq!(limits[0], limits[1], "{mib} MiB");
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
        /// Compares with a list of all runs, each weighted by its age.
        #[test]
        fn as_a_list_of_runs_would_say(
            runs in prop::collection::vec(1_u64..1 << 40, 0..60),
            at in 1_u64..1 << 40,
            more in 0.0_f64..16.0,
        ) {
            let mut lengths = RunLengths::default();
            runs.iter().for_each(|bytes| lengths.on_ended(run(*bytes)));
            let weight = |least: usize| -> f32 {
                let ages = runs.iter().rev().zip(0..);
                ages.filter(|(bytes, _)| class(**bytes) >= least).map(|(_, age)| 0.97_f32.powi(age)).sum()
            };
            let limit_bytes = lengths.speculation_limit_bytes(at);
            let share = |length: u64| {
                let prior = if length <= 4 * at { PRIOR_RUNS } else { PRIOR_RUNS / 2.0 };
                (weight(class_above(length)) + prior) / (weight(class(at)) + PRIOR_RUNS)
            };
            prop_assert!((at / LEAST_DIVISOR..=MOST * at).contains(&limit_bytes));
            prop_assert!(limit_bytes == at / LEAST_DIVISOR || share(at + limit_bytes) > 0.749);
            let more = from_f64(to_f64(at) * more);
            prop_assert!(more <= limit_bytes || share(at + more) < 0.751);
            prop_assert!((0..CLASSES - 1).all(|n| class(shortest(n)) <= n && class_above(shortest(n + 1)) <= n + 1));
        }
    }
}
