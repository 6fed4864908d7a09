//! What the statistics say of requests: how they ended, how long they took and waited. Exact figures in virtual time.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{self, Altered, KEY, KIB, Setup, check_body, path, settle};
use futures::FutureExt;
use headstart_fetch_core::internal::ask;
use headstart_fetch_core::{
    FetchConfig, FetchStore, Intent, ObjectChanged, OutcomeCounts, TIME_BOUNDS_US, Throttled, TimeHistogram,
};
use headstart_sim::FaultPlan;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt};

/// The bucket of a time.
fn bucket(us: u64) -> usize {
    TIME_BOUNDS_US.partition_point(|bound| *bound < us)
}

/// The histogram of these times.
fn histogram(times_us: &[u64]) -> TimeHistogram {
    let mut histogram = TimeHistogram::default();
    for us in times_us {
        let bucket = &mut histogram.buckets[bucket(*us)];
        bucket.count += 1;
        bucket.total_us += us;
    }
    histogram
}

#[tokio::test(start_paused = true)]
async fn times_to_the_first_byte_and_of_bodies_are_measured() {
    let bench = Setup::default().build();
    for _ in 0..3 {
        bench.read(ask(0..2 * KIB, Intent::Demand)).await.unwrap();
    }
    let stats = bench.store.stats();
    // 10 ms to the first byte, then 200 kB/s: 10.24 ms. The clock of the tests has whole milliseconds.
    assert_eq!(stats.first_byte, histogram(&[10_000; 3]));
    assert_eq!(stats.body, histogram(&[11_000; 3]));

    // A body that is dropped has a first byte and no end.
    let answer = bench.store.get_opts(&path(), ask(0..2 * KIB, Intent::Demand)).await.unwrap();
    drop(answer);
    let stats = bench.store.stats();
    assert_eq!((stats.first_byte.count(), stats.body.count(), stats.cancels), (4, 3, 1));
}

/// A store that answers the first requests with these errors.
fn failing(bench: &common::Bench, errors: Vec<Error>, retries: usize) -> FetchStore {
    let errors = one_by_one(errors);
    let inner = Altered::new(bench.sim.clone(), move |options| match errors() {
        Some(error) => Err(error),
        None => Ok(options),
    });
    let config = FetchConfig { retries, jitter_seed: Some(1), ..Setup::default().config() };
    FetchStore::new(Arc::new(inner), config).unwrap()
}

/// Takes one error after the other.
fn one_by_one(errors: Vec<Error>) -> impl Fn() -> Option<Error> + Send + Sync + 'static {
    let errors = std::sync::Mutex::new(errors.into_iter());
    move || errors.lock().unwrap().next()
}

fn throttled() -> Error {
    Error::Generic { store: "test", source: Throttled { status: 429, retry_after: None }.into() }
}

fn broken() -> Error {
    Error::Generic { store: "test", source: std::io::Error::from(std::io::ErrorKind::ConnectionReset).into() }
}

fn missing() -> Error {
    Error::NotFound { path: KEY.to_owned(), source: "gone".into() }
}

#[tokio::test(start_paused = true)]
async fn each_try_counts_by_why_it_was_sent_and_how_it_ended() {
    let bench = Setup::default().build();
    let store = failing(&bench, vec![throttled(), broken(), missing(), throttled(), missing()], 10);
    let path = path();
    let read = |intent| store.get_opts(&path, ask(0..KIB, intent));
    assert!(matches!(read(Intent::Demand).await, Err(Error::NotFound { .. })));
    assert!(matches!(read(Intent::Speculative).await, Err(Error::NotFound { .. })));
    check_body(read(Intent::Demand).await.unwrap()).await.unwrap();
    store.head(&path).await.unwrap();
    // Given up before its answer.
    assert!(read(Intent::Speculative).now_or_never().is_none());
    let none = OutcomeCounts::default();
    let outcomes = store.stats().outcomes;
    assert_eq!(outcomes.demand, OutcomeCounts { answered: 1, refused: 1, throttled: 1, failed: 1, ..none });
    assert_eq!(outcomes.speculative, OutcomeCounts { refused: 1, throttled: 1, cancelled: 1, ..none });
    assert_eq!(outcomes.head, OutcomeCounts { answered: 1, ..none });
    assert_eq!((outcomes.hedge, outcomes.throttled()), (none, 2));
}

#[tokio::test(start_paused = true)]
async fn hedges_and_the_requests_that_they_replace_are_both_counted() {
    let faults = FaultPlan { seed: 5, late: 0.02, late_by: Duration::from_secs(5), ..FaultPlan::default() };
    let bench = Setup { faults, ..Setup::default() }.build();
    for _ in 0..500 {
        bench.read(ask(0..KIB, Intent::Demand)).await.unwrap();
    }
    let stats = bench.store.stats();
    let (demand, hedge) = (stats.outcomes.demand, stats.outcomes.hedge);
    assert!(stats.hedges_won > 3, "seed 5: {stats:?}");
    assert_eq!((hedge.answered, hedge.answered + hedge.cancelled), (stats.hedges_won, stats.hedges));
    assert_eq!((demand.answered, demand.cancelled), (500 - stats.hedges_won, stats.hedges_won));
    assert_eq!(stats.cancels, demand.cancelled + hedge.cancelled);
    assert_eq!((stats.first_byte.count(), stats.body.count()), (500, 500));
}

#[tokio::test(start_paused = true)]
async fn waits_for_permits_are_counted_and_timed() {
    let bench = Setup { concurrency: 1, ..Setup::default() }.build();
    let read = || bench.read(ask(0..2 * KIB, Intent::Demand));
    let (mut first, mut second, mut third) = (read().boxed(), read().boxed(), read().boxed());
    assert!(futures::poll!(&mut first).is_pending());
    assert!(futures::poll!(&mut second).is_pending());
    assert!(futures::poll!(&mut third).is_pending());
    assert_eq!((bench.store.stats().permit_waits, bench.store.stats().waiting), (2, 2));
    // Who gives up waits no more.
    drop(third);
    assert_eq!((bench.store.stats().permit_waits, bench.store.stats().waiting), (2, 1));
    let began = tokio::time::Instant::now();
    first.await.unwrap();
    let one_us = u64::try_from(began.elapsed().as_micros()).unwrap();
    second.await.unwrap();
    let stats = bench.store.stats();
    assert_eq!((stats.permit_waits, stats.waiting, stats.permit_waited_us), (2, 0, one_us));
    assert!(one_us > 10_000, "{one_us}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_ends_since_its_object_changed_counts_once() {
    let bench = Setup::default().build();
    let answer = bench.store.get_opts(&path(), GetOptions::new()).await.unwrap();
    bench.sim.overwrite(KEY, None).unwrap();
    let error = check_body(answer).await.unwrap_err();
    assert!(ObjectChanged::find(&error).is_some(), "{error}");
    settle().await;
    assert_eq!(bench.store.stats().object_changes, 1);
    // The next read has the new version.
    bench.read(GetOptions::new()).await.unwrap();
    assert_eq!(bench.store.stats().object_changes, 1);
}
