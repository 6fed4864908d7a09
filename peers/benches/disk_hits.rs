//! A hit on disk, of a page of 64 KiB that lies in the page cache of the system: ours through `dyn ObjectStore`,
//! foyer's hybrid cache through its own interface, and bare reads with a checksum. All in one run, by turns. Then what
//! a read pays for the tier that finds nothing there, beside the same cache without a tier.
//!
//! `cargo bench -p headstart-peers --bench disk_hits` prints the table; every byte read has a known value.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
    PsyncIoEngineConfig,
};
use futures::future::BoxFuture;
use headstart_cache::internal::{DiskIo, SystemIo};
use headstart_cache::{CacheConfig, CacheStore, DiskConfig, Freshness};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::time::Instant;

const PAGE: u64 = 64 << 10;
const PAGES: u64 = 2048;
/// What stays in memory: a thirty-second part.
const MEMORY: usize = 4 << 20;
const SECONDS: f64 = 0.5;
const ROUNDS: usize = 5;

type Read = Arc<dyn Fn(u64) -> BoxFuture<'static, u8> + Send + Sync>;

fn page(n: u64) -> Vec<u8> {
    vec![u8::try_from(n % 251).expect("a byte"); usize::try_from(PAGE).expect("small")]
}

/// The system's calls, and how many bytes they have written to files of all kinds.
#[derive(Debug, Default)]
struct CountingIo {
    written_bytes: AtomicU64,
}

impl DiskIo for CountingIo {
    fn write(&self, file: &File, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        self.written_bytes.fetch_add(bytes as u64, Relaxed);
        SystemIo.write(file, parts, offset)
    }
}

/// Our cache with an object on disk.
async fn ours(directory: &std::path::Path, counting: &Arc<CountingIo>) -> (Read, Arc<CacheStore>) {
    let (inner, path) = (Arc::new(InMemory::new()), Path::from("data"));
    let all: Vec<u8> = (0..PAGES).flat_map(page).collect();
    inner.put(&path, PutPayload::from(all)).await.expect("memory");
    let io = Some(Arc::clone(counting) as _);
    let disk = DiskConfig { bytes: 1 << 30, floor_bytes: 0, io, ..DiskConfig::new(directory, "bench") };
    let store = Arc::new(CacheStore::new(inner as _, config(disk)).expect("a good config"));
    for n in 0..PAGES {
        store.get_range(&path, n * PAGE..(n + 1) * PAGE).await.expect("there");
        if n % 64 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    while store.stats().disk.expect("it has one").queued_bytes > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.stats().disk.expect("it has one").writes, PAGES);
    let cache = Arc::clone(&store);
    let read: Read = Arc::new(move |n| {
        let (store, path) = (Arc::clone(&cache), path.clone());
        Box::pin(async move {
            let bytes: Bytes = store.get_range(&path, n * PAGE..(n + 1) * PAGE).await.expect("there");
            bytes[bytes.len() - 1]
        })
    });
    (read, store)
}

fn config(disk: DiskConfig) -> CacheConfig {
    CacheConfig { memory_bytes: MEMORY, freshness: Freshness::Immutable, disk, ..CacheConfig::default() }
}

async fn foyers(directory: &std::path::Path) -> Read {
    let device = FsDeviceBuilder::new(directory).with_capacity(1 << 30).build().expect("a device");
    let cache: HybridCache<u64, Vec<u8>> = HybridCacheBuilder::new()
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .memory(MEMORY)
        .with_weighter(|_, value: &Vec<u8>| value.len())
        .storage()
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(BlockEngineConfig::new(device).with_block_size(16 << 20))
        .build()
        .await
        .expect("a cache");
    for n in 0..PAGES {
        cache.insert(n, page(n));
        if n % 64 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut held = 0;
    for n in 0..PAGES {
        held += u64::from(cache.get(&n).await.expect("no error").is_some());
    }
    println!("foyer holds {held} of {PAGES} pages");
    Arc::new(move |n| {
        let cache = cache.clone();
        Box::pin(async move {
            cache
                .get(&n)
                .await
                .expect("no error")
                .map_or_else(|| page(n)[0], |entry| entry.value()[entry.value().len() - 1])
        })
    })
}

/// Reads with a checksum, and nothing else.
fn bare(directory: &std::path::Path) -> Read {
    let path = directory.join("bare");
    std::fs::write(&path, (0..PAGES).flat_map(page).collect::<Vec<u8>>()).expect("written");
    let file = Arc::new(std::fs::File::open(path).expect("there"));
    Arc::new(move |n| {
        let file = Arc::clone(&file);
        Box::pin(async move {
            let mut bytes = vec![0; usize::try_from(PAGE).expect("small")];
            SystemIo.read(&file, &mut [IoSliceMut::new(&mut bytes)], n * PAGE, false).expect("in the page cache");
            std::hint::black_box(crc32c::crc32c(&bytes));
            bytes[bytes.len() - 1]
        })
    })
}

/// CPU time of all threads of this process, in seconds. Nothing where the system does not tell.
fn cpu_s() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ns = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    ns.sum::<u64>() as f64 / 1e9
}

/// Rate of `tasks` tasks, the median and the 99th percentile of the times of single reads, and the CPU time of a read,
/// in microseconds. On a machine that does other things, the CPU time says what the rate would be.
async fn measure(read: &Read, tasks: u64) -> (f64, f64, f64, f64) {
    let (begun, cpu_before) = (Instant::now(), cpu_s());
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let read = Arc::clone(read);
            tokio::spawn(async move {
                let (mut n, mut times) = (task * 131, Vec::new());
                while begun.elapsed().as_secs_f64() < SECONDS {
                    n = (n + 1031) % PAGES;
                    let sent = Instant::now();
                    assert_eq!(u64::from(read(n).await), n % 251);
                    times.push(sent.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in running {
        times.extend(task.await.expect("no panic"));
    }
    let cpu_us = (cpu_s() - cpu_before) * 1e6 / times.len() as f64;
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let percentile = |n: usize| times[times.len() * n / 100].as_secs_f64() * 1e6;
    (rate, percentile(50), percentile(99), cpu_us)
}

/// Pages of the object of the misses.
const MISSES: u64 = 4096;

/// What a read of a page that is nowhere takes, in microseconds: without the tier, and with one of `disk_bytes`.
/// Medians over the second half of the pages. The next read waits until the disk thread has written.
async fn misses(directory: std::path::PathBuf, disk_bytes: u64) -> (f64, f64, u64) {
    let (inner, path) = (Arc::new(InMemory::new()), Path::from("data"));
    inner.put(&path, PutPayload::from(vec![7; usize::try_from(MISSES * PAGE).expect("fits")])).await.expect("memory");
    let disk = DiskConfig { bytes: disk_bytes, floor_bytes: 0, ..DiskConfig::new(directory, "bench") };
    let caches = [DiskConfig::default(), disk]
        .map(|disk| CacheStore::new(Arc::clone(&inner) as _, config(disk)).expect("a good config"));
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..MISSES {
        for (cache, times) in caches.iter().zip(&mut times) {
            let begun = Instant::now();
            let bytes = cache.get_range(&path, n * PAGE..(n + 1) * PAGE).await.expect("there");
            let took = begun.elapsed();
            assert_eq!(bytes[bytes.len() - 1], 7);
            if n >= MISSES / 2 {
                times.push(took);
            }
            while cache.stats().disk.is_some_and(|disk| disk.queued_bytes > 0) {
                std::thread::yield_now();
            }
        }
    }
    let [without, with] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    });
    (without, with, caches[1].stats().disk.expect("it has one").writes)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let directories = [0, 1, 2, 3, 4].map(|_| tempfile::tempdir().expect("a directory"));
    let counting = Arc::new(CountingIo::default());
    let (headstart, store) = ours(directories[0].path(), &counting).await;
    let systems = [
        ("headstart", headstart),
        ("foyer", foyers(directories[1].path()).await),
        ("bare read and CRC32C", bare(directories[2].path())),
    ];
    println!("| | tasks | hits/s | p50 us | p99 us | CPU us |\n|---|---|---|---|---|---|");
    for tasks in [1, 8, 32] {
        // By turns, so that what else the machine does disturbs all alike.
        let mut rounds = systems.each_ref().map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for ((_, read), rounds) in systems.iter().zip(&mut rounds) {
                rounds.push(measure(read, tasks).await);
            }
        }
        for ((name, _), mut rounds) in systems.iter().zip(rounds) {
            rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
            let (rate, p50, p99, cpu) = rounds[ROUNDS / 2];
            println!("| {name} | {tasks} | {rate:.0} | {p50:.1} | {p99:.1} | {cpu:.1} |");
        }
    }
    store.close().await;
    let stats = store.stats();
    let disk = stats.disk.expect("it has one");
    let amplification = counting.written_bytes.load(Relaxed) as f64 / (disk.writes * PAGE) as f64;
    let waited = disk.waited;
    println!(
        "ours: {} hits in memory, {} on disk, {waited} of them waited; written {amplification:.4} x the pages",
        stats.hits, disk.hits
    );
    drop((systems, store));
    for (name, directory, bytes) in [("takes all", &directories[3], 1 << 30), ("is full", &directories[4], 64 << 20)] {
        let path = directory.path().to_owned();
        // One thread reads, and the disk thread has the other core.
        let measured = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(misses(path, bytes))
        });
        let (without, with, writes) = measured.join().expect("no panic");
        let more = with - without;
        println!(
            "a miss, and the disk {name} ({writes} of {MISSES} written): {without:.1} us without, {more:+.1} with it"
        );
    }
}
