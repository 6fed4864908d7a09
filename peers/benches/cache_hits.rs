//! The cost of a hit through `dyn ObjectStore`, compared with a wrapper that returns a ready answer, and with bare
//! maps.
//!
//! Bare maps do not check whether their content is current. Their figures are a lower bound.

use std::fmt;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Extensions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::runtime::Runtime;
use tokio::time::Instant;

const PAGE: usize = 64 << 10;
const OBJECT: usize = 8 << 20;
const PAGES: u64 = (OBJECT / PAGE) as u64;
const RANGE: u64 = 4 << 10;
/// A stride that visits every page once, in an order that a processor does not predict.
const STRIDE: u64 = 37;

/// A wrapper that returns a ready answer without looking at the request.
#[derive(Debug)]
struct Ready {
    page: Bytes,
    meta: ObjectMeta,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

#[async_trait]
impl ObjectStore for Ready {
    async fn get_opts(&self, _: &Path, options: GetOptions) -> Result<GetResult> {
        let range = options.range.map_or(Ok(0..self.meta.size), |range| range.as_range(self.meta.size));
        let page = self.page.clone();
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::once(async move { Ok(page) }).boxed()),
            meta: self.meta.clone(),
            range: range.expect("a range of the object"),
            attributes: Default::default(),
            extensions: Extensions::new(),
        })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        unreachable!("only reads are timed")
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("only reads are timed")
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        unreachable!("only reads are timed")
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        unreachable!("only reads are timed")
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("only reads are timed")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("only reads are timed")
    }
}

fn path() -> Path {
    Path::from("table/part-00000.parquet")
}

/// A cache that holds a whole object, and a store that returns one ready page.
fn stores(runtime: &Runtime) -> (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>) {
    runtime.block_on(async {
        let memory = Arc::new(InMemory::new());
        memory.put(&path(), PutPayload::from(vec![7; OBJECT])).await.expect("memory");
        let meta = memory.head(&path()).await.expect("there");
        let config = CacheConfig { freshness: Freshness::default(), page_bytes: PAGE, ..CacheConfig::default() };
        let cache = CacheStore::new(memory, config).expect("a good config");
        cache.get(&path()).await.expect("there").bytes().await.expect("read");
        assert_eq!(cache.stats().held_pages, PAGES);
        (Arc::new(cache) as _, Arc::new(Ready { page: Bytes::from(vec![7; PAGE]), meta }) as _)
    })
}

fn page_range(n: u64) -> Range<u64> {
    let page = n * STRIDE % PAGES;
    page * PAGE as u64..(page + 1) * PAGE as u64
}

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Inserts the cache's keys and pages into another map.
fn filled(mut insert: impl FnMut((u64, u64), Bytes)) {
    (0..PAGES).for_each(|page| insert((1, page), Bytes::from(vec![7; PAGE])));
}

fn one_page(criterion: &mut Criterion) {
    let runtime = current_thread();
    let (cache, ready) = stores(&runtime);
    let path = path();
    let mut group = criterion.benchmark_group("one 64 KiB page");
    for (name, store) in [("headstart", &cache), ("ready wrapper", &ready)] {
        let mut n = 0;
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| {
                n += 1;
                let range = page_range(n);
                let path = &path;
                async move { black_box(store.get_range(path, range).await.expect("there")) }
            });
        });
    }

    let quick = quick_cache::sync::Cache::<(u64, u64), Bytes>::new(2 * OBJECT / PAGE);
    filled(|key, page| quick.insert(key, page));
    let mut n = 0;
    group.bench_function("bare quick_cache", |bencher| {
        bencher.iter(|| {
            n += 1;
            quick.get(&(1, n * STRIDE % PAGES)).expect("there")
        });
    });
    let foyer = foyer_memory::CacheBuilder::new(2 * OBJECT)
        .with_weighter(|_: &(u64, u64), page: &Bytes| page.len())
        .build::<foyer_memory::CacheProperties>();
    filled(|key, page| drop(foyer.insert(key, page)));
    let mut n = 0;
    group.bench_function("bare foyer", |bencher| {
        bencher.iter(|| {
            n += 1;
            foyer.get(&(1, n * STRIDE % PAGES)).expect("there").value().clone()
        });
    });
    let moka = moka::sync::Cache::builder().max_capacity(PAGES * 2).build();
    filled(|key, page| moka.insert(key, page));
    moka.run_pending_tasks();
    let mut n = 0;
    group.bench_function("bare moka", |bencher| {
        bencher.iter(|| {
            n += 1;
            moka.get(&(1, n * STRIDE % PAGES)).expect("there")
        });
    });
    group.finish();
}

/// Ranges in different pages.
fn many_ranges(criterion: &mut Criterion) {
    let runtime = current_thread();
    let (cache, _) = stores(&runtime);
    let path = path();
    let ranges: Vec<_> = (0..32).map(|n| page_range(n).start + n * 100).map(|start| start..start + RANGE).collect();
    let mut group = criterion.benchmark_group("32 ranges of 4 KiB");
    group.throughput(Throughput::Elements(32));
    group.bench_function("headstart get_ranges", |bencher| {
        bencher.to_async(&runtime).iter(|| async { black_box(cache.get_ranges(&path, &ranges).await.expect("there")) });
    });
    group.finish();
}

fn stream(criterion: &mut Criterion) {
    let runtime = current_thread();
    let (cache, _) = stores(&runtime);
    let path = path();
    let mut group = criterion.benchmark_group("1 MiB");
    group.throughput(Throughput::Bytes(1 << 20));
    let options = || GetOptions::new().with_range(Some(1 << 20..2 << 20));
    group.bench_function("headstart into_stream", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let body = cache.get_opts(&path, options()).await.expect("there").into_stream();
            body.try_fold(0, |bytes, page| async move { Ok(bytes + black_box(page).len()) }).await.expect("read")
        });
    });
    let data = vec![7_u8; 1 << 20];
    group.bench_function("memcpy, for scale", |bencher| bencher.iter(|| black_box(&data).clone()));
    group.finish();
}

/// The throughput of several tasks.
fn many_tasks(criterion: &mut Criterion) {
    const HITS: u64 = 256;
    let mut group = criterion.benchmark_group("hits by tasks on 2 threads");
    group.throughput(Throughput::Elements(HITS));
    for tasks in [1, 64] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        let (cache, _) = stores(&current_thread());
        group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
            bencher.iter_custom(|rounds| runtime.block_on(rounds_by(tasks, rounds, HITS, &cache)));
        });
    }
    group.finish();
}

/// The time that `tasks` tasks need for `rounds` × `hits` hits.
async fn rounds_by(tasks: u64, rounds: u64, hits: u64, store: &Arc<dyn ObjectStore>) -> Duration {
    let started = Instant::now();
    let tasks = (0..tasks).map(|task| {
        let store = Arc::clone(store);
        let share = rounds * hits / tasks + u64::from(task < rounds * hits % tasks);
        tokio::spawn(async move {
            let path = path();
            for n in 0..share {
                black_box(store.get_range(&path, page_range(n + task)).await.expect("there"));
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    started.elapsed()
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = one_page, many_ranges, stream, many_tasks
}
criterion_main!(benches);
