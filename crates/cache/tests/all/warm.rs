//! Pages fetched before anybody reads them.

use std::sync::Arc;

use crate::common::{KIB, MIB, Mood, cache, cache_with, content};
use headstart_cache::{CacheConfig, Freshness};
use headstart_fetch_core::{Intent, MemoryBudget};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};

const A: &str = "a";
const LEN: usize = 100_000;

fn path() -> Path {
    Path::from(A)
}

#[tokio::test]
async fn what_was_warmed_is_a_hit_and_nothing_is_fetched_twice() {
    for freshness in [Freshness::default(), Freshness::EveryRead, Freshness::Immutable, Freshness::OnOpen] {
        let (double, store) = cache(freshness);
        double.write(A, content(1, LEN)).await;
        let some = [20_000..20_010, 0..0, 15_000..30_000, 90_000..u64::MAX];
        assert_eq!(store.warm(&path(), &some).await.expect("there"), 32 * KIB + LEN as u64 - 80 * KIB);
        assert!(double.requests.lock().iter().all(|request| Intent::of(&request.extensions) == Intent::Speculative));
        assert_eq!(store.warm(&path(), &some).await.expect("there"), 0);
        assert_eq!(store.warm(&path(), &[0..u64::MAX]).await.expect("there"), 48 * KIB, "the rest");
        double.forget_requests();
        assert_eq!(store.get_range(&path(), 0..LEN as u64).await.expect("read"), content(1, LEN));
        assert_eq!(double.gets(), 0, "{freshness}");
        assert_eq!((store.stats().held_pages, store.stats().in_flight), (7, 0));
    }
}

#[tokio::test]
async fn a_large_object_is_warmed_window_by_window_within_the_budget() {
    let budget = MemoryBudget::new(20 << 20);
    let config = CacheConfig { budget: Some(Arc::clone(&budget)), ..CacheConfig::default() };
    let (double, store) = cache_with(config);
    let data = content(1, 50 << 20);
    double.write(A, data.clone()).await;
    assert_eq!(store.warm(&path(), &[0..u64::MAX]).await.expect("there"), 50 << 20);
    assert_eq!((double.gets(), double.heads()), (7, 0), "windows of 8 MiB, and no HEAD");
    assert!(budget.peak_bytes() <= 20 << 20);
    assert_eq!(budget.used_bytes(), 0);
    assert!(store.get(&path()).await.expect("there").bytes().await.expect("read") == data);
    assert_eq!(double.gets(), 7);
}

#[tokio::test]
async fn what_cannot_be_warmed_is_told() {
    let (double, store) = cache(Freshness::default());
    assert!(matches!(store.warm(&path(), &[0..10]).await, Err(Error::NotFound { .. })));
    double.write(A, content(1, LEN)).await;
    let error = store.warm(&path(), &[0..10, 100_000..100_001]).await.expect_err("past the end").to_string();
    assert!(error.contains("100000"), "{error}");
    double.feel(Mood::Fail);
    store.warm(&path(), &[50_000..u64::MAX]).await.expect_err("503");
    double.feel(Mood::Well);
    assert_eq!(store.warm(&path(), &[]).await.expect("nothing to do"), 0);
    double.write("empty", "").await;
    for _ in 0..2 {
        assert_eq!(store.warm(&"empty".into(), &[0..u64::MAX]).await.expect("nothing to do"), 0);
    }
    // An overwrite is noticed, and the new version is warmed.
    store.warm(&path(), &[0..10]).await.expect("there");
    double.write(A, content(2, LEN)).await;
    store.warm(&path(), &[0..u64::MAX]).await.expect("there");
    double.forget_requests();
    assert_eq!(store.get_range(&path(), 0..LEN as u64).await.expect("read"), content(2, LEN));
    assert_eq!(double.gets(), 0);

    let (double, store) = cache(Freshness::default());
    double.feel(Mood::NoToken);
    double.write(A, content(1, LEN)).await;
    store.warm(&path(), &[0..10]).await.expect("nothing can be kept");
    assert_eq!(store.stats().held_pages, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_aborts_its_fetches() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    store.get_range(&path(), 0..10).await.expect("read");
    double.feel(Mood::Wait);
    let object = path();
    let ranges = [20_000..30_000, 60_000..70_000];
    let warming = store.warm(&object, &ranges);
    tokio::time::timeout(std::time::Duration::from_millis(1), warming).await.expect_err("it hangs");
    tokio::task::yield_now().await;
    assert_eq!((double.open(), store.stats().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_one_window_does_not_promote_the_others() {
    let (double, store) = cache_with(CacheConfig::default());
    double.write(A, content(1, 40 << 20)).await;
    store.get_range(&path(), 0..10).await.expect("read");
    double.forget_requests();
    double.feel(Mood::Wait);
    let warming = tokio::spawn({
        let store = store.clone();
        async move { store.warm(&path(), &[0..u64::MAX]).await }
    });
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            store.get_range(&path(), 20 << 20..(20 << 20) + 5).await
        }
    });
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    let intents: Vec<_> = double.requests.lock().iter().map(|request| Intent::of(&request.extensions)).collect();
    assert_eq!(intents.iter().filter(|intent| **intent == Intent::Demand).count(), 1, "{intents:?}");
    double.gate.add_permits(100);
    reader.await.expect("no panic").expect("read");
    assert_eq!(warming.await.expect("no panic").expect("there"), (40 << 20) - 64 * KIB);
}

#[tokio::test]
async fn ranges_that_touch_are_one_request() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    store.head(&path()).await.expect("there");
    let ranges: Vec<_> = (0..100).map(|n| n * 1000..(n + 1) * 1000).rev().collect();
    assert_eq!(store.warm(&path(), &ranges).await.expect("there"), LEN as u64);
    assert_eq!(double.gets(), 1);
}

/// A page that another reader's fetch brings is evicted before warming looks for it: it is fetched again, a bounded
/// number of times.
#[tokio::test]
async fn warming_ends_where_pages_are_evicted_at_once() {
    let config = CacheConfig { memory_bytes: 64 << 10, page_bytes: 16 << 10, ..CacheConfig::default() };
    for size in [MIB, 20 * MIB] {
        let (double, store) = cache_with(config.clone());
        double.write("other", content(1, LEN)).await;
        double.write(A, content(1, size)).await;
        store.get(&"other".into()).await.expect("there").bytes().await.expect("read");
        let (object, all) = (path(), [0..u64::MAX]);
        let warming = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            let reading = async { store.get(&object).await.expect("there").bytes().await };
            futures::future::join(reading, store.warm(&object, &all)).await
        });
        let (read, warmed) = warming.await.expect("it ends");
        assert!(read.expect("read") == content(1, size));
        warmed.expect("there");
    }
}
