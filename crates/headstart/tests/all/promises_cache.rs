//! What is promised of read-ahead beside a cache, in virtual time: exact figures, printed.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::content::check_chunks;
use bytes::Bytes;
use headstart::Headstart;
use headstart_cache::{CacheConfig, CacheStore};
use headstart_fetch_core::{FetchConfig, FetchStore};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{LinkProfile, RequestEnd, RequestRecord, SeededRng, SimStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 64 * 1024;
const KEY: &str = "object";

fn cloud(size: u64) -> SimStore {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).build();
    sim.catalog().add_synthetic(KEY, size);
    sim
}

#[track_caller]
fn check(sim: &SimStore, range: &Range<u64>, chunks: &[Bytes]) {
    assert_eq!(check_chunks(sim, KEY, range.start, chunks), range.end);
}

/// What a plain `get_range` of 1 MiB takes, to the millisecond of the timer.
const RAW_MIB: Duration = Duration::from_millis(48);

/// 64 blocks of 1 MiB: three on and back to where they began, or home and one further each time.
fn wandering() -> [(&'static str, Vec<u64>); 2] {
    let back = [1].into_iter().chain((0..).flat_map(|n| [3 * n + 2, 3 * n + 3, 3 * n + 4, 3 * n + 2]));
    let home = (2..).flat_map(|n| [1, n]);
    [("1,2,3,4,2,5,6,7,5", back.take(64).collect()), ("1,2,1,3,1,4", home.take(64).collect())]
}

#[tokio::test(start_paused = true)]
async fn wandering_about_over_a_cache() {
    for (name, blocks) in wandering() {
        let sim = cloud(1024 * MIB);
        let stack = Headstart::builder().environment([]).store(Arc::new(sim.clone())).option("mode", "cached");
        let reader = stack.build().await.unwrap().reader(&Path::from(KEY)).unwrap();
        let began = sim.elapsed();
        for block in &blocks {
            let range = block * MIB..(block + 1) * MIB;
            check(&sim, &range, &reader.chunks_at(range.clone()).await.unwrap());
        }
        let faster = (RAW_MIB * 64).as_secs_f64() / (sim.elapsed() - began).as_secs_f64();
        drop(reader);
        let counts = sim.log().counts();
        // Of a body that was given up, the page under way is lost, and perhaps one that has left the store and not
        // arrived.
        let lost = |request: &RequestRecord| if request.end == Some(RequestEnd::Aborted) { 2 * PAGE } else { 0 };
        let of = |request: RequestRecord| {
            let range = request.range.clone()?;
            Some(range.start..range.start + request.bytes_sent.saturating_sub(lost(&request)))
        };
        let mut sent: Vec<_> = sim.log().snapshot().into_iter().filter_map(of).collect();
        sent.retain(|range| !range.is_empty());
        sent.sort_unstable_by_key(|range| range.start);
        println!(
            "{name} over a cache: {faster:.2} × raw (promised 5), {} GETs (64), {} MiB",
            counts.gets,
            counts.bytes_sent / MIB
        );
        assert!(faster >= 5.0 && counts.gets <= 64);
        assert!(sent.windows(2).all(|pair| pair[0].end <= pair[1].start), "every page crosses the wire once: {sent:?}");
    }
}

/// How long a cold sequential read in reads of `len` takes through a cache above: ours, which pins what it asks for and
/// so has just what the raw store would give it, or anybody's that asks for plain pages.
async fn through_a_cache_above(len: u64, ours: bool, ahead: bool) -> Duration {
    let size = 128 * MIB;
    let sim = cloud(size);
    let fetch = Arc::new(FetchStore::new(Arc::new(sim.clone()), FetchConfig::default()).expect("valid settings"));
    let link = Some(fetch.link());
    let below: Arc<dyn ObjectStore> = match ahead {
        true => Arc::new(
            PrefetchStore::new(fetch, PrefetchConfig { link, ..PrefetchConfig::default() }).expect("valid settings"),
        ),
        false => fetch,
    };
    let cache = CacheStore::new(Arc::clone(&below), CacheConfig::default()).unwrap();
    let store: Arc<dyn ObjectStore> = if ours { Arc::new(cache) } else { below };
    let began = sim.elapsed();
    for start in (0..size).step_by(usize::try_from(len).unwrap()) {
        let range = start..(start + len).min(size);
        let bytes = store.get_range(&Path::from(KEY), range.clone()).await.unwrap();
        check(&sim, &range, &[bytes]);
    }
    sim.elapsed() - began
}

#[tokio::test(start_paused = true)]
async fn a_cache_above_is_not_slower_and_one_that_does_not_pin_profits() {
    for len in [64 * 1024, MIB, 16 * MIB] {
        for ours in [true, false] {
            let with = through_a_cache_above(len, ours, true).await;
            let without = through_a_cache_above(len, ours, false).await;
            let whose = if ours { "our cache" } else { "a cache that asks for plain pages" };
            println!(
                "{whose} above, sequential {} KiB: {with:?} with read-ahead below, {without:?} without",
                len / 1024
            );
            assert!(with <= without, "{len}");
            assert!(ours || len > MIB || with * 5 <= without, "{len}: it profits");
        }
    }
}

/// Random reads, by handle and by call, against the same object in memory: with a cache below, with one above, with
/// none.
#[derive(Debug, Clone, Copy)]
enum Caches {
    None,
    Below,
    Above,
    Both,
}

fn stack(inner: Arc<dyn ObjectStore>, caches: Caches) -> (Arc<dyn ObjectStore>, PrefetchStore) {
    let cache = |store| Arc::new(CacheStore::new(store, CacheConfig::default()).unwrap());
    let below: Arc<dyn ObjectStore> = match caches {
        Caches::Below | Caches::Both => cache(inner),
        _ => inner,
    };
    let prefetch = PrefetchStore::new(below, PrefetchConfig::default()).expect("valid settings");
    let top: Arc<dyn ObjectStore> = match caches {
        Caches::Above | Caches::Both => cache(Arc::new(prefetch.clone())),
        _ => Arc::new(prefetch.clone()),
    };
    (top, prefetch)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_reads_are_those_of_a_store_in_memory(
        seed in any::<u64>(),
        size in 1_u64..6_000_000,
        caches in prop::sample::select(vec![Caches::None, Caches::Below, Caches::Above, Caches::Both]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut dice = SeededRng::new(seed);
            let bytes: Vec<u8> = (0..size).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 16) as u8).collect();
            let (inner, path) = (Arc::new(InMemory::new()), Path::from(KEY));
            inner.put(&path, bytes.clone().into()).await.unwrap();
            let (store, prefetch) = stack(inner, caches);
            let reader = prefetch.reader(&path).unwrap();
            let mut at = 0_u64;
            for _ in 0..60 {
                // In order, backwards, in strides, anywhere.
                let most = [100, 5_000, 300_000][dice.below(3) as usize];
                let len = 1 + dice.below(most);
                at = match dice.below(8) {
                    0..=2 => at,
                    3 => at.saturating_sub(2 * len),
                    4 => at + 50_000,
                    _ => dice.below(size),
                }
                .min(size - 1);
                let range = at..(at + len).min(size);
                let expected = &bytes[range.start as usize..range.end as usize];
                let got = match dice.below(3) {
                    0 => store.get_range(&path, range.clone()).await.unwrap(),
                    1 => store.get_ranges(&path, &[range.clone(), 0..1]).await.unwrap().remove(0),
                    _ => reader.read_at(range.clone()).await.unwrap(),
                };
                assert!(got == expected, "{range:?} of {size}, {caches:?}, seed {seed}");
                at = range.end;
            }
        });
    }
}
