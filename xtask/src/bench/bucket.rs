//! The bench on a real object: says what it will cost (after one HEAD for the size), makes one plain copy to compare with, and only reads.

use std::io::{IsTerminal, Write, stdin, stdout};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use headstart_gcs_backend::GcsBackend;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tempfile::NamedTempFile;
use url::Url;

use super::OBJECT_BYTES;
use super::args::BenchArgs;
use super::child::{self, Place};
use super::measure::megabytes;
use super::plan::Plan;

/// Reads `url` in every way asked for.
pub(crate) fn run(args: &BenchArgs, url: &Url) -> Result<Plan> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let no_options: [(&str, &str); 0] = [];
    let backend = GcsBackend::from_url(url, no_options)?;
    let store = backend.store();
    let meta = runtime.block_on(store.head(backend.path())).with_context(|| format!("cannot read {url}"))?;
    let size = meta.size.min(OBJECT_BYTES);
    ensure!(size > 0, "{url} is empty");
    announce(args, &backend, size)?;

    let mut copy = NamedTempFile::new().context("no room for a copy of the object")?;
    println!("copying {:.0} MB with one plain GET, to compare with …", megabytes(size));
    runtime.block_on(async {
        let options = GetOptions::new().with_range(Some(0..size)).with_if_match(meta.e_tag.clone());
        let mut body = store.get_opts(backend.path(), options).await?.into_stream();
        while let Some(piece) = body.next().await {
            copy.write_all(&piece?)?;
        }
        copy.flush()?;
        anyhow::Ok(())
    })?;
    // The clients of the runs are processes of their own; this one's connections must not share their link.
    drop((store, backend, runtime));

    let place = Place {
        url: url.clone(),
        endpoint: None,
        size,
        copy: Some(copy.path().to_owned()),
        seed: args.seed,
        limit_ms: u64::try_from(args.seconds.as_millis())?,
    };
    super::http::each_run(args, |job| {
        let (run, wire) = child::start(job, &place)?;
        Ok((run, wire.context("the run did not count its requests")?))
    })
}

/// Says what the bench will ask of the store at most, and waits for a yes.
fn announce(args: &BenchArgs, backend: &GcsBackend, size: u64) -> Result<()> {
    let (requests, bytes) = at_most(args, size)?;
    let cost = backend.profile().prices.cost(requests, 0);
    println!(
        "This reads {:.0} MB of {} in {} ways, {} times each: at most about {requests} GETs (${cost:.4}) and {:.1} GB, usually much \
         less, since a run ends after {:?}. Bytes are free in the bucket's region; elsewhere they cost what leaves it costs you.",
        megabytes(size),
        backend.path(),
        Plan::new(&args.workloads(), &args.systems()).order(0).len(),
        args.runs(),
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
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was read");
    }
    Ok(())
}

/// GETs and bytes if no run were ended by its time, the copy and the HEAD before it included.
fn at_most(args: &BenchArgs, size: u64) -> Result<(u64, u64)> {
    /// What `BufReader` fetches at least at a time, and about what a speculation may cost that nobody reads.
    const AROUND: u64 = 1024 * 1024;
    let (mut requests, mut bytes) = (0, 0);
    for job in Plan::new(&args.workloads(), &args.systems()).order(0) {
        let reads = job.workload.trace(size, args.seed)?;
        let asked: u64 = reads.iter().map(|read| read.end - read.start).sum();
        let rounded: u64 = reads.iter().map(|read| (read.end - read.start).max(AROUND)).sum();
        requests += reads.len() as u64;
        bytes += if job.workload.is_sequential() { asked } else { rounded };
    }
    let runs = args.runs() as u64;
    Ok((requests * runs + 2, bytes * runs + size))
}
