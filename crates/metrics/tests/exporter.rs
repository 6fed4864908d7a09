//! Figures of real layers through a recorder: what Prometheus is told.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use headstart_cache::{CacheConfig, CacheStore};
use headstart_fetch_core::{AccessHint, FetchConfig, FetchStore, MemoryBudget};
use headstart_metrics::{ExportedLayers, METRICS, MetricKind, MetricsExporter, time_bounds};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{Content, FIRST_GENERATION, LinkProfile, SimStore};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use object_store::ObjectStoreExt;
use object_store::path::Path;

const MIB: u64 = 1 << 20;

/// All layers over a simulated store with one object.
struct Stack {
    path: Path,
    layers: ExportedLayers,
}

impl Stack {
    fn new(hint: AccessHint) -> Self {
        let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build();
        let budget = MemoryBudget::new(64 << 20);
        let config = FetchConfig { budget: Some(Arc::clone(&budget)), ..FetchConfig::default() };
        let fetch = FetchStore::new(Arc::new(sim), config).unwrap();
        let cache = CacheStore::new(Arc::new(fetch.clone()), CacheConfig::default()).unwrap();
        let prefetch = PrefetchStore::new(Arc::new(cache.clone()), PrefetchConfig::default()).unwrap();
        let path = format!("synthetic/{}/object", 64 * MIB).into();
        prefetch.advise(&path, hint);
        let layers =
            ExportedLayers { fetch: Some(fetch), cache: Some(cache), prefetch: Some(prefetch), budget: Some(budget) };
        Self { path, layers }
    }

    async fn read(&self, range: std::ops::Range<u64>) {
        let store = self.layers.prefetch.as_ref().unwrap();
        let bytes = store.get_range(&self.path, range.clone()).await.unwrap();
        assert_eq!(bytes.len() as u64, range.end - range.start);
        Content::new(self.path.as_ref(), FIRST_GENERATION).check(range.start, &bytes).unwrap();
    }
}

fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let times = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(times, &time_bounds()).unwrap();
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

fn exporter(recorder: &PrometheusRecorder, layers: &ExportedLayers, store: &str) -> MetricsExporter {
    metrics::with_local_recorder(recorder, || MetricsExporter::new(layers.clone(), [("store", store)]))
}

/// The value of a line.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn counts_sums_and_buckets_are_those_of_the_layers() {
    let stack = Stack::new(AccessHint::Random);
    let (recorder, handle) = recorder();
    let mut exporter = exporter(&recorder, &stack.layers, "a");
    // Two pages of 64 KiB that are missing, one that is there.
    stack.read(0..1000).await;
    exporter.export();
    stack.read(640_000..641_000).await;
    stack.read(1000..2000).await;
    exporter.export();
    exporter.export();
    let text = handle.render();
    let get = "headstart_requests_total{store=\"a\",kind=\"get\",intent=\"demand\",outcome";
    assert_eq!(value(&text, &format!("{get}=\"answered\"}}")), 2.0);
    assert_eq!(value(&text, &format!("{get}=\"throttled\"}}")), 0.0);
    assert_eq!(value(&text, "headstart_demanded_bytes_total{store=\"a\"}"), 3000.0);
    assert_eq!(value(&text, "headstart_cache_pages_total{store=\"a\",source=\"memory\"}"), 1.0);
    assert_eq!(value(&text, "headstart_cache_pages_total{store=\"a\",source=\"store\"}"), 2.0);
    assert_eq!(value(&text, "headstart_cache_hit_bytes_total{store=\"a\",source=\"memory\"}"), 1000.0);
    assert_eq!(value(&text, "headstart_fetched_bytes_total{store=\"a\",layer=\"fetch\"}"), 131_072.0);
    assert_eq!(value(&text, "headstart_cache_held_pages{store=\"a\",tier=\"memory\"}"), 2.0);
    assert_eq!(value(&text, "headstart_budget_bytes{store=\"a\",state=\"limit\"}"), 67_108_864.0);
    // 30 ms each: above 25 ms, at most 50 ms.
    let first_byte = &stack.layers.fetch.as_ref().unwrap().stats().first_byte;
    assert_eq!((first_byte.count(), first_byte.total_us()), (2, 60_000));
    assert_eq!(value(&text, "headstart_first_byte_seconds_bucket{store=\"a\",le=\"0.025\"}"), 0.0);
    assert_eq!(value(&text, "headstart_first_byte_seconds_bucket{store=\"a\",le=\"0.05\"}"), 2.0);
    assert_eq!(value(&text, "headstart_first_byte_seconds_count{store=\"a\"}"), 2.0);
    assert_eq!(value(&text, "headstart_first_byte_seconds_sum{store=\"a\"}"), 0.06);
    let cost = stack.layers.fetch.as_ref().unwrap().stats().cost_usd;
    assert_eq!(value(&text, "headstart_cost_dollars{store=\"a\"}"), cost);
    // Without a disk tier there are no figures of one.
    assert!(!text.contains("headstart_cache_disk") && !text.contains("tier=\"disk\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn every_metric_of_the_table_is_described_and_typed_and_no_other_is_exported() {
    let mut stack = Stack::new(AccessHint::Normal);
    let directory = std::env::temp_dir().join(format!("headstart-metrics-{}", std::process::id()));
    let disk = headstart_cache::DiskConfig::new(&directory, "test");
    let fetch = stack.layers.fetch.clone().unwrap();
    let cached = CacheStore::new(Arc::new(fetch), CacheConfig { disk, ..CacheConfig::default() }).unwrap();
    stack.layers.cache = Some(cached);
    let (recorder, handle) = recorder();
    let mut exporter = exporter(&recorder, &stack.layers, "a");
    for start in (0..16 * MIB).step_by(256 << 10) {
        stack.read(start..start + (256 << 10)).await;
    }
    exporter.export();
    let text = handle.render();
    std::fs::remove_dir_all(&directory).unwrap();
    for family in METRICS {
        let kind = match family.kind() {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        assert!(text.contains(&format!("# TYPE {} {kind}\n", family.name)), "{}: {text}", family.name);
        assert!(text.contains(&format!("# HELP {} ", family.name)), "{}", family.name);
        for label in family.labels {
            for value in family.values_of(label) {
                let is_there = |line: &str| {
                    line.starts_with(&format!("{}{{", family.name)) && line.contains(&format!("{label}=\"{value}\""))
                };
                assert!(text.lines().any(is_there), "{} with {label}={value}", family.name);
            }
        }
    }
    let types = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(types, METRICS.len());
    assert!(value(&text, "headstart_streams_total{store=\"a\",shape=\"forward\"}") >= 1.0);
    assert!(value(&text, "headstart_window_bytes{store=\"a\",limit=\"applied\"}") > 0.0);
    assert!(value(&text, "headstart_ahead_bytes_total{store=\"a\"}") > 8e6);
}

#[tokio::test(start_paused = true)]
async fn stacks_with_labels_of_their_own_are_told_apart() {
    let stacks = [("a", Stack::new(AccessHint::Random)), ("b", Stack::new(AccessHint::Random))];
    let (recorder, handle) = recorder();
    let mut exporters = stacks.each_ref().map(|(name, stack)| exporter(&recorder, &stack.layers, name));
    stacks[0].1.read(0..10).await;
    stacks[1].1.read(0..20).await;
    exporters.iter_mut().for_each(MetricsExporter::export);
    let text = handle.render();
    assert_eq!(value(&text, "headstart_demanded_bytes_total{store=\"a\"}"), 10.0);
    assert_eq!(value(&text, "headstart_demanded_bytes_total{store=\"b\"}"), 20.0);
}

#[tokio::test(start_paused = true)]
async fn run_exports_at_once_and_every_so_often() {
    let stack = Stack::new(AccessHint::Random);
    let (recorder, handle) = recorder();
    let exporting = tokio::spawn(exporter(&recorder, &stack.layers, "a").run(Duration::from_secs(5)));
    let demanded = || value(&handle.render(), "headstart_demanded_bytes_total{store=\"a\"}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(demanded(), 0.0);
    stack.read(0..10).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(demanded(), 0.0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(demanded(), 10.0);
    exporting.abort();
    assert!(exporting.await.unwrap_err().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn without_a_recorder_an_exporter_does_nothing() {
    let stack = Stack::new(AccessHint::Random);
    let mut exporter = MetricsExporter::new(stack.layers.clone(), [("store", "a")]);
    stack.read(0..10).await;
    exporter.export();
    assert!(format!("{exporter:?}").contains("MetricsExporter"));
}
