//! `cargo xtask cluster`: whether workers of a cluster read the files that they have in their caches.

mod simulation;

use anyhow::{Result, ensure};
use clap::Args;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Simulate a large cluster, print its hit ratios and draw them
    #[arg(long)]
    simulate: bool,
    #[command(flatten)]
    simulation: simulation::SimulationArgs,
}

pub(crate) fn run(args: &ClusterArgs) -> Result<()> {
    ensure!(args.simulate, "say `--simulate`");
    simulation::run(&args.simulation)
}
