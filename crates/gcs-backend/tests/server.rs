//! The client of this crate against a server that speaks Google's dialect over real HTTP.

use std::time::Duration;

use headstart_fetch_core::{FetchConfig, FetchStore, Throttled};
use headstart_gcs_backend::{GcsBackend, GcsConfig};
use headstart_sim::server::{SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{Content, FaultEvent, FaultPlan, ReadAnswer, When};
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

fn open(server: &SimServerHandle, key: &str, options: &[(&str, &str)]) -> GcsBackend {
    let emulator = |name: &str| (name == "STORAGE_EMULATOR_HOST").then(|| server.url().to_owned());
    let config = GcsConfig::resolve(options.iter().copied(), emulator).expect("options that can be used");
    let url = format!("gs://bucket/{key}").parse().expect("a URL");
    GcsBackend::open(Some(&url), config).expect("a bucket that can be opened")
}

#[tokio::test]
async fn an_emulator_accepts_all_credentials() {
    let server = SimServer::start(SimServerConfig::default()).expect("a free port");
    for options in [&[][..], &[("token", "any")], &[("anonymous", "on")], &[("user_project", "payer")]] {
        let backend = open(&server, "key", options);
        backend.store().put(backend.path(), "bytes".into()).await.expect("a write");
        let answer = backend.store().get(backend.path()).await.expect("a read");
        assert_eq!(answer.bytes().await.expect("a body"), "bytes", "{options:?}");
    }
}

#[tokio::test]
async fn special_characters_in_keys_reach_the_server() {
    let server = SimServer::start(SimServerConfig::default()).expect("a free port");
    for key in ["a b", "a?b", "a#b", "a%2Fb", "a//b", "100%", "ü/日本", "+*~'\"<>[]{}|^`\\"] {
        let backend = open(&server, &utf8_percent_encode(key, NON_ALPHANUMERIC).to_string(), &[]);
        backend.store().put(backend.path(), "bytes".into()).await.expect("a write");
        assert_eq!(server.catalog().get(key, None).map(|object| object.size), Ok(5), "{key}");
        assert_eq!(backend.store().head(backend.path()).await.expect("a head").size, 5, "{key}");
    }
}

#[tokio::test]
async fn a_generation_in_the_url_is_the_version_to_ask_for() {
    let server = SimServer::start(SimServerConfig::default()).expect("a free port");
    let store = open(&server, "key", &[]).store();
    let first = store.put(&"key".into(), "first".into()).await.expect("a write").version.expect("a generation");
    store.put(&"key".into(), "second".into()).await.expect("a write");
    let backend = open(&server, &format!("key#{first}"), &[]);
    let options = GetOptions::new().with_version(backend.generation());
    let answer = backend.store().get_opts(backend.path(), options).await.expect("a read");
    assert_eq!(answer.bytes().await.expect("a body"), "first");
}

/// Reads an object whose first two reads are answered `answer`: first without a `FetchStore`, which fails, then with
/// one, which succeeds. Returns the error of the first read.
async fn read_with(answer: ReadAnswer) -> Error {
    const SIZE: u64 = 200_000;
    let fault = |read| (When::Read(read), FaultEvent::Answer(answer));
    let faults = FaultPlan { script: vec![fault(0), fault(1)], ..FaultPlan::default() };
    let server = SimServer::start(SimServerConfig { faults, ..SimServerConfig::default() }).expect("a free port");
    server.catalog().add_synthetic("key", SIZE);
    let backend = open(&server, "key", &[]);

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

#[tokio::test]
async fn a_download_is_checked_against_what_the_store_says() {
    let server = SimServer::start(SimServerConfig::default()).expect("a free port");
    let backend = open(&server, "key", &[]);
    let store = FetchStore::new(backend.store_for_fetch(), FetchConfig::default()).expect("valid settings");
    store.put(backend.path(), vec![7; 3_000_000].into()).await.expect("a write");
    let folder = tempfile::tempdir().expect("a folder");
    let got = store.download(backend.path(), folder.path().join("file")).await.expect("a download");
    assert!(got.verified);
    assert_eq!(std::fs::read(folder.path().join("file")).expect("a file"), vec![7; 3_000_000]);
}
