//! `cargo xtask replay`: what a recorded trace would cost in time, GETs and money, with other systems and options.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use headstart_bench::meter::{Outcome, megabytes};
use headstart_bench::traces::{bytes, on_simulated_objects, recorded_time};
use headstart_bench::{results::WireCounts, simulate::Simulation, system::System, traces, workload::Workload};
use headstart_sim::LinkProfile;
use headstart_trace::CallKind;

use crate::{bench::prices_of, numbers::number};

/// What to replay, and how.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A file written by `headstart_trace::TraceRecorder`, or by `--write`
    #[arg(value_name = "TRACE.JSONL")]
    trace: PathBuf,
    /// Link to the simulated store: gcs, gcs-100g, s3, near, fast, wan, loopback; with `-lognormal` its first bytes
    /// vary
    #[arg(long, default_value = "gcs")]
    profile: LinkProfile,
    /// Only this system; may be given several times [default: raw, fetch, headstart, headstart+cache]
    #[arg(long = "system", value_name = "SYSTEM")]
    systems: Vec<System>,
    /// An option of Headstart, as in docs/configuration.md; may be given several times
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
    /// Seed of the link's variation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the trace of this workload to the file first
    #[arg(long, value_name = "WORKLOAD")]
    write: Option<String>,
}

fn option(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("expected key=value, such as cache.memory_bytes=1GiB")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

pub(crate) fn run(args: &ReplayArgs) -> Result<()> {
    if let Some(workload) = &args.write {
        write(workload, args)?;
    }
    let recorded = traces::load(&args.trace)?;
    ensure!(!recorded.calls.is_empty(), "{} has no calls", args.trace.display());
    let trace = Arc::new(on_simulated_objects(&recorded));
    // Only stores can make every kind of call.
    let stores: Vec<System> = System::value_variants().iter().copied().filter(|system| system.is_store()).collect();
    let systems = if args.systems.is_empty() { &stores } else { &args.systems };
    let mut rows = Vec::new();
    for system in systems {
        let can = stores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        ensure!(stores.contains(system), "{system} cannot replay a trace, but {can}");
        let simulation =
            Simulation { options: args.options.clone(), ..Simulation::new(args.profile.clone(), args.seed) };
        let (outcome, wire) = simulation.run(&trace, *system).with_context(|| format!("{system}"))?;
        ensure!(outcome.wrong_bytes == 0, "{system} read {} wrong bytes", outcome.wrong_bytes);
        rows.push((*system, outcome, wire));
    }
    let about = if recorded.header.about.is_empty() { "a trace" } else { &recorded.header.about };
    println!("{}: {about}", args.trace.display());
    let reads = recorded.calls.iter().filter(|call| call.kind != CallKind::Overwrite).count();
    print!("{reads} reads, {} MB", number(Some(megabytes(bytes(&recorded)))));
    let time = recorded_time(&recorded);
    if !time.is_zero() {
        print!(", in {:.3} s when it was recorded", time.as_secs_f64());
    }
    println!("; in virtual time over {}:\n\n{}", args.profile, table(&rows, &args.profile));
    let told = recorded.calls.iter().filter(|call| call.is_conditional).count();
    if told > 0 {
        println!("\n{told} of the reads had a condition or a version, which is not replayed.");
    }
    Ok(())
}

fn table(rows: &[(System, Outcome, WireCounts)], profile: &LinkProfile) -> Table {
    let mut table = Table::new();
    let header = ["system", "s", "waited s", "MB/s", "GETs", "HEADs", "MB fetched", "fetched ÷ read", "$"];
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    let prices = prices_of(&profile.name);
    for (system, outcome, wire) in rows {
        let fetched = megabytes(wire.fetched_bytes);
        let read = megabytes(outcome.delivered_bytes);
        table.add_row([
            system.to_string(),
            format!("{:.3}", outcome.elapsed_ms / 1000.0),
            format!("{:.3}", outcome.stalled_ms / 1000.0),
            number(Some(outcome.mb_per_s())),
            wire.gets.to_string(),
            wire.heads.to_string(),
            number(Some(fetched)),
            number((read > 0.0).then(|| fetched / read)),
            format!("{:.6}", prices.cost(wire.gets + wire.heads, wire.fetched_bytes)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn write(name: &str, args: &ReplayArgs) -> Result<()> {
    let workload = Workload::named(name)?;
    let trace = workload.trace(&workload.objects(args.seed)?, args.seed)?;
    traces::save(&trace, &args.trace)
}
