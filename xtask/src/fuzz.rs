//! `cargo xtask fuzz`: random stacks over a store that does everything stores do, in virtual time; every answer is judged.

mod act;
mod answer;
mod body;
mod case;
mod cloud;
mod drive;
mod evidence;
mod failure;
mod generate;
mod history;
mod judge;
mod op;
mod plan;
mod reading;
mod shrink;
mod stack;
mod tally;
mod trouble;
mod world;
mod writing;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::Instant;

use case::Case;
use failure::Failure;
use world::Tally;

/// The first of CI's seeds, and how many follow it.
const CI_SEEDS: (u64, u64) = (1, 2000);

/// A case that takes longer than this in real time is stuck where no clock helps.
const REAL_TIME: Duration = Duration::from_secs(30);

/// Runs that shrinking one failure may take.
const SHRINK_RUNS: usize = 1500;

/// How long, and from where.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Begin with this seed
    #[arg(long, default_value_t = CI_SEEDS.0)]
    seed: u64,
    /// Run this many cases
    #[arg(long, conflicts_with = "seconds")]
    cases: Option<u64>,
    /// Run cases for so long
    #[arg(long)]
    seconds: Option<u64>,
    /// Go on after a failure, and show the first of each kind
    #[arg(long)]
    keep_going: bool,
    /// Show failures as they were generated
    #[arg(long)]
    no_shrink: bool,
    /// Let no range end beyond this byte: for code that allocates by it, which ends the process
    #[arg(long, hide = true)]
    cap_ranges: Option<u64>,
    /// Say which case is run, for those that end the process
    #[arg(long)]
    verbose: bool,
}

/// What was found of one kind of failure.
struct Found {
    seeds: Vec<u64>,
    case: Case,
    failure: Failure,
}

/// Runs the cases and fails where one of them does.
pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    let began = Instant::now();
    let cases = match (args.cases, args.seconds) {
        (Some(cases), _) => cases,
        (None, Some(_)) => u64::MAX,
        (None, None) => CI_SEEDS.1,
    };
    let most = args.seconds.map_or(Duration::MAX, Duration::from_secs);
    let mut kinds: BTreeMap<(&'static str, &'static str), Found> = BTreeMap::new();
    let mut counts = Tally::new();
    let (mut passed, mut failed) = (0_u64, 0_u64);
    for seed in args.seed..args.seed.saturating_add(cases) {
        if began.elapsed() > most {
            break;
        }
        if args.verbose {
            println!("seed {seed}");
        }
        let mut case = generate::generate(seed);
        if let Some(most) = args.cap_ranges {
            case.cap_ranges(most);
        }
        tally::count_case(&mut counts, &case);
        let outcome = watched(seed, || drive::run(&case));
        outcome.tally.into_iter().for_each(|(name, n)| *counts.entry(name).or_default() += n);
        let Some(failure) = outcome.failure else {
            passed += 1;
            continue;
        };
        failed += 1;
        let kind = failure.kind();
        let found = kinds.entry(kind).or_insert_with(|| Found { seeds: Vec::new(), case, failure });
        found.seeds.push(seed);
        if !args.keep_going {
            break;
        }
    }
    println!("{}", tally::show(&counts));
    for found in kinds.into_values() {
        show(found, args.no_shrink);
    }
    println!("{passed} passed, {failed} failed, in {:.1} s", began.elapsed().as_secs_f64());
    if failed > 0 {
        bail!("{failed} of {} cases failed", passed + failed);
    }
    Ok(())
}

/// What CI runs.
pub(crate) fn run_for_ci() -> Result<()> {
    let (seed, cases) = CI_SEEDS;
    run(&FuzzArgs { seed, cases: Some(cases), seconds: None, keep_going: true, no_shrink: false, cap_ranges: None, verbose: false })
}

fn show(found: Found, no_shrink: bool) {
    let Found { seeds, case, failure } = found;
    let seed = seeds[0];
    println!("\n{failure}");
    println!("{} cases, the first with seed {seed}; again with: cargo xtask fuzz --seed {seed} --cases 1", seeds.len());
    println!("others: {:?}", &seeds[1..seeds.len().min(12)]);
    let (case, failure) = if no_shrink {
        (case, failure)
    } else {
        shrink::shrink(case, failure, SHRINK_RUNS, |case| watched(seed, || drive::run(case)).failure)
    };
    println!("shrunk: {failure}\n{}", case.text());
}

/// Runs `work` and ends the process where it never ends: that needs no clock's help to be a hang.
fn watched<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    let (over, watch) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        if watch.recv_timeout(REAL_TIME) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("hang: seed {seed} is not over after {REAL_TIME:?} of real time");
            std::process::exit(1);
        }
    });
    let outcome = work();
    drop(over);
    drop(watcher.join());
    outcome
}
