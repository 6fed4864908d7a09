//! What exporting metrics costs reads of 1 MiB: through `FetchStore` from memory, and from a warm `CacheStore`, without
//! and with an exporter that exports every 10 ms. Prometheus and OpenTelemetry usually ask every 10 to 60 s. And what
//! one export costs, and one as text.
//!
//! `cargo bench -p headstart-metrics --bench overhead`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use headstart_cache::{CacheConfig, CacheStore};
use headstart_fetch_core::{FetchConfig, FetchStore, MemoryBudget};
use headstart_metrics::{ExportedLayers, MetricsExporter, time_bounds};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use metrics_exporter_prometheus::PrometheusBuilder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const LEN: u64 = 1 << 20;

fn overhead(criterion: &mut Criterion) {
    // One thread reads, another exports.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let path = Path::from("object");
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    runtime.block_on(memory.put(&path, vec![7; 1 << 20].into())).expect("memory accepts writes");
    let budget = MemoryBudget::new(64 << 20);
    let config = FetchConfig { budget: Some(Arc::clone(&budget)), ..FetchConfig::default() };
    let fetch = FetchStore::new(memory, config).expect("valid settings");
    let cache = CacheStore::new(Arc::new(fetch.clone()), CacheConfig::default()).expect("valid settings");
    let prefetch = PrefetchStore::new(Arc::new(cache.clone()), PrefetchConfig::default()).expect("valid settings");
    let stores: [(&str, Arc<dyn ObjectStore>); 2] =
        [("fetch", Arc::new(fetch.clone())), ("cache, warm", Arc::new(cache.clone()))];
    let layers =
        ExportedLayers { fetch: Some(fetch), cache: Some(cache), prefetch: Some(prefetch), budget: Some(budget) };
    let builder = PrometheusBuilder::new().set_buckets(&time_bounds()).expect("bounds that ascend");
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    let exporter =
        || metrics::with_local_recorder(&recorder, || MetricsExporter::new(layers.clone(), [("store", "bench")]));
    for (name, store) in &stores {
        for exports in [false, true] {
            let exporting = exports.then(|| runtime.spawn(exporter().run(Duration::from_millis(10))));
            let how = if exports { "exported every 10 ms" } else { "not exported" };
            criterion.bench_function(&format!("1 MiB, {name}, {how}"), |bencher| {
                bencher.iter(|| {
                    let bytes = runtime.block_on(store.get_range(&path, 0..LEN)).expect("the object exists");
                    assert_eq!(black_box(bytes).len() as u64, LEN);
                });
            });
            if let Some(exporting) = exporting {
                exporting.abort();
            }
        }
    }
    let mut exporter = exporter();
    criterion.bench_function("one export", |bencher| bencher.iter(|| exporter.export()));
    criterion.bench_function("one export as text for Prometheus", |bencher| {
        bencher.iter(|| {
            exporter.export();
            black_box(handle.render()).len()
        });
    });
}

criterion_group!(benches, overhead);
criterion_main!(benches);
