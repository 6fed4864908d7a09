//! The bench over HTTP: every run in processes of its own, against a server in another process.

use std::io::{BufWriter, Write};
use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result};
use headstart_bench::results::{Group, WireCounts};
use headstart_bench::workload::{Object, Workload};
use headstart_sim::{Content, FIRST_GENERATION};
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;
use url::Url;

use super::{BenchArgs, BenchJob, BenchPlan, BenchServer, MeasuredRun, Peers, PreparedWorkload, child, server::BUCKET};

/// Reads the simulated objects, or local files, by every system.
pub(crate) fn run(args: &BenchArgs, peers: Option<&Peers>) -> Result<BenchPlan> {
    let folder = tempfile::tempdir().context("no room for traces")?;
    let mut prepared = Vec::new();
    for workload in args.workloads()? {
        let mut objects = workload.objects(args.seed)?;
        if workload.local {
            make_files(&folder, &workload, &mut objects)?;
        }
        let cut = workload.cut_after(args.seconds);
        let link = workload.link_or(args.profile.as_ref());
        prepared.push(PreparedWorkload::new(workload, &objects, args.seed, Some(&link), Some(cut))?);
    }
    let traces = write_traces(&folder, &prepared)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let bucket: Url = format!("gs://{BUCKET}").parse()?;
    let files: Url = "file:///".parse()?;
    let ca_certificate = args.tls.then(|| folder.path().join("authority.pem"));
    each_run(args, BenchPlan::new(prepared, &args.systems()?), |plan, job| {
        let prepared = plan.workload(job);
        let cut = prepared.workload.cut_after(args.seconds);
        let tasks = child::tasks(prepared, job.system, traces[job.workload].clone(), None, cut);
        if prepared.workload.local {
            let own = tasks.iter().map(|task| child::command(task, &files, None, job));
            let (outcome, _) = child::run_all(own.collect::<Result<_>>()?, cut)?;
            return Ok((outcome, WireCounts::default()));
        }
        let link = prepared.workload.link_or(args.profile.as_ref());
        // Every run has a server of its own, so that overwrites of one run do not affect the next.
        let mut server = BenchServer::start(&link, args.seed, prepared.name(), ca_certificate.as_deref())?;
        let commands = tasks.iter().map(|task| match job.system.group() {
            Group::Peer => Ok(peers.context("nobody asked for peers")?.command(task, job.system, &server.url)),
            _ => child::command(task, &bucket, Some(&server), job),
        });
        let (outcome, _) = child::run_all(commands.collect::<Result<_>>()?, cut)?;
        Ok((outcome, runtime.block_on(server.counts())?))
    })
}

/// Writes each workload's trace to a file in `folder`.
pub(crate) fn write_traces(folder: &TempDir, workloads: &[PreparedWorkload]) -> Result<Vec<PathBuf>> {
    let write = |prepared: &PreparedWorkload| {
        let file = folder.path().join(format!("{}.jsonl", prepared.name()));
        headstart_bench::traces::save(&prepared.trace, &file)?;
        Ok(file)
    };
    workloads.iter().map(write).collect()
}

/// Creates files for the objects of a local workload. The objects' keys become the files' paths.
fn make_files(folder: &TempDir, workload: &Workload, objects: &mut [Object]) -> Result<()> {
    const PIECE: u64 = 1 << 20;
    for (n, object) in objects.iter_mut().enumerate() {
        let path = folder.path().join(format!("{}-{n}", workload.name));
        object.key = path.to_str().context("the temporary folder's path is not UTF-8")?.trim_start_matches('/').into();
        let content = Content::new(&object.key, FIRST_GENERATION);
        let mut file = BufWriter::new(File::create(&path)?);
        for start in (0..object.size).step_by(1 << 20) {
            file.write_all(&content.bytes(start..object.size.min(start + PIECE)))?;
        }
        file.flush()?;
    }
    Ok(())
}

/// Runs all jobs of `plan` with `make`, and shows a progress bar; without a terminal, a line for each workload.
pub(crate) fn each_run(
    args: &BenchArgs,
    mut plan: BenchPlan,
    mut make: impl FnMut(&BenchPlan, BenchJob) -> Result<MeasuredRun>,
) -> Result<BenchPlan> {
    let jobs = plan.order(0).len();
    let bar = ProgressBar::new((jobs * args.runs()) as u64)
        .with_style(ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} {msg:32}")?);
    for run in 0..args.runs() {
        for of_workload in plan.order(run).chunk_by(|a, b| a.workload == b.workload) {
            let name = plan.workload(of_workload[0]).name().to_owned();
            if bar.is_hidden() {
                let (done, of, seconds) = (bar.position(), jobs * args.runs(), bar.elapsed().as_secs());
                eprintln!("{name}, run {} of {} ({done} of {of} done in {seconds} s)", run + 1, args.runs());
            }
            for job in of_workload {
                bar.set_message(format!("{name} {}", job.system));
                let outcome = make(&plan, *job);
                if let Err(error) = &outcome {
                    bar.suspend(|| eprintln!("FAILED {name} {}: {}", job.system, crate::explain(error)));
                }
                plan.record(*job, outcome);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(plan)
}
