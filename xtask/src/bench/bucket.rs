//! The bench on an object of a real bucket: one HEAD, one plain copy to compare with, the runs, and no write.

use std::io::{IsTerminal, Write, stdin, stdout};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use headstart_bench::{meter::megabytes, workload::Object};
use headstart_fetch_core::{Prices, internal::path_of_url_key};
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tempfile::NamedTempFile;
use url::{Position, Url};

use super::{BenchArgs, BenchPlan, PreparedWorkload, child, http::each_run, http::write_traces};

/// The most bytes that are read of an object.
const MOST_BYTES: u64 = 1 << 30;

/// Reads `url` by every system; returns the runs and the prices of the store.
pub(crate) fn run(args: &BenchArgs, url: &Url) -> Result<(BenchPlan, Prices)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let root: Url = url[..Position::BeforePath].parse()?;
    let path = path_of_url_key(url[Position::BeforePath..].trim_start_matches('/'))?;
    let (client, profile) = child::client(&root, None, None)?;
    let store = client.store;
    let meta = runtime.block_on(store.head(&path)).with_context(|| format!("cannot read {url}"))?;
    let size = meta.size.min(MOST_BYTES);
    ensure!(size > 0, "{url} is empty");
    let object = Object { key: path.to_string(), size };
    let prepared = args.workloads()?.into_iter().map(|workload| {
        PreparedWorkload::new(workload, std::slice::from_ref(&object), args.seed, None, None)
            .context("the object is too small for this workload: leave it out, or take a larger object")
    });
    let plan = BenchPlan::new(prepared.collect::<Result<_>>()?, &args.systems()?);
    announce(args, &plan, &profile.prices, size)?;

    let mut copy = NamedTempFile::new().context("no room for a copy of the object")?;
    println!("copying {:.0} MB with one plain GET, to compare with …", megabytes(size));
    runtime.block_on(async {
        let options = GetOptions::new().with_range(Some(0..size)).with_if_match(meta.e_tag.clone());
        let mut body = store.get_opts(&path, options).await?.into_stream();
        while let Some(piece) = body.next().await {
            copy.write_all(&piece?)?;
        }
        copy.flush()?;
        anyhow::Ok(())
    })?;
    // The runs use clients in processes of their own. This client's connections must not share their link.
    drop((store, client.for_fetch, client.facade, runtime));

    let folder = tempfile::tempdir().context("no room for traces")?;
    let traces = write_traces(&folder, &plan.workloads)?;
    let plan = each_run(args, plan, |plan, job| {
        let copy = Some(copy.path().to_owned());
        let tasks = child::tasks(plan.workload(job), job.system, traces[job.workload].clone(), copy, args.seconds);
        let commands = tasks.iter().map(|task| child::command(task, &root, None, job));
        let (outcome, wire) = child::run_all(commands.collect::<Result<_>>()?, args.seconds)?;
        Ok((outcome, wire.context("the run did not count its requests")?))
    })?;
    Ok((plan, profile.prices))
}

/// Prints the most that the bench will request, and asks for consent.
fn announce(args: &BenchArgs, plan: &BenchPlan, prices: &Prices, size: u64) -> Result<()> {
    let (requests, bytes) = at_most(args, plan, size);
    println!(
        "This reads {:.0} MB by {} systems, {} times each: at most about {requests} GETs (${:.4}) and {:.1} GB, \
         usually much less, since a run that has not read 128 MiB after {:?} is cut off. Bytes are free within the \
         bucket's region; elsewhere you pay for egress.",
        megabytes(size),
        plan.order(0).len(),
        args.runs(),
        prices.cost(requests, 0),
        megabytes(bytes) / 1000.0,
        args.seconds,
    );
    if args.yes {
        return Ok(());
    }
    ensure!(stdin().is_terminal(), "say --yes to go on");
    print!("Go on? [y/N] ");
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "nothing was read");
    Ok(())
}

/// The most GETs and bytes, if no run is cut off; includes the copy and the HEAD.
fn at_most(args: &BenchArgs, plan: &BenchPlan, size: u64) -> (u64, u64) {
    /// The least that `BufReader` fetches at a time, and about what one useless speculation costs.
    const AROUND: u64 = 1024 * 1024;
    let (mut requests, mut bytes) = (0, 0);
    for job in plan.order(0) {
        let calls = &plan.workload(job).trace.calls;
        let asked: u64 = calls.iter().map(|call| call.bytes).sum();
        let rounded: u64 = calls.iter().map(|call| call.bytes.max(AROUND)).sum();
        // Long reads count by parts, short ones by reads.
        requests += calls.len() as u64 + asked.div_ceil(AROUND);
        bytes += rounded;
    }
    let runs = args.runs() as u64;
    (requests * runs + 2, bytes * runs + size)
}
