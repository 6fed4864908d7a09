//! Stacks made by hand: the cache finds the estimate of the link below it, and passes it on to the layer above.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{KIB, MIB, cache, content};
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::internal::{MeasuredLink, ask};
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchStore, Intent, LinkEstimate};
use headstart_sim::{LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore};

const A: &str = "a";

fn path() -> Path {
    Path::from(A)
}

fn bucket() -> SimStore {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build();
    sim.catalog().add_synthetic(A, MIB as u64);
    sim
}

/// A cache over a `FetchStore` over `sim`. Neither is told the link.
fn stack(sim: &SimStore) -> CacheStore {
    let fetch = FetchStore::new(Arc::new(sim.clone()), FetchConfig::default()).expect("valid settings");
    CacheStore::new(Arc::new(fetch), CacheConfig::default()).expect("a good config")
}

/// Reads `0..10`, with or without an [`Intent`].
async fn read(store: &CacheStore, intent: Option<Intent>) -> GetResult {
    let plain = GetOptions::new().with_range(Some(GetRange::Bounded(0..10)));
    let options = intent.map_or(plain, |intent| ask(0..10, intent));
    store.get_opts(&path(), options).await.expect("there")
}

#[tokio::test(start_paused = true)]
async fn holes_are_bridged_as_the_link_below_suggests() {
    let holes = [0..10, 128 * KIB..128 * KIB + 10, 512 * KIB..512 * KIB + 10];
    for (knows_link, gets) in [(false, 2), (true, 1)] {
        let sim = bucket();
        let store = if knows_link {
            stack(&sim)
        } else {
            CacheStore::new(Arc::new(sim.clone()), CacheConfig::default()).expect("a good config")
        };
        read(&store, None).await;
        sim.log().clear();
        store.get_ranges(&path(), &holes).await.expect("read");
        assert_eq!(sim.log().counts().gets, gets, "knows the link: {knows_link}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_from_memory_carry_the_estimate_of_the_layer_below() {
    let store = stack(&bucket());
    let first: MeasuredLink =
        read(&store, Some(Intent::Demand)).await.extensions.get().cloned().expect("a miss has it");
    let hit = read(&store, Some(Intent::Demand)).await;
    let MeasuredLink(link) = hit.extensions.get().expect("a hit has it");
    assert_eq!(store.stats().hits, 1);
    assert!(Arc::ptr_eq(link, &first.0), "the same estimate");
    assert!(link.link().round_trip_bytes() > 0);
    assert!(read(&store, None).await.extensions.get::<MeasuredLink>().is_none(), "the request has no intent");
}

#[tokio::test(start_paused = true)]
async fn a_configured_estimate_is_used_and_passed_on_in_place_of_one_from_below() {
    let own = LinkEstimate::new(&BackendProfile::default());
    let fetch = FetchStore::new(Arc::new(bucket()), FetchConfig::default()).expect("valid settings");
    let config = CacheConfig { link: Some(Arc::clone(&own)), ..CacheConfig::default() };
    let store = CacheStore::new(Arc::new(fetch), config).expect("a good config");
    for _ in 0..2 {
        let answer = read(&store, Some(Intent::Speculative)).await;
        let MeasuredLink(link) = answer.extensions.get().expect("always there");
        assert!(Arc::ptr_eq(link, &own));
    }
}

#[tokio::test]
async fn without_an_estimate_below_answers_carry_none() {
    let (double, store) = cache(Freshness::Ttl(Duration::from_secs(60)));
    double.write(A, content(1, 100)).await;
    for _ in 0..2 {
        assert!(read(&store, Some(Intent::Demand)).await.extensions.get::<MeasuredLink>().is_none());
    }
}
