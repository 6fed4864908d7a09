//! Many ranges in one call, and ranges longer than the object.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{KIB, MIB, cache, content};
use headstart_cache::Freshness;
use headstart_fetch_core::internal::mutation::Mutation;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const A: &str = "a";

fn path() -> Path {
    Path::from(A)
}

#[tokio::test]
async fn a_range_longer_than_the_object_costs_no_more_than_the_object() {
    for end in [100 << 20, 1 << 40, u64::MAX] {
        let (double, store) = cache(Freshness::default());
        let data = content(1, MIB);
        double.write(A, data.clone()).await;
        let parts = store.get_ranges(&path(), &[0..end]).await.expect("there");
        assert!(parts == [data.clone()]);
        assert!(double.gets() <= 2, "{} GETs", double.gets());
        let parts = store.get_ranges(&path(), &[5..end, 0..end]).await.expect("there");
        assert!(parts == [data.slice(5..), data.clone()]);
        store.warm(&path(), &[0..end]).await.expect("there");
        assert!(store.get_range(&path(), 7..end).await.expect("there") == data.slice(7..));
        assert!(double.gets() <= 2, "{} GETs", double.gets());
    }
}

#[tokio::test]
async fn ranges_of_a_long_unknown_object_are_read_whole() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, 20 * MIB);
    double.write(A, data.clone()).await;
    let parts = store.get_ranges(&path(), &[3 << 20..1 << 40, 0..10]).await.expect("there");
    assert!(parts == [data.slice(3 << 20..), data.slice(..10)]);
    assert_eq!((double.gets(), double.heads()), (4, 0), "three windows, and the first page");
}

#[tokio::test(start_paused = true)]
async fn many_ranges_of_one_call_are_at_most_32_requests_at_once() {
    const RANGES: u64 = 400;
    let ranges: Vec<_> = (0..RANGES).map(|n| n * 32 * KIB + 5..n * 32 * KIB + 20).collect();
    for known in [false, true] {
        let (double, store) = cache(Freshness::default());
        let data = content(1, 13 * MIB);
        double.write(A, data.clone()).await;
        if known {
            store.head(&path()).await.expect("there");
        }
        *double.delay.lock() = Duration::from_millis(10);
        let parts = store.get_ranges(&path(), &ranges).await.expect("read");
        for (range, part) in ranges.iter().zip(parts) {
            let at = usize::try_from(range.start).expect("small");
            assert_eq!(part, data.slice(at..at + 15));
        }
        let peak = double.peak_open.load(Ordering::SeqCst);
        assert!((30..=32).contains(&peak), "{peak} at once, known: {known}");
        assert_eq!(double.gets(), 400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_many_ranges_that_is_dropped_blocks_nobody() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, 13 * MIB);
    double.write(A, data.clone()).await;
    *double.delay.lock() = Duration::from_millis(10);
    let ranges: Vec<_> = (0..400).map(|n| n * 32 * KIB + 5..n * 32 * KIB + 20).collect();
    let object = path();
    let dropped = tokio::time::timeout(Duration::from_millis(25), store.get_ranges(&object, &ranges)).await;
    dropped.expect_err("it takes longer");
    let started = tokio::time::Instant::now();
    let last = ranges[399].clone();
    let at = usize::try_from(last.start).expect("small");
    assert_eq!(store.get_range(&object, last).await.expect("read"), data.slice(at..at + 15));
    assert!(started.elapsed() < Duration::from_millis(15), "{:?}", started.elapsed());
    tokio::task::yield_now().await;
    assert_eq!((double.open(), store.stats().in_flight), (0, 0));
}

/// The test above notices where the limit is not kept.
#[tokio::test(start_paused = true)]
async fn put_back_all_requests_of_a_call_are_sent_at_once() {
    let _present = Mutation::AsksAllAtOnce.activate();
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, 4 * MIB)).await;
    *double.delay.lock() = Duration::from_millis(10);
    let ranges: Vec<_> = (0..100).map(|n| n * 32 * KIB + 5..n * 32 * KIB + 20).collect();
    store.get_ranges(&path(), &ranges).await.expect("read");
    assert!(double.peak_open.load(Ordering::SeqCst) > 32);
}
