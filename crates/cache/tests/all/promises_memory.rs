//! Promises of the memory tier: it keeps pages that are read again, and takes no more memory than it says.

use std::sync::Arc;

use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::Intent;
use headstart_fetch_core::internal::ask;
use headstart_sim::{Content, LinkProfile, SimStore};
use object_store::ObjectStore;
use object_store::path::Path;
use quick_cache::Weighter;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::Zipf;

const PAGE: u64 = 16 << 10;

fn bucket(objects: [(&str, u64); 2]) -> SimStore {
    let sim = SimStore::builder().profile(LinkProfile::loopback()).warm_connections(64).build();
    for (name, bytes) in objects {
        sim.catalog().add_synthetic(name, bytes);
    }
    sim
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(bool, u64), u64> for ByBytes {
    fn weight(&self, _: &(bool, u64), bytes: &u64) -> u64 {
        *bytes
    }
}

/// Accesses to ten thousand pages by a Zipf law. Every second access is to a page of a scan, which is read once, in
/// order.
fn zipf_beside_a_scan(accesses: u64) -> Vec<(bool, u64)> {
    let mut dice = StdRng::seed_from_u64(7);
    let zipf = Zipf::new(10_000.0, 0.9).expect("a distribution");
    let mut scanned = 0;
    let mut access = || {
        if dice.random_bool(0.5) {
            scanned += 1;
            return (true, scanned);
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 10,000")]
        let rank = dice.sample(zipf) as u64;
        // Pages of neighbouring ranks are not neighbours in the object.
        (false, rank * 7919 % 10_000)
    };
    (0..accesses).map(|_| access()).collect()
}

/// The share of accesses to the hot set that were hits, in the second half of the trace.
fn ratio(hits: &[bool], trace: &[(bool, u64)]) -> f64 {
    let half = trace.len() / 2;
    let hot = || trace.iter().zip(hits).skip(half).filter(|((scan, _), _)| !scan);
    hot().filter(|(_, hit)| **hit).count() as f64 / hot().count() as f64
}

#[tokio::test(start_paused = true)]
async fn a_scan_does_not_drive_out_what_is_read_again() {
    let memory_bytes = 1000 * PAGE;
    let trace = zipf_beside_a_scan(60_000);

    let bare = quick_cache::sync::Cache::with_weighter(1000, memory_bytes, ByBytes);
    let look = |page: &(bool, u64)| {
        let hit = bare.get(page).is_some();
        if !hit {
            bare.insert(*page, PAGE);
        }
        hit
    };
    let bare_hits: Vec<bool> = trace.iter().map(look).collect();

    for (how, intent) in [("on demand", Intent::Demand), ("the scan ahead of its reader", Intent::Speculative)] {
        let sim = bucket([("hot", 10_001 * PAGE), ("scan", 60_000 * PAGE)]);
        let contents = ["hot", "scan"]
            .map(|name| (Path::from(name), Content::new(name, sim.catalog().get(name, None).expect("there").number)));
        let config = CacheConfig {
            memory_bytes: usize::try_from(memory_bytes).expect("small"),
            page_bytes: usize::try_from(PAGE).expect("small"),
            freshness: Freshness::Immutable,
            ..CacheConfig::default()
        };
        let store = CacheStore::new(Arc::new(sim.clone()), config).expect("a good config");
        let mut hits = Vec::new();
        for (scan, page) in &trace {
            let (path, content) = &contents[usize::from(*scan)];
            let range = page * PAGE..(page + 1) * PAGE;
            let before = store.stats().misses + store.stats().fills;
            // Read-ahead above the cache fetches a page once, and its reader takes it from the read-ahead.
            let intent = if *scan { intent } else { Intent::Demand };
            let bytes =
                store.get_opts(path, ask(range.clone(), intent)).await.expect("there").bytes().await.expect("read");
            content.check(range.start, &bytes).expect("the object's own bytes");
            let stats = store.stats();
            hits.push(stats.misses + stats.fills == before);
            assert!(stats.held_bytes <= memory_bytes, "{stats:?}");
        }
        let (ours, bare) = (ratio(&hits, &trace), ratio(&bare_hits, &trace));
        println!(
            "Zipf 0.9 beside a scan, {how}: hit ratio {ours:.4}, bare quick_cache {bare:.4}: {:.3} × (promised 0.99)",
            ours / bare
        );
        assert!(ours >= 0.99 * bare, "{how}");
        sim.log().clear();
    }
}
