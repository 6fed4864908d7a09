//! `cargo xtask cluster --simulate`: what placement does to the caches of a large cluster, and a picture of it.
//!
//! Reads are placed by `headstart_affinity`, and by other rules beside it. Nothing is fetched, and no time passes.

mod files;
mod fleet;
mod picture;

use std::path::PathBuf;
use std::thread;

use anyhow::{Result, ensure};
use clap::Args;
use headstart_affinity::{BALANCE, FileTask, Workers};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use crate::numbers::{count, number, percent, to_float};
use crate::report::write;
use files::{FileRank, Files, HitRatio};
use fleet::{Caches, Fleet, Hour};

/// Reads of a worker in an hour. With the mean size of a file, a worker reads 9 MB/s.
const READS_AN_HOUR: usize = 500;
/// Reads for each worker that are placed together, as the scheduler of a query places its tasks.
const READS_PLACED_TOGETHER: usize = 100;
const BATCHES_AN_HOUR: usize = READS_AN_HOUR / READS_PLACED_TOGETHER;
/// Hours in which the caches fill, before those of the table.
const FIRST_HOURS: usize = 8;
/// All caches together hold this share of the bytes of all files.
const CACHED_SHARE: f64 = 0.1;

/// The size of the simulated cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct SimulationArgs {
    /// Workers of the simulation
    #[arg(long, default_value_t = 1000)]
    simulated_workers: usize,
    /// Files of the simulation
    #[arg(long, default_value_t = 10_000_000)]
    simulated_files: u32,
    /// Hours of the simulation that count, after 8 in which caches fill
    #[arg(long, default_value_t = 24)]
    simulated_hours: usize,
    /// Share of the workers that new ones replace in an hour
    #[arg(long, default_value_t = 0.01)]
    simulated_churn: f64,
    /// Seed of sizes, reads and churn
    #[arg(long, default_value_t = 1)]
    simulated_seed: u64,
    /// Write the picture of the simulation to this file
    #[arg(long, value_name = "FILE", default_value = "docs/pictures/cluster.svg")]
    simulated_picture: PathBuf,
}

/// Who reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A worker at random.
    Random,
    /// The worker with the number hash mod n.
    Modulo,
    /// The worker that `Workers::assign` names without a limit on loads.
    Owner,
    /// The worker that `Workers::assign` names with its limit.
    Affinity,
    /// A worker at random, of a cluster with one cache that all workers reach.
    Shared,
}

const RULES: [Rule; 5] = [Rule::Random, Rule::Modulo, Rule::Owner, Rule::Affinity, Rule::Shared];

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Modulo => "hash mod n",
            Self::Owner => "rendezvous hashing without a bound",
            Self::Affinity => "headstart-affinity",
            Self::Shared => "one cache of all workers",
        }
    }

    /// The worker of each file of a batch.
    fn place(self, workers: &Workers, files: &Files, batch: &[FileRank], random: &mut impl Rng) -> Vec<usize> {
        let all = workers.ids().len();
        let task = |file: &FileRank| FileTask { key: files.key(*file), bytes: files.bytes(*file) };
        let assign = |balance| workers.assign(&batch.iter().map(task).collect::<Vec<_>>(), balance);
        let modulo = |file: &FileRank| usize::try_from(files.key(*file) % all as u64).unwrap_or_default();
        match self {
            Self::Random | Self::Shared => batch.iter().map(|_| random.random_range(0..all)).collect(),
            Self::Modulo => batch.iter().map(modulo).collect(),
            Self::Owner => assign(f64::INFINITY),
            Self::Affinity => assign(BALANCE),
        }
    }
}

/// What one rule led to.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    rule: Rule,
    /// All hours, the first of which fill the caches.
    hours: Vec<Hour>,
}

impl Outcome {
    /// The sum of the hours that count. Loads are means of the hours.
    fn day(&self) -> Hour {
        let counted = &self.hours[FIRST_HOURS..];
        let sum = |of: fn(&Hour) -> u64| counted.iter().map(of).sum();
        let mean = |of: fn(&Hour) -> f64| counted.iter().map(of).sum::<f64>() / to_float(counted.len() as u64);
        Hour {
            requests: sum(|hour| hour.requests),
            hits: sum(|hour| hour.hits),
            bytes: sum(|hour| hour.bytes),
            hit_bytes: sum(|hour| hour.hit_bytes),
            held_elsewhere_bytes: sum(|hour| hour.held_elsewhere_bytes),
            lost_bytes: sum(|hour| hour.lost_bytes),
            left_bytes: sum(|hour| hour.left_bytes),
            most_requests: mean(|hour| hour.most_requests),
            most_bytes: mean(|hour| hour.most_bytes),
        }
    }
}

/// Simulates all rules with the same files, reads and churn, prints a table and draws a picture.
pub(crate) fn run(args: &SimulationArgs) -> Result<()> {
    ensure!(args.simulated_workers > 0 && args.simulated_files > 0, "a cluster needs workers and files");
    ensure!(args.simulated_hours > 0, "`--simulated-hours` must be at least 1");
    ensure!((0.0..1.0).contains(&args.simulated_churn), "`--simulated-churn` must be at least 0 and less than 1");
    let files = Files::new(args.simulated_files, args.simulated_seed)?;
    let cache_bytes = cache_bytes(args, &files);
    println!(
        "{} workers with {} GB of cache each, {} files of {} TB, {} an hour are replaced, seed {}",
        count(args.simulated_workers as u64),
        number(Some(to_float(cache_bytes) / 1e9)),
        count(args.simulated_files.into()),
        number(Some(to_float(files.total_bytes()) / 1e12)),
        percent(args.simulated_churn),
        args.simulated_seed,
    );
    let optimum = files.optimum(cache_bytes * args.simulated_workers as u64);
    let files = &files;
    let outcomes = thread::scope(|scope| {
        let running = RULES.map(|rule| scope.spawn(move || simulate(rule, args, files)));
        running.into_iter().map(|running| running.join().expect("a simulation panicked")).collect::<Result<Vec<_>>>()
    })?;
    print!("{}", table(&outcomes, optimum));
    write(&args.simulated_picture, &picture::draw(&outcomes, optimum))
}

fn cache_bytes(args: &SimulationArgs, files: &Files) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count of bytes")]
    let all = (to_float(files.total_bytes()) * CACHED_SHARE) as u64;
    all / args.simulated_workers as u64
}

fn simulate(rule: Rule, args: &SimulationArgs, files: &Files) -> Result<Outcome> {
    let caches = if rule == Rule::Shared { Caches::Shared } else { Caches::OfWorkers };
    let mut fleet = Fleet::new(files, args.simulated_workers, cache_bytes(args, files), caches);
    // One source of randomness for each purpose, so that reads and churn are the same for all rules.
    let mut reads = files.reads(args.simulated_seed.wrapping_add(1))?;
    let mut churn = StdRng::seed_from_u64(args.simulated_seed.wrapping_add(2));
    let mut places = StdRng::seed_from_u64(args.simulated_seed.wrapping_add(3));
    let workers = args.simulated_workers;
    let replaced_a_batch = args.simulated_churn * to_float(workers as u64) / to_float(BATCHES_AN_HOUR as u64);
    let mut due = 0.0;
    let mut hours = Vec::new();
    for _ in 0..FIRST_HOURS + args.simulated_hours {
        for _ in 0..BATCHES_AN_HOUR {
            let batch: Vec<FileRank> = reads.by_ref().take(workers * READS_PLACED_TOGETHER).collect();
            let placed = rule.place(fleet.placement(), files, &batch, &mut places);
            let mut placed: Vec<(usize, FileRank)> = placed.into_iter().zip(batch).collect();
            // Workers read at the same time. One after the other, their caches stay in the cache of this machine.
            placed.sort_by_key(|(worker, _)| *worker);
            placed.into_iter().for_each(|(worker, file)| fleet.read(worker, file));
            due += replaced_a_batch;
            while due >= 1.0 {
                due -= 1.0;
                fleet.replace(churn.random_range(0..workers));
            }
        }
        hours.push(fleet.take_hour());
    }
    Ok(Outcome { rule, hours })
}

/// The day of each rule as a table in Markdown.
fn table(outcomes: &[Outcome], optimum: HitRatio) -> String {
    let mut text = String::from(
        "| placement | hits, of requests | hits, of bytes | of the optimum | fetched | held by another | lost | \
         requests, largest/mean | bytes, largest/mean |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        let day = outcome.day();
        let ratio = day.hit_ratio();
        let hours = to_float((outcome.hours.len() - FIRST_HOURS) as u64);
        let terabytes = |bytes: u64| number(Some(to_float(bytes) / hours / 1e12));
        let cells = [
            outcome.rule.name().to_owned(),
            percent(ratio.requests),
            percent(ratio.bytes),
            percent(ratio.bytes / optimum.bytes),
            terabytes(day.fetched_bytes()),
            terabytes(day.held_elsewhere_bytes),
            terabytes(day.lost_bytes),
            number(Some(day.most_requests)),
            number(Some(day.most_bytes)),
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    let (requests, bytes) = (percent(optimum.requests), percent(optimum.bytes));
    text + &format!("| optimum | {requests} | {bytes} | 100 % | – | – | – | – | – |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(seed: u64) -> SimulationArgs {
        SimulationArgs {
            simulated_workers: 20,
            simulated_files: 20_000,
            simulated_hours: 3,
            simulated_churn: 0.1,
            simulated_seed: seed,
            simulated_picture: PathBuf::new(),
        }
    }

    fn outcomes(args: &SimulationArgs) -> (Files, Vec<Outcome>) {
        let files = Files::new(args.simulated_files, args.simulated_seed).expect("files");
        let outcomes = RULES.map(|rule| simulate(rule, args, &files).expect("a simulation")).to_vec();
        (files, outcomes)
    }

    #[test]
    fn affinity_serves_more_than_other_rules_and_nothing_beats_the_optimum() {
        for seed in 1..3 {
            let args = small(seed);
            let (files, outcomes) = outcomes(&args);
            let optimum = files.optimum(cache_bytes(&args, &files) * 20);
            let days: Vec<Hour> = outcomes.iter().map(Outcome::day).collect();
            for (outcome, day) in outcomes.iter().zip(&days) {
                let ratio = day.hit_ratio();
                // The bound is one of expected values.
                let is_below = ratio.requests < optimum.requests + 0.01 && ratio.bytes < optimum.bytes + 0.01;
                assert!(is_below, "seed {seed}, {:?}: {ratio:?} of {optimum:?}", outcome.rule);
                assert_eq!((day.requests, day.bytes), (days[0].requests, days[0].bytes), "seed {seed}: other reads");
            }
            let [random, modulo, owner, affinity, shared] = &days[..] else { panic!("{days:?}") };
            let hits = |day: &Hour| day.hit_ratio().bytes;
            assert!(hits(affinity) > hits(random) + 0.1, "seed {seed}: {affinity:?}, {random:?}");
            assert!(hits(affinity) > hits(modulo), "seed {seed}: {affinity:?}, {modulo:?}");
            assert!(hits(shared) > hits(random), "seed {seed}: {shared:?}, {random:?}");
            assert!(affinity.moved_bytes() < random.moved_bytes() / 4, "seed {seed}: {affinity:?}, {random:?}");
            assert!(owner.moved_bytes() < modulo.moved_bytes(), "seed {seed}: {owner:?}, {modulo:?}");
        }
    }

    #[test]
    fn affinity_bounds_the_load_of_every_batch() {
        for seed in 1..4 {
            let args = small(seed);
            let files = Files::new(args.simulated_files, seed).expect("files");
            let workers = Workers::new((0..20).map(|n| format!("w{n}")));
            let batch: Vec<FileRank> = files.reads(seed).expect("reads").take(2000).collect();
            let most = |rule: Rule| {
                let mut loads = [0; 20];
                let placed = rule.place(&workers, &files, &batch, &mut StdRng::seed_from_u64(seed));
                batch.iter().zip(placed).for_each(|(file, worker)| loads[worker] += files.bytes(*file));
                to_float(loads.into_iter().max().unwrap_or(0)) * 20.0 / to_float(loads.iter().sum())
            };
            let largest = batch.iter().map(|file| files.bytes(*file)).max().unwrap_or(0);
            let mean = to_float(batch.iter().map(|file| files.bytes(*file)).sum()) / 20.0;
            assert!(
                most(Rule::Affinity) <= BALANCE + to_float(largest) / mean,
                "seed {seed}: {}",
                most(Rule::Affinity)
            );
            assert!(most(Rule::Owner) > most(Rule::Affinity), "seed {seed}: {}", most(Rule::Owner));
        }
    }

    #[test]
    fn a_seed_gives_one_result() {
        let (_, first) = outcomes(&small(7));
        assert_eq!(first, outcomes(&small(7)).1);
        assert_ne!(first, outcomes(&small(8)).1);
    }

    #[test]
    fn without_churn_nothing_is_lost() {
        let args = SimulationArgs { simulated_churn: 0.0, ..small(1) };
        let (files, outcomes) = outcomes(&args);
        for outcome in &outcomes {
            let day = outcome.day();
            assert_eq!((day.lost_bytes, day.left_bytes), (0, 0), "{:?}", outcome.rule);
            let is_fixed = matches!(outcome.rule, Rule::Modulo | Rule::Owner | Rule::Shared);
            assert_eq!(day.held_elsewhere_bytes == 0, is_fixed, "{:?}: {day:?}", outcome.rule);
        }
        let text = table(&outcomes, files.optimum(cache_bytes(&args, &files) * 20));
        assert_eq!(text.lines().count(), 2 + RULES.len() + 1, "{text}");
        assert!(text.contains("| headstart-affinity | ") && text.contains("| 100 % |"), "{text}");
    }
}
