//! The bench over HTTP: every run in a process of its own, against a server in another.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::BenchArgs;
use super::child::{self, Place};
use super::measure::Run;
use super::plan::{Job, Plan};
use super::report::Wire;
use super::server::{BUCKET, Server};
use super::{OBJECT, OBJECT_BYTES};

/// Reads the simulated object in every way asked for.
pub(crate) fn run(args: &BenchArgs) -> Result<Plan> {
    let mut server = Server::start(&args.profile, args.seed)?;
    let place = Place {
        url: format!("gs://{BUCKET}/{OBJECT}").parse()?,
        endpoint: Some(server.url().to_owned()),
        size: OBJECT_BYTES,
        copy: None,
        seed: args.seed,
        limit_ms: u64::try_from(args.seconds.as_millis())?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    each_run(args, |job| {
        server.reset()?;
        let (run, _) = child::start(job, &place)?;
        Ok((run, runtime.block_on(server.counts())?))
    })
}

/// Makes all runs with `make`, showing how far they are.
pub(crate) fn each_run(args: &BenchArgs, mut make: impl FnMut(Job) -> Result<(Run, Wire)>) -> Result<Plan> {
    let mut plan = Plan::new(&args.workloads(), &args.systems());
    let bar = ProgressBar::new((plan.order(0).len() * args.runs()) as u64)
        .with_style(ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} {msg:32}")?);
    for run in 0..args.runs() {
        for job in plan.order(run) {
            bar.set_message(format!("{} {}", job.workload, job.system));
            let outcome = make(job);
            plan.record(job, outcome);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(plan)
}
