//! `cargo xtask bench`: measures reads by several systems and checks every byte.

mod args;
mod bucket;
mod child;
mod counting_store;
pub(crate) mod gates;
mod http;
pub(crate) mod peers;
mod plan;
mod prepared;
mod server;
mod summary;
mod table;
mod virtual_time;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, bail, ensure};
use headstart_bench::results::{Results, Row};
use headstart_bench::system::System;
use headstart_fetch_core::Prices;
use headstart_gcs_backend::gcs_profile;
use headstart_s3_backend::s3_profile;

pub(crate) use args::BenchArgs;
pub(crate) use child::{ChildArgs, RunningProcess, run as run_one};
pub(crate) use server::{ServeArgs, serve};
pub(crate) use virtual_time::gates as count_for_gates;

use crate::compare;
use counting_store::CountingStore;
use gates::{Gate, Gates};
use peers::Peers;
use plan::{BenchJob, BenchPlan, MeasuredRun};
use prepared::PreparedWorkload;
use server::BenchServer;

/// Runs the bench, prints its table, and writes its results as JSON.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let begun = summary::begin(args.virtual_time, args.seed);
    // Checked before the runs, which take minutes.
    let json = args.update.as_ref().unwrap_or(&args.json);
    let folder = json.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir() && !json.is_dir(), "cannot write {}: no such folder", json.display());
    let earlier = args.update.as_deref().map(Results::read).transpose()?;
    let old = args.compare.as_deref().map(Results::read).transpose()?;
    let left_out = args.left_out()?;
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        println!("left out, because they name a link of their own (use --virtual, or --workload NAME): {names}");
    }
    let mut versions = BTreeMap::from([("headstart".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    let (plan, prices, profile) = match &args.url {
        Some(url) => {
            let (plan, prices) = bucket::run(args, url)?;
            (plan, prices, url.to_string())
        }
        None => {
            let peers = if args.peers { Some(Peers::ready(&args.systems()?)?) } else { None };
            versions.extend(peers.iter().flat_map(|peers| peers.versions.clone()));
            let plan = if args.virtual_time { in_virtual_time(args)? } else { http::run(args, peers.as_ref())? };
            (plan, prices_of(&args.link().name), args.link().to_string())
        }
    };
    let timelines = if args.url.is_none() { virtual_time::timelines(&args.link(), args.seed)? } else { Vec::new() };
    let results = Results {
        profile,
        is_tls: args.tls,
        cut_s: (!args.virtual_time).then_some(args.seconds.as_secs_f64()),
        versions,
        workloads: plan.workloads.iter().map(PreparedWorkload::note).collect(),
        rows: plan.rows(&prices),
        failures: plan.failures.clone(),
        timelines,
        ..begun
    };
    print!("{}", table::render(&results));
    match earlier {
        Some(earlier) => summary::write(&summary::update(earlier, results.clone())?, json)?,
        None => summary::write(&results, json)?,
    }
    println!("\nwritten to {}", json.display());
    if let Some(old) = old {
        println!("\nbeside {} of {}:", old.commit, old.date);
        let changes = compare::changes(&old, &results)?;
        changes.iter().for_each(|change| println!("  {change}"));
        if changes.is_empty() {
            println!("  nothing changed beyond noise");
        }
    }
    plan.failures.iter().for_each(|failure| eprintln!("FAILED {failure}"));
    verdict(&plan.failures, &results.rows)
}

fn in_virtual_time(args: &BenchArgs) -> Result<BenchPlan> {
    let plan = virtual_time::plan(args.workloads()?, &args.systems()?, args.profile.as_ref(), args.seed)?;
    http::each_run(args, plan, |plan, job| virtual_time::run(plan, job, args.profile.as_ref(), args.seed))
}

/// The prices of the store whose link is simulated.
pub(crate) fn prices_of(link: &str) -> Prices {
    if link == "s3" { s3_profile().prices } else { gcs_profile().prices }
}

/// Fails if a run failed, a byte was wrong, or one of our handles mixed two versions.
fn verdict(failures: &[String], rows: &[Row]) -> Result<()> {
    let wrong: u64 = rows.iter().map(|row| row.wrong_bytes).sum();
    let promised = [System::FetchStream, System::Headstart, System::HeadstartCache].map(|system| system.to_string());
    let mixed = rows.iter().find(|row| row.changes_mixed > 0 && promised.contains(&row.system));
    if let Some(row) = mixed {
        bail!("{} {} mixed two versions", row.workload, row.system);
    }
    match (failures.len(), wrong) {
        (0, 0) => Ok(()),
        (0, _) => bail!("{wrong} bytes were wrong"),
        (failed, _) => bail!("{failed} runs failed, {wrong} bytes were wrong"),
    }
}
