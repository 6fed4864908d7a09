//! Promises for many reads at once, in virtual time: exact figures, printed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::content::check_chunks;
use futures::future::{BoxFuture, try_join_all};
use futures::{FutureExt, StreamExt};
use headstart::{Headstart, Reader};
use headstart_fetch_core::{FetchConfig, FetchStore};
use headstart_sim::{LinkProfile, SeededRng, SimStore};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, Result};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const KEY: &str = "object";

fn cloud(link: LinkProfile, size: u64) -> SimStore {
    let sim = SimStore::builder().profile(link).warm_connections(4096).build();
    sim.catalog().add_synthetic(KEY, size);
    sim
}

async fn facade(sim: &SimStore, options: &[(&str, &str)]) -> Headstart {
    let builder = Headstart::builder().environment([]).store(Arc::new(sim.clone()));
    options.iter().fold(builder, |builder, (key, value)| builder.option(*key, *value)).build().await.unwrap()
}

/// One way of reading: by calls of a store, or by a reader for each task.
enum Way {
    Calls(Arc<dyn ObjectStore>),
    Readers(Box<Headstart>),
}

impl Way {
    fn task(&self) -> TaskOf {
        match self {
            Self::Calls(store) => TaskOf::Calls(Arc::clone(store)),
            Self::Readers(stack) => TaskOf::Reader(stack.reader(&Path::from(KEY)).unwrap()),
        }
    }
}

enum TaskOf {
    Calls(Arc<dyn ObjectStore>),
    Reader(Reader),
}

impl TaskOf {
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<bytes::Bytes>> {
        match self {
            Self::Calls(store) => async move { store.get_range(&Path::from(KEY), range).await }.boxed(),
            Self::Reader(reader) => async move { Ok(reader.read_at(range).await.unwrap()) }.boxed(),
        }
    }
}

async fn ways(sim: &SimStore) -> [(&'static str, Way); 6] {
    let store = Arc::new(sim.clone());
    let fetch = FetchStore::new(Arc::clone(&store) as _, FetchConfig::default()).unwrap();
    let (default, cached) = (facade(sim, &[]).await, facade(sim, &[("mode", "cached")]).await);
    [
        ("bare", Way::Calls(store)),
        ("fetch", Way::Calls(Arc::new(fetch))),
        ("facade by call", Way::Calls(Arc::new(default.clone()))),
        ("facade by reader", Way::Readers(Box::new(default))),
        ("cached by call", Way::Calls(Arc::new(cached.clone()))),
        ("cached by reader", Way::Readers(Box::new(cached))),
    ]
}

/// What `tasks` readers took that read `reads` times `len` bytes each, anywhere in the object, and their GETs.
async fn random_reads(link: LinkProfile, way: usize, tasks: u64, reads: u64, len: u64) -> (Duration, u64) {
    let sim = cloud(link, 64 * GIB);
    let way = ways(&sim).await.into_iter().nth(way).unwrap().1;
    let began = sim.elapsed();
    let task = |n: u64| {
        let (sim, task) = (sim.clone(), way.task());
        tokio::spawn(async move {
            let mut dice = SeededRng::new(n);
            for _ in 0..reads {
                let start = dice.below(64 * GIB - len);
                let bytes = task.read(start..start + len).await?;
                assert_eq!(check_chunks(&sim, KEY, start, &[bytes]), start + len);
            }
            Ok::<_, object_store::Error>(())
        })
    };
    for outcome in try_join_all((0..tasks).map(task)).await.unwrap() {
        outcome.unwrap();
    }
    (sim.elapsed() - began, sim.log().counts().gets)
}

const WAYS: [&str; 6] = ["bare", "fetch", "facade by call", "facade by reader", "cached by call", "cached by reader"];

#[tokio::test(start_paused = true)]
async fn many_small_reads_at_once_wait_for_nothing_but_the_store() {
    let mut slower = false;
    for (tasks, reads) in [(1, 20), (64, 20), (256, 20), (1000, 5)] {
        let (bare, bare_gets) = random_reads(LinkProfile::gcs_100g(), 0, tasks, reads, 64 * KIB).await;
        for (n, way) in WAYS.iter().enumerate().skip(1) {
            let (took, gets) = random_reads(LinkProfile::gcs_100g(), n, tasks, reads, 64 * KIB).await;
            println!("{tasks} tasks, {way}: {took:?} (bare {bare:?}), {gets} GETs (bare {bare_gets})");
            // A cache fetches whole pages: here twice the bytes, which takes a millisecond longer, and fills the link.
            let limit = if way.starts_with("cached") { if tasks < 1000 { 1.04 } else { 1.15 } } else { 1.02 };
            slower |= took > bare.mul_f64(limit) || gets * 100 > bare_gets * 102;
        }
    }
    assert!(!slower);
}

#[tokio::test(start_paused = true)]
async fn many_large_reads_at_once_are_never_slower_than_bare() {
    let mut slower = false;
    for (link, name) in [(LinkProfile::gcs(), "gcs"), (LinkProfile::gcs_100g(), "gcs at 100 Gbit/s")] {
        let (bare, _) = random_reads(link.clone(), 0, 64, 4, 16 * MIB).await;
        for (n, way) in WAYS.iter().enumerate().take(4).skip(1) {
            let (took, gets) = random_reads(link.clone(), n, 64, 4, 16 * MIB).await;
            let rate = |took: Duration| 64.0 * 4.0 * 16.0 * 1.048_576 / took.as_secs_f64();
            println!("{name}, 64 tasks × 16 MiB, {way}: {:.0} MB/s (bare {:.0}), {gets} GETs", rate(took), rate(bare));
            slower |= took > bare.mul_f64(1.02);
        }
    }
    assert!(!slower);
}

#[tokio::test(start_paused = true)]
async fn one_reader_fills_a_wide_link() {
    const SIZE: u64 = 4 * GIB;
    let rate = |took: Duration| SIZE as f64 / took.as_secs_f64() / 1e6;
    for (len, promised) in [(MIB, 4000.0), (16 * MIB, 4000.0)] {
        let sim = cloud(LinkProfile::gcs_100g(), SIZE);
        let stack = facade(&sim, &[("memory_bytes", "4GiB")]).await;
        let began = sim.elapsed();
        let reader = stack.reader(&Path::from(KEY)).unwrap();
        for start in (0..SIZE / len).map(|n| n * len) {
            let chunks = reader.chunks_at(start..start + len).await.unwrap();
            assert_eq!(chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>(), len);
        }
        let rate = rate(sim.elapsed() - began);
        let gets = sim.log().counts().gets;
        println!("4 GiB by {} MiB: {rate:.0} MB/s of 12500 (promised {promised}), {gets} GETs", len / MIB);
        assert!(rate >= promised);
    }
    let sim = cloud(LinkProfile::gcs_100g(), SIZE);
    let stack = facade(&sim, &[("memory_bytes", "4GiB")]).await;
    let began = sim.elapsed();
    let mut body = stack.get(&Path::from(KEY)).await.unwrap().into_stream();
    let mut at = 0;
    while let Some(bytes) = body.next().await {
        at += bytes.unwrap().len() as u64;
    }
    assert_eq!(at, SIZE);
    let rate = rate(sim.elapsed() - began);
    println!("4 GiB by one get: {rate:.0} MB/s of 12500 (promised 4000), {} GETs", sim.log().counts().gets);
    assert!(rate >= 4000.0);
}

/// What `streams` whole objects took that were read at once.
async fn streams(bare: bool, streams: u64, bytes: u64) -> Duration {
    let sim = cloud(LinkProfile::gcs(), bytes);
    let store: Arc<dyn ObjectStore> = match bare {
        true => Arc::new(sim.clone()),
        false => Arc::new(facade(&sim, &[]).await),
    };
    let began = sim.elapsed();
    let task = |n: u64| {
        let (sim, store) = (sim.clone(), Arc::clone(&store));
        let path = Path::from(format!("object-{n}"));
        sim.catalog().add_synthetic(path.as_ref(), bytes);
        async move {
            let mut body = store.get(&path).await?.into_stream();
            let mut at = 0;
            while let Some(chunk) = body.next().await {
                at += chunk?.len() as u64;
            }
            assert_eq!(at, bytes);
            Ok::<_, object_store::Error>(())
        }
    };
    try_join_all((0..streams).map(task)).await.unwrap();
    sim.elapsed() - began
}

#[tokio::test(start_paused = true)]
async fn streams_at_once_fill_the_link() {
    for (count, promised) in [(1, 15.0), (4, 3.7), (16, 0.98), (48, 0.95)] {
        let bytes = 1024 * MIB / count;
        let (bare, ours) = (streams(true, count, bytes).await, streams(false, count, bytes).await);
        let faster = bare.as_secs_f64() / ours.as_secs_f64();
        println!("{count} streams at once: {faster:.2} × bare (promised {promised}), {ours:?}");
        assert!(faster >= promised);
    }
}
