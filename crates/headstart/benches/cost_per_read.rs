//! What a read costs where there is no delay to hide: beside the bare client over HTTP, and by the number of workers
//! over memory.
//!
//! `cargo bench -p headstart --features gcp --bench cost_per_read -- loopback` reads at random from a simulated bucket
//! without delay, which another process serves on this machine. It prints the rate of each way to read, and its CPU
//! time, as multiples of those of the bare client. The ways take turns, and the median of all turns counts.
//!
//! `… -- workers` reads objects in memory through all layers, by as many tasks as there are worker threads.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use headstart::{CacheConfig, FetchConfig, FetchStore, Headstart, Reader};
use headstart_gcs_backend::{GcsBackend, GcsConfig};
use headstart_sim::SeededRng;
use headstart_sim::server::{SimServer, SimServerConfig};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::Instant;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve"] => serve(),
        ["loopback"] => loopback(ROUNDS, None),
        ["loopback", rounds] => loopback(rounds.parse()?, None),
        ["loopback", rounds, only] => loopback(rounds.parse()?, Some(only)),
        ["workers"] => workers(),
        [] => loopback(ROUNDS, None).and_then(|()| workers()),
        _ => bail!("expected loopback, workers, or nothing for both"),
    }
}

/// Turns of each way to read.
const ROUNDS: usize = 15;
/// Reads of one turn.
const READS_A_TURN: usize = 300;
/// Larger than the memory of a cache, so that few reads find their pages.
const OBJECT_BYTES: u64 = 64 << 30;

/// Serves the simulated bucket until stdin ends.
fn serve() -> Result<()> {
    let server = SimServer::start(SimServerConfig::default())?;
    println!("{}", server.url());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// The server's process; killed when it is dropped.
struct ServerProcess {
    child: Child,
    url: String,
}

impl ServerProcess {
    fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        BufReader::new(child.stdout.take().context("it has no stdout")?).read_line(&mut url)?;
        Ok(Self { child, url: url.trim().to_owned() })
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It has usually not ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A way to read a range into one buffer.
enum Way {
    Store(Arc<dyn ObjectStore>),
    Reader(Reader),
}

impl Way {
    async fn read(&self, path: &Path, range: std::ops::Range<u64>) -> object_store::Result<Bytes> {
        match self {
            Self::Store(store) => store.get_range(path, range).await,
            Self::Reader(reader) => reader.read_at(range).await,
        }
    }
}

/// One line of the result: a way to read, and the time and CPU time of each turn in seconds.
struct Line {
    name: &'static str,
    way: Arc<Way>,
    elapsed: Vec<f64>,
    cpu: Vec<f64>,
}

fn loopback(rounds: usize, only: Option<&str>) -> Result<()> {
    let server = ServerProcess::start()?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let path = Path::from(format!("synthetic/{OBJECT_BYTES}/random"));
    println!("| read | way | µs a read | × raw's rate | CPU µs a read | × raw's CPU |\n|---|---|---|---|---|---|");
    for (read, bytes, aligned) in
        [("4 KiB", 4 * KIB, false), ("64 KiB", 64 * KIB, false), ("64 KiB, aligned", 64 * KIB, true)]
    {
        let mut lines = runtime.block_on(ways(&server.url, &path))?;
        lines.retain(|line| line.name == "raw" || only.is_none_or(|only| line.name == only));
        let mut dice = SeededRng::new(bytes);
        for round in 0..=rounds {
            for line in &mut lines {
                let starts = (0..READS_A_TURN).map(|_| {
                    let start = dice.below(OBJECT_BYTES - bytes);
                    if aligned { start / bytes * bytes } else { start }
                });
                let (elapsed, cpu) = turn(&runtime, &line.way, &path, starts.collect(), bytes)?;
                // The first turn opens connections.
                if round > 0 {
                    line.elapsed.push(elapsed);
                    line.cpu.push(cpu);
                }
            }
        }
        let us = |seconds: f64| seconds * 1e6 / READS_A_TURN as f64;
        let (raw_elapsed, raw_cpu) = (median(&lines[0].elapsed), median(&lines[0].cpu));
        for line in &lines {
            let (elapsed, cpu) = (median(&line.elapsed), median(&line.cpu));
            let (rate, share) = (raw_elapsed / elapsed, cpu / raw_cpu);
            let (name, elapsed, cpu) = (line.name, us(elapsed), us(cpu));
            println!("| {read} | {name} | {elapsed:.0} | {rate:.2} | {cpu:.0} | {share:.2} |");
        }
    }
    Ok(())
}

/// All ways to read the object at `path`; the bare client first.
async fn ways(url: &str, path: &Path) -> Result<Vec<Line>> {
    let client = || GcsConfig::resolve([("endpoint", url), ("anonymous", "true")], |_| None);
    let raw = GcsBackend::open(Some(&"gs://bucket".parse()?), client()?)?;
    let fetch = FetchStore::new(raw.store_for_fetch(), FetchConfig::default())?;
    let facade = || {
        let facade = Headstart::builder().environment([]).url("gs://bucket");
        facade.option("gcs.endpoint", url).option("gcs.anonymous", "true")
    };
    let plain = facade().build().await?;
    let cached = facade().cache(CacheConfig::default()).build().await?;
    let line = |name, way| Line { name, way: Arc::new(way), elapsed: Vec::new(), cpu: Vec::new() };
    Ok(vec![
        line("raw", Way::Store(raw.store())),
        line("fetch get_range", Way::Store(Arc::new(fetch))),
        line("headstart get_range", Way::Store(Arc::new(plain.clone()))),
        line("headstart read_at", Way::Reader(plain.reader(path)?)),
        line("cache get_range", Way::Store(Arc::new(cached.clone()))),
        line("cache read_at", Way::Reader(cached.reader(path)?)),
    ])
}

/// Reads one range after the other from one task. Returns the time and the CPU time in seconds.
fn turn(runtime: &Runtime, way: &Arc<Way>, path: &Path, starts: Vec<u64>, bytes: u64) -> Result<(f64, f64)> {
    let (way, path) = (Arc::clone(way), path.clone());
    let (began, cpu_before) = (Instant::now(), cpu_time()?);
    let reads = runtime.spawn(async move {
        for start in starts {
            let read = way.read(&path, start..start + bytes).await?;
            ensure!(read.len() as u64 == bytes, "a read gave {} of {bytes} bytes", read.len());
        }
        Ok(())
    });
    runtime.block_on(reads)??;
    Ok((began.elapsed().as_secs_f64(), (cpu_time()? - cpu_before).as_secs_f64()))
}

/// CPU time of this process.
fn cpu_time() -> Result<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Bytes that each task reads from its own object in memory.
const OWN_BYTES: u64 = 32 * MIB;
/// Passes of a run over all objects, so that it lasts long enough: of cold pages, each through a store of its own.
const COLD_PASSES: usize = 4;
const WARM_PASSES: usize = 60;
/// Runs of each row; the median counts. The numbers of workers take turns.
const RUNS: usize = 9;
const WORKERS: [usize; 4] = [1, 2, 4, 8];

fn workers() -> Result<()> {
    println!("\n| read | pages | 1 worker, MB/s | 2 | 4 | 8 |\n|---|---|---|---|---|---|");
    for (read, bytes) in [("64 KiB", 64 * KIB), ("1 MiB", MIB)] {
        for warm in [false, true] {
            let mut rates: [Vec<f64>; WORKERS.len()] = Default::default();
            for _ in 0..RUNS {
                for (workers, rates) in WORKERS.into_iter().zip(&mut rates) {
                    rates.push(rate(workers, bytes, warm)?);
                }
            }
            let cells = rates.map(|rates| format!("{:.0}", median(&rates)));
            println!("| {read} | {} | {} |", if warm { "warm" } else { "cold" }, cells.join(" | "));
        }
    }
    Ok(())
}

/// The rate in 10⁶ bytes per second at which `workers` tasks on as many threads read one object each, in order.
fn rate(workers: usize, bytes: u64, warm: bool) -> Result<f64> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let memory = Arc::new(InMemory::new());
        let paths: Vec<Path> = (0..workers).map(|n| Path::from(format!("object-{n}"))).collect();
        let content = Bytes::from(vec![42; usize::try_from(OWN_BYTES)?]);
        for path in &paths {
            memory.put(path, content.clone().into()).await?;
        }
        let open = || {
            let builder = Headstart::builder().environment([]).store(Arc::clone(&memory) as _);
            builder.cache(CacheConfig::default()).build()
        };
        let store = open().await?;
        // Also starts all threads.
        pass(&store, &paths, bytes).await?;
        let passes = if warm { WARM_PASSES } else { COLD_PASSES };
        let mut elapsed = Duration::ZERO;
        for _ in 0..passes {
            let store = if warm { store.clone() } else { open().await? };
            let began = Instant::now();
            pass(&store, &paths, bytes).await?;
            elapsed += began.elapsed();
        }
        Ok((OWN_BYTES * (workers * passes) as u64) as f64 / 1e6 / elapsed.as_secs_f64())
    })
}

/// Reads every object by a task of its own.
async fn pass(store: &Headstart, paths: &[Path], bytes: u64) -> Result<()> {
    let mut tasks = JoinSet::new();
    for path in paths {
        let reader = store.reader(path)?;
        tasks.spawn(async move {
            for start in (0..OWN_BYTES).step_by(usize::try_from(bytes)?) {
                let chunks = reader.chunks_at(start..start + bytes).await?;
                ensure!(chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>() == bytes, "a short read");
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
