//! What the example for OpenTelemetry sends: received over loopback and decoded.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/otlp.rs"]
#[allow(dead_code, reason = "the example has a `main`, and reads its endpoint from the environment")]
mod example;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use headstart_metrics::time_bounds;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, number_data_point};
use prost::Message;

/// Receives one request, and answers it.
fn receive(listener: &TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_else(|| panic!("no length: {head}"))];
    reader.read_exact(&mut body).unwrap();
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).unwrap();
    (head, body)
}

/// The count of the point with these labels.
fn count(metric: &Metric, labels: &[(&str, &str)]) -> Option<i64> {
    let Some(Data::Sum(sum)) = &metric.data else { panic!("{} is no counter", metric.name) };
    assert!(sum.is_monotonic, "{}", metric.name);
    let has = |point: &&NumberDataPoint| {
        labels.iter().all(|(key, value)| {
            let value = format!("{value:?}");
            point.attributes.iter().any(|own| own.key == *key && format!("{:?}", own.value).contains(&value))
        })
    };
    match sum.data_points.iter().find(has)?.value? {
        number_data_point::Value::AsInt(count) => Some(count),
        number_data_point::Value::AsDouble(_) => None,
    }
}

#[test]
fn a_collector_receives_counts_and_times() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/metrics", listener.local_addr().unwrap());
    let collector = std::thread::spawn(move || receive(&listener));
    let (provider, recorder) = example::otlp(Some(endpoint)).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(example::read(recorder)).unwrap();
    provider.shutdown().unwrap();
    let (head, body) = collector.join().unwrap();
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    let request = ExportMetricsServiceRequest::decode(&*body).unwrap();
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let metrics: Vec<&Metric> = scopes.flat_map(|scope| &scope.metrics).collect();
    let metric = |name: &str| {
        let mut named = metrics.iter().filter(|metric| metric.name == name);
        let first = named.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(named.next().is_none(), "{name} twice");
        assert!(!first.description.is_empty(), "{name} has no description");
        *first
    };
    let requests = metric("headstart_requests_total");
    let of =
        |outcome| count(requests, &[("store", "example"), ("kind", "get"), ("intent", "demand"), ("outcome", outcome)]);
    assert_eq!((of("answered"), of("refused")), (Some(3), Some(0)));
    assert_eq!(count(metric("headstart_fetched_bytes_total"), &[("layer", "fetch")]), Some(3000));
    let Some(Data::Histogram(times)) = &metric("headstart_first_byte_seconds").data else { panic!("no histogram") };
    let [point] = &*times.data_points else { panic!("{times:?}") };
    assert_eq!((point.count, point.explicit_bounds.as_slice()), (3, time_bounds().as_slice()));
    assert!(matches!(metric("headstart_requests_in_flight").data, Some(Data::Gauge(_))));
}
