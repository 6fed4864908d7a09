//! Cost of a call through an adapter: the same calls of a store in memory, with and without. Promise: at most 150 ns
//! more.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::FutureExt;
use headstart_object_store_013::{Store013, Store014, object_store, object_store_013};

const KEY: &str = "tables/events/date=2026-11-25/part-00017-2f1c.parquet";

/// The calls of a store of one version, in the group of its direction.
macro_rules! bench {
    ($criterion:ident, $version:ident, $name:literal, $store:expr) => {{
        use $version::ObjectStoreExt;
        let (store, path): (Arc<dyn $version::ObjectStore>, _) = (Arc::new($store), $version::path::Path::from(KEY));
        let mut group = $criterion.benchmark_group($name);
        group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        group.bench_function("get_range", |bencher| {
            bencher.iter(|| black_box(store.get_range(&path, 4096..8192)).now_or_never().expect("memory never waits"));
        });
        group.bench_function("get_ranges", |bencher| {
            bencher.iter(|| black_box(store.get_ranges(&path, &[4096..8192])).now_or_never().expect("never waits"));
        });
        group.bench_function("head", |bencher| {
            bencher.iter(|| black_box(store.head(&path)).now_or_never().expect("memory never waits"));
        });
        group.finish();
    }};
}

fn calls(criterion: &mut Criterion) {
    let new = object_store::memory::InMemory::new();
    let old = object_store_013::memory::InMemory::new();
    {
        use object_store::ObjectStoreExt;
        new.put(&KEY.into(), vec![7; 1 << 20].into()).now_or_never().expect("memory never waits").expect("stored");
    }
    {
        use object_store_013::ObjectStoreExt;
        old.put(&KEY.into(), vec![7; 1 << 20].into()).now_or_never().expect("memory never waits").expect("stored");
    }
    let (new, old) = (Arc::new(new), Arc::new(old));
    bench!(criterion, object_store, "0.14", Arc::clone(&new));
    bench!(criterion, object_store_013, "0.14 as 0.13", Store013::new(new));
    bench!(criterion, object_store_013, "0.13", Arc::clone(&old));
    bench!(criterion, object_store, "0.13 as 0.14", Store014::new(old));
}

criterion_group!(benches, calls);
criterion_main!(benches);
