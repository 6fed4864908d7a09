//! A scan does not flush the disk: hit ratios beside those of an ideal LFU.

use std::collections::HashMap;

use headstart_cache::{CacheConfig, DiskConfig};
use headstart_sim::{LinkProfile, SimStore};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Zipf};

use crate::home::{Cached, Home, KIB, MIB, is_full, object};

/// The most hits that are possible: the pages that are read most are held from their first read on.
fn ideal_hits(trace: &[u64], held: usize) -> u64 {
    let mut counts: HashMap<u64, u64> = HashMap::new();
    trace.iter().for_each(|page| *counts.entry(*page).or_default() += 1);
    let mut counts: Vec<u64> = counts.into_values().collect();
    counts.sort_unstable_by(|one, other| other.cmp(one));
    counts.iter().take(held).map(|count| count - 1).sum()
}

#[tokio::test(start_paused = true)]
async fn a_scan_of_ten_disks_leaves_what_is_read_often() {
    let (disk_bytes, page_bytes, rounds) = if is_full() { (32 * MIB, 16 * KIB, 60) } else { (16 * MIB, 16 * KIB, 20) };
    // Pages that are read again and again, of which a part fits on disk; and pages that are read once.
    let (popular, scanned) = (8 * disk_bytes / page_bytes, 10 * disk_bytes / page_bytes);
    let mut random = StdRng::seed_from_u64(11);
    let zipf = Zipf::new(popular as f64, 0.9).unwrap();
    let mut trace = Vec::new();
    for n in 0..rounds * scanned {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
        let rank = zipf.sample(&mut random) as u64 - 1;
        // Popular pages lie all over the object.
        trace.push(rank * 7919 % popular);
        if n % rounds == 0 {
            trace.push(popular + n / rounds);
        }
    }
    let home = Home::new();
    let store = SimStore::builder().profile(LinkProfile::fast()).warm_connections(8).build();
    let config = home.config();
    let disk = DiskConfig { bytes: disk_bytes, ..config.disk };
    let (page, memory) = (usize::try_from(page_bytes).unwrap(), usize::try_from(disk_bytes / 16).unwrap());
    let cache = Cached::new(&store, CacheConfig { disk, page_bytes: page, memory_bytes: memory, ..config });
    let path = object("scan", (popular + scanned + 1) * page_bytes);
    for (n, page) in trace.iter().enumerate() {
        cache.read(&path, page * page_bytes..page * page_bytes + 64).await;
        if n % 64 == 0 {
            cache.settle();
        }
    }
    let stats = cache.cache.stats();
    let disk = stats.disk.unwrap();
    let held = usize::try_from(disk_bytes / page_bytes + stats.held_pages).unwrap();
    let hits = stats.hits + disk.hits;
    let ideal = ideal_hits(&trace, held);
    let (reads, of_ideal) = (trace.len() as f64, hits as f64 / ideal as f64);
    println!(
        "{:.4} of reads hit, ideal LFU {:.4}: {of_ideal:.3} of it; written {:.2} x the disk; {disk:?}",
        hits as f64 / reads,
        ideal as f64 / reads,
        disk.written_bytes as f64 / disk_bytes as f64
    );
    assert!(of_ideal >= 0.95, "{of_ideal}");
}
