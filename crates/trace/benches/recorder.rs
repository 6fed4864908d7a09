//! What recording costs a request: the same calls bare and recorded. Promised: at most 500 ns more.
//!
//! The store below answers at once, and the file goes to a temporary folder as it would in earnest.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use headstart_trace::TraceRecorder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const KEY: &str = "tables/events/date=2026-11-25/part-00017-2f1c.parquet";

fn requests(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let bare: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let path = Path::from(KEY);
    runtime.block_on(bare.put(&path, vec![7; 1 << 20].into())).expect("memory takes all");
    let recorded: Arc<dyn ObjectStore> = Arc::new(
        TraceRecorder::create(Arc::clone(&bare), folder.path().join("trace.jsonl")).expect("the folder takes a file"),
    );
    for (name, store) in [("bare", &bare), ("recorded", &recorded)] {
        let mut group = criterion.benchmark_group(name);
        group.bench_function("get_range", |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let store = Arc::clone(store);
                let path = path.clone();
                // In a task, as applications read.
                tokio::spawn(async move {
                    for n in 0..64 {
                        black_box(store.get_range(&path, n * 4096..(n + 1) * 4096).await.expect("it is there"));
                    }
                })
                .await
            });
        });
        group.bench_function("get_ranges", |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let store = Arc::clone(store);
                let path = path.clone();
                tokio::spawn(async move {
                    for n in 0..64 {
                        let ranges = [n * 4096..(n + 1) * 4096, 0..8];
                        black_box(store.get_ranges(&path, &ranges).await.expect("it is there"));
                    }
                })
                .await
            });
        });
        group.bench_function("head", |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let store = Arc::clone(store);
                let path = path.clone();
                tokio::spawn(async move {
                    for _ in 0..64 {
                        black_box(store.head(&path).await.expect("it is there"));
                    }
                })
                .await
            });
        });
        group.finish();
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
