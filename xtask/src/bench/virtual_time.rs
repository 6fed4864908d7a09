//! The bench in virtual time: the simulated store under a paused clock, where every number is exact.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::ValueEnum;
use headstart::{CacheConfig, Headstart};
use headstart_sim::{LinkProfile, SimStore};
use object_store::path::Path;

use super::check::Checker;
use super::drive::{self, Target};
use super::gates::{Gate, Gates};
use super::measure::{Meter, Run};
use super::plan::{Job, Plan};
use super::report::{Row, Wire};
use super::system::System;
use super::workload::Workload;
use super::{OBJECT, OBJECT_BYTES};

/// More than any system has in flight: no run pays for setting one up.
const WARM_CONNECTIONS: usize = 1024;

/// Makes one run on a store and a clock of its own.
pub(crate) fn run(job: Job, profile: &LinkProfile, seed: u64) -> Result<(Run, Wire)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(measured(job, profile, seed))
}

async fn measured(job: Job, profile: &LinkProfile, seed: u64) -> Result<(Run, Wire)> {
    let store =
        Arc::new(SimStore::builder().profile(profile.clone()).seed(seed).warm_connections(WARM_CONNECTIONS).build());
    let facade = Headstart::builder().environment([]).store(Arc::clone(&store) as _);
    let headstart = match job.system {
        System::Headstart => Some(facade.build().await?),
        System::HeadstartCache => Some(facade.cache(CacheConfig::default()).build().await?),
        _ => None,
    };
    let target = Target { store: Arc::clone(&store) as _, headstart, path: Path::from(OBJECT), size: OBJECT_BYTES };
    let trace = job.workload.trace(OBJECT_BYTES, seed)?;
    let mut meter = Meter::start(Checker::simulated(OBJECT), None);
    drive::read(job.system, job.shape(), target, &trace, &mut meter).await?;
    // Memory and CPU time are this process's, which makes many runs, and not exact.
    let run = Run { peak_memory_bytes: None, cpu_s: None, ..meter.finish() };
    let counts = store.log().counts();
    Ok((run, Wire { gets: counts.gets, heads: counts.heads, bytes_fetched: counts.bytes_sent }))
}

/// What the gates compare: every system on every workload.
pub(crate) fn gates() -> Result<Gates> {
    let mut plan = Plan::new(Workload::value_variants(), System::value_variants());
    for job in plan.order(0) {
        plan.record(job, run(job, &LinkProfile::gcs(), 1));
    }
    if let Some(failure) = plan.failures.first() {
        bail!("{failure}");
    }
    let rows = plan.rows();
    if let Some(row) = rows.iter().find(|row| row.wrong_bytes > 0) {
        bail!("{} {}: {} wrong bytes", row.workload, row.system, row.wrong_bytes);
    }
    let gate = |row: &Row| Gate {
        gets: row.gets,
        heads: row.heads,
        bytes_fetched: row.bytes_fetched,
        virtual_ms: row.elapsed_ms,
    };
    Ok(rows.iter().map(|row| (format!("{}/{}", row.workload, row.system), gate(row))).collect())
}
