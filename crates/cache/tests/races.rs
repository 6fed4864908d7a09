//! Readers and writers at the same time: nothing torn, nothing older than it may be.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{Mood, cache, cache_with, content};
use headstart_cache::{CacheConfig, Freshness};
use headstart_fetch_core::PinBy;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

const A: &str = "a";
const LEN: u64 = 100_000;

fn path() -> Path {
    Path::from(A)
}

/// The version that `bytes` at `start` are of; `None` where they are of several.
fn version(start: u64, bytes: &Bytes) -> Option<u8> {
    let at = usize::try_from(start).expect("small");
    let plain = content(0, at + bytes.len()).slice(at..);
    let version = bytes[0] ^ plain[0];
    bytes.iter().zip(&plain).all(|(byte, plain)| byte ^ plain == version).then_some(version)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_under_way_during_a_write_is_not_remembered() {
    let (double, store) = cache(Freshness::Immutable);
    double.write(A, content(1, 100_000)).await;
    double.feel(Mood::Wait);
    let spawn = || {
        let store = store.clone();
        tokio::spawn(async move { store.get_range(&path(), 0..10).await })
    };
    let early = spawn();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(double.gets(), 1);
    store.put(&path(), PutPayload::from(content(2, 100_000))).await.expect("memory");
    // A reader that comes after the write does not wait for the answer to a question from before it.
    let late = spawn();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(double.gets(), 2);
    late.abort();
    double.gate.add_permits(1);
    assert_eq!(early.await.expect("no panic").expect("read"), content(1, 10), "it began before the write");
    double.feel(Mood::Well);
    assert_eq!(store.get_range(&path(), 0..10).await.expect("read"), content(2, 10));
}

#[tokio::test(start_paused = true)]
async fn what_was_read_during_a_write_is_forgotten_when_the_write_is_over() {
    let (double, store) = cache(Freshness::Immutable);
    double.write(A, content(1, 100_000)).await;
    double.feel(Mood::HoldPut);
    let write = tokio::spawn({
        let store = store.clone();
        async move { store.put(&path(), PutPayload::from(content(2, 100_000))).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(store.get_range(&path(), 0..10).await.expect("read"), content(1, 10));
    double.gate.add_permits(1);
    write.await.expect("no panic").expect("memory");
    assert_eq!(store.get_range(&path(), 0..10).await.expect("read"), content(2, 10));

    double.feel(Mood::HangAfterPut);
    let path = path();
    let write = store.put(&path, PutPayload::from(content(3, 100_000)));
    tokio::time::timeout(Duration::from_millis(1), write).await.expect_err("given up, but done");
    assert_eq!(store.get_range(&path, 0..10).await.expect("read"), content(3, 10));
}

/// Twelve readers and a writer. Whoever begins to read after a version was written sees that version or a later one.
async fn never_torn_never_stale(freshness: Freshness, pin: PinBy, behind: bool, seed: u64) {
    let config = CacheConfig { freshness, pin, page_bytes: 16 << 10, memory_bytes: 1 << 20, ..CacheConfig::default() };
    let (double, store) = cache_with(config);
    double.write(A, content(1, 100_000)).await;
    let (present, over) = (Arc::new(AtomicU8::new(1)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..12_u64)
        .map(|reader| {
            let (store, present, over) = (store.clone(), Arc::clone(&present), Arc::clone(&over));
            tokio::spawn(async move {
                let mut dice = seed.wrapping_add(reader);
                let mut roll = |sides: u64| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (dice >> 33) % sides
                };
                let mut reads = 0;
                while !over.load(Ordering::SeqCst) {
                    let start = roll(LEN);
                    let range = start..(start + 1 + roll(60_000)).min(LEN);
                    let at_least = present.load(Ordering::SeqCst);
                    let path = path();
                    let read = store.get_range(&path, range.clone());
                    // Some give up: others must not notice.
                    let Ok(bytes) = tokio::time::timeout(Duration::from_micros(roll(3000)), read).await else {
                        continue;
                    };
                    let seen = match bytes {
                        Ok(bytes) => version(start, &bytes).unwrap_or_else(|| panic!("torn: {range:?}, seed {seed}")),
                        Err(error) => panic!("{error}, seed {seed}"),
                    };
                    assert!(seen >= at_least, "stale: version {seen}, {at_least} was there before, seed {seed}");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for next in 2..200 {
        if behind {
            double.write(A, content(next, 100_000)).await;
        } else {
            store.put(&path(), PutPayload::from(content(next, 100_000))).await.expect("memory");
        }
        present.store(next, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    over.store(true, Ordering::SeqCst);
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.expect("no reader panics");
    }
    assert!(reads > 200, "{reads} reads are too few to prove anything");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((store.stats().flights, double.open()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_under_writes_behind_the_cache() {
    never_torn_never_stale(Freshness::EveryRead, PinBy::ETag, true, 1).await;
    // As over a server that ignores `If-Match`.
    never_torn_never_stale(Freshness::EveryRead, PinBy::Unpinned, true, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_under_writes_through_the_cache() {
    never_torn_never_stale(Freshness::EveryRead, PinBy::ETag, false, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_trusted_writes_through_the_cache_are_seen() {
    never_torn_never_stale(Freshness::Immutable, PinBy::ETag, false, 4).await;
    never_torn_never_stale(Freshness::default(), PinBy::Unpinned, false, 5).await;
}
