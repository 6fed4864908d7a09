//! Starvation: calls that nobody polls, stopped runtimes and requests in a retry pause do not block others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Altered, KIB, Setup, check_body, path, settle, slow_link, tiny_parts};
use futures::StreamExt;
#[cfg(feature = "mutation")]
use headstart_fetch_core::internal::mutation::Mutation;
use headstart_fetch_core::{BackendProfile, ConnectionFault, FetchConfig, FetchStore, Throttled};
use headstart_sim::LinkProfile;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

/// As `select! { body.next(), command => store.get_range(..) }` leaves bodies behind, with the default concurrency
/// of 32 and with one.
#[tokio::test(start_paused = true)]
async fn bodies_polled_once_and_left_alone_keep_no_permit() {
    for concurrency in [1, 32] {
        let (bench, key) = (Setup { concurrency, ..Setup::default() }.build(), path());
        let mut left_alone = Vec::new();
        for n in 0..concurrency + 5 {
            let options = GetOptions::new().with_range(Some(0..8 * KIB));
            let answer = bench.store.get_opts(&key, options);
            let answer = tokio::time::timeout(Duration::from_secs(5), answer).await.expect("not blocked").unwrap();
            let mut body = answer.into_stream();
            if n % 2 == 0 {
                drop(body.next().await.unwrap().unwrap());
            }
            // Pending now, or ready and never taken.
            drop(futures::poll!(body.next()));
            left_alone.push(body);
        }
        let start = Instant::now();
        let read = bench.store.get_range(&key, 0..8 * KIB);
        tokio::time::timeout(Duration::from_secs(5), read).await.expect("not blocked").unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        // They can be read on at any time.
        for body in left_alone {
            let rest: Vec<_> = body.collect().await;
            assert!(rest.iter().all(Result::is_ok));
        }
        settle().await;
        bench.assert_nothing_left("at the end");
        assert!(bench.store.stats().peak_in_flight <= concurrency as u64);
    }
}

/// The same with calls that have not been answered yet.
#[tokio::test(start_paused = true)]
async fn calls_polled_once_and_left_alone_keep_no_permit() {
    for range in [0..8 * KIB, 0..200 * KIB] {
        let bench = Setup { concurrency: 4, ..Setup::default() }.build();
        let key = path();
        let mut left_alone: Vec<_> = (0..12).map(|_| Box::pin(bench.store.get_range(&key, range.clone()))).collect();
        for call in &mut left_alone {
            assert!(futures::poll!(call).is_pending());
        }
        let read = bench.store.get_range(&key, 0..8 * KIB);
        tokio::time::timeout(Duration::from_secs(5), read).await.expect("not blocked").unwrap();
        for call in left_alone {
            assert_eq!(call.await.unwrap().len() as u64, range.end);
        }
        settle().await;
        bench.assert_nothing_left("at the end");
    }
}

/// A call that waits for a slow answer is not idle: it keeps its permit, and the limit holds.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_the_network_is_not_idle() {
    let link = LinkProfile { ttfb: Duration::from_secs(2), ..slow_link() };
    let profile = BackendProfile { ttfb: Duration::from_secs(2), ..tiny_parts() };
    let bench = Setup { link, profile, concurrency: 2, hedge: false, ..Setup::default() }.build();
    let key = path();
    let reads = (0..6).map(|n| bench.store.get_range(&key, n * KIB..(n + 1) * KIB));
    let reads: Vec<_> = reads.collect();
    for read in futures::future::join_all(reads).await {
        read.unwrap();
    }
    assert_eq!(bench.sim.log().counts().peak_live, 2);
}

/// Sequential reads on one single-thread runtime, then one on another: parts of the first runtime's last read make
/// no progress.
#[test]
fn a_runtime_that_has_stopped_blocks_no_other() {
    let new = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (first, second) = (new(), new());
    let bench = first.block_on(async { Setup { concurrency: 4, ..Setup::default() }.build() });
    first.block_on(async {
        for n in 0..5 {
            bench.store.get_range(&path(), n * 8 * KIB..(n + 1) * 8 * KIB).await.unwrap();
        }
        // One dropped read in parts, and one that is kept: no task of either runs again.
        let mut body = bench.store.get(&path()).await.unwrap().into_stream();
        drop(body.next().await);
        std::mem::forget(body);
        let unread = bench.store.get(&path()).await.unwrap();
        drop(unread);
    });
    second.block_on(async {
        let key = path();
        let read = tokio::time::timeout(Duration::from_secs(30), bench.store.get_range(&key, 0..8 * KIB));
        assert_eq!(read.await.expect("not blocked").unwrap().len() as u64, 8 * KIB);
    });
}

/// Marks reads of a prefix that the store throttles.
#[derive(Debug, Clone, Copy)]
struct Busy;

/// The store throttles one prefix for a long time; reads of other prefixes are not affected.
#[tokio::test(start_paused = true)]
async fn a_throttled_prefix_starves_no_other() {
    let took = ten_reads_beside_a_throttled_prefix().await;
    assert!(took < Duration::from_secs(5), "10 reads of 30 ms took {took:?}");
}

#[cfg(feature = "mutation")]
#[tokio::test(start_paused = true)]
async fn put_back_permits_are_held_in_pauses() {
    let _present = Mutation::HoldsPermitsInPauses.activate();
    assert!(ten_reads_beside_a_throttled_prefix().await > Duration::from_secs(5));
}

async fn ten_reads_beside_a_throttled_prefix() -> Duration {
    let bench = Setup::default().build();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let refusing = Altered::new(bench.sim.clone(), move |options| {
        if options.extensions.get::<Busy>().is_none() || over.load(Ordering::SeqCst) {
            return Ok(options);
        }
        let source = Throttled { status: 503, retry_after: Some(Duration::from_secs(2)) };
        Err(Error::Generic { store: "test", source: source.into() })
    });
    let config = FetchConfig { retries: 50, ..Setup { seed: 3, ..Setup::default() }.config() };
    let store = FetchStore::new(Arc::new(refusing), config).expect("valid settings");
    let read = |is_busy: bool| {
        let store = store.clone();
        let mut options = GetOptions::new().with_range(Some(0..4 * KIB));
        if is_busy {
            options.extensions.insert(Busy);
        }
        async move { check_body(store.get_opts(&path(), options).await.unwrap()).await.unwrap() }
    };
    let busy: Vec<_> = (0..40).map(|_| tokio::spawn(read(true))).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    let reads = async {
        for _ in 0..10 {
            read(false).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(20), reads).await;
    let took = start.elapsed();
    is_over.store(true, Ordering::SeqCst);
    for read in busy {
        assert_eq!(read.await.unwrap(), 4 * KIB);
    }
    assert_eq!(store.stats().in_flight, 0);
    took
}

/// One error of any kind on the first request of an open-ended read does not reduce it to a single stream.
#[tokio::test(start_paused = true)]
async fn one_fault_on_the_first_request_costs_no_parallelism() {
    let usual = read_after(None).await;
    for fault in FIRST_FAULTS {
        let took = read_after(Some(fault)).await;
        assert!(took < usual * 2, "{took:?} instead of {usual:?}");
    }
}

#[cfg(feature = "mutation")]
#[tokio::test(start_paused = true)]
async fn put_back_one_fault_leaves_a_single_stream() {
    let usual = read_after(None).await;
    let _present = Mutation::GivesUpParts.activate();
    assert!(read_after(Some(FIRST_FAULTS[0])).await > usual * 2);
}

type MakeError = fn() -> Error;

const FIRST_FAULTS: [MakeError; 3] = [
    || Error::Generic { store: "test", source: ConnectionFault.into() },
    || Error::Generic { store: "test", source: std::io::Error::from(std::io::ErrorKind::ConnectionReset).into() },
    || Error::Generic { store: "test", source: Throttled { status: 503, retry_after: None }.into() },
];

/// The time for a read of the whole object whose first request fails with `fault`.
async fn read_after(fault: Option<MakeError>) -> Duration {
    let bench = Setup::default().build();
    let sent = AtomicUsize::new(0);
    let store = bench.store_over(Altered::new(bench.sim.clone(), move |options| match fault {
        Some(error) if sent.fetch_add(1, Ordering::SeqCst) == 0 => Err(error()),
        _ => Ok(options),
    }));
    let start = Instant::now();
    check_body(store.get(&path()).await.unwrap()).await.unwrap();
    start.elapsed()
}

/// A read whose first part fails until the retry timeout is not restarted for as long again.
#[tokio::test(start_paused = true)]
async fn a_read_is_not_restarted_after_an_outage() {
    let bench = Setup::default().build();
    for range in [None, Some(GetRange::Offset(5)), Some(GetRange::Suffix(200 * KIB))] {
        let start = Instant::now();
        let store = bench.store_over(Altered::new(bench.sim.clone(), |_| Err(FIRST_FAULTS[1]())));
        store.get_opts(&path(), GetOptions::new().with_range(range)).await.expect_err("an outage");
        assert!(start.elapsed() <= FetchConfig::default().retry_timeout, "{:?}", start.elapsed());
        assert!(store.stats().retries <= FetchConfig::default().retries as u64, "{}", store.stats().retries);
    }
}

/// Without timers no waiter is woken to look for idle calls.
#[test]
fn bodies_left_alone_keep_no_permit_in_a_runtime_without_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let memory = object_store::memory::InMemory::new();
    runtime.block_on(async {
        memory.put(&path(), vec![7; 300_000].into()).await.unwrap();
        let store = FetchStore::new(Arc::new(memory), FetchConfig { concurrency: 2, ..FetchConfig::default() })
            .expect("valid settings");
        let mut left_alone = Vec::new();
        for _ in 0..5 {
            let get = tokio::spawn({
                let store = store.clone();
                async move { store.get_opts(&path(), GetOptions::new().with_range(Some(0..10))).await.unwrap() }
            });
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(get.is_finished(), "blocked");
            left_alone.push(get.await.unwrap());
        }
        for answer in left_alone {
            assert_eq!(answer.bytes().await.unwrap(), vec![7; 10]);
        }
    });
}

#[test]
fn a_runtime_without_time_reads() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let memory = object_store::memory::InMemory::new();
    runtime.block_on(async {
        memory.put(&path(), vec![7; 300_000].into()).await.unwrap();
        let store = FetchStore::new(
            Arc::new(memory),
            FetchConfig { profile: Some(tiny_parts()), concurrency: 2, ..FetchConfig::default() },
        )
        .expect("valid settings");
        assert_eq!(store.get_range(&path(), 0..10).await.unwrap(), vec![7; 10]);
        assert_eq!(store.get(&path()).await.unwrap().bytes().await.unwrap().len(), 300_000);
    });
}

/// Chunks that are ready do not keep a thread from other tasks.
#[tokio::test(start_paused = true)]
async fn a_reader_of_ready_bytes_yields() {
    let memory = object_store::memory::InMemory::new();
    memory.put(&path(), vec![7; 4_000_000].into()).await.unwrap();
    let chunks = Altered::new(memory, Ok).answers(|mut answer| {
        // As the socket buffers of a client would bring them.
        let bytes = vec![
            bytes::Bytes::from_static(&[7; 1024]);
            usize::try_from(answer.range.end - answer.range.start).unwrap() / 1024
        ];
        answer.payload =
            object_store::GetResultPayload::Stream(futures::stream::iter(bytes.into_iter().map(Ok)).boxed());
        answer
    });
    let store = FetchStore::new(Arc::new(chunks), FetchConfig::default()).expect("valid settings");
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let neighbour = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    let mut body =
        store.get_opts(&path(), GetOptions::new().with_range(Some(0..1024 * 1024))).await.unwrap().into_stream();
    let before = turns.load(Ordering::SeqCst);
    while let Some(chunk) = body.next().await {
        chunk.unwrap();
    }
    assert!(turns.load(Ordering::SeqCst) - before >= 5, "a task yields after 128 of 1,024 chunks");
    neighbour.abort();
}
