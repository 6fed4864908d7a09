//! `cargo xtask fuzz`: random stacks over a simulated store with faults, in virtual time, checked against its history.

mod answer;
mod body;
mod case;
mod cloud;
mod cloud_store;
mod context;
mod drive;
mod evidence;
mod failure;
mod generate;
mod history;
mod listing;
#[cfg(test)]
mod mistake;
mod op;
mod reading;
mod rules;
mod runner;
mod shrink;
mod stack;
mod tasks;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::{collections::BTreeMap, sync::mpsc, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::time::Instant;

use answer::OpenBody;
use body::{BodyEnding, OpenRequest};
use case::{
    CacheSpec, Case, CaseTask, CloudSpec, FetchSpec, Layer, PrefetchSpec, RequestFault, Tokens, Turns, WriteFault,
};
use cloud::{Cloud, WrittenVersion};
use context::{CaseContext, HeldBytes, Tally};
use evidence::Evidence;
use failure::{Checked, ErrorKind, Failure};
use history::{CaseTime, FaultEffect, History, Interval, Version};
use op::{BodyUse, Cancel, GetCondition, ListUse, ObjectChange, Op, OpenBy, SeekTo, Span, Step};
use reading::OpenReader;
use rules::{CallKind, CallRecord, NamedToken, Rules};
use runner::TaskRunner;
use stack::CaseStack;
use tasks::TaskGenerator;

use crate::threads::on_threads;

/// CI's first seed, and the number of seeds.
const CI_SEEDS: (u64, u64) = (1, 10_000);

/// A case that takes longer than this in real time hangs without waiting for the virtual clock.
const REAL_TIME: Duration = Duration::from_secs(60);

/// The most runs spent on shrinking one failure.
const SHRINK_RUNS: usize = 1500;

/// Limit of the worker's address space in KiB. Unbounded allocation ends the worker, not the machine.
const MOST_KIB: u64 = 2 << 20;

/// Starts the line with which the worker announces the next case.
const ANNOUNCEMENT: &str = "next seed: ";

/// Which cases to run, and for how long.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct FuzzArgs {
    /// Start with this seed
    #[arg(long, default_value_t = CI_SEEDS.0)]
    seed: u64,
    /// Run this many cases; CI's number unless --seconds is given
    #[arg(long)]
    cases: Option<u64>,
    /// Stop after this time
    #[arg(long)]
    seconds: Option<u64>,
    /// Continue after a failure, and show the first failure of each kind
    #[arg(long)]
    keep_going: bool,
    /// Show failing cases as generated, without shrinking
    #[arg(long)]
    no_shrink: bool,
    /// Cap every range at this byte
    #[arg(long, hide = true)]
    cap_ranges: Option<u64>,
    /// Run the cases in this process and announce each before it starts
    #[arg(long, hide = true)]
    worker: bool,
}

/// Runs the cases and fails if one of them fails.
///
/// A worker process with limited memory runs the cases, because a fault may abort or exhaust its process.
pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    if args.worker {
        return work(args);
    }
    let began = Instant::now();
    let (mut args, mut died) = (args.clone(), 0);
    let left = |args: &FuzzArgs, next: u64| args.cases.map(|cases| (args.seed + cases).saturating_sub(next));
    args.cases = args.cases.or_else(|| args.seconds.is_none().then_some(CI_SEEDS.1));
    loop {
        match supervise(&args)? {
            WorkerExit::Well if died == 0 => return Ok(()),
            WorkerExit::Well | WorkerExit::Failed => bail!("cases failed; {died} of them ended the process"),
            WorkerExit::Died { seed, how } => {
                died += 1;
                println!("\nended the process: {how}; again with: cargo xtask fuzz --seed {seed} --cases 1");
                let next = seed + 1;
                let cases = left(&args, next);
                let seconds = args.seconds.map(|seconds| seconds.saturating_sub(began.elapsed().as_secs()));
                if !args.keep_going || cases == Some(0) || seconds == Some(0) {
                    bail!("cases failed; {died} of them ended the process");
                }
                args = FuzzArgs { seed: next, cases, seconds, ..args };
            }
        }
    }
}

/// Runs CI's seeds, half of them at a time in each of two workers.
pub(crate) fn run_for_ci() -> Result<()> {
    let (first, cases) = CI_SEEDS;
    let half = cases / 2;
    let halves = vec![(first, half), (first + half, cases - half)];
    on_threads(2, halves, |(seed, cases)| {
        run(&FuzzArgs { seed, cases: Some(cases), keep_going: true, ..FuzzArgs::default() })
    })?;
    Ok(())
}

enum WorkerExit {
    /// All cases passed.
    Well,
    /// Cases failed, and the worker has reported them.
    Failed,
    /// The worker died during a case.
    Died { seed: u64, how: String },
}

/// Runs the cases of `args` in a worker and forwards its output.
///
/// # Errors
/// If the worker cannot be started.
fn supervise(args: &FuzzArgs) -> Result<WorkerExit> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -v {MOST_KIB}; exec \"$0\" \"$@\"")).arg(program);
    command.args(["fuzz", "--worker", "--seed", &args.seed.to_string()]);
    let numbers = [("--cases", args.cases), ("--seconds", args.seconds), ("--cap-ranges", args.cap_ranges)];
    for (name, value) in numbers {
        command.args(value.map(|value| format!("{name}={value}")));
    }
    command.args(args.keep_going.then_some("--keep-going")).args(args.no_shrink.then_some("--no-shrink"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start a worker")?;
    let said = child.stdout.take().context("the worker says nothing")?;
    let mut seed = args.seed;
    for line in BufReader::new(said).lines() {
        let line = line.context("cannot hear the worker")?;
        match line.strip_prefix(ANNOUNCEMENT).and_then(|seed| seed.parse().ok()) {
            Some(next) => seed = next,
            None => println!("{line}"),
        }
    }
    let status = child.wait().context("cannot wait for the worker")?;
    Ok(match status.code() {
        Some(0) => WorkerExit::Well,
        Some(1) => WorkerExit::Failed,
        _ => WorkerExit::Died { seed, how: status.to_string() },
    })
}

fn work(args: &FuzzArgs) -> Result<()> {
    let began = Instant::now();
    let most = args.seconds.map_or(Duration::MAX, Duration::from_secs);
    let mut kinds: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    let mut counts = Tally::new();
    let (mut passed, mut failed) = (0_u64, 0_u64);
    for seed in args.seed..args.seed.saturating_add(args.cases.unwrap_or(u64::MAX)) {
        if began.elapsed() > most {
            break;
        }
        println!("{ANNOUNCEMENT}{seed}");
        let mut case = generate::generate(seed);
        if let Some(most) = args.cap_ranges {
            case.cap_ranges(most);
        }
        context::count_case(&mut counts, &case);
        let outcome = watched(seed, || drive::run(&case));
        outcome.tally.into_iter().for_each(|(name, n)| *counts.entry(name).or_default() += n);
        let Some(failure) = outcome.failure else {
            passed += 1;
            continue;
        };
        failed += 1;
        let seeds = kinds.entry(failure.kind()).or_default();
        seeds.push(seed);
        if seeds.len() == 1 {
            show(seed, case, failure, args);
        }
        if !args.keep_going {
            break;
        }
    }
    println!("{}", context::show(&counts));
    for ((class, op), seeds) in kinds {
        println!("{class} ({op}): {} cases, seeds {:?}", seeds.len(), &seeds[..seeds.len().min(12)]);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("\n{passed} passed, {failed} failed, in {seconds:.1} s");
    ensure!(failed == 0, "{failed} of {} cases failed", passed + failed);
    Ok(())
}

/// Shows a failure, and the smallest case that fails in the same way.
fn show(seed: u64, case: case::Case, failure: failure::Failure, args: &FuzzArgs) {
    println!("\n{failure}\nagain with: cargo xtask fuzz --seed {seed} --cases 1");
    let (case, failure) = if args.no_shrink {
        (case, failure)
    } else {
        let again = |case: &_| watched(seed, || drive::run(case)).failure;
        shrink::shrink(case, failure, SHRINK_RUNS, again)
    };
    println!("shrunk: {failure}\n{}", case.text());
}

/// Runs `work` and aborts the process if `work` takes longer than [`REAL_TIME`].
fn watched<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    let (over, watch) = mpsc::channel::<()>();
    let watcher = thread::spawn(move || {
        if watch.recv_timeout(REAL_TIME) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("hang: seed {seed} is not over after {REAL_TIME:?} of real time");
            std::process::abort();
        }
    });
    let outcome = work();
    drop(over);
    drop(watcher.join());
    outcome
}
