//! URLs through the real clients to a real HTTP server, every byte and every request counted.

#![cfg(all(feature = "gcp", feature = "aws"))]

use futures::TryStreamExt;
use headstart::{Headstart, HeadstartBuilder, ObjectChanged};
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{Content, FaultEvent, FaultPlan, ReadAnswer, When};
use object_store::{ObjectStore, ObjectStoreExt};

const MIB: u64 = 1 << 20;

fn server(dialect: Dialect) -> SimServerHandle {
    server_with(dialect, FaultPlan::default())
}

fn server_with(dialect: Dialect, faults: FaultPlan) -> SimServerHandle {
    SimServer::start(SimServerConfig { dialect, faults, ..SimServerConfig::default() }).unwrap()
}

/// `key` in the bucket of `server`, as a user would open it.
fn url(server: &SimServerHandle, dialect: Dialect, key: &str) -> HeadstartBuilder {
    let (scheme, section) = match dialect {
        Dialect::Gcs => ("gs", "gcs"),
        Dialect::S3 => ("s3", "s3"),
    };
    let variables = [("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")];
    Headstart::builder()
        .url(format!("{scheme}://bucket/{key}"))
        .environment(variables.map(|(key, value)| (key.to_owned(), value.to_owned())))
        .option(format!("{section}.endpoint"), server.url())
}

#[tokio::test]
async fn every_byte_is_right_and_every_get_is_counted() {
    for dialect in [Dialect::Gcs, Dialect::S3] {
        let server = server(dialect);
        let size = 48 * MIB + 17;
        let written = server.catalog().add_synthetic("data", size).number;
        let content = Content::new("data", written);

        // A hedge that is cancelled before it is connected is counted here, and the server cannot know of it.
        let headstart = url(&server, dialect, "data").option("fetch.hedge", "off").build().await.unwrap();
        let mut at = 0;
        let mut chunks = headstart.open().await.unwrap().stream();
        while let Some(chunk) = chunks.try_next().await.unwrap() {
            content.check(at, &chunk).unwrap();
            at += chunk.len() as u64;
        }
        assert_eq!(at, size);
        let (counts, stats) = (server.log().counts(), headstart.stats().fetch.unwrap());
        assert_eq!((counts.gets, counts.heads), (stats.gets(), stats.heads), "{dialect:?}: {counts:?} {stats:?}");
        assert!(counts.gets > 1, "nothing was fetched in parallel");
    }
}

/// Refusals and broken bodies change no byte, and every request that they cost is counted.
#[tokio::test]
async fn what_the_server_logs_is_what_is_counted_whatever_goes_wrong() {
    for dialect in [Dialect::Gcs, Dialect::S3] {
        let refused_for = std::time::Duration::from_secs(1);
        let throttled = (When::Read(3), FaultEvent::Answer(ReadAnswer::Throttled { retry_after: refused_for }));
        let script = vec![throttled];
        let faults = FaultPlan { seed: 7, unavailable: 0.1, cut: 0.1, script, ..FaultPlan::default() };
        let server = server_with(dialect, faults);
        let size = 300 * MIB + 17;
        let content = Content::new("data", server.catalog().add_synthetic("data", size).number);

        // As above, no hedges.
        let store =
            url(&server, dialect, "").option("fetch.hedge", "off").option("mode", "fetch").build().await.unwrap();
        let mut at = 0;
        let mut body = store.get(&"data".into()).await.unwrap().into_stream();
        while let Some(chunk) = body.try_next().await.unwrap() {
            content.check(at, &chunk).unwrap();
            at += chunk.len() as u64;
        }
        for n in 0..40 {
            let range = n * 7 * MIB..n * 7 * MIB + 100_000;
            let bytes = store.get_range(&"data".into(), range.clone()).await.unwrap();
            content.check(range.start, &bytes).unwrap();
        }
        let (counts, stats) = (server.log().counts(), store.stats().fetch.unwrap());
        assert_eq!(
            (at, counts.gets, counts.heads),
            (size, stats.gets(), stats.heads),
            "{dialect:?}: {counts:?} {stats:?}"
        );
        assert_eq!(stats.fetched_bytes, size + 40 * 100_000, "no byte is fetched twice");
        assert_eq!(counts.failed, stats.retries, "{dialect:?}: {counts:?} {stats:?}");
        assert!(stats.retries >= 10, "{dialect:?}: {counts:?} {stats:?}");
    }
}

#[tokio::test]
async fn a_missing_object_is_not_found() {
    for dialect in [Dialect::Gcs, Dialect::S3] {
        let server = server(dialect);
        let error = url(&server, dialect, "nothing")
            .build()
            .await
            .unwrap()
            .open()
            .await
            .unwrap()
            .read_at(0..9)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, object_store::Error::NotFound { path, .. } if path == "nothing"),
            "{dialect:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_generation_is_read_though_a_newer_one_is_there() {
    let server = server(Dialect::Gcs);
    let store = url(&server, Dialect::Gcs, "").build().await.unwrap();
    let first = store.put(&"key".into(), "first".into()).await.unwrap().version.unwrap();
    store.put(&"key".into(), "second".into()).await.unwrap();
    let read = |key: String| {
        let builder = url(&server, Dialect::Gcs, &key);
        async move { builder.build().await?.open().await?.read_at(0..9).await.map_err(headstart::Error::from) }
    };
    assert_eq!(read(format!("key#{first}")).await.unwrap(), "first");
    assert_eq!(read("key".into()).await.unwrap(), "second");
    let gone = read("key#1".into()).await.unwrap_err();
    assert!(matches!(gone, headstart::Error::Store(object_store::Error::NotFound { .. })), "{gone}");
}

#[tokio::test]
async fn a_reader_never_mixes_versions() {
    for dialect in [Dialect::Gcs, Dialect::S3] {
        let server = server(dialect);
        let store = url(&server, dialect, "key").build().await.unwrap();
        store.put(&"key".into(), vec![1; 3 << 20].into()).await.unwrap();
        let reader = store.open().await.unwrap();
        assert_eq!(reader.read_at(0..4).await.unwrap(), [1; 4].as_slice());
        store.put(&"key".into(), vec![2; 3 << 20].into()).await.unwrap();
        match reader.read_at(2 << 20..3 << 20).await {
            Ok(bytes) => assert!(bytes.iter().all(|byte| *byte == 1), "{dialect:?}"),
            Err(error) => assert!(ObjectChanged::find(&error).is_some(), "{dialect:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn keys_that_need_care_come_back_from_their_url() {
    let server = server(Dialect::Gcs);
    for (url_key, key) in [
        ("a%20b", "a b"),
        ("a b", "a b"),
        ("a?b=c&d", "a?b=c&d"),
        ("a#b", "a#b"),
        ("a%2317", "a#17"),
        ("100%25", "100%"),
        ("a%252Fb", "a%2Fb"),
        ("a//b", "a//b"),
        ("ü/日本", "ü/日本"),
        ("+plus*star~'quote'", "+plus*star~'quote'"),
    ] {
        server.catalog().add_synthetic(key, 100);
        let reader = url(&server, Dialect::Gcs, url_key).build().await.unwrap().open().await.unwrap();
        let written = server.catalog().get(key, None).unwrap().number;
        let bytes = reader.read_at(0..100).await.unwrap_or_else(|error| panic!("{url_key}: {error}"));
        assert_eq!(bytes, Content::new(key, written).bytes(0..100), "{url_key}");
    }
}

#[tokio::test]
async fn a_listing_passes_through() {
    let server = server(Dialect::S3);
    server.catalog().add_synthetic("dir/a", 1);
    let store = url(&server, Dialect::S3, "dir/").build().await.unwrap();
    let names: Vec<_> =
        store.list(Some(store.path())).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    assert_eq!(names, ["dir/a"]);
}

#[cfg(feature = "http")]
#[tokio::test]
async fn a_web_server_that_answers_ranges() {
    let server = server(Dialect::S3);
    let size = 20 * MIB + 3;
    let content = Content::new("dir/a b", server.catalog().add_synthetic("dir/a b", size).number);
    for mode in ["none", "fetch", "adaptive", "cached"] {
        let url = format!("{}/bucket/dir/a%20b", server.url());
        let headstart = Headstart::builder().environment([]).url(url).option("mode", mode).build().await.unwrap();
        let reader = headstart.open().await.unwrap();
        assert_eq!(reader.size().await.unwrap(), size, "{mode}");
        let mut at = 0;
        let mut chunks = reader.stream();
        while let Some(chunk) = chunks.try_next().await.unwrap() {
            content.check(at, &chunk).unwrap();
            at += chunk.len() as u64;
        }
        assert_eq!(at, size, "{mode}");
        let bytes = headstart.get_range(headstart.path(), 7..100_000).await.unwrap();
        content.check(7, &bytes).unwrap();
    }
}
