//! What an adapter adds to a call of a store in memory. Promise: at most 150 ns.
//!
//! Batches of bare and of adapted calls take turns, and the difference of the fastest of both is reported: other work
//! of the machine can only make a batch slower.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use futures::FutureExt;
use headstart_object_store_013::{Store013, Store014, object_store, object_store_013};

const KEY: &str = "tables/events/date=2026-11-25/part-00017-2f1c.parquet";
const CALLS: u32 = 64;
const BATCHES: u32 = 500;

/// The time of a batch of calls.
#[expect(clippy::disallowed_methods, reason = "a benchmark's clock")]
fn timed(mut call: impl FnMut()) -> Duration {
    let began = Instant::now();
    (0..CALLS).for_each(|_| call());
    began.elapsed()
}

/// The three reads of a store of one version.
macro_rules! reads {
    ($version:ident, $store:expr) => {{
        use $version::ObjectStoreExt;
        let store: Arc<dyn $version::ObjectStore> = $store;
        let path = $version::path::Path::from(KEY);
        let (other, other_path) = (Arc::clone(&store), path.clone());
        let (third, third_path) = (Arc::clone(&store), path.clone());
        let get_range = move || drop(black_box(store.get_range(&path, 4096..8192).now_or_never().expect("ready")));
        let get_ranges =
            move || drop(black_box(other.get_ranges(&other_path, &[4096..8192]).now_or_never().expect("ready")));
        let head = move || drop(black_box(third.head(&third_path).now_or_never().expect("ready")));
        let reads: [(&str, Box<dyn Fn()>); 3] =
            [("get_range", Box::new(get_range)), ("get_ranges", Box::new(get_ranges)), ("head", Box::new(head))];
        reads
    }};
}

/// A store of one version with the object.
macro_rules! memory {
    ($version:ident) => {{
        use $version::ObjectStoreExt;
        let store = $version::memory::InMemory::new();
        store.put(&KEY.into(), vec![7; 1 << 20].into()).now_or_never().expect("memory never waits").expect("stored");
        Arc::new(store)
    }};
}

fn calls(criterion: &mut Criterion) {
    let (new, old) = (memory!(object_store), memory!(object_store_013));
    let directions = [
        ("0.14 as 0.13", reads!(object_store, new.clone()), reads!(object_store_013, Arc::new(Store013::new(new)))),
        ("0.13 as 0.14", reads!(object_store_013, old.clone()), reads!(object_store, Arc::new(Store014::new(old)))),
    ];
    for (direction, bare, adapted) in directions {
        let mut group = criterion.benchmark_group(direction);
        group
            .measurement_time(Duration::from_secs(1))
            .warm_up_time(Duration::from_millis(100))
            .sample_size(10)
            .sampling_mode(SamplingMode::Flat);
        for ((name, bare), (_, adapted)) in bare.iter().zip(&adapted) {
            group.bench_function(*name, |bencher| {
                bencher.iter_custom(|iterations| {
                    let (mut without, mut with) = (Duration::MAX, Duration::MAX);
                    for _ in 0..BATCHES {
                        without = without.min(timed(bare));
                        with = with.min(timed(adapted));
                    }
                    let more = with.saturating_sub(without).as_secs_f64() / f64::from(CALLS);
                    Duration::from_secs_f64(more * iterations as f64)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
