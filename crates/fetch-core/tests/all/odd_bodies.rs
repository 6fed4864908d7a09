//! Bodies that begin late or pause, and stores that are down: what they cost in requests and virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headstart_fetch_core::{ConnectionFault, FetchConfig, FetchStore};
use headstart_sim::hostile::behaviours;
use headstart_sim::hostile::{HostileObject, HostileServer, InMemoryConnector};
use headstart_sim::{Altered, LinkProfile, SimStore};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStoreExt, RetryConfig};
use tokio::time::Instant;

const KEY: &str = "data.bin";
const SIZE: u64 = 100_000;
const MS: Duration = Duration::from_millis(1);

/// A store over a server with this behaviour.
fn over(behaviour: &str) -> (Arc<HostileServer>, FetchStore) {
    let behaviour = behaviours::ALL.iter().find(|known| known.name == behaviour).expect(behaviour);
    let server = behaviour.server(HostileObject::new(KEY, SIZE));
    let client = HttpBuilder::new()
        .with_url("http://server.test")
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_http_connector(InMemoryConnector::new(Arc::clone(&server)));
    let config = FetchConfig { jitter_seed: Some(1), ..FetchConfig::default() };
    let store = FetchStore::new(Arc::new(client.build().unwrap()), config).expect("valid settings");
    (server, store)
}

/// Reads the whole object. Returns the number of requests, and the time.
async fn read(server: &HostileServer, store: &FetchStore) -> (usize, Duration) {
    let (before, started) = (server.request_count(), Instant::now());
    let bytes = store.get(&Path::from(KEY)).await.unwrap().bytes().await.unwrap();
    server.object().content().check(0, &bytes).unwrap();
    assert_eq!(bytes.len() as u64, SIZE);
    (server.request_count() - before, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_body_that_begins_late_is_raced_once_and_waited_for_then() {
    let (server, store) = over("first-byte-late");
    let (requests, took) = read(&server, &store).await;
    assert_eq!(requests, 2, "the silent body continues, the second request is dropped");
    assert!(took < 5100 * MS, "{took:?}");
    for _ in 0..3 {
        let (requests, took) = read(&server, &store).await;
        assert_eq!(requests, 1, "such a pause is known to be usual here");
        assert!(took < 5100 * MS, "{took:?}");
    }
    assert_eq!(store.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_takes_no_longer_than_by_one_request() {
    let (server, store) = over("pause-in-body");
    let (requests, took) = read(&server, &store).await;
    assert!(requests <= 3, "{requests} requests");
    assert!(took < 3200 * MS, "{took:?}");
    let (requests, took) = read(&server, &store).await;
    assert!(requests <= 2, "{requests} requests");
    assert!(took < 3200 * MS, "{took:?}");
    let stats = store.stats();
    assert_eq!((stats.in_flight, stats.delivered_bytes), (0, 2 * SIZE));
    assert_eq!(stats.fetched_bytes, stats.delivered_bytes + stats.wasted_bytes, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_lost_is_replaced_by_the_second_request() {
    let (server, store) = over("silent-body-once");
    let (requests, took) = read(&server, &store).await;
    assert_eq!(requests, 2);
    assert!(took < 1300 * MS, "{took:?}");
    assert_eq!(store.stats().in_flight, 0);
}

/// The parts of a read are refused together. One of them probes the store for all.
#[tokio::test(start_paused = true)]
async fn a_read_in_parts_sends_a_store_that_is_down_one_request_per_part_and_one_probe_per_retry() {
    for down_for in [None, Some(Duration::from_secs(1))] {
        let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(32).build();
        let key = Path::from("synthetic/64MiB/a");
        let (asked, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let counted = Arc::clone(&asked);
        let store = Altered::new(sim, move |options| {
            counted.fetch_add(1, Ordering::Relaxed);
            match down_for {
                Some(down_for) if started.elapsed() >= down_for => Ok(options),
                _ => Err(Error::Generic { store: "down", source: ConnectionFault.into() }),
            }
        });
        let config = FetchConfig { jitter_seed: Some(1), ..FetchConfig::default() };
        let store = FetchStore::new(Arc::new(store), config).expect("valid settings");
        let read = async { store.get_range(&key, 0..64 << 20).await };
        match (read.await, down_for) {
            (Ok(bytes), Some(_)) => assert_eq!(bytes.len(), 64 << 20, "a short outage is survived"),
            (Err(_), None) => {
                let asked = asked.load(Ordering::Relaxed);
                assert!(asked <= 32 + 10, "{asked} requests");
                assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
            }
            (read, _) => panic!("{down_for:?}: {:?}", read.map(|bytes| bytes.len())),
        }
        assert_eq!(store.stats().in_flight, 0);
    }
}
