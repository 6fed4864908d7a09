//! The version of an answer: what identifies it, how long it is trusted, and what a call that names a version gets.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{cache, content};
use chrono::{DateTime, TimeDelta};
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::Intent;
use headstart_fetch_core::internal::{ConfirmedAt, ask};
use headstart_sim::{Content, LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const A: &str = "a";
const LEN: usize = 100_000;

fn path() -> Path {
    Path::from(A)
}

/// Sets an old modification date, a minute later for each version.
fn date_versions(meta: &mut ObjectMeta) {
    let version =
        meta.e_tag.as_ref().and_then(|tag| tag.trim_matches('"').parse().ok()).expect("memory counts versions");
    meta.last_modified = DateTime::UNIX_EPOCH + TimeDelta::days(9000) + TimeDelta::minutes(version);
}

/// Sets a weak entity tag that is the same for all versions, and no date.
fn weak_tag(meta: &mut ObjectMeta) {
    meta.e_tag = Some("W/\"a\"".into());
    meta.last_modified = DateTime::UNIX_EPOCH;
}

/// Sets a weak entity tag that is the same for all versions, and a date.
fn weak_tag_and_date(meta: &mut ObjectMeta) {
    date_versions(meta);
    meta.e_tag = Some("W/\"a\"".into());
}

/// Sets a date and no entity tag.
fn date_alone(meta: &mut ObjectMeta) {
    date_versions(meta);
    meta.e_tag = None;
}

/// Sets a date and no entity tag. The date becomes old enough two seconds after the write.
fn nearly_a_minute_old(meta: &mut ObjectMeta) {
    meta.last_modified -= TimeDelta::seconds(58);
    meta.e_tag = None;
}

#[tokio::test(start_paused = true)]
async fn two_versions_under_one_weak_tag_never_mix() {
    for meta in [weak_tag, weak_tag_and_date] {
        let (double, store) = cache(Freshness::default());
        *double.meta.lock() = Some(meta);
        double.write(A, content(1, LEN)).await;
        assert_eq!(store.get_range(&path(), 0..10).await.expect("read"), content(1, 10));
        double.write(A, content(2, LEN)).await;
        let all = store.get_range(&path(), 0..LEN as u64).await.expect("read");
        assert!(all == content(2, LEN), "one version, and the new one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_weak_tag_alone_is_no_validator_and_a_modification_date_is_one() {
    for (meta, again) in [(weak_tag as fn(&mut ObjectMeta), 1), (weak_tag_and_date, 0), (date_alone, 0)] {
        let (double, store) = cache(Freshness::default());
        *double.meta.lock() = Some(meta);
        double.write(A, content(1, LEN)).await;
        for gets in [1, 1 + again] {
            assert_eq!(store.get_range(&path(), 5..20).await.expect("read"), content(1, 20).slice(5..));
            assert_eq!(double.gets(), gets);
        }
        // Two requests for one answer; the second finds another version.
        double.write(A, content(2, LEN)).await;
        let all = store.get_range(&path(), 0..LEN as u64).await.expect("read");
        assert!(all == content(2, LEN));
    }
}

#[tokio::test]
async fn a_fresh_modification_date_becomes_a_validator_when_it_is_old_enough() {
    let (double, store) = cache(Freshness::default());
    *double.meta.lock() = Some(nearly_a_minute_old);
    double.write(A, content(1, LEN)).await;
    for (wait, gets) in [(0, 1), (0, 2), (2100, 3), (0, 3)] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        store.get_range(&path(), 5..20).await.expect("read");
        assert_eq!(double.gets(), gets);
    }
}

#[tokio::test(start_paused = true)]
async fn the_windows_of_two_caches_do_not_add_up() {
    let (double, below) = cache(Freshness::Ttl(Duration::from_secs(60)));
    double.write(A, content(1, LEN)).await;
    let freshness = Freshness::Ttl(Duration::from_secs(60));
    let config = CacheConfig { freshness, page_bytes: 16 << 10, ..CacheConfig::default() };
    let until = |seconds| tokio::time::sleep_until(Instant::now() + Duration::from_secs(seconds));
    below.get_range(&path(), 0..10).await.expect("read");
    until(1).await;
    double.write(A, content(2, LEN)).await;
    until(9).await;
    let above = CacheStore::new(Arc::new(below), config).expect("a good config");
    assert_eq!(above.get_range(&path(), 0..10).await.expect("read"), content(1, 10), "within the window");
    until(49).await;
    assert_eq!(above.get_range(&path(), 0..10).await.expect("read"), content(1, 10), "within the window");
    until(10).await;
    assert_eq!(above.get_range(&path(), 0..10).await.expect("read"), content(2, 10), "at 69 s");
}

#[tokio::test(start_paused = true)]
async fn answers_say_when_their_version_was_confirmed() {
    let (double, store) = cache(Freshness::default());
    double.write(A, content(1, LEN)).await;
    let asked = Instant::now();
    *double.delay.lock() = Duration::from_secs(2);
    for range in [0..10, 5..10, 0..20_000] {
        let confirms = range.end == 20_000;
        let sent = Instant::now();
        let answer = store.get_opts(&path(), ask(range, Intent::Demand)).await.expect("there");
        let ConfirmedAt(at) = *answer.extensions.get().expect("asked with an intent");
        assert_eq!(at, if confirms { sent } else { asked });
        answer.bytes().await.expect("read");
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let requests = double.requests.lock();
    assert!(requests.iter().all(|request| request.extensions.get::<Intent>().is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_read_beyond_the_known_end_asks_once_whether_the_object_has_grown() {
    const LONG: usize = 3 * LEN;
    let end = LONG as u64;
    for (what, heads) in [("get", 1), ("ranges", 1), ("warm", 1), ("offset", 1), ("partly beyond", 1)] {
        let (double, store) = cache(Freshness::default());
        double.write(A, content(1, LEN)).await;
        store.get(&path()).await.expect("there").bytes().await.expect("read");
        tokio::time::sleep(Duration::from_secs(10)).await;
        double.write(A, content(2, LONG)).await;
        double.forget_requests();
        let data = content(2, LONG);
        match what {
            "get" => assert_eq!(store.get_range(&path(), end - 8..end).await.expect("read"), data.slice(LONG - 8..)),
            "ranges" => {
                let parts = store.get_ranges(&path(), &[0..8, end - 8..end]).await.expect("read");
                assert_eq!(parts, [data.slice(..8), data.slice(LONG - 8..)]);
            }
            "warm" => assert_eq!(store.warm(&path(), &[0..end]).await.expect("there"), end),
            "offset" => {
                let options = GetOptions::new().with_range(Some(end - 8..));
                let read = store.get_opts(&path(), options).await.expect("there").bytes().await.expect("read");
                assert_eq!(read, data.slice(LONG - 8..));
            }
            _ => {
                let read = store.get_range(&path(), 50_000..end).await.expect("read");
                assert!(read == data.slice(50_000..));
            }
        }
        assert_eq!(double.heads(), heads, "{what}");
        // Where the object has not grown, the error is the store's, after one request.
        double.forget_requests();
        let error = store.get_range(&path(), end..end + 1).await.expect_err("past the end").to_string();
        assert!(error.contains("300000"), "{error}");
        assert_eq!((double.gets(), double.heads()), (0, 1));
        // A read beyond the end costs no request while the version was confirmed a moment ago.
        for _ in 0..3 {
            assert_eq!(store.get_range(&path(), end - 8..end + 8).await.expect("read"), data.slice(LONG - 8..));
        }
        assert_eq!(double.heads(), 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.get_range(&path(), end - 8..end + 8).await.expect("read");
        assert_eq!(double.heads(), 2);
    }
    let (double, store) = cache(Freshness::Immutable);
    double.write(A, content(1, LEN)).await;
    store.get(&path()).await.expect("there").bytes().await.expect("read");
    store.get_range(&path(), end - 8..end).await.expect_err("past the end");
    assert_eq!((double.gets(), double.heads()), (1, 0));
}

/// A versioned bucket with two versions of an object, and a cache over the bucket.
fn versioned(freshness: Freshness) -> (SimStore, CacheStore, [String; 2]) {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).versioned(true).build();
    let old = sim.catalog().add_synthetic(A, 300_000).number;
    let new = sim.overwrite(A, Some(200_000)).expect("there").number;
    let config = CacheConfig { freshness, ..CacheConfig::default() };
    let store = CacheStore::new(Arc::new(sim.clone()), config).expect("a good config");
    (sim, store, [old, new].map(|number| number.to_string()))
}

/// Reads `range` of a named version or the present one, and checks that the bytes are of the version called `expected`.
async fn read(store: &CacheStore, version: Option<&str>, range: Range<u64>, expected: &str) {
    let options = GetOptions { version: version.map(Into::into), ..GetOptions::new().with_range(Some(range.clone())) };
    let answer = store.get_opts(&path(), options).await.expect("there");
    assert_eq!(answer.meta.version.as_deref(), Some(expected));
    let bytes = answer.bytes().await.expect("read");
    assert_eq!(bytes.len() as u64, range.end - range.start);
    let content = Content::new(A, expected.parse().expect("a generation"));
    content.check(range.start, &bytes).expect("the version's own bytes");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_finds_another_version_is_counted() {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build();
    let old = sim.catalog().add_synthetic(A, 300_000).number;
    let store = CacheStore::new(Arc::new(sim.clone()), CacheConfig::default()).expect("a good config");
    read(&store, None, 0..1000, &old.to_string()).await;
    let new = sim.overwrite(A, None).expect("there").number;
    // The old version is trusted still; the store refuses another page of it.
    read(&store, None, 200_000..201_000, &new.to_string()).await;
    assert_eq!(store.stats().object_changes, 1);
    read(&store, None, 0..1000, &new.to_string()).await;
    assert_eq!(store.stats().object_changes, 1);
}

#[tokio::test(start_paused = true)]
async fn versions_asked_for_by_name_are_cached_and_never_mixed_with_the_present_one() {
    for freshness in [Freshness::default(), Freshness::OnOpen, Freshness::Immutable] {
        let (sim, store, [old, new]) = versioned(freshness);
        for version in [&new, &old] {
            sim.log().clear();
            for n in 0..100 {
                read(&store, Some(version), n * 1000..n * 1000 + 500, version).await;
            }
            assert_eq!((sim.log().counts().gets, sim.log().counts().heads), (2, 0), "one a page of 64 KiB");
        }
        sim.log().clear();
        // One GET finds the present version, which shares the pages that were fetched by its name.
        read(&store, None, 130_000..140_000, &new).await;
        assert_eq!((sim.log().counts().gets, sim.log().counts().heads), (1, 0));
        for version in [None, Some(&*new)] {
            read(&store, version, 0..150_000, &new).await;
        }
        assert_eq!(sim.log().counts().gets, 1, "pages that were fetched by name");
        read(&store, Some(&old), 0..300_000, &old).await;
        read(&store, None, 0..200_000, &new).await;
        let counts = sim.log().counts();
        assert_eq!((counts.gets, counts.heads), (3, 0));
        // A write through the cache drops the named versions, too.
        store.delete(&path()).await.expect("there");
        sim.log().clear();
        read(&store, Some(&old), 0..10, &old).await;
        assert_eq!(sim.log().counts().gets + sim.log().counts().heads, 1, "asked again");
        let error = store.get_range(&path(), 0..10).await.expect_err("deleted");
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
        read(&store, Some(&old), 0..10, &old).await;
    }
}

/// A read of a named version joins the fetch of a read of the present one. After an overwrite, only the fetch of the
/// present version fails.
#[tokio::test(start_paused = true)]
async fn a_version_asked_for_by_name_does_not_fail_with_a_fetch_of_the_present_one() {
    const SIZE: u64 = 20 << 20;
    let (sim, store, _) = versioned(Freshness::default());
    let version = sim.overwrite(A, Some(SIZE)).expect("there").number.to_string();
    for name in [None, Some(&*version)] {
        read(&store, name, 0..10, &version).await;
    }
    let named = GetOptions { version: Some(version.clone()), ..GetOptions::new() };
    let body = store.get_opts(&path(), named).await.expect("there");
    let key = path();
    let mut present = std::pin::pin!(store.get_range(&key, (9 << 20)..(9 << 20) + 10));
    assert!(futures::poll!(&mut present).is_pending());
    sim.overwrite(A, Some(SIZE)).expect("there");
    let (bytes, _) = futures::join!(body.bytes(), present);
    let bytes = bytes.expect("the bucket still has this version");
    Content::new(A, version.parse().expect("a generation")).check(0, &bytes).expect("the version's own bytes");
    assert_eq!(bytes.len() as u64, SIZE);
}

/// A read of the present version joins the fetch of a read of a named one, which an overwrite removes. Only the latter
/// fails.
#[tokio::test(start_paused = true)]
async fn the_present_version_does_not_fail_with_a_fetch_of_one_asked_for_by_name() {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).versioned(false).build();
    let old = sim.catalog().add_synthetic(A, 300_000).number.to_string();
    let store = CacheStore::new(Arc::new(sim.clone()), CacheConfig::default()).expect("a good config");
    for name in [None, Some(&*old)] {
        read(&store, name, 0..10, &old).await;
    }
    let range = 200_000..200_010;
    let options = GetOptions { version: Some(old), ..GetOptions::new().with_range(Some(range.clone())) };
    let new = sim.overwrite(A, Some(300_000)).expect("there").number;
    let key = path();
    let mut named = std::pin::pin!(store.get_opts(&key, options));
    assert!(futures::poll!(&mut named).is_pending());
    let mut present = std::pin::pin!(store.get_range(&key, range));
    assert!(futures::poll!(&mut present).is_pending());
    let (named, present) = futures::join!(named, present);
    let error = named.expect_err("the bucket keeps no versions");
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    Content::new(A, new).check(200_000, &present.expect("there")).expect("the new bytes");
    // A 404 to a request by name says it. To ask by a HEAD, which may fail, is not needed.
    assert_eq!(sim.log().counts().heads, 0);
}

#[tokio::test(start_paused = true)]
async fn a_version_asked_for_by_name_is_validated_by_name() {
    let (sim, store, [old, new]) = versioned(Freshness::Ttl(Duration::from_secs(10)));
    for (wait, gets, heads) in [(0, 1, 0), (9, 1, 0), (1, 1, 1), (0, 1, 1)] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        read(&store, Some(&old), 5..10, &old).await;
        assert_eq!((sim.log().counts().gets, sim.log().counts().heads), (gets, heads), "after {wait} s");
    }
    let head = store.head(&path()).await.expect("there");
    assert_eq!(head.version.as_deref(), Some(&*new));
    let missing = GetOptions { version: Some("999999".into()), ..GetOptions::new() };
    for _ in 0..2 {
        let error = store.get_opts(&path(), missing.clone()).await.expect_err("no such version");
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
    read(&store, None, 0..10, &new).await;
}
