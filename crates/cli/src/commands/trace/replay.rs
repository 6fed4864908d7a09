//! `trace replay`: what the recorded reads cost with other systems and options, over a simulated link in virtual time.

use std::sync::Arc;

use clap::Args;
use headstart::Prices;
use headstart_bench::meter::{Outcome, megabytes};
use headstart_bench::results::WireCounts;
use headstart_bench::simulate::Simulation;
use headstart_bench::system::System;
use headstart_bench::traces::{bytes, on_simulated_objects, recorded_time};
use headstart_trace::Trace;
use serde::Serialize;

use super::{TraceFile, load};
use crate::commands::consent::prices;
use crate::failure::{Failure, FailureKind};
use crate::file_crc::blocking;
use crate::policy::text;
use crate::session::Session;

/// The systems that can make every kind of call.
const SYSTEMS: [System; 4] = [System::Raw, System::Fetch, System::Headstart, System::HeadstartCache];

#[derive(Debug, Clone, Args)]
pub(super) struct ReplayTraceArgs {
    #[command(flatten)]
    trace: TraceFile,
    /// Link to the simulated store: gcs, gcs-100g, s3, near, fast, wan, loopback; with -lognormal its first bytes vary
    #[arg(long, default_value = "gcs")]
    profile: String,
    /// Seed of the link's variation
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What one system needed for the recorded reads.
#[derive(Debug, Serialize)]
struct ReplayedSystem {
    system: String,
    seconds: f64,
    waited_seconds: f64,
    mb_per_s: f64,
    gets: u64,
    heads: u64,
    fetched_bytes: u64,
    read_bytes: u64,
    /// List prices of requests and bytes within the bucket's region: of S3 for its link, else of GCS.
    usd: f64,
}

impl ReplayedSystem {
    fn new(system: System, outcome: &Outcome, wire: &WireCounts, prices: &Prices) -> Self {
        Self {
            usd: prices.cost(wire.gets + wire.heads, wire.fetched_bytes),
            system: system.to_string(),
            seconds: outcome.elapsed_ms / 1000.0,
            waited_seconds: outcome.stalled_ms / 1000.0,
            mb_per_s: outcome.mb_per_s(),
            gets: wire.gets,
            heads: wire.heads,
            fetched_bytes: wire.fetched_bytes,
            read_bytes: outcome.delivered_bytes,
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.system.clone(),
            format!("{:.3}", self.seconds),
            format!("{:.3}", self.waited_seconds),
            text::digits(self.mb_per_s),
            text::count(self.gets),
            text::count(self.heads),
            text::digits(megabytes(self.fetched_bytes)),
            format!("{:.6}", self.usd),
        ]
    }
}

const HEADER: [&str; 8] = ["system", "s", "waited s", "MB/s", "GETs", "HEADs", "MB fetched", "USD"];

/// Replays a recording by each system.
pub(super) async fn run(session: &Session, args: &ReplayTraceArgs) -> Result<(), Failure> {
    let recorded = load(&args.trace.file)?;
    let trace = Arc::new(on_simulated_objects(&recorded));
    let mut systems = Vec::new();
    for system in SYSTEMS {
        let simulation = simulation(session, args)?;
        let trace = Arc::clone(&trace);
        // Virtual time needs a runtime of its own.
        systems.push(blocking(move || replay(&simulation, &trace, system)).await?);
    }
    if session.output.is_json() {
        return systems.iter().try_for_each(|system| session.output.line(String::new, system));
    }
    let header = HEADER.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(header).chain(systems.iter().map(ReplayedSystem::cells)).collect();
    let table = text::table(&rows, &[false, true, true, true, true, true, true, true]);
    let conditional = recorded.calls.iter().filter(|call| call.is_conditional).count() as u64;
    let note = match conditional {
        0 => String::new(),
        count => {
            format!("\n{} had a condition or a version, which is not replayed.", text::counted(count, "read", "reads"))
        }
    };
    session.output.line(|| format!("{}\n\n{}{note}", about(&recorded, &args.profile), table.trim_end()), &())
}

fn simulation(session: &Session, args: &ReplayTraceArgs) -> Result<Simulation, Failure> {
    let profile =
        args.profile.parse().map_err(|error| Failure::usage(format!("--profile {}: {error}.", args.profile)))?;
    Ok(Simulation { options: session.options().to_vec(), ..Simulation::new(profile, args.seed) })
}

fn replay(simulation: &Simulation, trace: &Arc<Trace>, system: System) -> Result<ReplayedSystem, Failure> {
    let run = simulation.run(trace, system);
    let (outcome, wire) = run.map_err(|error| match error.downcast_ref::<headstart::Error>() {
        Some(error) => Failure::open("the simulated store", error),
        None => Failure::new(FailureKind::Other, format!("{system} could not replay the reads: {error:#}.")),
    })?;
    let store_url = if simulation.profile.name == "s3" { "s3://" } else { "gs://" };
    match outcome.wrong_bytes {
        0 => Ok(ReplayedSystem::new(system, &outcome, &wire, &prices(store_url))),
        wrong => Err(Failure::new(FailureKind::Different, format!("{system} read {wrong} wrong bytes; report this."))),
    }
}

fn about(recorded: &Trace, profile: &str) -> String {
    let calls = text::counted(recorded.calls.len() as u64, "call", "calls");
    let took = recorded_time(recorded);
    let took = if took.is_zero() { String::new() } else { format!(", {} when it was recorded", text::time(took)) };
    format!("{calls}, {}{took}; in virtual time over the link '{profile}':", text::size(bytes(recorded)))
}
