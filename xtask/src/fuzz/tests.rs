//! Tests of the fuzzer: the bare client passes, bugs are found, and runs are reproducible.

use clap::ValueEnum;
use headstart_fetch_core::internal::mutation::Mutation;

use super::{
    CI_SEEDS, Case, Tally, context, drive::CaseOutcome, drive::run, generate::generate, mistake::Mistake,
    shrink::shrink,
};

/// Every bug of [`Mistake`] is found within this many seeds.
const SEEDS: u64 = 400;

/// The case of `seed` without our layers.
fn bare(seed: u64, mistake: Option<Mistake>) -> Case {
    let mut case = generate(seed);
    case.layers.clear();
    Case { mistake, ..case }
}

#[test]
fn the_bare_client_keeps_every_promise() {
    for seed in 0..SEEDS {
        let CaseOutcome { failure, .. } = run(&bare(seed, None));
        assert_eq!(failure, None, "seed {seed}");
    }
}

#[test]
fn every_mistake_is_caught_and_shrinks() {
    for mistake in Mistake::value_variants().iter().copied() {
        let caught = (0..SEEDS).find_map(|seed| {
            let case = bare(seed, Some(mistake));
            run(&case).failure.filter(|failure| failure.class == mistake.class()).map(|failure| (seed, case, failure))
        });
        let (seed, case, failure) = caught.unwrap_or_else(|| panic!("{mistake:?} is not caught by {SEEDS} seeds"));
        let ops = case.ops().count();
        let (small, failure) = shrink(case, failure, 300, |case| run(case).failure);
        println!("{mistake:?}: seed {seed}, {ops} operations, {} after shrinking: {failure}", small.ops().count());
        assert!(small.ops().count() <= 12, "{}", small.text());
    }
}

/// Faults that change only costs or timing. Tests of their crates, named `put_back_…`, find these.
const CAUGHT_BY_NAMED_TESTS: [Mutation; 5] = [
    Mutation::AsksAllAtOnce,
    Mutation::ForgetsDeletedOnly,
    Mutation::GivesUpParts,
    Mutation::HoldsPermitsInPauses,
    Mutation::QueueingStalls,
];

/// Each fault that was fixed, put back, is found within CI's seeds.
#[test]
fn every_fault_that_was_fixed_is_caught() {
    let mut missed = Vec::new();
    for fault in Mutation::ALL.into_iter().filter(|fault| !CAUGHT_BY_NAMED_TESTS.contains(fault)) {
        let _present = fault.activate();
        let (first, n) = CI_SEEDS;
        let caught = (first..first + n).find_map(|seed| {
            let mut case = generate(seed);
            // One of the faults allocates as much as a range is long.
            case.cap_ranges(1 << 26);
            run(&case).failure.map(|failure| (seed, failure))
        });
        match caught {
            Some((seed, failure)) => println!("{fault:?}: seed {seed}: {failure}"),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn runs_of_a_seed_are_reproducible() {
    for seed in 0..60 {
        let case = generate(seed);
        assert_eq!(case.text(), generate(seed).text(), "seed {seed}");
        // The clocks of two runtimes start microseconds apart.
        let mut case = Case { turns: super::case::Turns::One, ..case };
        case.cap_ranges(1 << 26);
        let [first, second] =
            [run(&case), run(&case)].map(|run| (run.failure.map(|failure| failure.kind()), run.tally));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn the_generator_generates_everything() {
    let mut tally = Tally::new();
    let (first, n) = CI_SEEDS;
    for seed in first..first + n {
        let case = generate(seed);
        context::count_case(&mut tally, &case);
        case.ops().for_each(|op| *tally.entry(format!("op: {}", context::variant(op))).or_default() += 1);
    }
    let shown = context::show(&tally);
    for (dimension, values) in [
        ("stack", "bare F C P FC FP CP FCP PC PF CF PCF CFP FPC"),
        ("tokens", "Strong Generation Weak Modified WeakModified Nothing"),
        ("fault", "Reset Throttled Late Cut Short Long Stall outage write"),
        ("runtimes", "One Handover Alternate"),
        ("op", "Get GetRange GetRanges Head Open ReadAt ChunksAt Seek Read FillBuf Stream Size Close Advise"),
        ("op", "AdviseReader Warm Put Delete Copy Rename OutOfBand Resume DropKept Sleep"),
    ] {
        for value in values.split(' ') {
            let n = tally.get(&format!("{dimension}: {value}")).copied().unwrap_or(0);
            assert!(n >= 20, "{dimension} {value} came up {n} times: {shown}");
        }
    }
}
