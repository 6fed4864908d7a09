//! Tests of the timing and faults of `SimServer`: rates, connection set-up, aborted and faulty bodies.

#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::time::Duration;

use crate::common::{raw, serve};
use futures::StreamExt;
use headstart_sim::server::{Dialect, SimServerConfig, SimServerHandle};
use headstart_sim::{
    Content, FIRST_GENERATION, FaultEvent, FaultPlan, LinkProfile, ReadAnswer, RequestEnd, RequestRecord, When,
};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);

fn shaped() -> SimServerConfig {
    SimServerConfig { profile: LinkProfile::gcs(), ..SimServerConfig::default() }
}

/// Waits until the log has the end of a request, which the server may see later than the client.
async fn ended(server: &SimServerHandle, request: usize) -> RequestRecord {
    for _ in 0..1000 {
        let record = server.log().snapshot()[request].clone();
        if record.end.is_some() {
            return record;
        }
        tokio::time::sleep(MS).await;
    }
    panic!("request {request} does not end");
}

#[tokio::test]
async fn one_stream_gets_the_rate_of_one_stream() {
    const SIZE: u64 = 36_000_000; // 600 ms at 60 MB/s
    let (_server, store) = serve(shaped());
    let path = Path::from(format!("synthetic/{SIZE}/a"));
    let content = Content::new(path.as_ref(), FIRST_GENERATION);
    let mut times = Vec::new();
    for _ in 0..3 {
        let mut body = store.get(&path).await.unwrap().into_stream();
        let (start, mut at) = (Instant::now(), 0);
        while let Some(chunk) = body.next().await {
            let chunk = chunk.unwrap();
            content.check(at, &chunk).unwrap();
            at += chunk.len() as u64;
        }
        assert_eq!(at, SIZE);
        times.push(start.elapsed());
    }
    // A busy machine may delay the stream, but nothing makes it faster.
    let fastest = *times.iter().min().unwrap();
    assert!((510 * MS..690 * MS).contains(&fastest), "{times:?} instead of 600 ms");
}

#[tokio::test]
async fn a_new_connection_costs_a_first_byte_time() {
    let (_server, store) = serve(shaped());
    let path = Path::from("synthetic/1000/a");
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        store.get_range(&path, 0..10).await.unwrap();
        times.push(start.elapsed());
    }
    assert!(times[0] >= 60 * MS, "set-up and first byte: {times:?}");
    let reused = times[1..].iter().min().unwrap();
    assert!((30 * MS..60 * MS).contains(reused), "a first byte only: {times:?}");
}

#[tokio::test]
async fn an_aborted_body_is_logged_as_aborted() {
    let (server, store) = serve(shaped());
    let path = Path::from("synthetic/1GiB/a");
    let mut body = store.get(&path).await.unwrap().into_stream();
    body.next().await.unwrap().unwrap();
    assert_eq!(server.log().counts().live, 1);
    drop(body);
    let record = ended(&server, 0).await;
    assert_eq!(record.end, Some(RequestEnd::Aborted));
    assert!((1..64 << 20).contains(&record.bytes_sent), "{} bytes", record.bytes_sent);
    assert_eq!(server.log().counts().live, 0);

    // Aborted before its first byte.
    let waiting = tokio::time::timeout(20 * MS, store.get(&path)).await;
    assert!(waiting.is_err(), "the first byte comes after 60 ms");
    let record = ended(&server, 1).await;
    assert_eq!((record.end, record.bytes_sent), (Some(RequestEnd::Aborted), 0));
}

fn faulty(answer: ReadAnswer) -> SimServerConfig {
    let script = vec![(When::Read(0), FaultEvent::Answer(answer))];
    SimServerConfig { faults: FaultPlan { script, ..FaultPlan::default() }, ..SimServerConfig::default() }
}

/// Reads an object of 1,000,000 bytes. Returns the number of bytes and whether the body failed.
async fn read(store: &dyn ObjectStore) -> (u64, bool) {
    let path = Path::from("synthetic/1000000/a");
    let content = Content::new(path.as_ref(), FIRST_GENERATION);
    let mut body = store.get(&path).await.unwrap().into_stream();
    let mut at = 0;
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else { return (at, true) };
        let real = chunk.len().min(usize::try_from(1_000_000_u64.saturating_sub(at)).unwrap());
        content.check(at, &chunk[..real]).unwrap();
        at += chunk.len() as u64;
    }
    (at, false)
}

#[tokio::test]
async fn refusals_have_their_status_and_are_logged_as_failed() {
    for (answer, status, retry_after) in
        [(ReadAnswer::Unavailable, 503, None), (ReadAnswer::Throttled { retry_after: 1500 * MS }, 429, Some("2"))]
    {
        for dialect in [Dialect::Gcs, Dialect::S3] {
            let (server, store) = serve(SimServerConfig { dialect, ..faulty(answer) });
            let refused = raw(&server, "GET /bucket/synthetic/1000000/a", &[], "").await;
            assert_eq!((refused.status, refused.header("retry-after")), (status, retry_after));
            let record = ended(&server, 0).await;
            assert_eq!((record.status, record.end), (status, Some(RequestEnd::Failed)));
            assert_eq!(read(&*store).await, (1_000_000, false), "the next read succeeds");
        }
    }
}

#[tokio::test]
async fn a_cut_body_ends_in_an_error_after_what_was_sent() {
    let (server, store) = serve(faulty(ReadAnswer::Cut { after: 0.5 }));
    assert_eq!(read(&*store).await, (500_000, true));
    let record = ended(&server, 0).await;
    assert_eq!((record.end, record.bytes_sent), (Some(RequestEnd::Failed), 500_000));
}

#[tokio::test]
async fn a_stalled_body_goes_on_after_its_pause() {
    let (server, store) = serve(faulty(ReadAnswer::Stalled { after: 0.5, pause: 200 * MS }));
    let start = Instant::now();
    assert_eq!(read(&*store).await, (1_000_000, false));
    assert!(start.elapsed() >= 200 * MS, "{:?}", start.elapsed());
    assert_eq!(ended(&server, 0).await.bytes_sent, 1_000_000);
}

#[tokio::test]
async fn a_body_of_the_wrong_length_ends_without_an_error() {
    for (answer, bytes) in
        [(ReadAnswer::Short { after: 0.25 }, 250_000), (ReadAnswer::Long { extra_bytes: 99 }, 1_000_099)]
    {
        let (server, store) = serve(faulty(answer));
        assert_eq!(read(&*store).await, (bytes, false));
        assert_eq!(ended(&server, 0).await.end, Some(RequestEnd::Failed), "{answer:?}");
    }
}
