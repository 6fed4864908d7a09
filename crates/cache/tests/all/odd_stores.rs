//! The cache over stores that behave oddly, or fail in the ordinary way: pages stay right, and the cache stays on. In
//! virtual time.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

use crate::odd::*;
use headstart_cache::*;
use headstart_fetch_core::internal::RangeOrigin;
use object_store::path::Path;
use object_store::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const BIG: usize = 16 << 20;
fn p(k: &str) -> Path {
    Path::from(k)
}
fn store(odd: &Arc<Odd>, freshness: Freshness) -> CacheStore {
    CacheStore::new(odd.clone(), CacheConfig { freshness, ..CacheConfig::default() }).unwrap()
}
fn gets(odd: &Odd) -> usize {
    odd.requests().iter().filter(|(_, o)| !o.head).count()
}

/// Pages in memory are served, whatever error one request got.
#[tokio::test(start_paused = true)]
async fn one_odd_error_does_not_turn_the_cache_off() {
    let fail = Arc::new(AtomicBool::new(false));
    let f = fail.clone();
    let odd =
        Odd::new(move |_, _, _, a| if f.swap(false, Ordering::SeqCst) { Err(status("400 Bad Request")) } else { a });
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    odd.set("b", pattern(BIG, 1), Some("\"1\""));
    let s = store(&odd, Freshness::Immutable);
    s.get_range(&p("a"), 0..1000).await.unwrap();
    odd.clear();
    s.get_range(&p("a"), 0..1000).await.unwrap();
    assert_eq!(gets(&odd), 0, "a hit");
    s.get_range(&p("a"), 2_000_000..2_001_000).await.unwrap();
    fail.store(true, Ordering::SeqCst);
    s.get_range(&p("a"), 8_000_000..8_001_000).await.unwrap();
    for _ in 0..2 {
        s.get_range(&p("a"), 4_000_000..4_300_000).await.unwrap();
    }
    odd.clear();
    for _ in 0..5 {
        s.get_range(&p("a"), 0..1000).await.unwrap();
        s.get_range(&p("a"), 4_000_000..4_300_000).await.unwrap();
    }
    assert_eq!(gets(&odd), 0);
}

/// A HEAD fails once with an error that passes (an expired token), and the GET after it is answered.
#[tokio::test(start_paused = true)]
async fn one_failed_head_does_not_turn_validation_off() {
    let fail = Arc::new(AtomicBool::new(false));
    let f = fail.clone();
    let odd = Odd::new(
        move |_, _, o, a| if o.head && f.swap(false, Ordering::SeqCst) { Err(status("400 Bad Request")) } else { a },
    );
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = store(&odd, Freshness::EveryRead);
    s.get(&p("a")).await.unwrap().bytes().await.unwrap();
    odd.clear();
    s.get_range(&p("a"), 0..1000).await.unwrap();
    assert_eq!(gets(&odd), 0, "a HEAD is enough");
    fail.store(true, Ordering::SeqCst);
    s.get_range(&p("a"), 0..1000).await.unwrap();
    odd.clear();
    for _ in 0..5 {
        s.get_range(&p("a"), 0..1000).await.unwrap();
    }
    assert_eq!(gets(&odd), 0);
}

/// An object is deleted and written again between the HEAD and the GET.
#[tokio::test(start_paused = true)]
async fn an_object_that_comes_back_does_not_turn_validation_off() {
    let gone = Arc::new(AtomicBool::new(false));
    let f = gone.clone();
    let odd = Odd::new(move |_, _, o, a| {
        if o.head && f.swap(false, Ordering::SeqCst) {
            Err(Error::NotFound { path: "a".into(), source: "404".into() })
        } else {
            a
        }
    });
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = store(&odd, Freshness::EveryRead);
    s.get(&p("a")).await.unwrap().bytes().await.unwrap();
    gone.store(true, Ordering::SeqCst);
    s.get_range(&p("a"), 0..1000).await.unwrap();
    odd.clear();
    for _ in 0..5 {
        s.get_range(&p("a"), 0..1000).await.unwrap();
    }
    // The first read may fetch again, the reads after it may not.
    assert!(gets(&odd) <= 1, "{}", gets(&odd));
}

/// A layer above sends its caller's own request for an object that is known here. This is not a refusal.
#[tokio::test(start_paused = true)]
async fn a_request_as_asked_is_no_refusal() {
    let odd = Odd::correct();
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = store(&odd, Freshness::Immutable);
    s.get(&p("a")).await.unwrap().bytes().await.unwrap();
    let mut options = GetOptions::new();
    options.extensions.insert(RangeOrigin::Asked);
    s.get_opts(&p("a"), options).await.unwrap().bytes().await.unwrap();
    odd.clear();
    for _ in 0..5 {
        s.get_range(&p("a"), 0..1000).await.unwrap();
        s.get_range(&p("a"), 0..1_000_000).await.unwrap();
    }
    assert_eq!(gets(&odd), 0);
}

/// An object is overwritten by a shorter one; only dates identify versions. The next reads succeed.
#[tokio::test(start_paused = true)]
async fn a_shorter_overwrite_does_not_turn_the_cache_off() {
    for freshness in [Freshness::EveryRead, Freshness::Ttl(Duration::from_secs(60)), Freshness::OnOpen] {
        for tags in [true, false] {
            let odd = Odd::correct();
            odd.set("a", pattern(BIG, 1), tags.then_some("\"1\""));
            odd.set("b", pattern(BIG, 1), tags.then_some("\"1\""));
            let s = store(&odd, freshness);
            s.get_range(&p("a"), 0..1000).await.unwrap();
            odd.set_at("a", pattern(100_000, 2), tags.then_some("\"2\""), old() + Duration::from_secs(100));
            let _ = s.get_range(&p("a"), 8_000_000..8_001_000).await;
            let _ = s.get_ranges(&p("a"), &[9_000_000..9_001_000, 0..10]).await;
            assert_eq!(s.get_range(&p("a"), 0..10).await.unwrap(), pattern(100_000, 2).slice(..10));
            odd.set_at("a", pattern(0, 2), tags.then_some("\"3\""), old() + Duration::from_secs(200));
            let _ = s.get_range(&p("a"), 8_000_000..8_001_000).await;
            let _ = s.get_range(&p("a"), 0..1000).await;
            let _ = s.get(&p("a")).await;
            odd.objects.lock().remove("a");
            let _ = s.get_range(&p("a"), 8_000_000..8_001_000).await;
            let _ = s.get_range(&p("a"), 0..1000).await;
            let _ = s.get(&p("a")).await;
            s.get_range(&p("b"), 0..1000).await.unwrap();
            odd.clear();
            s.get_range(&p("b"), 0..1000).await.unwrap();
            assert_eq!(gets(&odd), 0, "{freshness:?} tags {tags}");
        }
    }
}

/// A known object has grown, and its new end is read while the old version is trusted.
#[tokio::test(start_paused = true)]
async fn ranges_past_the_end_and_growth() {
    let odd = Odd::correct();
    odd.set("a", pattern(1000, 1), Some("\"1\""));
    odd.set("b", pattern(BIG, 1), Some("\"1\""));
    let s = store(&odd, Freshness::Ttl(Duration::from_secs(60)));
    assert!(s.get_range(&p("a"), 5000..6000).await.is_err());
    assert!(s.get_ranges(&p("a"), &[0..10, 5000..6000]).await.is_err());
    s.get_range(&p("a"), 0..10).await.unwrap();
    assert!(s.get_range(&p("a"), 5000..6000).await.is_err());
    assert!(s.get_ranges(&p("a"), &[0..10, 5_000_000..6_000_000]).await.is_err());
    odd.set_at("a", pattern(BIG, 2), Some("\"2\""), old() + Duration::from_secs(100));
    assert_eq!(s.get_range(&p("a"), 5_000_000..5_000_010).await.unwrap(), pattern(BIG, 2).slice(5_000_000..5_000_010));
    s.get_range(&p("b"), 0..1000).await.unwrap();
    odd.clear();
    s.get_range(&p("b"), 0..1000).await.unwrap();
    assert_eq!(gets(&odd), 0);
}

/// The strong tag changes and the date stays: no answer mixes pages of both versions.
#[tokio::test(start_paused = true)]
async fn pages_are_of_one_version_where_dates_stay() {
    let odd = Odd::correct();
    let (one, two) = (pattern(BIG, 1), pattern(BIG, 0xfe));
    odd.set("a", one.clone(), Some("\"1\""));
    let s = store(&odd, Freshness::Ttl(Duration::from_secs(60)));
    s.get_range(&p("a"), 0..1000).await.unwrap();
    odd.set("a", two.clone(), Some("\"2\""));
    let got = s.get_range(&p("a"), 0..BIG as u64).await;
    let got = got.unwrap();
    assert!(got == one || got == two, "torn");
}

/// One 400 for the first pinned request of a correct store turns pins off.
#[tokio::test(start_paused = true)]
async fn one_400_does_not_turn_pins_off() {
    let fail = Arc::new(AtomicBool::new(false));
    let f = fail.clone();
    let odd =
        Odd::new(move |_, _, _, a| if f.swap(false, Ordering::SeqCst) { Err(status("400 Bad Request")) } else { a });
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = store(&odd, Freshness::Immutable);
    s.get_range(&p("a"), 0..1000).await.unwrap();
    fail.store(true, Ordering::SeqCst);
    s.get_range(&p("a"), 8_000_000..8_001_000).await.unwrap();
    odd.clear();
    s.get_range(&p("a"), 2_000_000..2_001_000).await.unwrap();
    assert!(odd.requests().iter().all(|(_, o)| o.if_match.is_some()));
}
