//! Single flight: many readers of the same bytes, first readers that are dropped, errors, panics, stopped runtimes,
//! stalls.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{KIB, MIB, Mood, cache, cache_with, content};
use futures::{FutureExt, future};
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::internal::Promotion;
use headstart_fetch_core::internal::mutation::Mutation;
use headstart_fetch_core::{Intent, MemoryBudget};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};

const A: &str = "a";

fn path() -> Path {
    Path::from(A)
}

/// Waits until `found`, in virtual or real time.
async fn eventually(what: &str, found: impl Fn() -> bool) {
    for _ in 0..1000 {
        if found() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

async fn quiet(store: &CacheStore) {
    eventually("no fetch left", || store.stats().in_flight == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_cold_readers_are_one_get() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, MIB);
    double.write(A, data.clone()).await;
    let readers = (0..64).map(|i| {
        let (store, data) = (store.clone(), data.clone());
        tokio::spawn(async move {
            let read = if i % 2 == 0 {
                store.get_range(&path(), 0..MIB as u64).await
            } else {
                store.get(&path()).await.expect("there").bytes().await
            };
            assert_eq!(read.expect("read"), data);
        })
    });
    future::try_join_all(readers).await.expect("no panic");
    assert_eq!((double.gets(), double.heads()), (1, 0));
    quiet(&store).await;
    assert_eq!(store.stats().fetched_bytes, MIB as u64);
}

#[tokio::test]
async fn many_heads_are_one_head() {
    let (double, store) = cache(Freshness::default());
    double.write(A, "x").await;
    let path = path();
    future::try_join_all((0..64).map(|_| store.head(&path))).await.expect("there");
    store.head(&path).await.expect("there");
    assert_eq!((double.gets(), double.heads()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_first_reader_does_not_hurt_the_others() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, 100_000);
    double.write(A, data.clone()).await;
    double.feel(Mood::Wait);
    let spawn = || {
        let store = store.clone();
        tokio::spawn(async move { store.get_range(&path(), 0..100_000).await })
    };
    let (leader, follower) = (spawn(), spawn());
    eventually("a GET", || double.gets() == 1).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    leader.abort();
    assert!(leader.await.expect_err("aborted").is_cancelled());
    double.gate.add_permits(1);
    assert_eq!(follower.await.expect("no panic").expect("read"), data);
    assert_eq!(double.gets(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_to_leave_aborts_the_get() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, 100_000)).await;
    store.get_range(&path(), 0..10).await.expect("read"); // The version is known: the next request is a fill.
    for range in [0..100_000, 0..10] {
        double.feel(Mood::Wait);
        if range.end == 10 {
            store.delete(&path()).await.expect("memory");
            // The version is unknown now: the next request opens the object.
            double.write(A, content(2, 100_000)).await;
        }
        let readers = [(); 2].map(|()| {
            let (store, range) = (store.clone(), range.clone());
            tokio::spawn(async move { store.get_range(&path(), range).await })
        });
        eventually("a GET in flight", || double.open() == 1).await;
        for reader in readers {
            reader.abort();
        }
        let started = tokio::time::Instant::now();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(double.open(), 0, "the GET is gone");
        assert!(started.elapsed() <= Duration::from_millis(1), "{:?}", started.elapsed());
        quiet(&store).await;
    }
}

#[tokio::test]
async fn an_error_goes_to_all_once_and_is_not_kept() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, 100_000)).await;
    for warm in [false, true] {
        if warm {
            double.feel(Mood::Well);
            store.get_range(&path(), 0..10).await.expect("read");
        }
        double.forget_requests();
        double.feel(Mood::Fail);
        let path = path();
        let answers = future::join_all((0..8).map(|_| store.get_range(&path, 50_000..60_000))).await;
        assert!(
            answers.iter().all(|answer| matches!(answer, Err(Error::Generic { store: "Double", .. }))),
            "{answers:?}"
        );
        assert_eq!(double.gets(), 1, "warm: {warm}");
        double.feel(Mood::Well);
        store.get_range(&path, 50_000..60_000).await.expect("well again");
        assert_eq!(double.gets(), 2);
        store.delete(&path).await.expect("memory");
        double.write(A, content(1, 100_000)).await;
    }
    quiet(&store).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_of_anothers_range_is_not_ours() {
    const LEN: usize = 1000;
    let (double, store) = cache(Freshness::default());
    let data = content(1, LEN);
    double.write(A, data.clone()).await;
    *double.delay.lock() = Duration::from_millis(10);
    let read = |range: Option<GetRange>| {
        let store = store.clone();
        let options = GetOptions { range, ..GetOptions::new() };
        async move { store.get_opts(&path(), options).await?.bytes().await }
    };
    let past = read(Some(GetRange::Bounded(100_000..100_010)));
    let object = path();
    let others = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let ranges = [0..10, 5..2000];
        futures::join!(
            store.head(&object),
            read(None),
            read(Some(GetRange::Bounded(0..200_000))),
            read(Some(GetRange::Offset(10))),
            store.get_ranges(&object, &ranges),
            store.warm(&object, &[0..u64::MAX]),
        )
    };
    let (past, (head, all, wide, rest, ranges, warmed)) = futures::join!(past, others);
    past.expect_err("past the end");
    assert_eq!(head.expect("there").size, LEN as u64);
    assert_eq!(all.expect("read"), data);
    assert_eq!(wide.expect("read"), data);
    assert_eq!(rest.expect("read"), data.slice(10..));
    assert_eq!(ranges.expect("read"), [data.slice(..10), data.slice(5..)]);
    warmed.expect("there");
    // Readers with the same request share one answer.
    store.delete(&object).await.expect("memory");
    double.write(A, data).await;
    double.forget_requests();
    let readers = future::join_all((0..8).map(|_| read(Some(GetRange::Bounded(100_000..100_010))))).await;
    assert!(readers.iter().all(Result::is_err));
    assert_eq!(double.gets(), 1);
    quiet(&store).await;
}

#[tokio::test]
async fn a_panic_below_is_the_callers_own_and_harms_nobody_else() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, 100_000)).await;
    for warm in [false, true] {
        if warm {
            store.get_range(&path(), 0..10).await.expect("read");
        }
        double.forget_requests();
        double.panic_once.store(true, std::sync::atomic::Ordering::SeqCst);
        let spawn = || {
            let store = store.clone();
            tokio::spawn(async move { store.get_range(&path(), 50_000..60_000).await })
        };
        // The first reader's fetch panics; both readers retry, and one of them fetches.
        let (leader, follower) = (spawn(), spawn());
        for reader in [leader, follower] {
            let bytes = reader.await.expect("no reader panics").expect("read");
            assert_eq!(bytes, content(1, 60_000).slice(50_000..), "warm: {warm}");
        }
        assert_eq!(double.gets(), 2, "warm: {warm}");
        store.delete(&path()).await.expect("memory");
        double.write(A, content(1, 100_000)).await;
    }
    // Where every fetch panics, the read panics as without a cache.
    double.feel(Mood::Panic);
    let reader = tokio::spawn({
        let store = store.clone();
        async move { store.get_range(&path(), 0..10).await }
    });
    assert!(reader.await.expect_err("as without a cache").is_panic());
    double.feel(Mood::Well);
    store.get_range(&path(), 0..10).await.expect("well again");
    quiet(&store).await;
}

#[test]
fn a_runtime_that_shuts_down_does_not_take_followers_along() {
    let (double, store) = cache(Freshness::default());
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    own.block_on(double.write(A, content(1, 100_000)));
    double.feel(Mood::Wait);
    let leading =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let spawn = |runtime: &tokio::runtime::Runtime| {
        let store = store.clone();
        runtime.spawn(async move { store.get_range(&path(), 0..10).await })
    };
    spawn(&leading);
    own.block_on(async {
        eventually("a GET", || double.gets() == 1).await;
        let follower = spawn(&own);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(double.gets(), 1, "it follows");
        leading.shutdown_background();
        double.gate.add_permits(2);
        assert_eq!(follower.await.expect("no panic").expect("read"), content(1, 10));
        quiet(&store).await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_reader_leaves_anothers_fetch_that_hangs_and_fetches_itself() {
    let stall_timeout = Duration::from_secs(5);
    for known in [false, true] {
        let (double, store) = cache_with(CacheConfig { stall_timeout, ..CacheConfig::default() });
        let data = content(1, 20 * MIB);
        double.write(A, data.clone()).await;
        if known {
            store.get_range(&path(), 0..10).await.expect("read");
            double.forget_requests();
        }
        double.feel(Mood::Wait);
        let read = || {
            let store = store.clone();
            tokio::spawn(async move { store.get(&path()).await.expect("there").bytes().await })
        };
        let (first, second, third) = (read(), read(), read());
        eventually("a GET", || double.gets() == 1).await;
        double.feel(Mood::Well);
        let started = tokio::time::Instant::now();
        for reader in [second, third] {
            assert!(reader.await.expect("no panic").expect("read") == data);
        }
        assert!(started.elapsed() < stall_timeout + Duration::from_millis(10), "{:?}", started.elapsed());
        assert!(double.gets() <= if known { 4 } else { 3 }, "{} GETs, not one a page", double.gets());
        assert!(!first.is_finished());
        first.abort();
        quiet(&store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_silent_longer_than_the_stall_timeout_is_waited_for() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, 100_000);
    double.write(A, data.clone()).await;
    *double.delay.lock() = Duration::from_secs(90);
    let path = path();
    let ranges = [0..10, 50_000..60_000];
    for known in [false, true] {
        let (one, two) = future::join(store.get_range(&path, 0..100_000), store.get_ranges(&path, &ranges)).await;
        assert_eq!(one.expect("rides out the outage"), data, "known: {known}");
        assert_eq!(two.expect("rides out the outage"), [data.slice(..10), data.slice(50_000..60_000)]);
    }
}

/// A caller that left its own fetch after the stall timeout would send it again and again.
#[tokio::test(start_paused = true)]
async fn put_back_ones_own_fetch_is_given_up_while_it_queues() {
    for fault in [None, Some(Mutation::QueueingStalls)] {
        let _present = fault.map(Mutation::activate);
        let (double, store) = cache(Freshness::default());
        double.write(A, content(1, 100_000)).await;
        *double.delay.lock() = Duration::from_secs(150);
        let _ = store.get_range(&path(), 0..100_000).await;
        assert_eq!(double.gets() > 1, fault.is_some(), "{} GETs", double.gets());
    }
}

#[tokio::test]
async fn a_body_of_the_wrong_length_is_an_error_and_is_not_kept() {
    for mood in [Mood::Truncate, Mood::Lengthen] {
        for range in [0..100_000, 98_500..100_000] {
            let (double, store) = cache(Freshness::default());
            let data = content(1, 100_000);
            double.write(A, data.clone()).await;
            double.feel(mood);
            let answer = store.get_range(&path(), range.clone()).await;
            assert!(answer.is_err(), "{mood:?} {range:?}: not what was promised");
            double.feel(Mood::Well);
            let at = usize::try_from(range.start).expect("small");
            assert!(store.get_range(&path(), range).await.expect("read") == data[at..]);
        }
    }
}

#[tokio::test]
async fn outside_a_runtime_pages_are_served_and_the_rest_is_a_clear_error() {
    let (double, store) = cache(Freshness::Immutable);
    double.write(A, content(1, 100_000)).await;
    store.get_range(&path(), 0..10).await.expect("read");
    std::thread::spawn(move || {
        let read = |range| store.get_range(&path(), range).now_or_never().expect("nothing to wait for");
        assert_eq!(read(0..10).expect("a page"), content(1, 10));
        let error = read(90_000..90_001).expect_err("no page").to_string();
        assert!(error.contains("no tokio runtime"), "{error}");
    })
    .join()
    .expect("no panic");
}

#[tokio::test]
async fn fills_are_charged_to_the_budget_until_they_are_pages() {
    let budget = MemoryBudget::new(64 << 10);
    let config = CacheConfig { budget: Some(Arc::clone(&budget)), page_bytes: 16 << 10, ..CacheConfig::default() };
    let (double, store) = cache_with(config);
    let data = content(1, 3 * MIB);
    double.write(A, data.clone()).await;
    assert_eq!(store.get_range(&path(), 0..10).await.expect("read"), data.slice(..10));
    let ranges: Vec<_> = (0..40).map(|i| i * 64 * KIB..i * 64 * KIB + 100).collect();
    assert_eq!(store.get_ranges(&path(), &ranges).await.expect("read").len(), 40);
    assert!((16 << 10..=64 << 10).contains(&budget.peak_bytes()), "{}", budget.peak_bytes());
    quiet(&store).await;
    assert_eq!(budget.used_bytes(), 0);
}

#[tokio::test]
async fn a_slow_reader_of_a_large_body_holds_two_windows_and_one_get() {
    let (double, store) = cache_with(CacheConfig { memory_bytes: 1 << 20, ..CacheConfig::default() });
    let data = content(1, 40 * MIB);
    double.write(A, data.clone()).await;
    for asked in [None, Some(5..40 * MIB as u64 - 3)] {
        let before = store.stats().fetched_bytes;
        store.delete(&path()).await.expect("memory");
        double.write(A, data.clone()).await;
        double.forget_requests();
        let options = GetOptions::new().with_range(asked.clone());
        let expected = asked.map_or(0..data.len(), |_| 5..data.len() - 3);
        let mut body = store.get_opts(&path(), options).await.expect("there").into_stream();
        let first = futures::StreamExt::next(&mut body).await.expect("a page").expect("read");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let read = store.stats().fetched_bytes - before;
        assert!(read <= 16 * MIB as u64 + 20_000, "{read}");
        let rest = futures::TryStreamExt::try_collect::<Vec<_>>(body).await.expect("read").concat();
        assert!([&first[..], &rest[..]].concat() == data[expected], "larger than the cache, and right");
        assert_eq!((double.gets(), double.heads()), (1, 0));
    }
    quiet(&store).await;
    assert_eq!(double.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_promotes_what_was_fetched_ahead() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, 100_000)).await;
    for known in [false, true] {
        if known {
            store.get_range(&path(), 0..10).await.expect("read");
        }
        double.forget_requests();
        double.feel(Mood::Wait);
        let ahead = tokio::spawn({
            let store = store.clone();
            let options = headstart_fetch_core::internal::ask(50_000..60_000, Intent::Speculative);
            async move { store.get_opts(&path(), options).await.expect("there").bytes().await }
        });
        eventually("a GET", || double.gets() == 1).await;
        let request = double.requests.lock()[0].extensions.clone();
        assert_eq!(Intent::of(&request), Intent::Speculative);
        let reader = tokio::spawn({
            let store = store.clone();
            async move { store.get_range(&path(), 50_000..60_000).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(Intent::of(&request), Intent::Demand, "known: {known}");
        double.gate.add_permits(1);
        reader.await.expect("no panic").expect("read");
        ahead.await.expect("no panic").expect("read");
        assert_eq!(double.gets(), 1);
        store.delete(&path()).await.expect("memory");
        double.write(A, content(1, 100_000)).await;
        double.feel(Mood::Well);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_to_wait_for_one_reader_promotes_what_it_joined() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, 100_000)).await;
    store.get_range(&path(), 0..10).await.expect("read");
    double.forget_requests();
    double.feel(Mood::Wait);
    let ahead = |promotion: &Promotion| {
        let store = store.clone();
        let mut options = headstart_fetch_core::internal::ask(50_000..60_000, Intent::Speculative);
        options.extensions.insert(promotion.clone());
        tokio::spawn(async move { store.get_opts(&path(), options).await.expect("there").bytes().await })
    };
    let (first, second) = (Promotion::default(), Promotion::default());
    let readers = [ahead(&first), ahead(&second)];
    eventually("a GET", || double.gets() == 1).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let request = double.requests.lock()[0].extensions.clone();
    assert_eq!(Intent::of(&request), Intent::Speculative);
    second.promote();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(Intent::of(&request), Intent::Demand);
    assert!(!first.is_promoted(), "of the first reader nobody wants anything");
    double.gate.add_permits(1);
    for reader in readers {
        reader.await.expect("no panic").expect("read");
    }
    assert_eq!(double.gets(), 1);
    assert_eq!(store.stats().joined_bytes, 10_000);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_may_queue_longer_than_a_reader_would_wait() {
    let stall_timeout = Duration::from_secs(5);
    let (double, store) = cache_with(CacheConfig { stall_timeout, ..CacheConfig::default() });
    double.write(A, content(1, 100_000)).await;
    double.feel(Mood::Wait);
    let warming = tokio::spawn({
        let store = store.clone();
        async move { store.warm(&path(), &[0..u64::MAX]).await }
    });
    tokio::time::sleep(10 * stall_timeout).await;
    double.gate.add_permits(1);
    assert_eq!(warming.await.expect("no panic").expect("it waited"), 100_000);
}
