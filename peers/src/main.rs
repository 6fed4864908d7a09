//! Other people's readers, run by the bench: one run in one process, as `headstart_bench::child` describes it.
//!
//! `cargo xtask bench --peers` builds and starts it. The benches beside other caches are run by hand:
//!
//! ```console
//! $ cargo bench -p headstart-peers --bench cache_hits
//! ```

mod foyer;
mod opendal;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Parser;
use headstart_bench::child::{Task, tell};
use headstart_bench::overwrite::There;
use headstart_bench::source::Source;
use headstart_bench::system::System;

/// Reads a trace in somebody else's way
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    task: Option<Task>,
    /// Where the simulated server listens
    #[arg(long, requires = "Task")]
    endpoint: Option<String>,
    #[arg(long, requires = "Task")]
    bucket: Option<String>,
    #[arg(long, requires = "Task")]
    system: Option<System>,
    /// Print the versions of what is measured, and end
    #[arg(long, exclusive = true)]
    versions: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if cli.versions {
        println!("{}", serde_json::to_string(&versions())?);
        return Ok(());
    }
    let (Some(task), Some(endpoint), Some(bucket), Some(system)) = (cli.task, cli.endpoint, cli.bucket, cli.system)
    else {
        bail!("--trace, --limit-ms, --endpoint, --bucket and --system say what to read");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let source: Arc<dyn Source> = match system {
            System::Opendal4 => Arc::new(opendal::Chunked::new(&endpoint, &bucket, 4)?),
            System::Opendal8 => Arc::new(opendal::Chunked::new(&endpoint, &bucket, 8)?),
            System::Foyer => Arc::new(foyer::Pages::new(&endpoint, &bucket)?),
            other => bail!("{other} is not among the peers in Rust"),
        };
        task.carry_out(source, Some(Arc::new(There { endpoint }))).await
    })?;
    tell(&outcome)
}

/// What takes part, in the versions that the workspace has locked.
fn versions() -> BTreeMap<&'static str, String> {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let version = |name: &str| {
        let package = LOCK.split("[[package]]").find(|package| package.contains(&format!("\nname = \"{name}\"\n")))?;
        let version = package.lines().find_map(|line| line.strip_prefix("version = "))?;
        Some(version.trim_matches('"').to_owned())
    };
    let names = ["opendal", "foyer-memory", "object_store"];
    names.into_iter().filter_map(|name| Some((name, version(name)?))).collect()
}
