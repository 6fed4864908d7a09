//! One run in a process of its own: its arguments, and its protocol with the bench.
//!
//! The process loads its trace, prints `ready`, waits for a line on stdin, reads, and prints its [`Outcome`] as a line
//! of JSON. So processes start together, and loading is not timed.

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

/// A run that exceeds its time by more than this hangs.
const GRACE: Duration = Duration::from_secs(60);

/// The part of a process's arguments that does not depend on its system.
#[derive(Debug, Clone, Args)]
pub struct ChildTask {
    /// The trace
    #[arg(long)]
    pub trace: PathBuf,
    /// Time after which the run is cut off, unless it has read 128 MiB by then
    #[arg(long)]
    pub limit_ms: u64,
    /// Processes that share the trace
    #[arg(long, default_value_t = 1)]
    pub processes: u64,
    /// Index of this process
    #[arg(long, default_value_t = 0)]
    pub process: u64,
    /// A copy of the object to compare with; simulated objects need none
    #[arg(long)]
    pub copy: Option<PathBuf>,
}

impl ChildTask {
    /// Loads the trace, waits for the start, and reads through `source`.
    ///
    /// # Errors
    /// If the trace cannot be loaded, a read fails, or the run hangs.
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

    /// Prints `ready`, waits for a line, and starts the clock.
    ///
    /// # Errors
    /// If the bench has ended, or the copy cannot be opened.
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

/// Ends the run of a meter that has no other user.
///
/// # Errors
/// If the meter has other users.
pub fn finish(meter: Arc<Meter>) -> Result<Outcome> {
    Ok(Arc::into_inner(meter).context("a reader is still at work")?.finish())
}

/// Reads a trace with another library
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    task: Option<ChildTask>,
    /// Address of the simulated server
    #[arg(long, requires = "ChildTask")]
    endpoint: Option<String>,
    #[arg(long, requires = "ChildTask")]
    bucket: Option<String>,
    #[arg(long, requires = "ChildTask")]
    system: Option<System>,
    /// Print the versions of the libraries and exit
    #[arg(long, exclusive = true)]
    versions: bool,
}

/// The `main` of a peer: prints `versions`, or reads through the source that `source` makes for a system, endpoint and
/// bucket.
///
/// # Errors
/// If the arguments are incomplete, or a read fails.
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
