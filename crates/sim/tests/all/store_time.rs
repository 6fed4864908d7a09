//! Tests of `SimStore` under the paused clock: exact times, shared rates, reproducible runs.

use std::ops::Range;
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use headstart_fetch_core::Intent;
use headstart_fetch_core::internal::ask;
use headstart_sim::{
    Content, FIRST_GENERATION, LinkProfile, ReadPattern, RequestEnd, RequestKind, RequestRecord, SimStore,
};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const MIB: u64 = 1 << 20;
const MS: Duration = Duration::from_millis(1);
const KEY: &str = "synthetic/1GiB/a";

/// Reads `range`, checks every byte, and returns the number of pieces.
async fn read(store: &SimStore, range: Range<u64>) -> usize {
    let content = Content::new(KEY, FIRST_GENERATION);
    let mut at = range.start;
    let mut pieces = 0;
    let answer = store.get_opts(&Path::from(KEY), ask(range.clone(), Intent::Demand)).await.expect("the object exists");
    let mut body = answer.into_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.expect("nothing goes wrong");
        assert_eq!(content.check(at, &bytes), Ok(()));
        at += bytes.len() as u64;
        pieces += 1;
    }
    assert_eq!(at, range.end);
    pieces
}

#[track_caller]
fn assert_took(since: Instant, expected: Duration) {
    let took = since.elapsed();
    assert!(took >= expected && took < expected + MS, "{took:?} instead of {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn one_get_takes_first_byte_and_bytes_over_rate_and_the_first_one_sets_up_a_connection() {
    let store = SimStore::builder().profile(LinkProfile::gcs()).build();
    let bytes = Duration::from_secs_f64((256 * MIB) as f64 / 60e6);
    for (round, set_up) in [30 * MS, Duration::ZERO].into_iter().enumerate() {
        let start = Instant::now();
        let pieces = read(&store, 1..256 * MIB + 1).await;
        assert_took(start, set_up + 30 * MS + bytes);
        assert!((1500..=4096).contains(&pieces), "handed on as it comes: {pieces} pieces in round {round}");
    }
    assert_eq!((store.connections().opened(), store.connections().idle()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn small_reads_do_not_wait_for_the_timers_millisecond_more_than_once() {
    let store = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(1).build();
    let mut body = store.get_opts(&Path::from(KEY), GetOptions::new()).await.unwrap().into_stream();
    let start = Instant::now();
    let mut got = 0;
    while got < 100 * 64 * 1024 {
        got += body.next().await.unwrap().unwrap().len();
    }
    // 100 times 1.09 ms, not 100 times 2.
    assert!(start.elapsed() <= 111 * MS, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn thirty_two_streams_share_the_nic() {
    let store = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(32).build();
    let start = Instant::now();
    join_all((0..32).map(|n| read(&store, n * 32 * MIB..(n + 1) * 32 * MIB))).await;
    assert_took(start, 30 * MS + Duration::from_secs_f64((1024 * MIB) as f64 / 1000e6));
    let counts = store.log().counts();
    assert_eq!((counts.gets, counts.bytes_sent, counts.live, counts.peak_live), (32, 1024 * MIB, 0, 32));
    assert_eq!(store.connections().opened(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_body_frees_the_link_at_once_and_costs_its_connection() {
    let profile = LinkProfile { stream_bytes_per_s: 100e6, nic_bytes_per_s: 100e6, ..LinkProfile::gcs() };
    let store = SimStore::builder().profile(profile).warm_connections(2).build();
    let start = Instant::now();
    let aborted = async {
        let answer = store.get(&Path::from(KEY)).await.unwrap();
        tokio::time::sleep(20 * MS).await;
        drop(answer);
    };
    tokio::join!(aborted, read(&store, 0..5_000_000));
    // 1 MB at half the rate for 20 ms, then 4 MB at the whole.
    assert_took(start, 30 * MS + 20 * MS + 40 * MS);
    let records = store.log().snapshot();
    let ended = |record: &RequestRecord| (record.end, record.ended_at, record.bytes_sent);
    assert_eq!(ended(&records[0]), (Some(RequestEnd::Aborted), Some(50 * MS), 1_000_000));
    assert_eq!(ended(&records[1]), (Some(RequestEnd::Completed), Some(90 * MS), 5_000_000));
    assert_eq!((store.connections().idle(), store.log().counts().live), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_before_its_answer_is_aborted_too() {
    let store = SimStore::builder().profile(LinkProfile::gcs()).build();
    let path = Path::from(KEY);
    let mut waiting = store.get(&path).boxed();
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(store.log().counts().live, 1);
    drop(waiting);
    let counts = store.log().counts();
    assert_eq!((counts.live, counts.aborted, counts.bytes_sent), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_no_more_than_its_window() {
    let store = SimStore::builder().profile(LinkProfile::gcs()).build();
    let answer = store.get(&Path::from(KEY)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    drop(answer);
    assert_eq!(store.log().counts().bytes_sent, 4 * MIB);
}

#[tokio::test(start_paused = true)]
async fn the_log_has_range_intent_and_end_of_each_request() {
    let store = SimStore::builder().profile(LinkProfile::near()).build();
    let path = Path::from(KEY);
    let speculative = store.get_opts(&path, ask(5..10, Intent::Speculative)).await.unwrap();
    assert_eq!(speculative.bytes().await.unwrap().len(), 5);
    store.head(&path).await.unwrap();
    store.get(&Path::from("none")).await.unwrap_err();
    store.put(&Path::from("b"), "written".into()).await.unwrap();
    let log: Vec<_> = store
        .log()
        .snapshot()
        .into_iter()
        .map(|record| {
            (record.kind, record.key, record.range, record.intent, record.bytes_sent, record.status, record.end)
        })
        .collect();
    let done = Some(RequestEnd::Completed);
    assert_eq!(
        log,
        [
            (RequestKind::Get, KEY.into(), Some(5..10), Some(Intent::Speculative), 5, 206, done),
            (RequestKind::Head, KEY.into(), None, None, 0, 200, done),
            (RequestKind::Get, "none".into(), None, None, 0, 404, done),
            (RequestKind::Put, "b".into(), None, None, 0, 200, done),
        ]
    );
}

/// A run with random reads on 8 tasks, some of them aborted.
async fn busy_run(seed: u64) -> (Vec<RequestRecord>, Duration) {
    let store = SimStore::builder().profile(LinkProfile::gcs().lognormal()).seed(seed).build();
    let trace = ReadPattern::named("rand-1m", 1 << 30, 7).expect("a workload of this name");
    join_all(trace.reads.chunks(32).map(|reads| async {
        for (n, one) in reads.iter().enumerate() {
            let range = one.offset..one.offset + one.len;
            if n % 5 == 0 {
                let path = Path::from(KEY);
                // The result does not matter: the read may or may not be in time.
                drop(tokio::time::timeout(40 * MS, store.get_range(&path, range)).await);
            } else {
                read(&store, range).await;
            }
        }
    }))
    .await;
    (store.log().snapshot(), store.elapsed())
}

#[tokio::test(start_paused = true)]
async fn two_runs_have_the_same_log() {
    let one = busy_run(1).await;
    assert!(one.0.iter().any(|record| record.end == Some(RequestEnd::Aborted)));
    assert_eq!(one, busy_run(1).await);
    assert_ne!(one, busy_run(2).await);
}
