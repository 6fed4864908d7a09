//! Over a simulated GCS, in virtual time: requests, bytes and milliseconds are exact.

use std::sync::Arc;
use std::time::Duration;

use futures::future;
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::{BackendProfile, LinkEstimate};
use headstart_sim::{LinkProfile, SimStore};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const MIB: u64 = 1 << 20;

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
    // 30 ms to the first byte, 1 MiB at 60 MB/s; the timer rounds up.
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
