//! The client of this crate against a server that speaks Amazon's dialect over real HTTP.

use std::time::Duration;

use headstart_fetch_core::{FetchConfig, FetchStore, Throttled};
use headstart_s3_backend::{S3Backend, S3Config};
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{Content, FaultEvent, FaultPlan, ReadAnswer, When};
use object_store::{Error, ObjectStoreExt};
use tokio::time::Instant;

fn open(server: &SimServerHandle) -> S3Backend {
    let options = [("endpoint", server.url()), ("access_key_id", "any"), ("secret_access_key", "any")];
    let config = S3Config::resolve(options, []).expect("options that can be used");
    S3Backend::open(&"s3://bucket/key".parse().expect("a URL"), config).expect("a bucket that can be opened")
}

#[tokio::test]
async fn both_stores_read_and_write() {
    let config = SimServerConfig { dialect: Dialect::S3, ..SimServerConfig::default() };
    let server = SimServer::start(config).expect("a free port");
    let backend = open(&server);
    for store in [backend.store(), backend.store_for_fetch()] {
        store.put(backend.path(), "bytes".into()).await.expect("a write");
        assert_eq!(store.get(backend.path()).await.expect("a read").bytes().await.expect("a body"), "bytes");
        store.delete(backend.path()).await.expect("a delete");
        assert!(matches!(store.head(backend.path()).await, Err(Error::NotFound { .. })));
    }
}

/// Reads an object whose first two reads are answered `answer`: first without a `FetchStore`, which fails, then with
/// one, which succeeds. Returns the error of the first read.
async fn read_with(answer: ReadAnswer) -> Error {
    const SIZE: u64 = 200_000;
    let fault = |read| (When::Read(read), FaultEvent::Answer(answer));
    let faults = FaultPlan { script: vec![fault(0), fault(1)], ..FaultPlan::default() };
    let server = SimServer::start(SimServerConfig { faults, dialect: Dialect::S3, ..SimServerConfig::default() })
        .expect("a free port");
    server.catalog().add_synthetic("key", SIZE);
    let backend = open(&server);

    let read = async || backend.store_for_fetch().get(backend.path()).await?.bytes().await;
    let error = read().await.expect_err("the client does not retry");
    assert_eq!(server.log().counts().gets, 1, "nor resume");

    let config = FetchConfig { profile: Some(backend.profile()), ..FetchConfig::default() };
    let store = FetchStore::new(backend.store_for_fetch(), config).expect("valid settings");
    let bytes = store.get(backend.path()).await.expect("an answer").bytes().await.expect("a body");
    let number = server.catalog().get("key", None).expect("it is there").number;
    Content::new("key", number).check(0, &bytes).expect("the object's bytes");
    assert_eq!(bytes.len() as u64, SIZE);
    assert_eq!(server.log().counts().gets, 1 + store.stats().gets(), "every request is counted");
    error
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let begun = Instant::now();
    let error = read_with(ReadAnswer::Throttled { retry_after: Duration::from_secs(1) }).await;
    let expected = Throttled { status: 429, retry_after: Some(Duration::from_secs(1)) };
    assert_eq!(Throttled::find(&error), Some(expected), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "the second try waited for Retry-After");

    let error = read_with(ReadAnswer::Unavailable).await;
    assert_eq!(Throttled::find(&error), Some(Throttled { status: 503, retry_after: None }), "{error:?}");
}

#[tokio::test]
async fn a_cut_body_is_resumed_by_the_fetch_store() {
    let error = read_with(ReadAnswer::Cut { after: 0.5 }).await;
    assert_eq!(Throttled::find(&error), None);
}
