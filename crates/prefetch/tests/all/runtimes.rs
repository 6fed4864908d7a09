//! Readers on small, blocked, stopped and crowded runtimes, and calls that wait for a failing request ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Bench, KEY, KIB, MIB, sequential};
use headstart_fetch_core::{AccessHint, FetchConfig, FetchStore, Throttled};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{Altered, LinkProfile, SimStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};
use tokio::io::AsyncReadExt;
use tokio::runtime::Builder;
use tokio::time::Instant;

fn path() -> Path {
    Path::from(KEY)
}

/// Sequential reads on one single-thread runtime, then on another: the requests of the first one no longer run.
#[test]
fn what_a_stopped_runtime_was_fetching_is_fetched_again() {
    let new = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (first, second) = (new(), new());
    let (bench, reader) = first.block_on(async {
        let bench = Bench::new(64 * MIB);
        let reader = bench.reader();
        reader.advise(AccessHint::Sequential);
        for range in sequential(8 * MIB, MIB) {
            reader.read_at(range.clone()).await.unwrap();
            bench.store.get_range(&path(), range).await.unwrap();
        }
        assert!(bench.store.stats().outstanding_bytes > MIB, "a window is on its way");
        (bench, reader)
    });
    second.block_on(async {
        for range in sequential(32 * MIB, MIB).skip(8) {
            let key = path();
            let call = bench.store.get_range(&key, range.clone());
            let called = tokio::time::timeout(Duration::from_secs(20), call).await.expect("no hang").unwrap();
            bench.check(&range, &[called]);
            let read = tokio::time::timeout(Duration::from_secs(20), reader.read_at(range.clone()));
            bench.check(&range, &[read.await.expect("no hang").unwrap()]);
        }
    });
}

/// Joining chunks needs no further thread of a pool whose threads are blocked by callers.
#[test]
fn two_blocking_readers_of_large_ranges_need_no_third_thread() {
    let runtime = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).enable_time().build().unwrap();
    let reads = runtime.block_on(async {
        let memory = Arc::new(InMemory::new());
        memory.put(&path(), vec![7; 20_000_000].into()).await.unwrap();
        let store = PrefetchStore::new(memory, PrefetchConfig::default()).expect("valid settings");
        let handle = tokio::runtime::Handle::current();
        let read = |n: u64| {
            let (reader, handle) = (store.reader(&path()).unwrap(), handle.clone());
            tokio::task::spawn_blocking(move || {
                let reader = reader.blocking_on(handle);
                // Twice, so that the bytes come in several chunks.
                reader.read_at(0..MIB + n).unwrap();
                reader.read_at(0..4 * MIB).unwrap().len()
            })
        };
        let (one, two) = (read(1), read(2));
        tokio::time::timeout(Duration::from_secs(20), async { (one.await.unwrap(), two.await.unwrap()) }).await
    });
    runtime.shutdown_background();
    assert_eq!(reads.expect("neither waits for a thread"), (4 << 20, 4 << 20));
}

#[test]
fn a_runtime_without_time_reads() {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let memory = Arc::new(InMemory::new());
        memory.put(&path(), vec![7; 2_000_000].into()).await.unwrap();
        let store = PrefetchStore::new(memory, PrefetchConfig::default()).expect("valid settings");
        let mut all = Vec::new();
        store.reader(&path()).unwrap().read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 2_000_000);
        for range in sequential(2_000_000, 100_000) {
            assert_eq!(store.get_range(&path(), range).await.unwrap().len(), 100_000);
        }
    });
}

/// 2,000 reads of held bytes yield to other tasks of the thread.
#[tokio::test(start_paused = true)]
async fn a_reader_of_bytes_that_are_here_yields() {
    let bench = Bench::new(8 * MIB);
    let mut reader = bench.reader();
    bench.read(&reader, 0..8 * MIB).await;
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let neighbour = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    for n in 0..1000 {
        reader.read_at(n * KIB..(n + 1) * KIB).await.unwrap();
    }
    let by_position = turns.swap(0, Ordering::SeqCst);
    let mut buffer = vec![0; 1024];
    for _ in 0..1000 {
        reader.read_exact(&mut buffer).await.unwrap();
    }
    let in_order = turns.swap(0, Ordering::SeqCst);
    reader.read_at(0..8 * MIB).await.unwrap();
    let joined = turns.swap(0, Ordering::SeqCst);
    assert!(by_position >= 5 && in_order >= 5 && joined >= 5, "{by_position}, {in_order}, {joined}");
    neighbour.abort();
}

/// An outage while a window is in flight: a call or `Reader` that waits for it fails when the bare store would, not
/// after twice the time.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_failing_read_ahead_fails_in_time() {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).build();
    sim.catalog().add_synthetic(KEY, 256 * MIB);
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let refusing = Altered::new(sim.clone(), move |options| match down.load(Ordering::SeqCst) {
        false => Ok(options),
        true => {
            let throttled = Throttled { status: 503, retry_after: Some(Duration::from_secs(5)) };
            Err(Error::Generic { store: "test", source: throttled.into() })
        }
    });
    let config = || FetchConfig { retries: 100, jitter_seed: Some(1), ..FetchConfig::default() };
    let fetch = FetchStore::new(Arc::new(refusing), config()).expect("valid settings");
    let store = PrefetchStore::new(Arc::new(fetch.clone()), PrefetchConfig::default()).expect("valid settings");
    let reader = store.reader(&path()).unwrap();
    let mut ranges = sequential(256 * MIB, MIB);
    for range in ranges.by_ref().take(40) {
        store.get_range(&path(), range.clone()).await.unwrap();
        reader.read_at(range).await.unwrap();
    }
    is_down.store(true, Ordering::SeqCst);
    // The requests in flight still arrive.
    let start = Instant::now();
    let failed = loop {
        if let Err(error) = store.get_range(&path(), ranges.next().unwrap()).await {
            break error;
        }
    };
    let (took, raw) = (start.elapsed(), Duration::from_secs(181));
    assert!(took <= raw + Duration::from_secs(11), "{took:?}: {failed}");
    let start = Instant::now();
    assert!(reader.read_at(200 * MIB..201 * MIB).await.is_err());
    assert!(start.elapsed() <= raw, "{:?}", start.elapsed());
    is_down.store(false, Ordering::SeqCst);
    assert_eq!(store.get_range(&path(), 200 * MIB..201 * MIB).await.unwrap().len() as u64, MIB);
}

/// A read runs its own request. If it moves to another runtime, the request stays with the first one, which may have
/// stopped: then the read sends another one.
#[test]
fn a_read_that_moves_from_a_stopped_runtime_is_answered() {
    let new = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (first, second) = (new(), new());
    let (bench, mut read, range) = first.block_on(async {
        let bench = Bench::new(64 * MIB);
        let reader = bench.reader();
        bench.read(&reader, 40 * MIB..40 * MIB + 64 * KIB).await;
        let range = 20 * MIB..20 * MIB + 64 * KIB;
        let asked = range.clone();
        let mut read = Box::pin(async move { reader.read_at(asked).await });
        assert!(futures::poll!(&mut read).is_pending(), "it waits for its answer");
        (bench, read, range)
    });
    second.block_on(async {
        let bytes = tokio::time::timeout(Duration::from_secs(20), &mut read).await.expect("no hang").unwrap();
        bench.check(&range, &[bytes]);
    });
}

/// A read that is left unpolled runs no request. Another one that waits for the same bytes gets them nevertheless, by
/// the same request, also if the reader of the first one is closed.
#[tokio::test(start_paused = true)]
async fn a_read_left_unpolled_keeps_no_other_one_waiting() {
    for closes in [false, true] {
        let bench = Bench::new(64 * MIB);
        let (left, other) = (bench.reader(), bench.reader());
        bench.read(&left, 40 * MIB..40 * MIB + 64 * KIB).await;
        bench.read(&other, 50 * MIB..50 * MIB + 64 * KIB).await;
        let before = bench.counts().gets;
        let range = 20 * MIB..20 * MIB + 64 * KIB;
        let mut unpolled = Box::pin(left.read_at(range.clone()));
        assert!(futures::poll!(&mut unpolled).is_pending());
        let mut waiting = Box::pin(other.read_at(range.clone()));
        assert!(futures::poll!(&mut waiting).is_pending());
        if closes {
            left.close();
        }
        let bytes = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("no hang").unwrap();
        bench.check(&range, &[bytes]);
        assert_eq!(bench.counts().gets - before, 1);
        assert_eq!(unpolled.await.is_err(), closes);
    }
}

/// Dropping a read that runs its own request drops the request, and its memory is free.
#[tokio::test(start_paused = true)]
async fn a_dropped_read_leaves_nothing_in_flight() {
    let bench = Bench::new(64 * MIB);
    let reader = bench.reader();
    bench.read(&reader, 40 * MIB..40 * MIB + 64 * KIB).await;
    for after in [1, 31, 100] {
        let read = reader.read_at(20 * MIB..28 * MIB);
        let _ = tokio::time::timeout(Duration::from_millis(after), read).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(bench.counts().live, 0, "after {after} ms");
        assert!(bench.budget.used_bytes() as u64 <= 64 * KIB, "{} bytes", bench.budget.used_bytes());
    }
}
