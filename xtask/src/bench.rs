//! `cargo xtask bench`: how fast one object is read in each of several ways, every byte checked.

mod args;
mod bucket;
mod check;
mod child;
mod drive;
pub(crate) mod gates;
mod http;
mod measure;
mod plan;
mod process;
mod report;
mod server;
mod system;
mod table;
mod tally;
mod virtual_time;
mod workload;

use std::path::Path;

use anyhow::{Result, bail, ensure};

pub(crate) use args::BenchArgs;
pub(crate) use child::{ChildArgs, run as run_one};
pub(crate) use measure::quantile;
pub(crate) use server::{ServeArgs, serve};
pub(crate) use virtual_time::gates as count_for_gates;

use self::report::{Report, Row};

/// The simulated object: its name says how long it is.
const OBJECT: &str = "synthetic/1GiB/bench";
const OBJECT_BYTES: u64 = 1 << 30;

/// Benches as `args` say, prints the table, and writes the JSON.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    // Known before three minutes are spent, not after.
    let folder = args.json.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir() && !args.json.is_dir(), "cannot write {}: no such folder", args.json.display());
    let plan = match &args.url {
        Some(url) => bucket::run(args, url)?,
        None if args.virtual_time => http::each_run(args, |job| virtual_time::run(job, &args.profile, args.seed))?,
        None => http::run(args)?,
    };
    let place = args.url.as_ref().map_or_else(|| args.profile.to_string(), ToString::to_string);
    let report = Report::new(place, args.seed, plan.rows());
    print!("{}", table::render(&report));
    report.write(&args.json)?;
    println!("\nwritten to {}", args.json.display());
    for failure in &plan.failures {
        eprintln!("FAILED {failure}");
    }
    verdict(&plan.failures, &report.rows)
}

/// An error where a run failed or a byte was wrong.
fn verdict(failures: &[String], rows: &[Row]) -> Result<()> {
    let wrong: u64 = rows.iter().map(|row| row.wrong_bytes).sum();
    match (failures.len(), wrong) {
        (0, 0) => Ok(()),
        (0, _) => bail!("{wrong} bytes were wrong"),
        (failed, _) => bail!("{failed} runs failed, {wrong} bytes were wrong"),
    }
}
