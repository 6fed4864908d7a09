//! Tests of the faults of `SimStore`.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use headstart_fetch_core::ConnectionFault;
use headstart_sim::{
    Content, ExternalChange, FIRST_GENERATION, FaultEvent, FaultPlan, LinkProfile, ReadAnswer, RequestEnd, SimFault,
    SimStore, When,
};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const KEY: &str = "synthetic/1000000/a";

fn scripted(script: Vec<(When, FaultEvent)>) -> SimStore {
    SimStore::builder()
        .profile(LinkProfile::gcs())
        .warm_connections(1)
        .faults(FaultPlan { script, ..FaultPlan::default() })
        .build()
}

fn first(answer: ReadAnswer) -> SimStore {
    scripted(vec![(When::Read(0), FaultEvent::Answer(answer))])
}

/// Reads the object until its end or an error.
async fn drain(store: &SimStore) -> (Vec<u8>, Option<object_store::Error>) {
    let mut body = match store.get(&Path::from(KEY)).await {
        Ok(answer) => answer.into_stream(),
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut got = Vec::new();
    loop {
        match body.try_next().await {
            Ok(Some(bytes)) => got.extend_from_slice(&bytes),
            Ok(None) => return (got, None),
            Err(error) => return (got, Some(error)),
        }
    }
}

#[track_caller]
fn assert_content(bytes: &[u8]) {
    assert_eq!(Content::new(KEY, FIRST_GENERATION).check(0, bytes), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn each_fault_looks_as_it_would_to_a_client() {
    let retry_after = Duration::from_secs(3);
    for (answer, len, fault, status) in [
        (ReadAnswer::Whole, 1_000_000, None, 200),
        (ReadAnswer::Unavailable, 0, Some(SimFault::UNAVAILABLE), 503),
        (ReadAnswer::Throttled { retry_after }, 0, Some(SimFault::throttled(retry_after)), 429),
        (ReadAnswer::Cut { after: 0.0 }, 0, Some(SimFault::BodyCut { bytes: 0, fault: ConnectionFault }), 200),
        (
            ReadAnswer::Cut { after: 0.5 },
            500_000,
            Some(SimFault::BodyCut { bytes: 500_000, fault: ConnectionFault }),
            200,
        ),
        (ReadAnswer::Short { after: 0.25 }, 250_000, None, 200),
        (ReadAnswer::Long { extra_bytes: 7 }, 1_000_007, None, 200),
    ] {
        let store = first(answer);
        let (got, error) = drain(&store).await;
        assert_eq!((got.len(), error.as_ref().and_then(SimFault::find)), (len, fault), "{answer:?}: {error:?}");
        assert_content(&got[..len.min(1_000_000)]);
        let record = store.log().snapshot().remove(0);
        let end = if answer == ReadAnswer::Whole { RequestEnd::Completed } else { RequestEnd::Failed };
        assert_eq!((record.status, record.end, record.bytes_sent), (status, Some(end), len as u64), "{answer:?}");
        assert_eq!(store.connections().idle(), usize::from(answer == ReadAnswer::Whole));
        assert_eq!(drain(&store).await.0.len(), 1_000_000, "the next read succeeds");
    }
}

#[tokio::test(start_paused = true)]
async fn stalls_and_late_first_bytes_delay_the_body_without_an_error() {
    let plain = Duration::from_secs_f64(0.030 + 1e6 / 60e6);
    let pause = Duration::from_secs(5);
    let late = SimStore::builder()
        .profile(LinkProfile::gcs())
        .warm_connections(1)
        .faults(FaultPlan { late: 1.0, late_by: pause, ..FaultPlan::default() })
        .build();
    for store in [first(ReadAnswer::Stalled { after: 0.5, pause }), late] {
        let start = Instant::now();
        let (got, error) = drain(&store).await;
        assert!(error.is_none() && got.len() == 1_000_000);
        assert_content(&got);
        let took = start.elapsed();
        assert!(took >= plain + pause && took <= plain + pause + 2 * MS, "{took:?}");
        assert_eq!(store.log().snapshot()[0].end, Some(RequestEnd::Completed));
    }
}

#[tokio::test(start_paused = true)]
async fn scripted_changes_happen_in_time_and_do_not_affect_open_bodies() {
    let path = Path::from(KEY);
    let overwrite = ExternalChange::Overwrite { key: KEY.into(), size: Some(10) };
    let store = scripted(vec![
        (When::Read(1), FaultEvent::Change(overwrite)),
        (When::At(Duration::from_secs(9)), FaultEvent::Change(ExternalChange::Delete { key: KEY.into() })),
    ]);
    let before = store.get(&path).await.unwrap();
    let first = before.meta.clone();
    let after = store.get(&path).await.unwrap();
    assert_eq!(after.meta.size, 10);
    assert_ne!((&after.meta.e_tag, &after.meta.version), (&first.e_tag, &first.version));
    assert_content(&before.bytes().await.unwrap());
    let generation = after.meta.version.as_ref().unwrap().parse().unwrap();
    Content::new(KEY, generation).check(0, &after.bytes().await.unwrap()).unwrap();

    let stale = store.get_opts(&path, GetOptions::new().with_if_match(first.e_tag.clone())).await.unwrap_err();
    assert!(matches!(stale, object_store::Error::Precondition { .. }), "{stale:?}");
    let old: Bytes =
        store.get_opts(&path, GetOptions::new().with_version(first.version)).await.unwrap().bytes().await.unwrap();
    assert_content(&old);

    tokio::time::sleep(Duration::from_secs(9)).await;
    let gone = store.head(&path).await.unwrap_err();
    assert!(matches!(gone, object_store::Error::NotFound { .. }), "{gone:?}");
}

#[tokio::test]
async fn an_unversioned_bucket_loses_overwritten_generations() {
    let store = SimStore::builder().versioned(false).build();
    let path = Path::from(KEY);
    let version = store.head(&path).await.unwrap().version;
    store.overwrite(KEY, None).unwrap();
    let gone = store.get_opts(&path, GetOptions::new().with_version(version)).await.unwrap_err();
    assert!(matches!(gone, object_store::Error::NotFound { .. }), "{gone:?}");
}
