//! Addresses, metrics, limits, and how it stops.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::common::{self, Bucket, Endpoint, MIB, Place, http, now, wait_until};
use headstart_sim::server::Dialect;
use rustix::process::Signal;

#[tokio::test]
async fn a_signal_lets_requests_in_progress_end() {
    for (kill, bytes_per_s) in [(Signal::TERM, 20e6), (Signal::INT, 20e6)] {
        let (place, bucket) = (Place::new(), Bucket::slow(Dialect::Gcs, bytes_per_s));
        let large = bucket.put_large("large", 16 * MIB);
        let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--grace", "30"]);
        let url = format!("{}/bucket/large", endpoint.url);
        let mut answer = http().get(&url).send().await.unwrap();
        let mut bytes = answer.chunk().await.unwrap().unwrap().to_vec();
        endpoint.signal(kill);
        wait_until("the end of listening", || std::net::TcpStream::connect(&endpoint.url[7..]).is_err());
        while let Some(chunk) = answer.chunk().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        assert!(bytes == large);
        let ran = endpoint.end();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_second_signal_or_the_end_of_the_grace_cuts_requests_off() {
    for (grace, signals, code) in [("600", 2, 143), ("1", 1, 0)] {
        let (place, bucket) = (Place::new(), Bucket::slow(Dialect::Gcs, 2e5));
        bucket.put_large("large", 64 * MIB);
        let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--grace", grace]);
        let mut answer = http().get(format!("{}/bucket/large", endpoint.url)).send().await.unwrap();
        answer.chunk().await.unwrap().unwrap();
        for _ in 0..signals {
            endpoint.signal(Signal::TERM);
            wait_until("the end of listening", || std::net::TcpStream::connect(&endpoint.url[7..]).is_err());
        }
        let began = now();
        let ran = endpoint.end();
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(began.elapsed().as_secs() < 20, "it waited for the request");
        assert_eq!(ran.stderr.contains("1 connection was cut off"), code == 0, "{}", ran.stderr);
    }
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    bucket.put("k", "v");
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--grace", "600"]);
    let client = http();
    let answer = client.get(format!("{}/bucket/k", endpoint.url)).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "v");
    endpoint.signal(Signal::TERM);
    assert_eq!(endpoint.end().code, 0);
    drop(client);
}

#[test]
fn addresses_and_urls_that_cannot_be_served_are_refused() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    for (args, says) in [
        (&["--listen", "nonsense", "gs://bucket"][..], "expected 127.0.0.1:PORT"),
        (&["gs://bucket/*.gz"], "without a pattern"),
        (&["gs://bucket/k#17"], "without a pattern or a generation"),
        (&["/tmp"], "name a bucket"),
        (&["--max-connections", "0", "gs://bucket"], "0"),
    ] {
        bucket.run(&place, &[&["serve"], args].concat()).fails(2, &[says]);
    }
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
    let taken = bucket.run(&place, &["serve", "--listen", &endpoint.url[7..], "gs://bucket"]);
    taken.fails(1, &["Cannot listen at", "choose another address"]);
}

#[test]
fn a_unix_socket_is_served_and_removed() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    bucket.put("k", "value");
    let socket = place.text("socket");
    let listen = format!("unix:{socket}");
    // A socket that a killed process has left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let endpoint = Endpoint::of(bucket.command(&place, &["serve", "--listen", &listen, "gs://bucket"]));
    assert_eq!(endpoint.url, listen);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /bucket/k HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nvalue"), "{answer}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let taken = bucket.run(&place, &["serve", "--listen", &listen, "gs://bucket"]);
    taken.fails(1, &["Cannot listen at", "Another program"]);
    endpoint.signal(Signal::TERM);
    assert_eq!(endpoint.end().code, 0);
    assert!(!place.path("socket").exists());
}

/// The value of a line of Prometheus' text.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn metrics_are_those_of_the_reads_through_it() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    let bytes = common::bytes(5, 200_000);
    bucket.put("k", bytes.clone());
    let started = Endpoint::start(&place, &bucket, &bucket.url(""), &["--metrics", "127.0.0.1:0", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&started.url).unwrap();
    let [url, metrics] = ["url", "metrics"].map(|key| said[key].as_str().unwrap());
    let scrape = async || {
        let answer = http().get(metrics).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        answer.text().await.unwrap()
    };
    // The requests that the metrics tell of, by how they ended.
    let requests = |text: &str, kind: &str, outcome: &str| -> f64 {
        let own =
            |line: &&str| line.contains(&format!("kind=\"{kind}\"")) && line.contains(&format!("=\"{outcome}\"}}"));
        let lines = text.lines().filter(|line| line.starts_with("headstart_requests_total{")).filter(own);
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let before = scrape().await;
    assert_eq!(requests(&before, "get", "answered") + requests(&before, "head", "answered"), 0.0);
    assert_eq!(value(&before, "headstart_demanded_bytes_total"), 0.0);

    let read = async || http().get(format!("{url}/bucket/k")).send().await.unwrap().bytes().await.unwrap();
    assert!(read().await == bytes);
    let (first, counts) = (scrape().await, bucket.server.log().counts());
    assert!(counts.gets > 0);
    assert_eq!(requests(&first, "get", "answered"), counts.gets as f64, "{first}");
    assert_eq!(requests(&first, "head", "answered"), counts.heads as f64, "{first}");
    assert_eq!(value(&first, "headstart_fetched_bytes_total{layer=\"fetch\"}"), 200_000.0);
    assert_eq!(value(&first, "headstart_first_byte_seconds_count"), counts.gets as f64);
    assert_eq!(value(&first, "headstart_body_seconds_count"), counts.gets as f64);
    assert_eq!(value(&first, "headstart_requests_in_flight"), 0.0);
    // Four pages of 64 KiB.
    assert_eq!(value(&first, "headstart_cache_held_pages{tier=\"memory\"}"), 4.0);

    // A second read comes from the cache.
    assert!(read().await == bytes);
    let second = scrape().await;
    assert_eq!(requests(&second, "get", "answered"), counts.gets as f64);
    assert_eq!(value(&second, "headstart_fetched_bytes_total{layer=\"fetch\"}"), 200_000.0);
    let hits = |text| value(text, "headstart_cache_hit_bytes_total{source=\"memory\"}");
    assert_eq!(hits(&second) - hits(&first), 200_000.0);
    assert_eq!(value(&second, "headstart_delivered_bytes_total"), 200_000.0);
    assert_eq!(value(&second, "headstart_demanded_bytes_total"), 400_000.0);
    let range = http().get(format!("{url}/bucket/k")).header("range", "bytes=1000-1999").send().await.unwrap();
    assert_eq!(range.bytes().await.unwrap(), bytes[1000..2000]);
    assert_eq!(value(&scrape().await, "headstart_demanded_bytes_total"), 401_000.0);

    // An object that is not there, asked for at the store.
    assert_eq!(http().get(format!("{url}/bucket/none")).send().await.unwrap().status(), 404);
    let third = scrape().await;
    assert!(requests(&third, "get", "refused") + requests(&third, "head", "refused") > 0.0, "{third}");

    // The endpoint of metrics serves nothing else, and no web page.
    let other = metrics.replace("/metrics", "/bucket/k");
    assert_eq!(http().get(other).send().await.unwrap().status(), 404);
    assert_eq!(http().post(metrics).send().await.unwrap().status(), 405);
    assert_eq!(http().get(metrics).header("host", "evil.example").send().await.unwrap().status(), 403);
    assert_eq!(http().get(format!("{url}/metrics")).send().await.unwrap().status(), 404);
    started.signal(Signal::TERM);
    assert_eq!(started.end().code, 0);
}

#[test]
fn a_request_with_too_many_headers_is_refused() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    bucket.put("k", "value");
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--max-connections", "1"]);
    for header in ["X: y\r\n".repeat(200), format!("X: {}\r\n", "y".repeat(100_000))] {
        let mut stream = std::net::TcpStream::connect(&endpoint.url[7..]).unwrap();
        // The server may close before it has read all.
        let _ = stream.write_all(format!("GET /bucket/k HTTP/1.1\r\nHost: localhost\r\n{header}\r\n").as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
    // The one connection is free again.
    let mut stream = std::net::TcpStream::connect(&endpoint.url[7..]).unwrap();
    stream.write_all(b"GET /bucket/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("value"), "{answer}");
}
