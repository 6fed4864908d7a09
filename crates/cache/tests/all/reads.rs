//! What reads cost in requests, and what they answer.

use std::ops::Range;
use std::time::Duration;

use crate::common::{KIB, Mood, cache, cache_with, content};
use bytes::Bytes;
use futures::TryStreamExt;
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::internal::{FreshUntil, Origin};
use headstart_fetch_core::{CacheHint, Intent};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload};

const A: &str = "a";
const LEN: usize = 100_000;

fn path() -> Path {
    Path::from(A)
}

fn hint(hint: CacheHint) -> GetOptions {
    let mut options = GetOptions::new();
    options.extensions.insert(hint);
    options
}

async fn read(store: &CacheStore, options: GetOptions) -> Bytes {
    store.get_opts(&path(), options).await.expect("there").bytes().await.expect("read")
}

fn forms() -> Vec<(Option<GetRange>, Range<usize>)> {
    vec![
        (None, 0..LEN),
        (Some(GetRange::Bounded(0..LEN as u64)), 0..LEN),
        (Some(GetRange::Bounded(5..20)), 5..20),
        (Some(GetRange::Bounded(40_000..70_000)), 40_000..70_000),
        (Some(GetRange::Bounded(99_000..u64::MAX)), 99_000..LEN),
        (Some(GetRange::Offset(40_000)), 40_000..LEN),
        (Some(GetRange::Suffix(8)), LEN - 8..LEN),
        (Some(GetRange::Suffix(50_000)), LEN - 50_000..LEN),
        (Some(GetRange::Suffix(500_000)), 0..LEN),
    ]
}

#[tokio::test]
async fn a_cold_read_of_any_form_is_one_get_and_a_second_pass_is_none() {
    for (range, expected) in forms() {
        let (double, store) = cache(Freshness::default());
        let data = content(1, LEN);
        double.write(A, data.clone()).await;
        let options = || GetOptions { range: range.clone(), ..GetOptions::new() };
        let result = store.get_opts(&path(), options()).await.expect("there");
        assert_eq!((result.range.clone(), result.meta.size), (expected.start as u64..expected.end as u64, LEN as u64));
        assert_eq!(result.bytes().await.expect("read"), data.slice(expected.clone()), "{range:?}");
        assert_eq!((double.gets(), double.heads()), (1, 0), "{range:?}");
        // A suffix shorter than the last page is not kept as a page: it is fetched again, as asked.
        let whole_pages = !matches!(range, Some(GetRange::Suffix(8)));
        if whole_pages {
            read(&store, GetOptions::new()).await;
            double.forget_requests();
            for (range, expected) in forms() {
                let options = GetOptions { range, ..GetOptions::new() };
                assert_eq!(read(&store, options).await, data.slice(expected));
            }
            let ranges = [5..20, 40_000..70_000, 0..1, 99_999..100_000];
            let parts = store.get_ranges(&path(), &ranges).await.expect("read");
            for (range, part) in ranges.into_iter().zip(parts) {
                let at = |n: u64| usize::try_from(n).expect("small");
                assert_eq!(part, data.slice(at(range.start)..at(range.end)));
            }
            assert_eq!((double.gets(), double.heads()), (0, 0), "{range:?}");
        }
    }
}

#[tokio::test]
async fn a_cold_bounded_read_fetches_whole_pages_and_no_more() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    store.get_range(&path(), 20_000..20_010).await.expect("read");
    assert_eq!(double.ranges(), [Some(GetRange::Bounded(16 * KIB..32 * KIB))]);
    double.forget_requests();
    // The second page is in memory; the first, and the third to fifth, are two runs.
    store.get_range(&path(), 10..70_000).await.expect("read");
    assert_eq!(double.ranges(), [Some(GetRange::Bounded(0..16 * KIB)), Some(GetRange::Bounded(32 * KIB..80 * KIB))]);
    assert!(double.requests.lock().iter().all(|options| options.if_match.is_some()), "pinned");
}

#[tokio::test]
async fn cold_ranges_are_fetched_together_without_a_head() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, LEN);
    double.write(A, data.clone()).await;
    let parts = store.get_ranges(&path(), &[0..10, 99_990..100_000, 16_380..16_390]).await.expect("read");
    assert_eq!(parts, [data.slice(0..10), data.slice(99_990..), data.slice(16_380..16_390)]);
    assert_eq!((double.gets(), double.heads()), (2, 0));
    double.forget_requests();
    assert!(store.get_ranges(&path(), &[0..10, 200_000..200_001]).await.is_err());
    assert!(store.get_ranges(&path(), &[]).await.expect("nothing").is_empty());
    assert_eq!(double.gets(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_is_kept_to_and_validation_finds_the_new_version() {
    let (double, store) = cache(Freshness::Ttl(Duration::from_secs(10)));
    double.write(A, content(1, LEN)).await;
    read(&store, GetOptions::new()).await;
    double.write(A, content(2, LEN + 1)).await;
    tokio::time::sleep(Duration::from_millis(9_999)).await;
    assert_eq!(read(&store, GetOptions::new()).await, content(1, LEN), "within the window");
    assert_eq!(store.head(&path()).await.expect("there").size, LEN as u64);
    assert_eq!((double.gets(), double.heads()), (1, 0));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(read(&store, GetOptions::new()).await, content(2, LEN + 1));
    assert_eq!((double.gets(), double.heads()), (2, 1));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(read(&store, GetOptions::new()).await, content(2, LEN + 1));
    assert_eq!((double.gets(), double.heads()), (2, 2), "still the same version");
}

#[tokio::test]
async fn every_read_is_one_request_and_never_stale() {
    let (double, store) = cache(Freshness::EveryRead);
    for version in 1..5 {
        double.write(A, content(version, LEN)).await;
        double.forget_requests();
        assert_eq!(store.get_range(&path(), 0..10).await.expect("read"), content(version, 10));
        assert!(double.requests.lock().len() <= 2, "one to see the change, one for the bytes");
        double.forget_requests();
        assert_eq!(store.get_range(&path(), 0..10).await.expect("read"), content(version, 10));
        assert_eq!((double.gets(), double.heads()), (0, 1), "all is here");
        double.forget_requests();
        assert_eq!(store.get_range(&path(), 0..50_000).await.expect("read"), content(version, 50_000));
        assert_eq!((double.gets(), double.heads()), (1, 0), "what is missing proves what is here");
        double.forget_requests();
        store.head(&path()).await.expect("there");
        assert_eq!(double.heads(), 1);
    }
}

#[tokio::test]
async fn on_open_trusts_until_the_next_head() {
    let (double, store) = cache(Freshness::OnOpen);
    double.write(A, content(1, LEN)).await;
    read(&store, GetOptions::new()).await;
    double.write(A, content(2, LEN)).await;
    assert_eq!(read(&store, GetOptions::new()).await, content(1, LEN));
    store.head(&path()).await.expect("there");
    assert_eq!(read(&store, GetOptions::new()).await, content(2, LEN));
}

#[tokio::test]
async fn an_overwrite_between_hits_and_misses_begins_anew() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    store.get_range(&path(), 0..10).await.expect("read");
    double.write(A, content(2, LEN - 7)).await;
    let all = store.get_range(&path(), 0..LEN as u64).await.expect("read");
    assert!(all == content(2, LEN - 7), "one version, and the new one");
    store.get_range(&path(), 0..10).await.expect("read");
    double.inner.delete(&path()).await.expect("memory");
    store.get_range(&path(), 0..10).await.expect("within the window");
    store.delete(&path()).await.expect("memory");
    assert!(matches!(store.get_range(&path(), 0..10).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn writes_through_the_cache_are_seen_at_once_even_where_they_fail() {
    let (double, store) = cache(Freshness::Immutable);
    let path = path();
    let put = |version| store.put(&path, PutPayload::from(content(version, LEN)));
    put(1).await.expect("memory");
    assert_eq!(read(&store, GetOptions::new()).await, content(1, LEN));
    put(2).await.expect("memory");
    assert_eq!(read(&store, GetOptions::new()).await, content(2, LEN));
    double.feel(Mood::Fail);
    put(3).await.expect_err("but written");
    double.feel(Mood::Well);
    assert_eq!(read(&store, GetOptions::new()).await, content(3, LEN));
    store.put(&"b".into(), PutPayload::from(content(4, LEN))).await.expect("memory");
    store.rename(&"b".into(), &path).await.expect("memory");
    assert_eq!(read(&store, GetOptions::new()).await, content(4, LEN));
    let mut upload = store.put_multipart(&path).await.expect("memory");
    upload.put_part(PutPayload::from(content(5, LEN))).await.expect("memory");
    assert_eq!(read(&store, GetOptions::new()).await, content(4, LEN));
    upload.complete().await.expect("memory");
    assert_eq!(read(&store, GetOptions::new()).await, content(5, LEN));
}

#[tokio::test]
async fn preconditions_on_hits_are_the_stores() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    let old = store.get(&path()).await.expect("there");
    let tag = old.meta.e_tag.clone().expect("memory has tags");
    old.bytes().await.expect("read");
    double.forget_requests();
    let matches = |tag: &str| GetOptions::new().with_if_match(Some(tag));
    let differs = |tag: &str| GetOptions::new().with_if_none_match(Some(tag));
    read(&store, matches(&tag)).await;
    read(&store, differs("\"other\"")).await;
    assert!(matches!(store.get_opts(&path(), differs(&tag)).await, Err(Error::NotModified { .. })));
    assert_eq!(double.requests.lock().len(), 0);
    assert!(matches!(store.get_opts(&path(), matches("\"other\"")).await, Err(Error::Precondition { .. })));
    assert_eq!(double.gets(), 1, "who asks for another version may know better");
    double.write(A, content(2, LEN)).await;
    let new = double.inner.head(&path()).await.expect("there").e_tag.expect("memory has tags");
    assert_eq!(read(&store, matches(&new)).await, content(2, LEN));
}

#[tokio::test]
async fn hints_are_followed() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    for (what, gets, held) in [
        (CacheHint::NoAdmit, 1, 0),
        (CacheHint::NoAdmit, 2, 0),
        (CacheHint::Bypass, 3, 0),
        (CacheHint::Immutable, 4, 7),
        (CacheHint::NoAdmit, 4, 7),
        (CacheHint::Bypass, 5, 7),
        (CacheHint::Refetch, 6, 7),
    ] {
        assert_eq!(read(&store, hint(what)).await, content(1, LEN));
        assert_eq!((double.gets(), store.stats().held_pages), (gets, held), "{what:?}");
    }
    double.write(A, content(2, LEN)).await;
    assert_eq!(read(&store, hint(CacheHint::NoAdmit)).await, content(1, LEN));
    assert_eq!(read(&store, hint(CacheHint::Refetch)).await, content(2, LEN));
    assert_eq!(read(&store, GetOptions::new()).await, content(2, LEN));
    assert_eq!(double.heads(), 0);
}

#[tokio::test]
async fn without_a_validator_nothing_is_kept_unless_objects_never_change() {
    for (freshness, again) in [(Freshness::default(), 1), (Freshness::Immutable, 0)] {
        let (double, store) = cache(freshness);
        double.feel(Mood::NoToken);
        double.write(A, content(1, 2 * LEN)).await;
        assert_eq!(store.get_range(&path(), 5..LEN as u64).await.expect("read"), content(1, LEN).slice(5..));
        assert_eq!(double.gets(), 1);
        assert_eq!(store.get_range(&path(), 5..LEN as u64).await.expect("read"), content(1, LEN).slice(5..));
        assert_eq!(double.gets(), 1 + again, "{freshness:?}");
        assert_eq!(read(&store, GetOptions::new()).await, content(1, 2 * LEN));
        assert_eq!(store.stats().held_pages > 0, freshness == Freshness::Immutable);
    }
}

#[tokio::test]
async fn a_large_object_without_a_validator_is_streamed_from_one_get() {
    let (double, store) = cache(Freshness::default());
    double.feel(Mood::NoToken);
    let data = content(1, 20 << 20);
    double.write(A, data.clone()).await;
    let (one, two) = futures::join!(read(&store, GetOptions::new()), read(&store, GetOptions::new()));
    assert!(one == data && two == data);
    assert_eq!(double.gets(), 2, "the second reader cannot tell whether what follows is the same version");
}

#[tokio::test]
async fn intent_goes_down_and_origin_comes_up() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    let ask = || headstart_fetch_core::internal::ask(0..20_000, Intent::Speculative);
    let result = store.get_opts(&path(), ask()).await.expect("there");
    let origin = Origin::of(&result.extensions).expect("always there");
    result.bytes().await.expect("read");
    assert_eq!((origin.wire_bytes(), origin.hit_bytes()), (32 * KIB, 0));
    assert_eq!(Intent::of(&double.requests.lock()[0].extensions), Intent::Speculative);
    let ask = |range| headstart_fetch_core::internal::ask(range, Intent::Demand);
    let result = store.get_opts(&path(), ask(5..10)).await.expect("there");
    let origin = Origin::of(&result.extensions).expect("asked with an intent");
    assert_eq!((origin.wire_bytes(), origin.hit_bytes()), (0, 5));
    let result = store.get_opts(&path(), ask(0..40_000)).await.expect("there");
    let origin = Origin::of(&result.extensions).expect("always there");
    result.bytes().await.expect("read");
    assert_eq!((origin.wire_bytes(), origin.hit_bytes()), (16 * KIB, 32 * KIB));
    assert_eq!(Intent::of(&double.requests.lock()[1].extensions), Intent::Demand);
}

#[tokio::test]
async fn origin_counts_what_a_second_try_fetched() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    store.get_range(&path(), 0..10).await.expect("read");
    double.write(A, content(2, LEN)).await;
    let result = store.get(&path()).await.expect("there");
    let origin = Origin::of(&result.extensions).expect("always there");
    assert!(result.bytes().await.expect("read") == content(2, LEN));
    assert_eq!((origin.wire_bytes(), origin.hit_bytes()), (LEN as u64, 0));
}

#[tokio::test]
async fn hits_are_slices_of_pages() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    read(&store, GetOptions::new()).await;
    let pages = || async {
        let body = store.get(&path()).await.expect("there").into_stream();
        body.map_ok(|page| page.as_ptr()).try_collect::<Vec<_>>().await.expect("read")
    };
    assert_eq!(pages().await, pages().await, "the same memory");
    let parts = store.get_ranges(&path(), &[0..10, 16_384..20_000]).await.expect("read");
    assert_eq!([parts[0].as_ptr(), parts[1].as_ptr()], pages().await[..2]);
}

#[tokio::test]
async fn empty_objects_and_the_end_of_others() {
    let (double, store) = cache(Freshness::default());
    double.write(A, "").await;
    for _ in 0..2 {
        let result = store.get(&path()).await.expect("there");
        assert_eq!((result.range.clone(), result.meta.size), (0..0, 0));
        assert!(result.bytes().await.expect("read").is_empty());
        assert!(read(&store, GetOptions::new().with_range(Some(GetRange::Suffix(3)))).await.is_empty());
        store.get_range(&path(), 0..1).await.expect_err("past the end");
    }
    double.write("b", content(1, LEN)).await;
    for _ in 0..2 {
        for range in [100_000..100_001, 1 << 40..(1 << 40) + 1, 5..5] {
            store.get_range(&"b".into(), range).await.expect_err("no such bytes");
        }
        store.get_opts(&"b".into(), GetOptions::new().with_range(Some(100_000..))).await.expect_err("past the end");
    }
}

#[tokio::test]
async fn the_cache_keeps_to_its_memory() {
    let (double, store) = cache_with(CacheConfig { memory_bytes: 1 << 20, ..CacheConfig::default() });
    for name in 0..20 {
        let path = name.to_string();
        double.write(&path, content(name, LEN)).await;
        store.get(&path.into()).await.expect("there").bytes().await.expect("read");
        assert!(store.stats().held_bytes <= 1 << 20);
    }
    assert!(store.stats().evictions > 0);
    let bad = CacheConfig { memory_bytes: 0, ..CacheConfig::default() };
    let error = CacheStore::new(double, bad).map(|_| ()).expect_err("no room at all").to_string();
    assert!(error.contains("memory_bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn answers_say_until_when_they_may_be_trusted() {
    let second = Duration::from_secs(1);
    for (ttl, expires) in [(second, true), (Duration::MAX, false)] {
        let (double, store) = cache(Freshness::Ttl(ttl));
        double.write(A, content(1, LEN)).await;
        let until = async |range| {
            let answer = store
                .get_opts(&path(), headstart_fetch_core::internal::ask(range, Intent::Demand))
                .await
                .expect("there");
            answer.extensions.get().map(|FreshUntil(until)| *until)
        };
        let asked = tokio::time::Instant::now();
        for (range, wait) in [(0..10, second / 2), (5..10, second), (0..10, second), (0..20_000, second)] {
            let wanted = if tokio::time::Instant::now() < asked + second { asked } else { tokio::time::Instant::now() };
            // After the time-to-live, the next read asks the store, and its answer is trusted again.
            assert_eq!(until(range.clone()).await, expires.then(|| wanted + ttl), "{range:?}");
            tokio::time::sleep(wait).await;
        }
    }
}
