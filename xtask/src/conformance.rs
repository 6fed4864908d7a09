//! `cargo xtask conformance`: `object_store`'s own suite over every backend and stack, and random steps by the facade.
//!
//! A stack must pass what the bare client passes. What that fails is a deviation of the server, listed in `matrix.rs`.

mod backend;
mod differential;
mod matrix;
mod native_write;
mod shaped;
mod stack;
mod suite;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tokio::time::Instant;

use crate::servers::{self, ServerKind};
use crate::threads::on_threads;
use backend::{Backend, BackendServer, Bucket, Store};
use matrix::Matrix;
use native_write::NativeWriteStore;
use stack::StackKind;
use suite::{Failures, SuiteFailure};

const STEPS: u64 = 10_000;
const SEED: u64 = 1;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct ConformanceArgs {
    /// Only these backends; default: all
    #[arg(value_name = "BACKEND")]
    backends: Vec<Backend>,
    /// Steps of the random run over each backend; 0 skips it
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
    /// Seed of the random run
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Instead of the suite, measure reads over hadro with 40 ms to the first byte and 20 MB/s a stream
    #[arg(long, conflicts_with_all = ["backends", "steps"])]
    shaped: bool,
}

impl Default for ConformanceArgs {
    fn default() -> Self {
        Self { backends: Vec::new(), steps: STEPS, seed: SEED, shaped: false }
    }
}

/// Runs the suite over `args.backends` and prints the matrix. Fails if a stack fails what the bare client passes.
pub(crate) fn run(args: &ConformanceArgs) -> Result<()> {
    if args.shaped {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        return runtime.block_on(servers::until_interrupted(shaped::run(args.seed)))?;
    }
    let backends = if args.backends.is_empty() { Backend::value_variants().to_vec() } else { args.backends.clone() };
    if backends.iter().filter_map(|backend| backend.server()).any(|server| !server.is_installed()) {
        bail!("the servers are not installed: run `cargo xtask servers --install`");
    }
    let matrix = side_by_side(backends, args)?;
    print!("{matrix}");
    matrix.verdict()
}

/// Runs two backends at a time, because most servers keep one core busy. The slowest ones come first.
fn side_by_side(mut backends: Vec<Backend>, args: &ConformanceArgs) -> Result<Matrix> {
    backends.sort_by_key(|backend| backend.server() != Some(ServerKind::Moto));
    let _quiet = suite::Quiet::new();
    let results = on_threads(2, backends, |backend| {
        let mut matrix = Matrix::default();
        // All of its threads have the name of this one, which is how panics are told apart.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_name(suite::thread_name()).enable_all().build()?;
        // The backend's server ends with this future.
        runtime.block_on(servers::until_interrupted(over(backend, args, &mut matrix)))??;
        Ok(matrix)
    })?;
    let mut all = Matrix::default();
    results.into_iter().for_each(|matrix| all.add(matrix));
    Ok(all)
}

async fn over(backend: Backend, args: &ConformanceArgs, matrix: &mut Matrix) -> Result<()> {
    let started = Instant::now();
    let server = BackendServer::start(backend).await?;
    let expected = matrix::deviations(backend).map(|(function, _)| function).collect::<BTreeSet<_>>();
    let mut bare = BTreeMap::new();
    for stack in StackKind::value_variants() {
        let failed = suite::failures(&server, *stack).await?;
        if *stack == StackKind::Bare {
            bare = failed.clone();
            matrix.compare_bare(backend, &failed, &expected);
        }
        matrix.note(backend, *stack, &failed, &bare);
    }
    if args.steps > 0 {
        match differential::run(&server, args.steps, args.seed).await {
            Ok(told) => drop(matrix.told.insert(backend, told)),
            Err(why) => matrix.wrong.push(format!("{backend}, the random run: {}", crate::explain(&why))),
        }
    }
    eprintln!("{backend}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
