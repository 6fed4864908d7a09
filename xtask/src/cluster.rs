//! `cargo xtask cluster`: engines over several processes, each with its own cache, over one simulated bucket; and a
//! large cluster in a simulation.
//!
//! The programs are examples in the workspace of the engines (`engines/distributed/examples/cluster`,
//! `engines/ballista/examples/ballista-cluster`), which start their workers themselves.

mod simulation;

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::ci::run_cargo;
use crate::engines;

/// What to start.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Worker processes; one more joins
    #[arg(long, value_name = "N", default_value_t = 4)]
    workers: usize,
    /// Parquet files of the large table
    #[arg(long, value_name = "N", default_value_t = 480)]
    files: usize,
    /// Let workers cache on disk, too
    #[arg(long)]
    disk: bool,
    /// Run Ballista instead of datafusion-distributed
    #[arg(long, conflicts_with = "simulate")]
    ballista: bool,
    /// Simulate a large cluster instead, print its hit ratios and draw them
    #[arg(long)]
    simulate: bool,
    #[command(flatten)]
    simulation: simulation::SimulationArgs,
}

/// The program of datafusion-distributed. Its defaults are those of [`ClusterArgs`].
const DISTRIBUTED: [&str; 4] = ["--package", "headstart-distributed", "--example", "cluster"];

/// The program of Ballista.
const BALLISTA: [&str; 4] = ["--package", engines::BALLISTA, "--example", "ballista-cluster"];

/// The command that builds what [`run_for_ci`] runs.
pub(crate) fn build_for_ci() -> Command {
    engines::cargo("build", &DISTRIBUTED)
}

/// Builds and runs the cluster as CI does.
pub(crate) fn run_for_ci() -> Result<()> {
    run_cargo(&mut engines::cargo("run", &DISTRIBUTED))
}

/// Builds and runs the cluster and checks its promises, or simulates a large one.
pub(crate) fn run(args: &ClusterArgs) -> Result<()> {
    if args.simulate {
        return simulation::run(&args.simulation);
    }
    let folder = tempfile::tempdir()?;
    let mut cluster = engines::cargo("run", if args.ballista { &BALLISTA } else { &DISTRIBUTED });
    cluster.args(["--", "--workers", &args.workers.to_string(), "--files", &args.files.to_string()]);
    if args.disk {
        cluster.arg("--disk").arg(folder.path());
    }
    run_cargo(&mut cluster)
}
