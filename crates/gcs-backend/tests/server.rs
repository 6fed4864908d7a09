//! The client as this crate sets it up, against a server that speaks Google's dialect over real HTTP.

use headstart_gcs_backend::{GcsBackend, GcsConfig};
use headstart_sim::server::{SimServer, SimServerConfig, SimServerHandle};
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

fn open(server: &SimServerHandle, key: &str, options: &[(&str, &str)]) -> GcsBackend {
    let emulator = |name: &str| (name == "STORAGE_EMULATOR_HOST").then(|| server.url().to_owned());
    let config = GcsConfig::resolve(options.iter().copied(), emulator).expect("options that can be used");
    let url = format!("gs://bucket/{key}").parse().expect("a URL");
    GcsBackend::open(Some(&url), config).expect("a bucket that can be opened")
}

#[tokio::test]
async fn everybody_reads_and_writes_an_emulator() {
    let server = SimServer::start(SimServerConfig::default()).expect("a free port");
    for options in [&[][..], &[("token", "any")], &[("anonymous", "on")], &[("user_project", "payer")]] {
        let backend = open(&server, "key", options);
        backend.store().put(backend.path(), "bytes".into()).await.expect("a write");
        let answer = backend.store().get(backend.path()).await.expect("a read");
        assert_eq!(answer.bytes().await.expect("a body"), "bytes", "{options:?}");
    }
}

#[tokio::test]
async fn keys_are_sent_as_they_are() {
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
