//! Faults that only the whole stack shows: freshness, queues, memory and runtimes across its layers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use headstart::{Headstart, HeadstartBuilder};
use headstart_fetch_core::Throttled;
use headstart_sim::{Altered, Content, LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use tokio::runtime::Builder;
use tokio::time::Instant;

const MIB: u64 = 1 << 20;
const KEY: &str = "object";

fn path() -> Path {
    Path::from(KEY)
}

fn sim_on(link: LinkProfile, size: u64) -> SimStore {
    let sim = SimStore::builder().profile(link).warm_connections(256).build();
    sim.catalog().add_synthetic(KEY, size);
    sim
}

fn cached(store: impl ObjectStore) -> HeadstartBuilder {
    Headstart::builder().store(Arc::new(store)).environment([]).option("mode", "cached")
}

/// Fails unless `bytes` are those of the live version at `offset`.
#[track_caller]
fn check_live(sim: &SimStore, key: &str, offset: u64, bytes: &Bytes) {
    let generation = sim.catalog().get(key, None).unwrap().number;
    Content::new(key, generation).check(offset, bytes).unwrap_or_else(|wrong| panic!("{wrong:?}"));
}

/// The cache trusts a version for 60 s, read-ahead for 10: together that is 60, not 70, whoever has read the object
/// meanwhile.
#[tokio::test(start_paused = true)]
async fn freshness_windows_do_not_add_up() {
    for read_every in [5, 59] {
        let sim = sim_on(LinkProfile::gcs(), 64 * MIB);
        let store = cached(sim.clone()).option("cache.freshness", "60s").build().await.unwrap();
        let start = Instant::now();
        let first = store.reader(&path()).unwrap();
        first.read_at(0..MIB).await.unwrap();
        tokio::time::sleep_until(start + Duration::from_secs(1)).await;
        sim.overwrite(KEY, None).unwrap();
        for second in (read_every..69).step_by(usize::try_from(read_every).unwrap()) {
            tokio::time::sleep_until(start + Duration::from_secs(second)).await;
            // Of the old version, from the cache; later on it is gone.
            let _ = first.read_at(0..MIB).await;
            let _ = store.reader(&path()).unwrap().read_at(0..MIB).await;
        }
        tokio::time::sleep_until(start + Duration::from_secs(69)).await;
        check_live(&sim, KEY, 0, &store.reader(&path()).unwrap().read_at(0..MIB).await.unwrap());
        check_live(&sim, KEY, 0, &store.get_range(&path(), 0..MIB).await.unwrap());
    }
}

/// 48 reads over a link of 10 Mbit/s take longer than any stall timeout.
#[tokio::test(start_paused = true)]
async fn to_queue_is_not_to_stall() {
    let link = LinkProfile { stream_bytes_per_s: 1.25e6, nic_bytes_per_s: 1.25e6, ..LinkProfile::gcs() };
    let sim = sim_on(link, 256 * MIB);
    let store = cached(sim.clone()).build().await.unwrap();
    let reads = (0..48).map(|n| {
        let store = store.clone();
        async move { store.get_range(&path(), n * 5 * MIB..(n * 5 + 4) * MIB).await }
    });
    for (n, bytes) in futures::future::join_all(reads).await.into_iter().enumerate() {
        check_live(&sim, KEY, n as u64 * 5 * MIB, &bytes.unwrap());
    }
    assert!(sim.elapsed() > Duration::from_secs(150));
}

/// An outage that fetching rides out is ridden out with the cache on, by all who wait.
#[tokio::test(start_paused = true)]
async fn an_outage_of_ninety_seconds_is_ridden_out() {
    let sim = sim_on(LinkProfile::gcs(), 64 * MIB);
    let down = Altered::new(sim.clone(), {
        let sim = sim.clone();
        move |options| match sim.elapsed() {
            at if at > Duration::from_secs(90) => Ok(options),
            _ => {
                let throttled = Throttled { status: 503, retry_after: Some(Duration::from_secs(20)) };
                Err(Error::Generic { store: "test", source: throttled.into() })
            }
        }
    });
    let store = cached(down).build().await.unwrap();
    let reader = store.reader(&path()).unwrap();
    let key = path();
    let (one, two, three) =
        tokio::join!(store.get_range(&key, 0..MIB), store.get_range(&key, 10..2 * MIB), reader.read_at(MIB / 2..MIB));
    check_live(&sim, KEY, 0, &one.unwrap());
    check_live(&sim, KEY, 10, &two.unwrap());
    check_live(&sim, KEY, MIB / 2, &three.unwrap());
}

/// Warming takes turns for memory; nobody holds some while waiting for more.
#[tokio::test(start_paused = true)]
async fn warming_many_objects_at_once_ends_and_holds_up_no_reader() {
    for (memory, objects, bytes) in [("256MiB", 20, 8 * MIB), ("32MiB", 2, 24 * MIB), ("20MiB", 6, 8 * MIB)] {
        let sim = sim_on(LinkProfile::gcs(), 64 * MIB);
        let keys: Vec<Path> = (0..objects).map(|n| Path::from(format!("cold/{n}"))).collect();
        for key in &keys {
            sim.catalog().add_synthetic(key.as_ref(), bytes);
        }
        let store = cached(sim.clone())
            .option("memory_bytes", memory)
            .option("cache.memory_bytes", "4MiB")
            .build()
            .await
            .unwrap();
        let (start, whole) = (Instant::now(), [0..bytes]);
        let warmed = futures::future::join_all(keys.iter().map(|key| store.warm(key, &whole)));
        let beside = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let start = Instant::now();
            check_live(&sim, KEY, 0, &store.get_range(&path(), 0..MIB).await.unwrap());
            start.elapsed()
        };
        let (warmed, beside) = tokio::join!(warmed, beside);
        assert!(warmed.iter().all(Result::is_ok), "{memory}: {warmed:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{memory}: {:?}", start.elapsed());
        assert!(beside < Duration::from_secs(1), "{memory}: a read of 50 ms took {beside:?}");
        let budget = store.stats().budget;
        assert!(budget.peak_bytes <= budget.limit_bytes);
        assert_eq!(budget.used_bytes, 0, "{memory}");
    }
}

/// Streams that are left open after a chunk hold no more than the budget, and stop nobody.
#[tokio::test(start_paused = true)]
async fn streams_left_open_stay_within_the_budget() {
    for mode in ["fetch", "adaptive", "cached"] {
        let sim = sim_on(LinkProfile::gcs(), 64 * MIB);
        let store = Headstart::builder()
            .store(Arc::new(sim.clone()))
            .environment([])
            .option("mode", mode)
            .option("memory_bytes", "64MiB")
            .build()
            .await
            .unwrap();
        let mut open = Vec::new();
        for n in 0..50 {
            let key = Path::from(format!("open/{n}"));
            sim.catalog().add_synthetic(key.as_ref(), 16 * MIB);
            let mut body = store.get(&key).await.unwrap().into_stream();
            let first = body.next().await.unwrap().unwrap();
            open.push((key, first.len() as u64, body));
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let stats = store.stats();
        assert!(stats.budget.peak_bytes <= stats.budget.limit_bytes);
        if let Some(cache) = stats.cache {
            // Of memory that the cache itself does not hold: what is reserved, and 512 KiB a stream.
            let held = cache.lent_bytes;
            assert!(held <= stats.budget.limit_bytes as u64 + 50 * MIB / 2, "{mode}: {held}");
        }
        let start = Instant::now();
        check_live(&sim, KEY, 0, &store.get_range(&path(), 0..MIB).await.unwrap());
        assert!(start.elapsed() < Duration::from_secs(2), "{mode}: {:?}", start.elapsed());
        for (key, mut at, mut body) in open.into_iter().step_by(7) {
            while let Some(chunk) = body.next().await {
                let chunk = chunk.unwrap();
                check_live(&sim, key.as_ref(), at, &chunk);
                at += chunk.len() as u64;
            }
            assert_eq!(at, 16 * MIB, "{mode}: {key}");
        }
    }
}

/// One stack, two single-thread runtimes one after the other.
#[test]
fn a_stack_can_be_used_from_one_runtime_after_another() {
    for mode in ["fetch", "adaptive", "cached"] {
        let new = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (first, second) = (new(), new());
        let (sim, store) = first.block_on(async {
            let sim = sim_on(LinkProfile::gcs(), 256 * MIB);
            let builder = Headstart::builder().store(Arc::new(sim.clone())).environment([]).option("mode", mode);
            let store = builder.build().await.unwrap();
            for n in 0..40 {
                check_live(&sim, KEY, n * MIB, &store.get_range(&path(), n * MIB..(n + 1) * MIB).await.unwrap());
            }
            // Given up half-way.
            let mut body = store.get(&path()).await.unwrap().into_stream();
            body.next().await.unwrap().unwrap();
            (sim, store)
        });
        second.block_on(async {
            for n in 40..80 {
                let key = path();
                let read = store.get_range(&key, n * MIB..(n + 1) * MIB);
                let read = tokio::time::timeout(Duration::from_secs(30), read).await;
                check_live(&sim, KEY, n * MIB, &read.unwrap_or_else(|_| panic!("{mode}: hangs")).unwrap());
            }
        });
    }
}
