//! A scan does not flush the disk: hit ratios beside those of an ideal LFU.

use std::collections::HashMap;

use headstart_sim::{LinkProfile, SimStore};
use rand::rngs::StdRng;
use rand::SeedableRng;
use rand_distr::{Distribution, Zipf};

use crate::home::{Cached, DISK, Home, PAGE, is_full, object};

/// Pages that are read again and again, of which a part fits on disk.
const POPULAR: u64 = 8 * DISK / PAGE;

/// Pages that are read once.
const SCANNED: u64 = 10 * DISK / PAGE;

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
    let reads = if is_full() { 60 * SCANNED } else { 20 * SCANNED };
    let mut random = StdRng::seed_from_u64(11);
    let zipf = Zipf::new(POPULAR as f64, 0.9).unwrap();
    let every = usize::try_from(reads / SCANNED).unwrap();
    let mut trace = Vec::new();
    for n in 0..usize::try_from(reads).unwrap() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
        let rank = zipf.sample(&mut random) as u64 - 1;
        // Popular pages lie all over the object.
        trace.push(rank * 7919 % POPULAR);
        if n % every == 0 {
            trace.push(POPULAR + n as u64 / every as u64);
        }
    }
    let home = Home::new();
    let store = SimStore::builder().profile(LinkProfile::fast()).warm_connections(8).build();
    let cache = Cached::new(&store, home.config());
    let path = object("scan", (POPULAR + SCANNED + 1) * PAGE);
    for (n, page) in trace.iter().enumerate() {
        cache.read_page(&path, *page).await;
        if n % 64 == 0 {
            cache.settle();
        }
    }
    let stats = cache.cache.stats();
    let disk = stats.disk.unwrap();
    let held = usize::try_from((DISK + stats.held_bytes) / PAGE).unwrap();
    let hits = stats.hits + disk.hits;
    let ideal = ideal_hits(&trace, held);
    let (reads, of_ideal) = (trace.len() as f64, hits as f64 / ideal as f64);
    println!(
        "{:.4} of reads hit, ideal LFU {:.4}: {of_ideal:.3} of it; written {:.2} x the disk; {disk:?}",
        hits as f64 / reads,
        ideal as f64 / reads,
        disk.written_bytes as f64 / DISK as f64
    );
    assert!(of_ideal >= 0.95, "{of_ideal}");
}
