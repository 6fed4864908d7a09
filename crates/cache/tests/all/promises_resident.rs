//! Promise of memory: the process holds no more than the cache says. One test only, because it measures the whole
//! process.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_sim::{LinkProfile, SimStore};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const MEMORY_BYTES: usize = 128 << 20;
const OBJECT_BYTES: u64 = 2 << 30;

/// Bytes of this process in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn memory_is_what_it_says_after_ten_turnovers() {
    let sim = SimStore::builder().profile(LinkProfile::loopback()).warm_connections(64).build();
    sim.catalog().add_synthetic("a", OBJECT_BYTES);
    let before = resident_bytes();
    let config = CacheConfig { memory_bytes: MEMORY_BYTES, freshness: Freshness::Immutable, ..CacheConfig::default() };
    let store = CacheStore::new(Arc::new(sim.clone()), config).expect("a good config");
    let mut dice = StdRng::seed_from_u64(3);
    let mut read = 0;
    while store.stats().fetched_bytes < 10 * MEMORY_BYTES as u64 {
        // Short and long reads, some again: pages of all ages are freed in all orders.
        let len = dice.random_range(1..3 << 20_u64);
        let start = dice.random_range(0..OBJECT_BYTES - len);
        store.get_range(&Path::from("a"), start..start + len).await.expect("there");
        sim.log().clear();
        read += 1;
        assert!(store.stats().held_bytes <= MEMORY_BYTES as u64);
    }
    let (stats, resident) = (store.stats(), resident_bytes() - before);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let ratio = resident as f64 / stats.held_bytes as f64;
    println!(
        "{read} reads, {} evictions: {:.1} MiB held of {}, {:.1} MiB resident: {ratio:.3} × (promised 1.1)",
        stats.evictions,
        mib(stats.held_bytes),
        mib(MEMORY_BYTES as u64),
        mib(resident),
    );
    assert_eq!(stats.lent_bytes, 0, "nobody holds anything");
    assert!(ratio <= 1.1);
}
