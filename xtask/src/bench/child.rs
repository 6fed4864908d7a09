//! One run in a process of its own, so that its peak memory and CPU time are its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use headstart::{CacheConfig, FetchConfig, Headstart, HeadstartBuilder};
use headstart_gcs_backend::{GcsBackend, GcsConfig};
use url::Url;

use super::check::Checker;
use super::drive::{self, Target};
use super::measure::{Meter, Run};
use super::plan::Job;
use super::report::Wire;
use super::system::System;
use super::tally::Tally;
use super::workload::Workload;

/// Longer than this after its time a run is taken to hang.
const GRACE: Duration = Duration::from_secs(30);

/// What to run, and on what.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The object.
    #[arg(long)]
    pub(crate) url: Url,
    /// Where the store is; Google where it is not given.
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// How much of the object to read, in bytes.
    #[arg(long)]
    pub(crate) size: u64,
    /// A copy of the object to compare with; a simulated object needs none.
    #[arg(long)]
    pub(crate) copy: Option<PathBuf>,
    #[arg(long)]
    pub(crate) seed: u64,
    /// The run's time.
    #[arg(long)]
    pub(crate) limit_ms: u64,
}

/// A place and a job.
#[derive(Debug, Args)]
pub(crate) struct ChildArgs {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    system: System,
    #[arg(long)]
    workload: Workload,
    #[arg(long)]
    shape: usize,
}

/// Runs `job` in a process of its own. Requests are counted only where there is a copy: a real store has no log.
pub(crate) fn start(job: Job, place: &Place) -> Result<(Run, Option<Wire>)> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(["bench-one", "--system", &job.system.to_string(), "--workload", &job.workload.to_string()]);
    command.args(["--shape", &job.shape.to_string(), "--url", place.url.as_str(), "--size", &place.size.to_string()]);
    command.args(["--seed", &place.seed.to_string(), "--limit-ms", &place.limit_ms.to_string()]);
    if let Some(endpoint) = &place.endpoint {
        command.args(["--endpoint", endpoint]);
    }
    if let Some(copy) = &place.copy {
        command.arg("--copy").arg(copy);
    }
    let output = command.output().context("cannot start a run")?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("a run did not say what it came to")
}

/// Is such a process: reads, and prints the outcome as a line of JSON.
pub(crate) fn run(args: ChildArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let run = runtime.block_on(measured(args))?;
    println!("{}", serde_json::to_string(&run)?);
    Ok(())
}

async fn measured(args: ChildArgs) -> Result<(Run, Option<Wire>)> {
    let ChildArgs { place, system, workload, shape } = args;
    let job = Job { system, workload, shape };
    let backend = place.backend()?;
    let path = backend.path().clone();
    let client = if system.is_ours() { backend.store_for_fetch() } else { backend.store() };
    let tally = place.copy.is_some().then(|| Arc::new(Tally::new(Arc::clone(&client))));
    let store = tally.clone().map_or(client, |tally| tally as _);
    let headstart = match system {
        System::Headstart => Some(place.headstart(&backend, tally.as_ref()).build().await?),
        System::HeadstartCache => {
            Some(place.headstart(&backend, tally.as_ref()).cache(CacheConfig::default()).build().await?)
        }
        _ => None,
    };
    let checker = match &place.copy {
        Some(copy) => Checker::copy(copy)?,
        None => Checker::simulated(path.as_ref()),
    };
    let target = Target { store, headstart, path, size: place.size };
    let trace = workload.trace(place.size, place.seed)?;
    let limit = Duration::from_millis(place.limit_ms);
    let mut meter = Meter::start(checker, Some(limit));
    tokio::time::timeout(limit + GRACE, drive::read(system, job.shape(), target, &trace, &mut meter))
        .await
        .with_context(|| format!("still reading {GRACE:?} after its time"))??;
    Ok((meter.finish(), tally.map(|tally| tally.wire())))
}

impl Place {
    /// The client. A simulated store is none of the environment's business.
    fn backend(&self) -> Result<GcsBackend> {
        let config = match &self.endpoint {
            Some(endpoint) => GcsConfig::resolve([("endpoint", endpoint)], |_| None)?,
            None => GcsConfig::resolve([("", ""); 0], GcsConfig::process_environment)?,
        };
        Ok(GcsBackend::open(Some(&self.url), config)?)
    }

    /// The facade with its defaults, over `tally` where there is one.
    fn headstart(&self, backend: &GcsBackend, tally: Option<&Arc<Tally>>) -> HeadstartBuilder {
        let builder = Headstart::builder().environment([]);
        match (tally, &self.endpoint) {
            (Some(tally), _) => {
                let fetch = FetchConfig { profile: backend.profile(), ..FetchConfig::default() };
                builder.store(Arc::clone(tally) as _).fetch(fetch)
            }
            (None, Some(endpoint)) => builder.url(self.url.as_str()).option("gcs.endpoint", endpoint),
            (None, None) => builder.url(self.url.as_str()),
        }
    }
}
