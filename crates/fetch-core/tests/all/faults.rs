//! Faults of stores and links: what reads cost then, in virtual time. Prints exact figures.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{self, Altered, Bench, KIB, MIB, Setup, check_body, path, settle};
use futures::StreamExt;
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchError, FetchStats, FetchStore, ObjectChanged, Throttled};
use headstart_sim::{ExternalChange, FaultEvent, FaultPlan, LinkProfile, ReadAnswer, SeededRng, When};
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const OBJECT_BYTES: u64 = 1024 * MIB;

fn cloud(link: LinkProfile, faults: FaultPlan) -> Setup {
    let profile = BackendProfile::default();
    Setup { link, faults, profile, size: OBJECT_BYTES, concurrency: 32, seed: 3, ..Setup::default() }
}

/// Times of reads, in ascending order.
struct Times(Vec<Duration>);

impl Times {
    /// The time within which `per_mille` of 1,000 reads end.
    fn quantile(&self, per_mille: usize) -> Duration {
        self.0[(self.0.len() * per_mille / 1000).min(self.0.len() - 1)]
    }

    /// The quantile as a multiple of `unit`.
    fn ratio(&self, per_mille: usize, unit: Duration) -> f64 {
        self.quantile(per_mille).as_secs_f64() / unit.as_secs_f64()
    }
}

/// `reads` reads of 1 MiB at random offsets, by `readers` at a time. Every byte is checked.
async fn random_reads(bench: &Bench, store: &dyn ObjectStore, reads: usize, readers: usize) -> Times {
    let mut dice = SeededRng::new(11);
    let path = path();
    let starts: Vec<u64> = (0..reads).map(|_| dice.below(bench.size - MIB)).collect();
    let mut times: Vec<Duration> = futures::stream::iter(starts)
        .map(async |start| {
            let began = Instant::now();
            let options = GetOptions::new().with_range(Some(start..start + MIB));
            let read = check_body(store.get_opts(&path, options).await.expect("an answer")).await;
            assert_eq!(read.expect("a body"), MIB);
            began.elapsed()
        })
        .buffer_unordered(readers)
        .collect()
        .await;
    times.sort_unstable();
    Times(times)
}

/// The 95th percentile of a read of the plain store without faults.
async fn calm_p95() -> Duration {
    let bench = cloud(LinkProfile::gcs().lognormal(), FaultPlan::default()).build();
    random_reads(&bench, &bench.sim, 10_000, 1).await.quantile(950)
}

fn show(what: &str, times: &Times, calm: Duration, stats: &FetchStats) {
    eprintln!(
        "{what}: calm p95 {calm:?}; p50 {:?}, p99 {:?} = {:.2} ×, p99.9 {:?} = {:.2} ×, longest {:?}; \
         {} GETs, {} hedges, {} won, {} retries",
        times.quantile(500),
        times.quantile(990),
        times.ratio(990, calm),
        times.quantile(999),
        times.ratio(999, calm),
        times.quantile(1000),
        stats.gets(),
        stats.hedges,
        stats.hedges_won,
        stats.retries,
    );
}

fn late() -> FaultPlan {
    FaultPlan { seed: 5, late: 0.01, late_by: Duration::from_secs(5), ..FaultPlan::default() }
}

#[tokio::test(start_paused = true)]
async fn late_first_bytes_are_hedged() {
    let calm = calm_p95().await;
    // A connection whose answer is dropped is lost, and a new one costs 30 ms more.
    for (readers, warm_connections, limit) in [(1, 10_000, 2.0), (8, 10_000, 2.0), (1, 1, 2.5)] {
        let bench = Setup { warm_connections, ..cloud(LinkProfile::gcs().lognormal(), late()) }.build();
        let times = random_reads(&bench, &bench.store, 10_000, readers).await;
        let stats = bench.store.stats();
        show(&format!("1 % 5 s late, {readers} at a time, {warm_connections} warm"), &times, calm, &stats);
        assert!(times.ratio(999, calm) <= limit);
        assert!(stats.gets() <= 10_500, "{} GETs", stats.gets());
        let counts = bench.sim.log().counts();
        assert_eq!((counts.gets, counts.aborted), (stats.gets(), stats.cancels));
        assert_eq!(
            (stats.fetched_bytes, stats.wasted_bytes),
            (10_000 * MIB, 0),
            "the slower answer is dropped at once"
        );
        bench.assert_nothing_left("at the end");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_cuts_and_stalls_cost_little() {
    let calm = calm_p95().await;
    for (readers, warm_connections, limit) in [(1, 10_000, 6.0), (8, 10_000, 6.0), (1, 1, 6.5)] {
        let stall = Duration::from_secs(30);
        let faults = FaultPlan { unavailable: 0.05, cut: 0.02, stalled: 0.005, stall, ..late() };
        let bench = Setup { warm_connections, ..cloud(LinkProfile::gcs().lognormal(), faults) }.build();
        let times = random_reads(&bench, &bench.store, 10_000, readers).await;
        show(
            &format!("everything goes wrong, {readers} at a time, {warm_connections} warm"),
            &times,
            calm,
            &bench.store.stats(),
        );
        assert!(times.ratio(990, calm) <= 3.0);
        assert!(times.ratio(999, calm) <= limit);
        bench.assert_nothing_left("at the end");
    }
}

#[tokio::test(start_paused = true)]
async fn without_hedges_a_late_first_byte_is_waited_for() {
    let bench = Setup { hedge: false, ..cloud(LinkProfile::gcs().lognormal(), late()) }.build();
    let times = random_reads(&bench, &bench.store, 1000, 1).await;
    assert!(times.quantile(1000) >= Duration::from_secs(5));
    assert_eq!((bench.store.stats().hedges, bench.store.stats().gets()), (0, 1000));
}

/// The whole link is, or becomes, 200 ms slower. This does not affect single requests only, so hedges would not
/// help.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_slow_as_a_whole_is_not_hedged() {
    for (link, calm_reads) in [LinkProfile::gcs(), LinkProfile::gcs().lognormal()]
        .into_iter()
        .flat_map(|link| [(link.clone(), 0), (link, 1000)])
    {
        let bench = cloud(link.clone(), FaultPlan::default()).build();
        let slower = Arc::new(ThrottledStore::new(bench.sim.clone(), ThrottleConfig::default()));
        let store = FetchStore::new(slower.clone(), FetchConfig::default()).expect("valid settings");
        random_reads(&bench, &store, calm_reads, 1).await;
        slower.config_mut(|config| config.wait_get_per_call = 200 * MS);
        let calm = store.stats().hedges;
        random_reads(&bench, &store, 200, 1).await;
        let before = store.stats().hedges - calm;
        random_reads(&bench, &store, 1000, 1).await;
        let after = store.stats().hedges - calm - before;
        eprintln!(
            "{link}, 200 ms slower after {calm_reads} reads: {before} hedges in 200 reads, {after} in the next 1,000"
        );
        assert!(before <= 20);
        assert_eq!(after, 0);
    }
}

/// Kinds of reads: one GET, several parts, an unknown end.
fn reads() -> [GetOptions; 4] {
    [None, Some(GetRange::Offset(KIB)), Some((KIB..250 * KIB).into()), Some(GetRange::Bounded(0..5 * KIB))]
        .map(|range| GetOptions { range, ..GetOptions::default() })
}

fn answered(read: u64, answer: ReadAnswer) -> FaultPlan {
    FaultPlan { script: vec![(When::Read(read), FaultEvent::Answer(answer))], ..FaultPlan::default() }
}

/// Any single request may fail in any way: the read does not.
#[tokio::test(start_paused = true)]
async fn one_failure_of_any_request_is_retried() {
    let retry_after = 3000 * MS;
    for options in reads() {
        let calm = Setup::default().build();
        let wanted = calm.read(options.clone()).await.unwrap();
        let requests = calm.store.stats().gets();
        for read in 0..requests {
            for answer in [
                ReadAnswer::Unavailable,
                ReadAnswer::Throttled { retry_after },
                ReadAnswer::Cut { after: 0.0 },
                ReadAnswer::Cut { after: 0.5 },
                ReadAnswer::Short { after: 0.5 },
                ReadAnswer::Stalled { after: 0.5, pause: Duration::from_secs(3600) },
            ] {
                let bench = Setup { faults: answered(read, answer), ..Setup::default() }.build();
                let start = Instant::now();
                assert_eq!(bench.read(options.clone()).await.unwrap(), wanted, "{answer:?} of read {read}");
                let took = start.elapsed();
                if matches!(answer, ReadAnswer::Throttled { .. }) {
                    assert!(took >= retry_after, "{took:?}");
                }
                assert!(took < Duration::from_secs(8), "{took:?} after {answer:?} of read {read}");
                let (stats, counts) = (bench.store.stats(), bench.sim.log().counts());
                assert_eq!(stats.retries, 1, "{answer:?} of read {read}");
                assert_eq!(stats.fetched_bytes, wanted, "no byte is fetched twice: {answer:?} of read {read}");
                assert_eq!((stats.gets(), stats.cancels), (counts.gets, counts.aborted));
                settle().await;
                bench.assert_nothing_left("at the end");
            }
        }
    }
}

/// A body is resumed in the version it began with, or not at all.
#[tokio::test(start_paused = true)]
async fn a_body_is_resumed_in_its_own_version() {
    for (versioned, size) in [(false, None), (true, None), (false, Some(2000))] {
        let change = ExternalChange::Overwrite { key: common::KEY.to_owned(), size };
        let script = vec![
            (When::Read(0), FaultEvent::Answer(ReadAnswer::Cut { after: 0.5 })),
            (When::Read(1), FaultEvent::Change(change)),
        ];
        for pin in common::ALL_PINS {
            let faults = FaultPlan { script: script.clone(), ..FaultPlan::default() };
            let profile = BackendProfile { pin, ..common::tiny_parts() };
            let bench = Setup { versioned, faults, profile, ..Setup::default() }.build();
            match bench.read(GetOptions::new().with_range(Some(0..5 * KIB))).await {
                Ok(read) => {
                    assert!(versioned && pin == headstart_fetch_core::PinBy::Version);
                    assert_eq!(read, 5 * KIB);
                }
                Err(error) => assert!(
                    ObjectChanged::find(&error).is_some()
                        || size.is_some() && pin == headstart_fetch_core::PinBy::Unpinned,
                    "{error:?}"
                ),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn final_errors_are_not_retried() {
    for (answer, gets) in [(ReadAnswer::Long { extra_bytes: 1 }, 1), (ReadAnswer::Whole, 1)] {
        let bench = Setup { faults: answered(0, answer), ..Setup::default() }.build();
        let start = if answer == ReadAnswer::Whole { bench.size } else { 0 };
        bench.read(GetOptions::new().with_range(Some(start..start + KIB))).await.unwrap_err();
        let stats = bench.store.stats();
        assert_eq!((stats.gets(), stats.retries), (gets, 0), "{answer:?}");
    }
    let bench = Setup::default().build();
    bench.sim.catalog().delete(common::KEY);
    assert!(matches!(bench.read(GetOptions::new()).await.unwrap_err(), Error::NotFound { .. }));
    assert!(matches!(bench.store.head(&path()).await.unwrap_err(), Error::NotFound { .. }));
    assert_eq!(bench.store.stats().retries, 0);
}

/// A store that is down: the last error, after all attempts.
#[tokio::test(start_paused = true)]
async fn attempts_are_limited() {
    for (faults, status) in [
        (FaultPlan { unavailable: 1.0, ..FaultPlan::default() }, Some(503)),
        (FaultPlan { throttled: 1.0, retry_after: Duration::from_secs(600), ..FaultPlan::default() }, Some(429)),
        (FaultPlan { cut: 1.0, ..FaultPlan::default() }, None),
    ] {
        for options in reads() {
            let bench = Setup { faults: faults.clone(), retries: 4, ..Setup::default() }.build();
            let error = bench.read(options.clone()).await.unwrap_err();
            assert_eq!(Throttled::find(&error).map(|throttled| throttled.status), status, "{error:?}");
            let retries = bench.store.stats().retries;
            match status {
                Some(429) => assert_eq!(retries, 0, "Retry-After is longer than the retry timeout"),
                // Other parts have their own attempts until one part has used up all of its.
                _ => assert!((4..=4 * 4 + 1).contains(&retries), "{retries} retries"),
            }
            settle().await;
            bench.assert_nothing_left("at the end");
        }
    }
    let faults = FaultPlan { unavailable: 1.0, ..FaultPlan::default() };
    let bench = Setup { faults, retries: 4, ..Setup::default() }.build();
    bench.store.head(&path()).await.unwrap_err();
    assert_eq!((bench.store.stats().heads, bench.store.stats().retries), (5, 4));
}

/// On a slow link, a chunk takes longer than a stall elsewhere. It is waited for.
#[tokio::test(start_paused = true)]
async fn a_slow_link_is_no_stall() {
    let link = LinkProfile { stream_bytes_per_s: 30e3, nic_bytes_per_s: 100e3, ..common::slow_link() };
    let profile = BackendProfile::default();
    let bench = Setup { link, profile, concurrency: 16, size: 4 * MIB, ..Setup::default() }.build();
    assert_eq!(bench.read(GetOptions::new()).await.unwrap(), 4 * MIB);
    let first = bench.store.stats();
    assert_eq!(bench.read(GetOptions::new()).await.unwrap(), 4 * MIB);
    let second = bench.store.stats();
    eprintln!("{} retries in the first read, {} in the second", first.retries, second.retries - first.retries);
    assert!(first.retries <= 40, "{first:?}");
    assert_eq!(second.retries, first.retries, "the link is measured by now");
}

/// Without retries the caller gets the failure.
#[tokio::test(start_paused = true)]
async fn retries_can_be_turned_off() {
    let bench = Setup { faults: answered(0, ReadAnswer::Short { after: 0.5 }), retries: 0, ..Setup::default() }.build();
    let error = bench.read(GetOptions::new().with_range(Some(0..KIB))).await.unwrap_err();
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
    assert_eq!(source, Some(&FetchError::ShortBody { start: 0, end: KIB, at: 512 }), "{error:?}");
    assert_eq!(bench.store.stats().gets(), 1);
}

/// A store that accepts 8 requests at once: reads adapt, and throttled requests become few.
#[tokio::test(start_paused = true)]
async fn a_throttling_store_gets_fewer_requests() {
    let setup = || Setup { concurrency: 32, size: 40 * MIB, retries: 100, ..Setup::default() };
    let bench = setup().build();
    let sim = bench.sim.clone();
    let overloaded = Altered::new(bench.sim.clone(), move |options| match sim.log().counts().live {
        0..8 => Ok(options),
        _ => Err(Error::Generic { store: "test", source: Throttled { status: 503, retry_after: None }.into() }),
    });
    let config = FetchConfig { jitter_seed: Some(1), ..setup().config() };
    let store = FetchStore::new(Arc::new(overloaded), config).expect("valid settings");
    let read = store.get_opts(&path(), GetOptions::new()).await.unwrap();
    let start = Instant::now();
    check_body(read).await.unwrap();
    let (took, stats) = (start.elapsed(), store.stats());
    // Eight streams of 200 kB/s each.
    let least = Duration::from_secs_f64(40.0 * 1024.0 * 1024.0 / 8.0 / 200e3);
    eprintln!("{took:?} of at least {least:?}, {} GETs, {} refused", stats.gets(), stats.retries);
    assert!((4..=16).contains(&stats.limit_in_flight), "{stats:?}");
    assert!(stats.retries * 2 < stats.gets(), "{stats:?}");
    assert!(took < least.mul_f64(1.5));
    assert_eq!(store.stats().in_flight, 0);
}
