//! Readers and writers at the same time: no answer mixes versions, none is older than allowed, and no read is held up
//! by another. Caches that break a rule on purpose (mutants) are caught by the same tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::{FetchError, PinBy};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use tokio::time::Instant;

use crate::common::{Double, Mood, content, roll};
use crate::{CacheConfig, CacheStore, Freshness, policy::SafetyRules};

const A: &str = "a";
const LEN: u64 = 100_000;
const ALL: SafetyRules = SafetyRules::ALL;

fn path() -> Path {
    Path::from(A)
}

/// A cache over a store that has version 1.
async fn cache(freshness: Freshness, pin: PinBy, rules: SafetyRules) -> (Arc<Double>, CacheStore) {
    let double = Double::new();
    double.write(A, content(1, 100_000)).await;
    let config = CacheConfig {
        freshness,
        pin: Some(pin),
        page_bytes: 16 << 10,
        memory_bytes: 1 << 20,
        ..CacheConfig::default()
    };
    let inner = Arc::clone(&double) as Arc<dyn ObjectStore>;
    let store = CacheStore::with_rules(inner, config, rules).expect("a good config");
    (double, store)
}

async fn put(store: &CacheStore, version: u8) {
    store.put(&path(), PutPayload::from(content(version, 100_000))).await.expect("memory");
}

async fn first_bytes(store: &CacheStore) -> Bytes {
    store.get_range(&path(), 0..10).await.expect("read")
}

/// The version of `bytes`, which begin at `start`; `None` where they mix versions.
fn version(start: u64, bytes: &Bytes) -> Option<u8> {
    let at = usize::try_from(start).expect("small");
    let plain = content(0, at + bytes.len()).slice(at..);
    let version = bytes[0] ^ plain[0];
    bytes.iter().zip(&plain).all(|(byte, plain)| byte ^ plain == version).then_some(version)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_under_way_during_a_write_is_not_remembered() {
    let (double, store) = cache(Freshness::Immutable, PinBy::ETag, ALL).await;
    double.feel(Mood::Wait);
    let spawn = || {
        let store = store.clone();
        tokio::spawn(async move { store.get_range(&path(), 0..10).await })
    };
    let early = spawn();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(double.gets(), 1);
    put(&store, 2).await;
    // A read that begins after the write does not wait for the answer to a request from before it.
    let late = spawn();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(double.gets(), 2);
    late.abort();
    double.gate.add_permits(1);
    assert_eq!(early.await.expect("no panic").expect("read"), content(1, 10), "it began before the write");
    double.feel(Mood::Well);
    assert_eq!(first_bytes(&store).await, content(2, 10));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_given_up_and_done_nevertheless_is_seen() {
    let (double, store) = cache(Freshness::Immutable, PinBy::ETag, ALL).await;
    assert_eq!(first_bytes(&store).await, content(1, 10));
    double.feel(Mood::HangAfterPut);
    tokio::time::timeout(Duration::from_millis(1), put(&store, 2)).await.expect_err("given up, but done");
    assert_eq!(first_bytes(&store).await, content(2, 10));
}

/// A read during a write sees the old version. Reads after the write do not.
async fn read_during_a_write(rules: SafetyRules) -> Result<(), String> {
    let (double, store) = cache(Freshness::Immutable, PinBy::ETag, rules).await;
    double.feel(Mood::HoldPut);
    let write = tokio::spawn({
        let store = store.clone();
        async move { put(&store, 2).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(first_bytes(&store).await, content(1, 10));
    double.gate.add_permits(1);
    write.await.expect("no panic");
    if first_bytes(&store).await == content(2, 10) { Ok(()) } else { Err("stale after a write".into()) }
}

/// Neither a hit nor a miss waits for a fetch of something else that hangs. `lock`: a mutant, held during every read.
async fn read_beside_a_hanging_one(lock: Option<Arc<tokio::sync::Mutex<()>>>) -> Result<(), String> {
    let (double, store) = cache(Freshness::Immutable, PinBy::ETag, ALL).await;
    double.write("b", content(1, 100_000)).await;
    first_bytes(&store).await;
    let read = |path: &str, range: Range<u64>| {
        let (store, lock, path) = (store.clone(), lock.clone(), Path::from(path));
        async move {
            let _locked = if let Some(lock) = &lock { Some(lock.lock().await) } else { None };
            store.get_range(&path, range).await.expect("read")
        }
    };
    double.feel(Mood::Wait);
    let hanging = tokio::spawn(read(A, 50_000..60_000));
    tokio::time::sleep(Duration::from_millis(1)).await;
    double.feel(Mood::Well);
    let others = async {
        read(A, 0..10).await;
        read("b", 0..10).await;
    };
    let waited = tokio::time::timeout(Duration::from_millis(1), others).await;
    hanging.abort();
    waited.map_err(|_| "held up by another's fetch".into())
}

/// Whether this is the error of a truncated body, for one reader or shared by several.
fn was_short(error: &Error) -> bool {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| cause.source());
    causes.filter_map(|cause| cause.downcast_ref()).any(|cause| matches!(cause, FetchError::ShortBody { .. }))
}

/// Whether the writer writes through the cache or behind it.
#[derive(Clone, Copy)]
enum Writes {
    Through,
    Behind,
}

/// Twelve readers and a writer: of 100 requests 5 fail and 2 have short bodies, of 100 reads 10 are dropped. A read
/// that begins a freshness window after a version was written sees that version or a later one.
async fn race(freshness: Freshness, pin: PinBy, writes: Writes, rules: SafetyRules, seed: u64) -> Result<(), String> {
    let (double, store) = cache(freshness, pin, rules).await;
    *double.faults.lock() = (5, 2);
    let window = match freshness {
        Freshness::Ttl(ttl) if matches!(writes, Writes::Behind) => ttl,
        _ => Duration::ZERO,
    };
    let (written, over) = (Arc::new(Mutex::new(vec![(1, Instant::now())])), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..12_u64)
        .map(|reader| {
            let (store, written, over) = (store.clone(), Arc::clone(&written), Arc::clone(&over));
            tokio::spawn(async move {
                let mut dice = seed.wrapping_mul(1000).wrapping_add(reader);
                let mut reads = 0;
                while !over.load(Ordering::SeqCst) {
                    let start = roll(&mut dice, LEN);
                    let range = start..(start + 1 + roll(&mut dice, 60_000)).min(LEN);
                    let patience = if roll(&mut dice, 10) == 0 { roll(&mut dice, 1000) } else { 10_000_000 };
                    let began = Instant::now();
                    let due = |(_, at): &&(u8, Instant)| *at + window <= began;
                    let at_least = written.lock().iter().rev().find(due).map_or(1, |(version, _)| *version);
                    let path = path();
                    let read = store.get_range(&path, range.clone());
                    let Ok(answer) = tokio::time::timeout(Duration::from_micros(patience), read).await else {
                        if patience > 1000 {
                            return Err(format!("{range:?} hangs"));
                        }
                        continue;
                    };
                    let seen = match answer {
                        Ok(bytes) => version(start, &bytes).ok_or_else(|| format!("torn: {range:?}"))?,
                        Err(error) if was_short(&error) || error.to_string().contains("the connection failed") => {
                            continue;
                        }
                        Err(error) => return Err(error.to_string()),
                    };
                    if seen < at_least {
                        return Err(format!("stale: version {seen}, {at_least} was there before"));
                    }
                    reads += 1;
                }
                Ok(reads)
            })
        })
        .collect();
    for next in 2..200 {
        match writes {
            Writes::Behind => double.write(A, content(next, 100_000)).await,
            Writes::Through => put(&store, next).await,
        }
        written.lock().push((next, Instant::now()));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    over.store(true, Ordering::SeqCst);
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.expect("no reader panics").map_err(|error| format!("{error}, seed {seed}"))?;
    }
    assert!(reads > 200, "{reads} reads are too few to prove anything");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((store.stats().in_flight, double.open()), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_under_writes_behind_the_cache() {
    race(Freshness::EveryRead, PinBy::ETag, Writes::Behind, ALL, 1).await.expect("one present version");
    // As over a server that ignores `If-Match`.
    race(Freshness::EveryRead, PinBy::Unpinned, Writes::Behind, ALL, 2).await.expect("one present version");
    race(Freshness::Ttl(Duration::ZERO), PinBy::ETag, Writes::Behind, ALL, 3).await.expect("one present version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_the_window_under_writes_behind_the_cache() {
    let ttl = Freshness::Ttl(Duration::from_millis(20));
    race(ttl, PinBy::ETag, Writes::Behind, ALL, 4).await.expect("one version of the window");
    race(ttl, PinBy::Unpinned, Writes::Behind, ALL, 5).await.expect("one version of the window");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_trusted_writes_through_the_cache_are_seen() {
    for (seed, freshness) in [(6, Freshness::EveryRead), (7, Freshness::Immutable), (8, Freshness::OnOpen)] {
        race(freshness, PinBy::ETag, Writes::Through, ALL, seed).await.expect("one present version");
    }
    race(Freshness::default(), PinBy::Unpinned, Writes::Through, ALL, 9).await.expect("one present version");
}

#[tokio::test(start_paused = true)]
async fn reads_do_not_get_into_each_others_way() {
    read_during_a_write(ALL).await.expect("the write is seen");
    read_beside_a_hanging_one(None).await.expect("nobody waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutant_that_does_not_verify_fills_is_caught() {
    let rules = SafetyRules { verify_fills: false, ..ALL };
    let found = race(Freshness::Ttl(Duration::from_millis(20)), PinBy::ETag, Writes::Behind, rules, 10).await;
    assert!(found.as_ref().is_err_and(|error| error.starts_with("torn")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutant_that_keys_by_path_alone_is_caught() {
    let rules = SafetyRules { key_by_version: false, ..ALL };
    let found = race(Freshness::EveryRead, PinBy::ETag, Writes::Behind, rules, 11).await;
    let is_wrong = |error: &String| error.starts_with("stale") || error.starts_with("torn");
    assert!(found.as_ref().is_err_and(is_wrong), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_mutant_that_invalidates_before_the_write_is_caught() {
    let found = read_during_a_write(SafetyRules { invalidate_after_write: false, ..ALL }).await;
    assert_eq!(found, Err("stale after a write".into()));
}

#[tokio::test(start_paused = true)]
async fn a_mutant_that_waits_under_a_lock_is_caught() {
    let found = read_beside_a_hanging_one(Some(Arc::default())).await;
    assert_eq!(found, Err("held up by another's fetch".into()));
}
