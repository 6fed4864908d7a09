//! The bench in virtual time, and the counts that the gates compare.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use headstart_bench::results::{Group, Row, Timeline};
use headstart_bench::{simulate::Simulation, system::System, workload::Workload};
use headstart_fetch_core::Prices;
use headstart_sim::LinkProfile;
use headstart_trace::Trace;

use super::{BenchJob, BenchPlan, Gate, Gates, MeasuredRun, PreparedWorkload};
use crate::threads::{cores, on_threads};

/// The workloads of timelines, the number of their reads, and captions.
const TIMELINES: [(&str, usize, &str); 5] = [
    ("seq-1m", 256, "From a cold start to a full window: the first reads pay, then read-ahead keeps the link busy."),
    ("runs-1m", 160, "Runs, then jumps: each jump drops what is of no use any more, and the next run begins small."),
    ("interleaved-2", 192, "Two places read by turns through one handle: two streams, each with a window of its own."),
    ("backward-1m", 160, "Backwards: the window lies before the reader."),
    ("rand-1m", 24, "Anywhere: nothing is fetched that nobody asked for."),
];

/// The runs of `workloads` in virtual time, each to its end. A link that is `chosen` replaces those of the workloads.
pub(crate) fn plan(
    workloads: Vec<Workload>,
    systems: &[System],
    chosen: Option<&LinkProfile>,
    seed: u64,
) -> Result<BenchPlan> {
    let prepared = workloads.into_iter().map(|workload| {
        let objects = workload.objects(seed)?;
        let link = workload.link_or(chosen);
        PreparedWorkload::new(workload, &objects, seed, Some(&link), None)
    });
    Ok(BenchPlan::new(prepared.collect::<Result<_>>()?, systems))
}

/// Makes one run, on a store and a clock of its own.
pub(crate) fn run(plan: &BenchPlan, job: BenchJob, chosen: Option<&LinkProfile>, seed: u64) -> Result<MeasuredRun> {
    let prepared = plan.workload(job);
    let link = prepared.workload.link_or(chosen);
    let simulation = Simulation {
        faults: prepared.workload.faults(seed),
        processes: usize::try_from(prepared.workload.processes)?,
        shape: plan.shape(job),
        ..Simulation::new(link, seed)
    };
    let (outcome, wire) = simulation.run(&prepared.trace, job.system)?;
    ensure!(outcome.elapsed_ms > 0.0, "over {} it takes no time at all, and has no rate", simulation.profile);
    Ok((outcome, wire))
}

/// Makes all runs, on as many threads as there are cores: no run sees another.
fn run_all(plan: &BenchPlan, seed: u64) -> Result<Vec<(BenchJob, Result<MeasuredRun>)>> {
    on_threads(cores(), plan.order(0), |job| Ok((job, run(plan, job, None, seed))))
}

pub(crate) fn timelines(profile: &LinkProfile, seed: u64) -> Result<Vec<Timeline>> {
    let record = |(name, reads, about): &(&str, usize, &str)| {
        let workload = Workload::named(name)?;
        let whole = workload.trace(&workload.objects(seed)?, seed)?;
        let calls = whole.calls.into_iter().take(*reads).collect();
        let trace = Arc::new(Trace { header: whole.header, calls });
        let object_bytes = trace.calls.first().and_then(|call| call.size).unwrap_or(0);
        let (reads, gets, samples) = Simulation::new(profile.clone(), seed).record_timeline(&trace)?;
        Ok(Timeline {
            workload: (*name).to_owned(),
            system: System::Headstart.to_string(),
            about: (*about).to_owned(),
            object_bytes,
            reads,
            gets,
            samples,
        })
    };
    TIMELINES.iter().map(record).collect()
}

/// The counts that the gates compare: all systems but peers, on all workloads that take virtual time.
pub(crate) fn gates() -> Result<Gates> {
    const SEED: u64 = 1;
    let workloads = Workload::all()?.into_iter().filter(|workload| !(workload.local || workload.has_no_delay()));
    let workloads = workloads.collect();
    let systems: Vec<System> =
        System::value_variants().iter().copied().filter(|system| system.group() != Group::Peer).collect();
    let mut plan = plan(workloads, &systems, None, SEED)?;
    for (job, outcome) in run_all(&plan, SEED)? {
        plan.record(job, outcome);
    }
    let rows = plan.rows(&Prices::default());
    super::verdict(&plan.failures, &rows).with_context(|| plan.failures.join("; "))?;
    let gate = |row: &Row| Gate {
        gets: row.gets,
        heads: row.heads,
        fetched_bytes: row.fetched_bytes,
        virtual_ms: row.elapsed_ms,
        changes_told: row.changes_told,
        changes_mixed: row.changes_mixed,
    };
    Ok(rows.iter().map(|row| (format!("{}/{}", row.workload, row.system), gate(row))).collect())
}
