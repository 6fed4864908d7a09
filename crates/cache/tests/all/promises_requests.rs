//! Over a simulated GCS, in virtual time: requests, bytes and milliseconds are exact.

use std::sync::Arc;
use std::time::Duration;

use futures::future;
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::{BackendProfile, LinkEstimate};
use headstart_sim::{Content, LinkProfile, ReadPattern, SimStore};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 64 << 10;

fn bucket() -> (SimStore, CacheConfig) {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build();
    (sim, CacheConfig { freshness: Freshness::Immutable, ..CacheConfig::default() })
}

#[tokio::test(start_paused = true)]
async fn a_herd_waits_as_long_as_one_reader() {
    let (sim, config) = bucket();
    sim.catalog().add_synthetic("a", 8 * MIB);
    let store = CacheStore::new(Arc::new(sim.clone()), config).expect("a good config");
    let started = Instant::now();
    let path = "a".into();
    let reads = (0..64).map(|_| store.get_range(&path, 0..MIB));
    let bytes = future::try_join_all(reads).await.expect("there");
    assert!(bytes.iter().all(|read| *read == bytes[0]));
    // 30 ms to the first byte and 1 MiB at 60 MB/s; the timer rounds up.
    assert!(started.elapsed() <= Duration::from_millis(49), "{:?}", started.elapsed());
    assert_eq!(sim.log().counts().gets, 1);
    assert_eq!(sim.log().counts().bytes_sent, MIB);
}

#[tokio::test(start_paused = true)]
async fn a_second_pass_takes_no_time_and_no_request() {
    let (sim, config) = bucket();
    sim.catalog().add_synthetic("a", 8 * MIB);
    let store = CacheStore::new(Arc::new(sim.clone()), config).expect("a good config");
    for pass in 0..2 {
        let started = Instant::now();
        for at in (0..8).map(|i| (i * 5 % 8) * MIB + 777) {
            store.get_range(&"a".into(), at..at + 65_536).await.expect("there");
        }
        assert_eq!(pass == 1, started.elapsed().is_zero());
        assert_eq!(sim.log().counts().gets, 8);
        assert_eq!(sim.log().counts().bytes_sent, 8 * 2 * 65_536, "two pages each");
    }
}

#[tokio::test(start_paused = true)]
async fn small_holes_are_bridged_where_the_link_says_so() {
    for (bridged, gets) in [(false, 3), (true, 1)] {
        let (sim, mut config) = bucket();
        sim.catalog().add_synthetic("a", 8 * MIB);
        config.link = bridged.then(|| LinkEstimate::new(&BackendProfile::default()));
        let store = CacheStore::new(Arc::new(sim.clone()), config).expect("a good config");
        let ranges = [0..10, 300_000..300_010, 600_000..600_010];
        store.get_ranges(&"a".into(), &ranges).await.expect("there");
        assert_eq!(sim.log().counts().gets, gets);
    }
}

/// Reads all of `trace` from the object `a`, and checks every byte.
async fn replay(sim: &SimStore, store: &dyn ObjectStore, trace: &ReadPattern) {
    let content = Content::new("a", sim.catalog().get("a", None).expect("there").number);
    for read in &trace.reads {
        let bytes = store.get_range(&"a".into(), read.offset..read.offset + read.len).await.expect("there");
        assert_eq!(bytes.len() as u64, read.len);
        content.check(read.offset, &bytes).expect("the object's own bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn cold_random_reads_cost_what_they_cost_raw() {
    for (seed, size) in ["4k", "64k", "1m"].into_iter().enumerate() {
        let trace = ReadPattern::named(&format!("rand-{size}"), 1 << 30, seed as u64).expect("a workload");
        let (sim, config) = bucket();
        sim.catalog().add_synthetic("a", trace.object_bytes);
        replay(&sim, &sim, &trace).await;
        let raw = (sim.log().counts(), sim.elapsed());
        sim.log().clear();
        let store = CacheStore::new(Arc::new(sim.clone()), config).expect("a good config");
        replay(&sim, &store, &trace).await;
        let (counts, elapsed) = (sim.log().counts(), sim.elapsed() - raw.1);
        let reads = trace.reads.len() as u64;
        println!(
            "random {size}: {} GETs (promised: at most {}), {} HEADs, {:.2} × the bytes asked for (at most {:.2}), \
             {:.3} × the time",
            counts.gets,
            raw.0.gets,
            counts.heads,
            counts.bytes_sent as f64 / trace.bytes() as f64,
            (trace.bytes() + reads * 2 * PAGE) as f64 / trace.bytes() as f64,
            elapsed.as_secs_f64() / raw.1.as_secs_f64(),
        );
        assert!(counts.gets <= raw.0.gets && counts.heads == 0);
        assert!(counts.bytes_sent <= trace.bytes() + reads * 2 * PAGE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_pass_of_any_workload_asks_for_nothing_that_fits() {
    let workloads = [
        "seq-64k",
        "seq-1m",
        "seq-16m",
        "rand-4k",
        "rand-64k",
        "rand-1m",
        "interleaved-2",
        "interleaved-16-64k",
        "strided-64k",
        "backward-64k",
        "backtrack-1m",
        "home-64k",
        "parquet",
    ];
    for freshness in [Freshness::Immutable, Freshness::Ttl(Duration::from_secs(3600)), Freshness::EveryRead] {
        for name in workloads {
            let trace = ReadPattern::named(name, 96 * MIB, 5).expect("a workload");
            let (sim, config) = bucket();
            sim.catalog().add_synthetic("a", trace.object_bytes);
            let config = CacheConfig { freshness, ..config };
            let store = CacheStore::new(Arc::new(sim.clone()), config).expect("a good config");
            replay(&sim, &store, &trace).await;
            let sent = sim.log().counts().bytes_sent;
            sim.log().clear();
            replay(&sim, &store, &trace).await;
            let counts = sim.log().counts();
            let heads = if freshness == Freshness::EveryRead { trace.reads.len() as u64 } else { 0 };
            println!(
                "{name}, {freshness}: {:.2} × the object at first, then {} GETs (promised 0), {} HEADs ({heads})",
                sent as f64 / trace.object_bytes as f64,
                counts.gets,
                counts.heads
            );
            assert_eq!((counts.gets, counts.heads), (0, heads), "{name}, {freshness}");
        }
    }
}
