//! A program that reads in somebody else's way: its command line, and its one run.

use std::io::{Write, stdout};
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Parser;
use serde::Serialize;

use crate::child::ChildTask;
use crate::overwrite::HttpOverwriter;
use crate::source::ReadSource;
use crate::system::System;

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
pub fn run(
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
