//! The cache stays within its budget, and no fetch waits for memory that another fetch waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{Double, MIB, Mood, cache_with, content, roll};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{TryStreamExt, future};
use headstart_cache::{CacheConfig, CacheStore};
use headstart_fetch_core::internal::byte_range;
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchStore, MemoryBudget};
use headstart_sim::{Content, LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

/// A cache over a `FetchStore` over `inner`, with one budget.
fn stack(inner: Arc<dyn ObjectStore>, budget: &Arc<MemoryBudget>, memory_bytes: usize) -> CacheStore {
    let profile = BackendProfile::default();
    let config = FetchConfig { budget: Some(Arc::clone(budget)), profile: Some(profile), ..FetchConfig::default() };
    let fetch = FetchStore::new(inner, config).expect("valid settings");
    let config = CacheConfig {
        memory_bytes,
        link: Some(fetch.link()),
        budget: Some(Arc::clone(budget)),
        ..CacheConfig::default()
    };
    CacheStore::new(Arc::new(fetch), config).expect("a good config")
}

fn bucket(objects: usize, bytes: u64) -> SimStore {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build();
    for n in 0..objects {
        sim.catalog().add_synthetic(&n.to_string(), bytes);
    }
    sim
}

/// Reads all of `path`, and checks it.
async fn read(sim: &SimStore, store: &CacheStore, path: &str) -> Duration {
    let started = Instant::now();
    let content = Content::new(path, sim.catalog().get(path, None).expect("there").number);
    let bytes = store.get(&Path::from(path)).await.expect("there").bytes().await.expect("read");
    content.check(0, &bytes).expect("the object's own bytes");
    started.elapsed()
}

/// Warms `objects` of `bytes` at once, while others read. All of them end in time.
async fn warm_beside_readers(budget_bytes: usize, objects: usize, bytes: u64) {
    let alone = {
        let sim = bucket(objects + 4, bytes);
        let store = stack(Arc::new(sim.clone()), &MemoryBudget::new(budget_bytes), 512 << 20);
        read(&sim, &store, &objects.to_string()).await;
        read(&sim, &store, &(objects + 1).to_string()).await
    };
    let sim = bucket(objects + 4, bytes);
    let budget = MemoryBudget::new(budget_bytes);
    let store = stack(Arc::new(sim.clone()), &budget, 512 << 20);
    let started = Instant::now();
    let paths: Vec<_> = (0..objects).map(|n| Path::from(n.to_string())).collect();
    let all = [0..u64::MAX];
    let warming = future::try_join_all(paths.iter().map(|path| store.warm(path, &all)));
    let readers = async {
        let mut slowest = Duration::ZERO;
        for n in objects..objects + 4 {
            slowest = slowest.max(read(&sim, &store, &n.to_string()).await);
        }
        slowest
    };
    let (warmed, slowest) = tokio::time::timeout(Duration::from_secs(3600), future::join(warming, readers))
        .await
        .expect("nothing waits for ever");
    let (took, least) = (started.elapsed(), Duration::from_secs_f64(objects as f64 * bytes as f64 / 1e9));
    assert_eq!(warmed.expect("there").iter().sum::<u64>(), objects as u64 * bytes);
    println!(
        "{objects} × {} MiB warmed with {} MiB: {took:?}; at 1 GB/s {least:?}; \
         readers {slowest:?}, alone {alone:?} (promised 2 ×)",
        bytes >> 20,
        budget_bytes >> 20
    );
    assert!(budget.peak_bytes() <= budget_bytes);
    assert_eq!(budget.used_bytes(), 0);
    assert!(slowest <= 2 * alone, "{slowest:?}, alone {alone:?}");
}

#[tokio::test(start_paused = true)]
async fn objects_warmed_at_once_all_end_and_readers_beside_them_are_not_held_up() {
    for budget_bytes in [256 << 20, 128 << 20, 64 << 20] {
        warm_beside_readers(budget_bytes, 20, 8 << 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn overlapping_warms_end_where_memory_is_short() {
    for budget_bytes in [32 << 20, 24 << 20, 12 << 20, 1 << 20] {
        warm_beside_readers(budget_bytes, 2, 64 << 20).await;
    }
    // Several warms of the same object as well.
    let sim = bucket(1, 64 << 20);
    let store = stack(Arc::new(sim.clone()), &MemoryBudget::new(32 << 20), 512 << 20);
    let (path, ranges) = (Path::from("0"), [0..40 << 20, 20 << 20..64 << 20]);
    let warming = future::try_join(store.warm(&path, &ranges[..1]), store.warm(&path, &ranges[1..]));
    let warmed = tokio::time::timeout(Duration::from_secs(60), warming).await.expect("they end").expect("there");
    assert_eq!(warmed.0 + warmed.1, 64 << 20);
}

/// Opens `streams` of objects of 16 MiB, takes one chunk of each and leaves them open; then reads one more object.
async fn open_streams(streams: usize, memory_bytes: usize, one_object: bool) {
    const OBJECT: usize = 16 * MIB;
    const BUDGET: usize = 64 << 20;
    let double = Double::new();
    let data = content(1, OBJECT);
    let objects = if one_object { 1 } else { streams + 1 };
    for n in 0..objects {
        double.write(&n.to_string(), data.clone()).await;
    }
    let budget = MemoryBudget::new(BUDGET);
    let store = stack(Arc::clone(&double) as Arc<dyn ObjectStore>, &budget, memory_bytes);
    let mut open = Vec::new();
    for n in 0..streams {
        let path = Path::from((n % objects).to_string());
        let mut body = store.get(&path).await.expect("there").into_stream();
        let first = body.next().await.expect("a page").expect("read");
        assert!(first == data[..first.len()]);
        open.push((body, first.len()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let alive = |store: &CacheStore| {
        let stats = store.stats();
        double.alive_bytes.load(Ordering::SeqCst) + byte_range::in_memory(stats.lent_bytes + stats.held_bytes)
    };
    let allowed = BUDGET + memory_bytes + streams * (512 << 10);
    println!("{streams} streams: {} MiB alive of {} MiB", alive(&store) >> 20, allowed >> 20);
    assert!(alive(&store) <= allowed, "{} alive, {allowed} allowed", alive(&store));
    let last = Path::from((objects - 1).to_string());
    let more = async { store.get(&last).await.expect("there").bytes().await };
    let more = tokio::time::timeout(Duration::from_secs(60), more).await.expect("it makes progress").expect("read");
    assert!(more == data);
    drop(more);
    assert!(alive(&store) <= allowed, "{} alive, {allowed} allowed", alive(&store));
    // Each stream goes on where it stopped.
    let rest: FuturesUnordered<_> = open
        .into_iter()
        .map(|(body, at)| {
            let data = data.clone();
            async move {
                let mut at = at;
                let mut body = body;
                while let Some(bytes) = body.try_next().await.expect("read") {
                    assert!(bytes == data[at..at + bytes.len()]);
                    at += bytes.len();
                }
                assert_eq!(at, OBJECT);
            }
        })
        .collect();
    tokio::time::timeout(Duration::from_secs(600), rest.collect::<()>()).await.expect("all go on");
    assert_eq!(budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn streams_left_open_keep_to_the_budget() {
    open_streams(50, 32 << 20, false).await;
}

#[tokio::test(start_paused = true)]
async fn many_streams_left_open_keep_to_the_budget() {
    open_streams(200, 32 << 20, false).await;
}

#[tokio::test(start_paused = true)]
async fn many_streams_of_one_object_left_open_keep_to_the_budget() {
    open_streams(100, 4 << 20, true).await;
}

#[tokio::test(start_paused = true)]
async fn streams_of_cached_pages_left_open_keep_to_the_budget() {
    const OBJECT: usize = 16 * MIB;
    let budget = MemoryBudget::new(32 << 20);
    let config = CacheConfig { budget: Some(Arc::clone(&budget)), memory_bytes: 20 << 20, ..CacheConfig::default() };
    let (double, store) = cache_with(config);
    let data = content(1, OBJECT);
    let mut open = Vec::new();
    for n in 0..20 {
        let path = Path::from(n.to_string());
        double.write(&n.to_string(), data.clone()).await;
        store.warm(&path, &[0..u64::MAX]).await.expect("there");
        let mut body = store.get(&path).await.expect("there").into_stream();
        open.push((body.next().await.expect("a page").expect("read").len(), body));
    }
    let alive = store.stats().lent_bytes + store.stats().held_bytes;
    assert!(alive <= (32 << 20) + (20 << 20) + 20 * (512 << 10), "{} MiB alive", alive >> 20);
    double.forget_requests();
    for (mut at, mut body) in open {
        while let Some(bytes) = body.try_next().await.expect("read") {
            assert!(bytes == data[at..at + bytes.len()]);
            at += bytes.len();
        }
        assert_eq!(at, OBJECT);
    }
    assert!(double.gets() <= 20 * 3, "{} GETs: windows, not pages", double.gets());
    assert_eq!(budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_any_budget_everything_is_read() {
    let budget = MemoryBudget::new(0);
    let double = Double::new();
    let data = content(1, 20 * MIB);
    double.write("a", data.clone()).await;
    let store = stack(Arc::clone(&double) as Arc<dyn ObjectStore>, &budget, 1 << 20);
    let path = Path::from("a");
    let reading = async {
        let (one, two) = future::join(
            async { store.get(&path).await.expect("there").bytes().await },
            store.get_range(&path, 5 << 20..15 << 20),
        )
        .await;
        assert!(one.expect("read") == data && two.expect("read") == data.slice(5 << 20..15 << 20));
        let ranges: Vec<_> = (0..100).map(|n| n * 200_000..n * 200_000 + 100_000).collect();
        let parts = store.get_ranges(&path, &ranges).await.expect("read");
        let slices = ranges.iter().map(|range| {
            let at = |offset: u64| usize::try_from(offset).expect("small");
            data.slice(at(range.start)..at(range.end))
        });
        assert!(parts == slices.collect::<Vec<Bytes>>());
        store.warm(&path, &[0..u64::MAX]).await.expect("there");
    };
    tokio::time::timeout(Duration::from_secs(600), reading).await.expect("it ends");
    assert_eq!(budget.peak_bytes(), 0);
}

/// One reader that reads in all ways, leaves bodies open and drops reads at random.
async fn reads_at_random(store: CacheStore, plain: Bytes, mut dice: u64) {
    let len = plain.len() as u64;
    let mut left_open = Vec::new();
    for _ in 0..25 {
        let path = Path::from(roll(&mut dice, 2).to_string());
        let start = roll(&mut dice, len);
        let end = (start + 1 + roll(&mut dice, 4 << 20)).min(len);
        let patience = Duration::from_millis(if roll(&mut dice, 4) == 0 { roll(&mut dice, 40) } else { 3_600_000 });
        let chunks = roll(&mut dice, 200);
        let keep = roll(&mut dice, 3) == 0;
        let way = roll(&mut dice, 5);
        let ranges: Vec<_> = (0..20).map(|n| n * (len / 20)..n * (len / 20) + 1 + roll(&mut dice, 300_000)).collect();
        let reading = async {
            // The first object is overwritten behind its readers; reads of the other always succeed.
            let overwritten = path.as_ref() == "0";
            match way {
                0 => drop(unless(overwritten, store.warm(&path, &[start..end]).await)),
                1 => {
                    if let Some(parts) = unless(overwritten, store.get_ranges(&path, &ranges).await) {
                        for (range, part) in ranges.iter().zip(parts) {
                            check(&plain, range.start, &part);
                        }
                    }
                }
                2 => {
                    if let Some(bytes) = unless(overwritten, store.get_range(&path, start..end).await) {
                        assert_eq!(bytes.len() as u64, end - start);
                        check(&plain, start, &bytes);
                    }
                }
                _ => {
                    let options = GetOptions::new().with_range((way == 3).then_some(GetRange::Offset(start)));
                    let answer = unless(overwritten, store.get_opts(&path, options).await)?;
                    let (mut at, mut version, mut body) = (answer.range.start, None, answer.into_stream());
                    for _ in 0..chunks {
                        let bytes = unless(overwritten, body.try_next().await)??;
                        let of = check(&plain, at, &bytes);
                        assert_eq!(*version.get_or_insert(of), of, "torn");
                        at += bytes.len() as u64;
                    }
                    return keep.then_some(body);
                }
            }
            None
        };
        match tokio::time::timeout(patience, reading).await {
            Ok(body) => left_open.extend(body),
            Err(_) => assert!(patience.as_secs() < 3600, "it hangs"),
        }
        if left_open.len() > 3 {
            drop(left_open.remove(0));
        }
    }
}

/// The bytes that were read; `None` where the object was `overwritten` meanwhile.
#[track_caller]
fn unless<T>(overwritten: bool, read: object_store::Result<T>) -> Option<T> {
    assert!(read.is_ok() || overwritten, "{:?}", read.err());
    read.ok()
}

/// The version of `bytes`, which begin at `start`; panics where they mix versions.
fn check(plain: &Bytes, start: u64, bytes: &[u8]) -> u8 {
    let start = usize::try_from(start).expect("small");
    let plain = &plain[start..start + bytes.len()];
    // Some bytes of each page show its version.
    let mut some = bytes.iter().zip(plain).step_by(997);
    assert!(some.all(|(byte, plain_byte)| byte ^ plain_byte == bytes[0] ^ plain[0]), "torn");
    bytes[0] ^ plain[0]
}

#[tokio::test(start_paused = true)]
async fn whatever_is_read_beside_whatever_nothing_hangs_or_is_torn() {
    for seed in 0..6 {
        let mut dice = seed;
        let double = Double::new();
        *double.delay.lock() = Duration::from_millis(roll(&mut dice, 20));
        let stacked = roll(&mut dice, 2) == 0;
        if !stacked && roll(&mut dice, 3) == 0 {
            double.feel(Mood::NoToken);
        }
        let len = 9 * MIB;
        for path in ["0", "1"] {
            double.write(path, content(1, len)).await;
        }
        let budget_bytes =
            [0, 300_000, 3 << 20, 9 << 20, 40 << 20][usize::try_from(roll(&mut dice, 5)).expect("small")];
        let budget = MemoryBudget::new(budget_bytes);
        let memory_bytes = [1 << 20, 64 << 20][usize::try_from(roll(&mut dice, 2)).expect("small")];
        let store = if stacked {
            stack(Arc::clone(&double) as Arc<dyn ObjectStore>, &budget, memory_bytes)
        } else {
            let config = CacheConfig { budget: Some(Arc::clone(&budget)), memory_bytes, ..CacheConfig::default() };
            CacheStore::new(Arc::clone(&double) as Arc<dyn ObjectStore>, config).expect("a good config")
        };
        let plain = content(0, len);
        let readers: Vec<_> = (0..6)
            .map(|reader| tokio::spawn(reads_at_random(store.clone(), plain.clone(), seed * 1000 + reader)))
            .collect();
        for version in 2..5 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            double.write("0", content(version, len)).await;
        }
        for reader in readers {
            reader.await.unwrap_or_else(|error| panic!("seed {seed}, budget {budget_bytes}: {error}"));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((budget.used_bytes(), store.stats().in_flight, double.open()), (0, 0, 0), "seed {seed}");
        assert!(budget.peak_bytes() <= budget_bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_an_object_without_a_validator_loses_nothing_to_a_fast_one() {
    let config = CacheConfig { budget: Some(MemoryBudget::new(0)), ..CacheConfig::default() };
    for one_window in [true, false] {
        let (double, store) = cache_with(config.clone());
        double.feel(Mood::NoToken);
        let data = content(1, if one_window { 5 * MIB } else { 20 * MIB });
        double.write("a", data.clone()).await;
        let path = Path::from("a");
        let (slow, fast) =
            future::join(store.get(&path), async { store.get(&path).await.expect("there").bytes().await }).await;
        assert!(fast.expect("read") == data);
        assert!(slow.expect("there").bytes().await.expect("read") == data);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_in_lockstep_serves_a_fast_reader_beside_a_slow_one() {
    let config = CacheConfig { budget: Some(MemoryBudget::new(0)), memory_bytes: 1 << 20, ..CacheConfig::default() };
    let (double, store) = cache_with(config);
    let data = content(1, 20 * MIB);
    double.write("a", data.clone()).await;
    let path = Path::from("a");
    let mut slow = store.get(&path).await.expect("there").into_stream();
    let mut read = slow.next().await.expect("a page").expect("read").to_vec();
    let fast = async { store.get(&path).await.expect("there").bytes().await };
    let fast = tokio::time::timeout(Duration::from_secs(10), fast).await.expect("nobody waits for the slow one");
    assert!(fast.expect("read") == data);
    while let Some(bytes) = slow.try_next().await.expect("read") {
        read.extend_from_slice(&bytes);
    }
    assert!(read == data);
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_what_comes_later_in_a_body_does_not_wait_for_the_slow_reader_of_it() {
    let budget = MemoryBudget::new(8 << 20);
    let config = CacheConfig { budget: Some(Arc::clone(&budget)), ..CacheConfig::default() };
    let (double, store) = cache_with(config);
    let data = content(1, 20 * MIB);
    double.write("a", data.clone()).await;
    let path = Path::from("a");
    let held = budget.try_reserve(8 << 20);
    let mut slow = store.get(&path).await.expect("there").into_stream();
    let mut read = slow.next().await.expect("a page").expect("read").to_vec();
    drop(held);
    // Its fetch asks for memory again after 1 MiB, and reads on as far as that reaches.
    while read.len() < 2 * MIB {
        read.extend(slow.next().await.expect("a page").expect("read"));
    }
    assert_eq!((budget.used_bytes(), double.gets()), (8 << 20, 1));
    let later = store.get_range(&path, 14 << 20..15 << 20);
    let later = tokio::time::timeout(Duration::from_secs(1), later).await.expect("it does not wait").expect("read");
    assert!(later == data.slice(14 << 20..15 << 20));
    while let Some(bytes) = slow.try_next().await.expect("read") {
        read.extend_from_slice(&bytes);
    }
    assert!(read == data);
    assert_eq!((budget.used_bytes(), double.gets()), (0, 1));
}
