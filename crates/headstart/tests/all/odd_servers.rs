//! Servers that break rules, through the real clients over TCP. The whole matrix is `cargo xtask compatibility`; these
//! are its rows that were reported by users, with the exact numbers of requests.

#![cfg(all(feature = "gcp", feature = "aws", feature = "http"))]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use headstart::{Headstart, HeadstartBuilder};
use headstart_fetch_core::internal::is_transient;
use headstart_sim::hostile::behaviours;
use headstart_sim::hostile::{AskedRequest, HostileObject, HostileServer, Listening};
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, ObjectStoreExt, RetryConfig};
use percent_encoding::percent_decode_str;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

const KEY: &str = "dir/data.bin";
const MIB: u64 = 1 << 20;
const MODES: [&str; 4] = ["none", "fetch", "adaptive", "cached"];
const CLIENTS: [Client; 3] = [Client::Http, Client::S3, Client::Gcs];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Http,
    S3,
    Gcs,
}

/// A server that is listening, and what it has seen.
struct Served {
    server: Arc<HostileServer>,
    listening: Listening,
}

impl Served {
    async fn new(behaviour: &str, size: u64) -> Self {
        let behaviour = behaviours::ALL.iter().find(|known| known.name == behaviour).expect(behaviour);
        Self::over(behaviour.server(HostileObject::new(KEY, size))).await
    }

    async fn over(server: Arc<HostileServer>) -> Self {
        let listening = server.listen().await.unwrap();
        Self { server, listening }
    }

    fn builder(&self, client: Client, mode: &str) -> HeadstartBuilder {
        let url = self.listening.url();
        let builder = Headstart::builder().option("mode", mode);
        let keys = [("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")];
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
        match client {
            Client::Http => builder.environment([]).url(format!("{url}/{KEY}")),
            Client::S3 => builder.environment(keys).url(format!("s3://bucket/{KEY}")).option("s3.endpoint", url),
            Client::Gcs => builder.environment([]).url(format!("gs://bucket/{KEY}")).option("gcs.endpoint", url),
        }
    }

    async fn open(&self, client: Client, mode: &str) -> Headstart {
        self.builder(client, mode).build().await.unwrap()
    }

    fn count(&self, method: &str) -> usize {
        self.server.requests().iter().filter(|asked| asked.method == method).count()
    }

    /// Checks the bytes of the object that begin at `at`.
    fn check(&self, at: u64, bytes: &[u8]) {
        self.server.object().content().check(at, bytes).unwrap();
    }
}

/// F3: a server that refuses its own entity tag.
#[tokio::test]
async fn a_refused_pin_costs_one_head_and_is_not_tried_again() {
    for behaviour in ["if-match-refused", "if-match-unquoted", "if-match-501", "if-match-400"] {
        for mode in ["fetch", "adaptive", "cached"] {
            let size = 40 * MIB;
            let served = Served::new(behaviour, size).await;
            let headstart = served.open(Client::Http, mode).await;
            let bytes = headstart.get(headstart.path()).await.unwrap().bytes().await.unwrap();
            assert_eq!(bytes.len() as u64, size, "{behaviour} {mode}");
            served.check(0, &bytes);
            let reader = headstart.open().await.unwrap();
            for at in [0, 7 * MIB, 39 * MIB] {
                served.check(at, &reader.read_at(at..at + 100).await.unwrap());
            }
            let requests = served.server.requests();
            let pinned = requests.iter().filter(|asked| asked.header("if-match").is_some()).count();
            assert!(pinned > 0, "{behaviour} {mode}: it was pinned");
            assert!(served.count("HEAD") <= pinned, "{behaviour} {mode}: a HEAD for each refusal at the most");
            // Whatever was sent together is refused together; then no more is pinned.
            let last = requests.iter().rposition(|asked| asked.header("if-match").is_some()).unwrap();
            assert!(last < 16, "{behaviour} {mode}: request {last} of {} is pinned", requests.len());
        }
    }
}

/// F4: answers that will be the same next time.
#[tokio::test]
async fn final_answers_go_to_the_caller_at_once() {
    for (behaviour, most) in [
        ("301-without-location", 2),
        ("ranges-ignored", 2),
        ("date-garbled", 2),
        ("content-range-garbled", 2),
        ("length-missing", 2),
        ("another-range", 2),
        ("decompressed", 2),
        ("410", 1),
        ("garbage", 1),
        ("redirect-loop", 11),
    ] {
        for client in CLIENTS {
            for mode in ["fetch", "adaptive", "cached"] {
                let served = Served::new(behaviour, 10_000).await;
                let headstart = served.open(client, mode).await;
                let started = Instant::now();
                // Off by one only within the object: pages ask for all of it.
                if (behaviour, mode) != ("another-range", "cached") {
                    headstart.get_range(headstart.path(), 100..200).await.expect_err(behaviour);
                }
                let (requests, took) = (served.server.request_count(), started.elapsed());
                assert!(requests <= most, "{behaviour} {client:?} {mode}: {requests} requests");
                assert!(took < Duration::from_secs(2), "{behaviour} {client:?} {mode}: {took:?}");
            }
        }
    }
}

/// F5: what one client has tried again is not tried again by another.
#[tokio::test]
async fn tries_do_not_multiply() {
    for client in CLIENTS {
        let served = Served::new("429", 10_000).await;
        let headstart = served.open(client, "adaptive").await;
        headstart.open().await.unwrap().read_at(0..100).await.expect_err("429");
        assert_eq!(served.server.request_count(), 11, "{client:?}");
    }
}

/// F5: the metadata service, which gives credentials, answers 500.
#[tokio::test]
async fn errors_of_credentials_are_final() {
    let served = Served::new("500", 1).await;
    let environment = [("AWS_METADATA_ENDPOINT".to_owned(), served.listening.url())];
    let headstart = Headstart::builder()
        .url(format!("s3://bucket/{KEY}"))
        .option("s3.endpoint", "http://127.0.0.1:9")
        .environment(environment)
        .build()
        .await
        .unwrap();
    headstart.open().await.unwrap().read_at(0..100).await.expect_err("there are no credentials");
    let requests = served.server.request_count();
    assert!(requests <= 11, "{requests} requests to the metadata service");
    assert_eq!(headstart.stats().fetch.unwrap().retries, 0);
}

/// `is_transient` recognises three texts of the client: the prefixes of a failed request and of a refusal, and the note
/// that the client has retried. If this test fails after an update of `object_store`, adapt them in `retryable.rs`.
#[tokio::test]
async fn the_clients_messages_are_those_of_object_store_0_14_2() {
    let served = Served::new("500", 1).await;
    let retry = RetryConfig { max_retries: 2, ..RetryConfig::default() };
    let builder = HttpBuilder::new().with_url(served.listening.url()).with_retry(retry);
    let client = builder.with_client_options(ClientOptions::new().with_allow_http(true)).build().unwrap();
    let error = client.get(&KEY.into()).await.expect_err("the server answers 500");
    let mut texts = Vec::new();
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    let is_told = |found: &dyn Fn(&str) -> bool| assert!(texts.iter().any(|text| found(text)), "{texts:?}");
    is_told(&|text| text.starts_with("Error performing ") && text.contains(", after 2 retries, max_retries: 2"));
    is_told(&|text| text.starts_with("Server returned non-2xx status code: 500"));
    assert!(!is_transient(&error), "the client has retried it");
}

/// F6: as many requests as there are bytes worth one.
#[tokio::test]
async fn small_objects_are_read_to_their_end_by_few_requests() {
    for (size, most) in [(10_000, 1), (100_000, 1), (3_000_000, 3)] {
        for mode in MODES {
            let served = Served::new("correct", size).await;
            let headstart = served.open(Client::Http, mode).await;
            let mut bytes = Vec::new();
            headstart.open().await.unwrap().read_to_end(&mut bytes).await.unwrap();
            assert_eq!(bytes.len() as u64, size);
            served.check(0, &bytes);
            let requests = served.server.request_count();
            assert!(requests <= most, "{size} bytes, {mode}: {requests} requests");

            let served = Served::new("correct", size).await;
            let reader = served.open(Client::Http, mode).await.open().await.unwrap();
            let runtime = tokio::runtime::Handle::current();
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut reader.blocking_on(runtime), &mut bytes).map(|_| bytes)
            });
            served.check(0, &read.await.unwrap().unwrap());
            let requests = served.server.request_count();
            assert!(requests <= most, "{size} bytes, {mode}, by a thread: {requests} requests");
        }
    }
}

/// F7: what we add to a request makes it fail, and is not added again.
#[tokio::test]
async fn what_we_add_never_makes_a_read_fail() {
    for client in CLIENTS {
        for mode in MODES {
            let what = format!("416 {client:?} {mode}");
            let served = Served::new("end-past-object-416", 1000).await;
            let headstart = served.open(client, mode).await;
            for _ in 0..3 {
                served.check(0, &headstart.get_range(headstart.path(), 0..100).await.expect(&what));
            }
            assert!(served.server.request_count() <= 4, "{what}");

            for behaviour in ["ranges-ignored", "covering-range-200", "ranges-416"] {
                let what = format!("{behaviour} {client:?} {mode}");
                let served = Served::new(behaviour, 1000).await;
                let headstart = served.open(client, mode).await;
                let reader = headstart.open().await.unwrap();
                let streamed: Vec<_> = reader.stream().try_collect().await.expect(&what);
                served.check(0, &streamed.concat());
                assert_eq!(streamed.concat().len(), 1000);
                let mut bytes = Vec::new();
                headstart.open().await.unwrap().read_to_end(&mut bytes).await.expect(&what);
                served.check(0, &bytes);
                assert_eq!(bytes.len(), 1000);
            }

            for behaviour in ["ranges-capped-short", "ranges-capped-400"] {
                let what = format!("{behaviour} {client:?} {mode}");
                let served = Served::new(behaviour, 4 * MIB).await;
                let started = Instant::now();
                let reader = served.open(client, mode).await.open().await.unwrap();
                for at in (0..MIB / 2).step_by(32 * 1024) {
                    served.check(at, &reader.read_at(at..at + 32 * 1024).await.expect(&what));
                }
                assert!(started.elapsed() < Duration::from_secs(3), "{what}");
            }
        }
    }
}

/// F7: a server that has no HEAD. Whatever is known of the object is out of date at each read.
#[tokio::test]
async fn objects_are_read_without_head() {
    for behaviour in ["head-405", "head-403", "head-501", "head-without-length"] {
        for client in CLIENTS {
            let served = Served::new(behaviour, 3 * MIB).await;
            let builder = served.builder(client, "cached").option("cache.freshness", "every-read");
            let headstart = builder.build().await.unwrap();
            for _ in 0..3 {
                for range in [0..100, 65_000..66_000, 2 * MIB..3 * MIB] {
                    let bytes = headstart.get_range(headstart.path(), range.clone()).await;
                    served.check(range.start, &bytes.unwrap_or_else(|error| panic!("{behaviour} {client:?}: {error}")));
                }
            }
            let reader = headstart.open().await.unwrap();
            assert_eq!(reader.size().await.unwrap(), 3 * MIB, "{behaviour} {client:?}");
        }
    }
}

/// A key comes to the server as the URL names it, whatever it has that URLs treat in their own way.
#[tokio::test]
async fn paths_keep_their_escapes() {
    for (url, key) in [
        ("a%2Bb", "a+b"),
        ("a+b", "a+b"),
        ("a%2Fb", "a/b"),
        ("dir/a%23b%3Fc%25d", "dir/a#b?c%d"),
        ("a%252Fb", "a%2Fb"),
        ("a%20b", "a b"),
        ("a//b", "a//b"),
        ("%C3%BCnic%C3%B6de.%F0%9F%98%80", "\u{fc}nic\u{f6}de.\u{1f600}"),
        ("\u{fc}", "\u{fc}"),
    ] {
        for mode in MODES {
            let served = Served::over(HostileServer::new(HostileObject::new(key, 1000), |_, reply| reply)).await;
            let builder = Headstart::builder().environment([]).option("mode", mode);
            let builder = builder.url(format!("gs://bucket/{url}")).option("gcs.endpoint", served.listening.url());
            let headstart = builder.build().await.unwrap();
            served.check(0, &headstart.get_range(headstart.path(), 0..10).await.expect(url));
            let decode = |asked: &AskedRequest| percent_decode_str(&asked.target).decode_utf8().unwrap().into_owned();
            let requests = served.server.requests();
            assert!(requests.iter().all(|asked| decode(asked) == format!("/bucket/{key}")), "{url}: {requests:?}");
        }
    }
}
