//! One run in a process of its own: what the process is told, and how it and the bench talk.
//!
//! The process loads all that it needs, prints `ready`, waits for a line on its stdin, reads, and prints its [`Outcome`] as a line of JSON. So that
//! processes start together, and none is timed while it loads.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser};
use serde::Serialize;

use crate::check::Checker;
use crate::drive;
use crate::meter::{Meter, Outcome};
use crate::source::{HttpOverwriter, Overwriter, ReadSource};
use crate::system::System;
use crate::traces;

/// Longer than this after its time a run is taken to hang.
const GRACE: Duration = Duration::from_secs(60);

/// What a process is to do, whatever its way of reading.
#[derive(Debug, Clone, Args)]
pub struct ChildTask {
    /// The trace.
    #[arg(long)]
    pub trace: PathBuf,
    /// The run's time.
    #[arg(long)]
    pub limit_ms: u64,
    /// Processes that share the trace.
    #[arg(long, default_value_t = 1)]
    pub processes: u64,
    /// Which of them this one is.
    #[arg(long, default_value_t = 0)]
    pub process: u64,
    /// A copy of the object to compare with; simulated objects need none.
    #[arg(long)]
    pub copy: Option<PathBuf>,
}

impl ChildTask {
    /// Reads the trace, says that it is ready, waits for its turn, and reads by `source`.
    ///
    /// # Errors
    /// Where the trace cannot be read, or a read fails, or none of them ends.
    pub async fn run(&self, source: Arc<dyn ReadSource>, overwriter: Option<Arc<dyn Overwriter>>) -> Result<Outcome> {
        let trace = Arc::new(traces::load(&self.trace)?);
        let sources = self.places(&source)?;
        let meter = Arc::new(self.begin()?);
        let read = drive::run(trace, &sources, overwriter, Arc::clone(&meter));
        tokio::time::timeout(Duration::from_millis(self.limit_ms) + GRACE, read)
            .await
            .with_context(|| format!("still reading {GRACE:?} after its time"))??;
        finish(meter)
    }

    /// Says that all is ready, waits until the bench says a word, and starts the clock.
    ///
    /// # Errors
    /// Where the bench is gone, or there is no such copy.
    pub fn begin(&self) -> Result<Meter> {
        let checker = self.copy.as_deref().map_or(Ok(Checker::Simulated), Checker::copy)?;
        println!("ready");
        stdout().flush()?;
        let mut line = String::new();
        ensure!(stdin().lock().read_line(&mut line)? > 0, "the bench is gone");
        Ok(Meter::start(checker, Some(Duration::from_millis(self.limit_ms))))
    }

    fn places(&self, source: &Arc<dyn ReadSource>) -> Result<Vec<Option<Arc<dyn ReadSource>>>> {
        ensure!(self.process < self.processes, "there is no process {} of {}", self.process, self.processes);
        let own = |process| (process == self.process).then(|| Arc::clone(source));
        Ok((0..self.processes).map(own).collect())
    }
}

/// Ends the run of a meter that nobody uses any more.
///
/// # Errors
/// Where somebody does.
pub fn finish(meter: Arc<Meter>) -> Result<Outcome> {
    Ok(Arc::into_inner(meter).context("a reader is still at work")?.finish())
}

/// Reads a trace in somebody else's way
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    task: Option<ChildTask>,
    /// Where the simulated server listens
    #[arg(long, requires = "ChildTask")]
    endpoint: Option<String>,
    #[arg(long, requires = "ChildTask")]
    bucket: Option<String>,
    #[arg(long, requires = "ChildTask")]
    system: Option<System>,
    /// Print the versions of what is measured, and end
    #[arg(long, exclusive = true)]
    versions: bool,
}

/// Is such a program: reads through what `source` makes of a system, an endpoint and a bucket, and tells the bench what came of it; or prints `versions`.
///
/// # Errors
/// Where the command line does not say what to read, or a read fails.
pub fn run_peer(
    versions: impl Serialize,
    source: impl FnOnce(System, &str, &str) -> Result<Arc<dyn ReadSource>>,
) -> Result<()> {
    let cli = Cli::parse();
    if cli.versions {
        println!("{}", serde_json::to_string(&versions)?);
        return Ok(());
    }
    let (Some(task), Some(endpoint), Some(bucket), Some(system)) = (cli.task, cli.endpoint, cli.bucket, cli.system)
    else {
        bail!("--trace, --limit-ms, --endpoint, --bucket and --system say what to read");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let source = source(system, &endpoint, &bucket)?;
        task.run(source, Some(Arc::new(HttpOverwriter { endpoint }))).await
    })?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(stdout().flush()?)
}
