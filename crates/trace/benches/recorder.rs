//! Cost of recording a request: the same calls with and without a recorder. Promise: at most 500 ns more.
//!
//! The store answers at once, and the trace is written to a temporary folder. Each batch of 64 calls is timed. A pause
//! after each batch lets the writing thread catch up, as it can where requests go over a network. Without the pause, at
//! a million requests a second, the thread would occupy a core and slow the calls through caches and the allocator.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use headstart_trace::TraceRecorder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const KEY: &str = "tables/events/date=2026-11-25/part-00017-2f1c.parquet";
const CALLS: u64 = 64;
const PAUSE: Duration = Duration::from_micros(200);

#[derive(Clone, Copy)]
enum Kind {
    GetRange,
    GetRanges,
    Head,
}

async fn calls(store: &Arc<dyn ObjectStore>, path: &Path, kind: Kind) {
    for n in 0..CALLS {
        let range = n * 4096..(n + 1) * 4096;
        match kind {
            Kind::GetRange => drop(black_box(store.get_range(path, range).await.expect("it is there"))),
            Kind::GetRanges => drop(black_box(store.get_ranges(path, &[range, 0..8]).await.expect("it is there"))),
            Kind::Head => drop(black_box(store.head(path).await.expect("it is there"))),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark's clock")]
async fn timed(store: Arc<dyn ObjectStore>, path: Path, kind: Kind, batches: u64) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..batches {
        let began = Instant::now();
        calls(&store, &path, kind).await;
        sum += began.elapsed();
        std::thread::sleep(PAUSE);
    }
    sum / u32::try_from(CALLS).expect("a small number")
}

fn requests(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let bare: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let path = Path::from(KEY);
    runtime.block_on(bare.put(&path, vec![7; 1 << 20].into())).expect("memory takes all");
    let file = folder.path().join("trace.jsonl");
    let recorded: Arc<dyn ObjectStore> =
        Arc::new(TraceRecorder::create(Arc::clone(&bare), file).expect("the folder takes a file"));
    for (name, kind) in [("get_range", Kind::GetRange), ("get_ranges", Kind::GetRanges), ("head", Kind::Head)] {
        let mut group = criterion.benchmark_group(name);
        group.measurement_time(Duration::from_secs(1)).sample_size(50);
        for (how, store) in [("bare", &bare), ("recorded", &recorded)] {
            group.bench_function(how, |bencher| {
                bencher.iter_custom(|batches| {
                    // In a task, as in applications.
                    let task = runtime.spawn(timed(Arc::clone(store), path.clone(), kind, batches));
                    runtime.block_on(task).expect("no call panics")
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
