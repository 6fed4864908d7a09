//! How reads end early: dropped, failed, starved. No request, permit or memory is left behind.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::common::{Altered, Bench, KIB, Setup, check_body, path, settle, tiny_parts};
use bytes::Bytes;
use futures::TryStreamExt;
use headstart_fetch_core::internal::{Origin, Reserved, ask};
use headstart_fetch_core::{FetchConfig, FetchError, FetchStore, Intent, MemoryBudget};
use headstart_sim::{FaultEvent, FaultPlan, ReadAnswer, When};
use object_store::chunked::ChunkedStore;
use object_store::memory::InMemory;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

fn reads() -> [GetOptions; 4] {
    [None, Some(GetRange::Offset(KIB)), Some((KIB..250 * KIB).into()), Some(GetRange::Suffix(200 * KIB))]
        .map(|range| GetOptions { range, ..GetOptions::default() })
}

/// Polls `read` `polls` times, then drops it. Returns whether it was done before.
async fn dropped_after<T>(polls: usize, read: impl Future<Output = T>) -> bool {
    let mut read = pin!(read);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match read.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn dropping_a_read_at_any_point_leaves_nothing() {
    for budget_bytes in [0, 40 << 10, 512 << 20] {
        for options in reads() {
            for polls in 0.. {
                let bench = Setup { budget_bytes, ..Setup::default() }.build();
                let done = dropped_after(polls, bench.read(options.clone())).await;
                settle().await;
                bench.assert_nothing_left(&format!("after {polls} polls"));
                let (stats, counts) = (bench.store.stats(), bench.sim.log().counts());
                assert_eq!(stats.fetched_bytes, stats.delivered_bytes + stats.wasted_bytes, "after {polls} polls");
                assert_eq!((stats.gets(), stats.cancels), (counts.gets, counts.aborted), "after {polls} polls");
                if done {
                    assert!(polls > 10, "{polls} polls");
                    break;
                }
            }
        }
    }
}

/// With throttling, cuts, stalls and late first bytes: pauses, resumed bodies and hedges are dropped, too.
#[tokio::test(start_paused = true)]
async fn dropping_a_read_that_goes_wrong_leaves_nothing() {
    let (mut retries, mut hedges) = (0, 0);
    for options in reads() {
        for polls in 0.. {
            let faults = FaultPlan {
                seed: 1,
                unavailable: 0.15,
                cut: 0.15,
                stalled: 0.15,
                stall: Duration::from_secs(60),
                late: 0.1,
                late_by: Duration::from_secs(60),
                ..FaultPlan::default()
            };
            let bench = Setup { faults, ..Setup::default() }.build();
            let done = dropped_after(polls, bench.read(options.clone())).await;
            settle().await;
            bench.assert_nothing_left(&format!("after {polls} polls"));
            let (stats, counts) = (bench.store.stats(), bench.sim.log().counts());
            assert_eq!(stats.fetched_bytes, stats.delivered_bytes + stats.wasted_bytes, "after {polls} polls");
            assert_eq!((stats.gets(), stats.cancels), (counts.gets, counts.aborted), "after {polls} polls");
            if done {
                (retries, hedges) = (retries + stats.retries, hedges + stats.hedges);
                break;
            }
        }
    }
    assert!(retries > 10 && hedges > 0, "{retries} retries, {hedges} hedges");
}

#[tokio::test(start_paused = true)]
async fn dropping_get_ranges_leaves_nothing() {
    let ranges: Vec<_> = (0..10).map(|n| n * 30 * KIB..n * 30 * KIB + 20 * KIB).collect();
    for polls in 0.. {
        let bench = Setup::default().build();
        let done = dropped_after(polls, bench.store.get_ranges(&path(), &ranges)).await;
        settle().await;
        bench.assert_nothing_left(&format!("after {polls} polls"));
        if done {
            break;
        }
    }
}

fn answered(read: u64, answer: ReadAnswer) -> Bench {
    let faults = FaultPlan { script: vec![(When::Read(read), FaultEvent::Answer(answer))], ..FaultPlan::default() };
    Setup { faults, retries: 0, ..Setup::default() }.build()
}

fn fetch_error(error: &Error) -> Option<FetchError> {
    std::error::Error::source(error)?.downcast_ref().cloned()
}

/// The first error cancels the other parts: no request is sent after it, none is open, and nothing is delivered.
#[tokio::test(start_paused = true)]
async fn the_first_error_ends_the_read() {
    for options in reads() {
        for read in 0..12 {
            for answer in [
                ReadAnswer::Unavailable,
                ReadAnswer::Cut { after: 0.5 },
                ReadAnswer::Short { after: 0.5 },
                ReadAnswer::Long { extra_bytes: 10 },
            ] {
                let bench = answered(read, answer);
                let Err(error) = bench.read(options.clone()).await else {
                    // The first part of a read to the end may be refused for its range: then the caller's own request
                    // answers.
                    assert_eq!((read, answer), (0, ReadAnswer::Unavailable));
                    assert!(!matches!(options.range, Some(GetRange::Bounded(_) | GetRange::Suffix(_))));
                    continue;
                };
                assert!(matches!(error, Error::Generic { .. }), "{error:?}");
                match answer {
                    ReadAnswer::Short { .. } => {
                        assert!(matches!(fetch_error(&error), Some(FetchError::ShortBody { .. })), "{error:?}");
                    }
                    ReadAnswer::Long { .. } => {
                        assert!(matches!(fetch_error(&error), Some(FetchError::LongBody { .. })), "{error:?}");
                    }
                    _ => {}
                }
                settle().await;
                bench.assert_nothing_left(&format!("after {answer:?} of read {read}"));
                let asked = bench.sim.log().counts().gets;
                tokio::time::sleep(Duration::from_secs(10)).await;
                assert_eq!(bench.sim.log().counts().gets, asked, "nothing is asked for after the end");
            }
        }
    }
}

/// A read ends with any budget, and uses no more than the budget has.
#[tokio::test(start_paused = true)]
async fn any_budget_is_enough() {
    for budget_bytes in [0, 1, 4 << 10, 20 << 10, 100 << 10] {
        for options in reads() {
            let bench = Setup { budget_bytes, ..Setup::default() }.build();
            bench.read(options).await.unwrap();
            assert!(bench.budget.peak_bytes() <= budget_bytes);
            bench.assert_nothing_left("at the end");
        }
    }
}

/// Reads that compete for memory and permits all end.
#[tokio::test(start_paused = true)]
async fn many_reads_share_what_there_is() {
    let bench = Setup { budget_bytes: 60 << 10, ..Setup::default() }.build();
    let reads = futures::future::try_join_all((0..20).map(|n| bench.read(reads()[n % 4].clone())));
    reads.await.unwrap();
    assert!(bench.budget.peak_bytes() <= 60 << 10);
    assert!(bench.sim.log().counts().peak_live <= 4);
    assert_eq!(bench.store.stats().peak_in_flight, 4);
    bench.assert_nothing_left("at the end");
}

/// More objects opened than permits, and read in the wrong order: no deadlock.
#[tokio::test(start_paused = true)]
async fn open_bodies_do_not_lock_others_out() {
    for (range, budget_bytes) in [(0..4 * KIB, 0), (0..200 * KIB, 0), (0..200 * KIB, 512 << 20)] {
        let bench = Setup { budget_bytes, ..Setup::default() }.build();
        let options = GetOptions::new().with_range(Some(range));
        let path = path();
        let open = (0..20).map(|_| bench.store.get_opts(&path, options.clone()));
        let opened = futures::future::try_join_all(open).await.unwrap();
        for result in opened.into_iter().rev() {
            check_body(result).await.unwrap();
        }
        assert!(bench.store.stats().peak_in_flight <= 4);
        bench.assert_nothing_left("at the end");
    }
}

/// A reader that stops reading: the parts in flight are drained into memory, and no more than the window is
/// requested.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_no_body_open() {
    let bench = Setup { size: 10 << 20, ..Setup::default() }.build();
    let result = bench.store.get_opts(&path(), GetOptions::new()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.sim.log().counts().live, 0);
    assert_eq!(bench.store.stats().in_flight, 0);
    let held = bench.budget.used_bytes() as u64;
    assert!((4 * 16 * KIB..=5 * 16 * KIB).contains(&held), "{held} bytes held: between a wave and one and a quarter");
    assert_eq!(check_body(result).await.unwrap(), 10 << 20);
    bench.assert_nothing_left("at the end");
}

/// Memory reserved by a layer above is not reserved again.
#[tokio::test(start_paused = true)]
async fn a_byte_is_charged_once() {
    let bench = Setup::default().build();
    let mut options = GetOptions::new();
    options.extensions.insert(Reserved);
    bench.read(options).await.unwrap();
    assert_eq!(bench.budget.peak_bytes(), 0);
    assert!(bench.sim.log().counts().peak_live > 1);
}

#[tokio::test(start_paused = true)]
async fn origins_are_complete_when_the_body_ends() {
    for stacked in [false, true] {
        let bench = Setup::default().build();
        let store: Arc<dyn ObjectStore> = match stacked {
            false => Arc::new(bench.store.clone()),
            true => Arc::new(
                FetchStore::new(Arc::new(bench.store.clone()), FetchConfig::default()).expect("valid settings"),
            ),
        };
        for options in reads() {
            let result = store.get_opts(&path(), options).await.unwrap();
            let origin = Origin::of(&result.extensions).expect("every answer says where its bytes came from");
            let bytes = check_body(result).await.unwrap();
            assert_eq!((origin.wire_bytes(), origin.hit_bytes()), (bytes, 0), "stacked: {stacked}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_panics_is_an_error_not_a_hang() {
    let bench = Setup::default().build();
    for panicking in [1, 3, 6] {
        let sent = AtomicU64::new(0);
        let store = bench.store_over(Altered::new(bench.sim.clone(), move |options| {
            assert_ne!(sent.fetch_add(1, Ordering::Relaxed), panicking, "this panic is part of the test");
            Ok(options)
        }));
        let read = async { check_body(store.get_opts(&path(), reads()[2].clone()).await?).await };
        let error = read.await.expect_err("a part is missing");
        assert_eq!(fetch_error(&error), Some(FetchError::TaskLost), "{error:?}");
        settle().await;
        bench.assert_nothing_left("after a panic");
    }
}

/// A range of our choice is refused (an empty object, one that is decompressed in transit) or ignored: the request
/// of the caller answers.
#[tokio::test(start_paused = true)]
async fn a_store_without_ranges_is_read_whole() {
    let bench = Setup::default().build();
    let refusing = Altered::new(bench.sim.clone(), |options| match options.range {
        Some(_) => Err(Error::Generic { store: "test", source: "no ranges here".into() }),
        None => Ok(options),
    });
    let ignoring = Altered::new(bench.sim.clone(), |options| Ok(GetOptions { range: None, ..options }));
    for (store, refuses) in [(refusing, true), (ignoring, false)].map(|(s, refuses)| (bench.store_over(s), refuses)) {
        assert_eq!(check_body(store.get(&path()).await.unwrap()).await.unwrap(), bench.size);
        // An error of unknown cause is not retried.
        assert_eq!(store.stats().gets(), 2);
        settle().await;
        bench.assert_nothing_left("after the answer");
        for range in [0..4 * KIB, 0..200 * KIB] {
            let error = store.get_range(&path(), range).await.expect_err("the caller's range is not to be had");
            let wrong = matches!(fetch_error(&error), Some(FetchError::WrongRange { .. }));
            assert_eq!(wrong, !refuses, "{error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn demand_overtakes_speculation() {
    let bench = Setup { concurrency: 2, ..Setup::default() }.build();
    let speculation = bench.read(ask(0..bench.size, Intent::Speculative));
    let demand = async {
        tokio::time::sleep(Duration::from_millis(15)).await;
        let start = Instant::now();
        bench.read(ask(0..KIB, Intent::Demand)).await.unwrap();
        (start.elapsed(), bench.store.stats().speculative_gets)
    };
    let (read, (waited, speculative_before)) = futures::join!(speculation, demand);
    assert_eq!(read.unwrap(), bench.size);
    // One speculative part (10 ms and 16 KiB at 200 kB/s) ends first; speculation that waits is served after
    // demand.
    assert!(waited < Duration::from_millis(120), "{waited:?}");
    assert!(speculative_before < bench.store.stats().speculative_gets / 2);
}

/// The runtime that began a read is gone: its reader, on another runtime, gets an error.
#[test]
fn a_runtime_that_shuts_down_is_an_error_not_a_hang() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let first = runtime();
    let (bench, result) = first.block_on(async {
        let bench = Setup::default().build();
        let result = bench.store.get_opts(&path(), GetOptions::new()).await.unwrap();
        (bench, result)
    });
    drop(first);
    let error = runtime().block_on(result.into_stream().try_collect::<Vec<_>>()).expect_err("no parts come any more");
    assert_eq!(fetch_error(&error), Some(FetchError::TaskLost), "{error:?}");
    assert_eq!(bench.budget.used_bytes(), 0);
}

/// Several threads in real time: reads end, fail and are dropped at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_do_not_get_in_each_others_way() {
    let (path, bytes) = (path(), Bytes::from((0..300 * 1024_u32).map(|i| i.to_le_bytes()[1]).collect::<Vec<_>>()));
    let inner = InMemory::new();
    inner.put(&path, bytes.clone().into()).await.unwrap();
    let budget = MemoryBudget::new(100 << 10);
    let config = FetchConfig {
        concurrency: 4,
        profile: Some(tiny_parts()),
        budget: Some(Arc::clone(&budget)),
        ..FetchConfig::default()
    };
    let store = FetchStore::new(Arc::new(ChunkedStore::new(Arc::new(inner), 1000)), config).expect("valid settings");
    let reads = (0..400).map(|n| {
        let (store, path, bytes) = (store.clone(), path.clone(), bytes.clone());
        tokio::spawn(async move {
            let mut options = reads()[n % 4].clone();
            options.extensions.insert(if n % 3 == 0 { Intent::Speculative } else { Intent::Demand });
            let result = store.get_opts(&path, options).await.unwrap();
            let (mut at, end) = (usize::try_from(result.range.start).unwrap(), result.range.end);
            let mut body = result.into_stream();
            while let Some(chunk) = body.try_next().await.unwrap() {
                assert_eq!(chunk, bytes[at..at + chunk.len()]);
                at += chunk.len();
                if n % 5 == 0 && at > n * 500 {
                    return;
                }
            }
            assert_eq!(at as u64, end);
        })
    });
    tokio::time::timeout(Duration::from_secs(60), futures::future::try_join_all(reads))
        .await
        .expect("a deadlock")
        .unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while (budget.used_bytes(), store.stats().in_flight) != (0, 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("something stays behind");
    assert!(store.stats().peak_in_flight <= 4);
}
