//! The metrics of a stack: the facade's feature `metrics`.

#![cfg(feature = "metrics")]

use std::sync::Arc;

use headstart::{Headstart, Mode};
use metrics_exporter_prometheus::PrometheusBuilder;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

#[tokio::test]
async fn each_mode_exports_the_layers_that_it_has() {
    for mode in [Mode::None, Mode::Fetch, Mode::Adaptive, Mode::Cached] {
        let inner = Arc::new(InMemory::new());
        inner.put(&"key".into(), vec![7; 1000].into()).await.unwrap();
        let store = Headstart::builder().environment([]).store(inner).mode(mode).build().await.unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut exporter = metrics::with_local_recorder(&recorder, || store.metrics_exporter([("store", "test")]));
        assert_eq!(store.get_range(&"key".into(), 10..20).await.unwrap(), [7; 10][..]);
        exporter.export();
        let text = recorder.handle().render();
        let reads_ahead = matches!(mode, Mode::Adaptive | Mode::Cached);
        let has = |series: &str| text.lines().any(|line| line.starts_with(series));
        let answered = "headstart_requests_total{store=\"test\",kind=\"get\",intent=\"demand\",outcome=\"answered\"} 1";
        assert_eq!(has(answered), mode != Mode::None, "{mode}: {text}");
        assert_eq!(has("headstart_link_bytes_per_second{"), mode != Mode::None, "{mode}: {text}");
        assert_eq!(
            has("headstart_cache_pages_total{store=\"test\",source=\"store\"} 1"),
            mode == Mode::Cached,
            "{mode}: {text}"
        );
        assert!(has("headstart_budget_bytes{store=\"test\",state=\"limit\"}"), "{mode}: {text}");
        let reads = format!("headstart_reads_total{{store=\"test\"}} {}", u8::from(reads_ahead));
        assert!(has(&reads), "{mode}: {text}");
    }
}
