//! Prints what Prometheus is told about a few reads.
//!
//! `cargo run -p headstart-metrics --example prometheus`

use std::sync::Arc;

use headstart_cache::{CacheConfig, CacheStore};
use headstart_fetch_core::{FetchConfig, FetchStore};
use headstart_metrics::{ExportedLayers, MetricsExporter, time_bounds};
use metrics_exporter_prometheus::PrometheusBuilder;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // With its feature `http-listener`, `install()` also answers Prometheus.
    let prometheus = PrometheusBuilder::new().set_buckets(&time_bounds())?.install_recorder()?;

    let fetch = FetchStore::new(Arc::new(InMemory::new()), FetchConfig::default())?;
    let cache = CacheStore::new(Arc::new(fetch.clone()), CacheConfig::default())?;
    let layers = ExportedLayers { fetch: Some(fetch), cache: Some(cache.clone()), ..ExportedLayers::default() };
    let mut exporter = MetricsExporter::new(layers, [("store", "example")]);

    cache.put(&"key".into(), vec![7; 100_000].into()).await?;
    for start in [0, 1000, 90_000] {
        assert_eq!(cache.get_range(&"key".into(), start..start + 10).await?, [7; 10][..]);
    }
    exporter.export();
    println!("{}", prometheus.render());
    Ok(())
}
