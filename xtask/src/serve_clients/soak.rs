//! `cargo xtask serve-clients --soak SECONDS`: a hundred clients read through one endpoint, and its store has faults.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headstart_bench::process::memory_bytes;
use headstart_sim::server::{Dialect, SimServer, SimServerConfig};
use headstart_sim::{Content, FaultPlan, LinkProfile, SeededRng};
use reqwest::{Client, StatusCode};
use tokio::time::Instant;

use super::{Endpoint, put};

const CLIENTS: u64 = 100;

/// The objects: more than the cache may hold.
const OBJECTS: u64 = 12;
const OBJECT_BYTES: u64 = 12 << 20;
const OPTIONS: [&str; 4] = ["-o", "cache.memory_bytes=48MiB", "-o", "memory_bytes=128MiB"];

/// The seed of the faults and of what the clients read.
const SEED: u64 = 20;

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(500);

/// One read in so many may be refused or cut off: the faults of the store may outlast all retries.
const READS_PER_FAILURE: u64 = 1000;

/// By how much the memory of the last third of the time may exceed that of the second.
const GROWTH: f64 = 1.1;

/// What the clients have seen.
#[derive(Debug, Default)]
struct Seen {
    reads: AtomicU64,
    bytes: AtomicU64,
    /// Answers of 503.
    refused: AtomicU64,
    /// Bodies that ended early.
    cut: AtomicU64,
}

/// Reads for `time`.
///
/// # Errors
/// A client reads a wrong byte, too many reads fail, memory grows, or connections are left open.
pub(super) fn run(program: &Path, time: Duration) -> Result<()> {
    let faults = FaultPlan {
        seed: SEED,
        unavailable: 0.02,
        throttled: 0.01,
        cut: 0.02,
        stalled: 0.01,
        stall: Duration::from_secs(3),
        late: 0.02,
        late_by: Duration::from_secs(1),
        ..FaultPlan::default()
    };
    let profile = LinkProfile { nic_bytes_per_s: 400e6, ..LinkProfile::near() };
    let upstream = SimServer::start(SimServerConfig { dialect: Dialect::S3, profile, faults, ..Default::default() })?;
    for object in 0..OBJECTS {
        put(&upstream, &format!("soak/{object}"), Content::new("soak", object).bytes(0..OBJECT_BYTES))?;
    }
    let endpoint = Endpoint::start(program, Dialect::S3, &upstream, &OPTIONS.map(OsStr::new))?;
    let process = endpoint.process_id();
    let idle_files = open_files(process)?;

    let seen = Arc::new(Seen::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let samples = runtime.block_on(async {
        let end = Instant::now() + time;
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(client(number, endpoint.url.clone(), end, Arc::clone(&seen)));
        }
        let mut samples = Vec::new();
        while Instant::now() < end {
            samples.push(memory_bytes(process).context("the endpoint has ended, or this is not Linux")?);
            tokio::time::sleep(SAMPLE).await;
        }
        while let Some(done) = clients.join_next().await {
            done??;
        }
        anyhow::Ok(samples)
    })?;
    drop(runtime);

    let most = |third: usize| samples[samples.len() * third / 3..samples.len() * (third + 1) / 3].iter().max().copied();
    let [first, second, last] = [0, 1, 2].map(|third| most(third).unwrap_or_default() as f64 / 1e6);
    let Seen { reads, bytes, refused, cut } = &*seen;
    let [reads, bytes, refused, cut] = [reads, bytes, refused, cut].map(|count| count.load(Relaxed));
    println!(
        "{CLIENTS} clients, {} s, seed {SEED}: {reads} reads, {} MB, no wrong byte; {refused} refused, {cut} cut off; \
         resident memory {first:.0}, {second:.0}, {last:.0} MB in each third",
        time.as_secs(),
        bytes / 1_000_000,
    );
    ensure!(reads > CLIENTS, "the clients read nothing");
    // Connections to the store stay open for the next requests, but not those of the clients.
    let left = open_files(process)?.saturating_sub(idle_files);
    println!("{left} files are open that were not before");
    let said = endpoint.stop();
    let too_many = "too many reads failed. The endpoint has said";
    ensure!((refused + cut) * READS_PER_FAILURE <= reads, "{too_many}:\n{}", last_lines(&said, 20));
    ensure!(last <= second * GROWTH, "memory grows");
    ensure!((left as u64) < CLIENTS, "connections of clients are left open");
    Ok(())
}

/// One client, with connections of its own: reads whole objects, ranges in order and at random, and gives some up.
async fn client(number: u64, endpoint: String, end: Instant, seen: Arc<Seen>) -> Result<()> {
    let http = Client::builder().no_proxy().build()?;
    let mut rng = SeededRng::new(SEED ^ (number << 32));
    while Instant::now() < end {
        let object = rng.below(OBJECTS);
        let (content, url) = (Content::new("soak", object), format!("{endpoint}/bucket/soak/{object}"));
        let (step, reads) = match rng.below(8) {
            0 => (OBJECT_BYTES, 1),
            1 | 2 => (1 << 20, 8),
            3 => (64 << 10, 32),
            _ => (64 << 10, 1),
        };
        let first = rng.below((OBJECT_BYTES / step).saturating_sub(reads) + 1);
        let gives_up = rng.below(16) == 0;
        for read in 0..reads {
            let start = (first + read) * step;
            seen.reads.fetch_add(1, Relaxed);
            let ended = read_range(&http, &url, start..start + step, &content, gives_up).await;
            match ended.with_context(|| format!("client {number}, {url} from byte {start}"))? {
                ReadEnd::Whole => {
                    seen.bytes.fetch_add(step, Relaxed);
                }
                ReadEnd::GivenUp => {}
                ReadEnd::Refused => _ = seen.refused.fetch_add(1, Relaxed),
                ReadEnd::Cut => _ = seen.cut.fetch_add(1, Relaxed),
            }
        }
    }
    Ok(())
}

/// How a read ended.
enum ReadEnd {
    Whole,
    /// By the client, after the first bytes.
    GivenUp,
    Refused,
    Cut,
}

/// Reads a range and compares its bytes.
async fn read_range(http: &Client, url: &str, range: Range<u64>, content: &Content, gives_up: bool) -> Result<ReadEnd> {
    let header = format!("bytes={}-{}", range.start, range.end - 1);
    let Ok(mut answer) = http.get(url).header("range", header).send().await else { return Ok(ReadEnd::Cut) };
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        return Ok(ReadEnd::Refused);
    }
    ensure!(answer.status() == StatusCode::PARTIAL_CONTENT, "the answer is {}", answer.status());
    let mut at = range.start;
    loop {
        match answer.chunk().await {
            Ok(Some(bytes)) => {
                content.check(at, &bytes).map_err(|byte| anyhow::anyhow!("{byte:?}"))?;
                at += bytes.len() as u64;
            }
            Ok(None) => {
                ensure!(at == range.end, "the answer ends at byte {at}");
                return Ok(ReadEnd::Whole);
            }
            Err(_) => return Ok(ReadEnd::Cut),
        }
        if gives_up {
            return Ok(ReadEnd::GivenUp);
        }
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn open_files(process: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{process}/fd"))?.count())
}
