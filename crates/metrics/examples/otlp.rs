//! Sends the metrics of a store to an OpenTelemetry collector by OTLP over HTTP.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 cargo run -p headstart-metrics --example otlp`
//!
//! The endpoint is the default one. The values of the `metrics` crate go to OpenTelemetry's SDK by
//! `metrics-exporter-opentelemetry`, whose recorder makes an instrument of each metric.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use headstart_fetch_core::{FetchConfig, FetchStore};
use headstart_metrics::{ExportedLayers, METRICS, MetricKind, MetricsExporter, time_bounds};
use metrics_exporter_opentelemetry::Recorder;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig};
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};

/// The recorder, and the provider that sends its values: every minute, or as `OTEL_METRIC_EXPORT_INTERVAL` says.
/// `endpoint` is that of the collector, with the path `/v1/metrics`; `None` is that of the environment.
pub(crate) fn otlp(endpoint: Option<String>) -> Result<(SdkMeterProvider, Recorder), Box<dyn Error>> {
    let mut exporter = MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    if let Some(endpoint) = endpoint {
        exporter = exporter.with_endpoint(endpoint);
    }
    let exporter = exporter.build()?;
    // Without this, the buckets of times begin at 5 seconds.
    let buckets_of_times = |instrument: &Instrument| {
        let is_ours = |name: &str| METRICS.iter().any(|it| it.kind() == MetricKind::Histogram && it.name == name);
        let boundaries = time_bounds().to_vec();
        let aggregation = Aggregation::ExplicitBucketHistogram { boundaries, record_min_max: false };
        is_ours(instrument.name()).then(|| Stream::builder().with_aggregation(aggregation).build().ok()).flatten()
    };
    let recorder = Recorder::builder("headstart");
    Ok(recorder.with_meter_provider(|it| it.with_periodic_exporter(exporter).with_view(buckets_of_times)).build())
}

/// Reads a little, while an exporter runs.
pub(crate) async fn read(recorder: Recorder) -> Result<(), Box<dyn Error>> {
    // A program of its own installs the recorder instead: `metrics::set_global_recorder(recorder)`.
    let store = FetchStore::new(Arc::new(InMemory::new()), FetchConfig::default())?;
    let layers = ExportedLayers { fetch: Some(store.clone()), ..ExportedLayers::default() };
    let exporter = metrics::with_local_recorder(&recorder, || MetricsExporter::new(layers, [("store", "example")]));
    let exporting = tokio::spawn(exporter.run(Duration::from_millis(10)));
    store.put(&"key".into(), vec![7; 1000].into()).await?;
    for _ in 0..3 {
        assert_eq!(store.get(&"key".into()).await?.bytes().await?, vec![7; 1000]);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    exporting.abort();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (provider, recorder) = otlp(None)?;
    tokio::runtime::Runtime::new()?.block_on(read(recorder))?;
    // Sends what has not been sent. The exporter's HTTP client blocks, so this is outside of the runtime.
    provider.shutdown()?;
    Ok(())
}
