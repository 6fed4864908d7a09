//! What the spans and events of the layers cost without a subscriber: reads of 64 KiB from memory through `FetchStore`,
//! a cold `CacheStore` and a warm one. Compare with the same build without any event:
//! `cargo bench -p headstart-bench --bench events`, then again with `--features tracing/max_level_off`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use headstart::object_store::memory::InMemory;
use headstart::object_store::path::Path;
use headstart::object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use headstart::{CacheConfig, CacheHint, CacheStore, FetchConfig, FetchStore};

const LEN: u64 = 64 << 10;

fn reads(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let path = Path::from("object");
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    runtime.block_on(memory.put(&path, vec![7; 1 << 20].into())).expect("memory accepts writes");
    let fetch: Arc<dyn ObjectStore> =
        Arc::new(FetchStore::new(memory, FetchConfig::default()).expect("valid settings"));
    let cache = CacheStore::new(Arc::clone(&fetch), CacheConfig::default()).expect("valid settings");
    let cache: Arc<dyn ObjectStore> = Arc::new(cache);
    for (name, store, hint) in
        [("fetch", &fetch, None), ("cache, cold", &cache, Some(CacheHint::Refetch)), ("cache, warm", &cache, None)]
    {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut options = GetOptions::new().with_range(Some(0..LEN));
                if let Some(hint) = hint {
                    options.extensions.insert(hint);
                }
                let bytes = runtime.block_on(async { store.get_opts(&path, options).await?.bytes().await });
                assert_eq!(black_box(bytes.expect("the object exists")).len() as u64, LEN);
            });
        });
    }
}

criterion_group!(benches, reads);
criterion_main!(benches);
