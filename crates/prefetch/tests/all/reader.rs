//! A `Reader` behaves like a file whatever the store below does: one version, or an error.

use std::io::{BufRead, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{self, Bench, KEY, KIB, MIB, check, sequential};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use headstart_fetch_core::ObjectChanged;
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{FaultEvent, FaultPlan, LinkProfile, ReadAnswer, SimStore, When};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use proptest::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt};

async fn in_memory(bytes: &[u8]) -> PrefetchStore {
    let memory = Arc::new(InMemory::new());
    memory.put(&Path::from(KEY), bytes.to_vec().into()).await.unwrap();
    PrefetchStore::new(memory, PrefetchConfig::default()).expect("valid settings")
}

fn numbers(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

#[tokio::test]
async fn past_the_end_is_empty_and_an_end_beyond_is_clamped() {
    for size in [0_usize, 1, 1000] {
        let bytes = numbers(size);
        let store = in_memory(&bytes).await;
        for range in [0..10, 0..5000, 999..1001, 1000..1001, 5000..6000, 7..7] {
            let reader = store.reader(&Path::from(KEY)).unwrap();
            let from = usize::try_from(range.start).unwrap().min(size);
            let to = usize::try_from(range.end).unwrap().min(size);
            assert_eq!(reader.read_at(range.clone()).await.unwrap(), &bytes[from..to], "{range:?} of {size}");
            assert_eq!(reader.size().await.unwrap(), size as u64);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn absurd_and_simultaneous_ends_are_clamped_too() {
    let bench = Bench::new(1000);
    let reader = bench.reader();
    let (near, far) = tokio::join!(reader.read_at(0..10), reader.read_at(5000..6000));
    assert_eq!((near.unwrap().len(), far.unwrap().len()), (10, 0));
    let reader = bench.reader();
    bench.check(&(0..1000), &[reader.read_at(0..u64::MAX).await.unwrap()]);
    bench.check(&(7..1000), &[reader.read_at(7..u64::MAX).await.unwrap()]);
    assert!(reader.read_at(u64::MAX - 1..u64::MAX).await.unwrap().is_empty());
    assert!(bench.store.get_range(&Path::from(KEY), u64::MAX - 9..u64::MAX).await.is_err());
    bench.check(&(0..1000), &[bench.store.get_range(&Path::from(KEY), 0..u64::MAX).await.unwrap()]);
}

/// A store that panics in its first request.
#[derive(Debug)]
struct Panics(AtomicBool, Arc<InMemory>);

impl std::fmt::Display for Panics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Panics")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Panics {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.1.put_opts(path, payload, options).await
    }
    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.1.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        assert!(self.0.swap(true, Ordering::Relaxed), "the double panics");
        self.1.get_opts(path, options).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.1.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.1.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.1.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.1.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_panic_below_reaches_that_read_and_the_next_one_starts_clean() {
    let memory = Arc::new(InMemory::new());
    memory.put(&Path::from(KEY), numbers(1000).into()).await.unwrap();
    let store = PrefetchStore::new(Arc::new(Panics(AtomicBool::new(false), memory)), PrefetchConfig::default())
        .expect("valid settings");
    let reader = store.reader(&Path::from(KEY)).unwrap();
    assert!(reader.read_at(0..10).await.unwrap_err().to_string().contains("panicked"));
    assert_eq!(reader.read_at(0..10).await.unwrap(), numbers(10));
}

/// Whichever request fails, only the reads that need its bytes fail, and the same read works the next time.
#[tokio::test(start_paused = true)]
async fn a_failed_range_can_be_read_again() {
    const SIZE: u64 = 32 * MIB;
    let mut failures = 0;
    for failing in 0..12 {
        for answer in [ReadAnswer::Unavailable, ReadAnswer::Cut { after: 0.5 }] {
            let faults =
                FaultPlan { script: vec![(When::Read(failing), FaultEvent::Answer(answer))], ..FaultPlan::default() };
            let sim = SimStore::builder().profile(LinkProfile::gcs()).faults(faults).build();
            sim.catalog().add_synthetic(KEY, SIZE);
            let store = PrefetchStore::new(Arc::new(sim.clone()), PrefetchConfig::default()).expect("valid settings");
            let reader = store.reader(&Path::from(KEY)).unwrap();
            let version = sim.catalog().get(KEY, None).unwrap().number;
            for range in sequential(SIZE, MIB) {
                let chunks = match reader.chunks_at(range.clone()).await {
                    Ok(chunks) => chunks,
                    Err(_) => {
                        failures += 1;
                        reader.chunks_at(range.clone()).await.expect("the second time it is there")
                    }
                };
                check(version, &range, &chunks);
            }
            drop(reader);
            common::settle().await;
            assert_eq!(sim.log().counts().live, 0);
        }
    }
    // Most failed requests ahead are sent again before a read waits for them.
    assert!((4..=24).contains(&failures), "{failures} reads failed, for 24 requests");
}

#[test]
fn a_runtime_of_one_thread_cannot_block() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = runtime.block_on(in_memory(b"x"));
    let error = store.reader(&Path::from(KEY)).unwrap().blocking().unwrap_err();
    assert!(error.to_string().contains("one thread"), "{error}");
}

#[tokio::test]
async fn an_object_that_is_not_there_is_not_found() {
    let store = in_memory(b"").await;
    let reader = store.reader(&Path::from("nowhere")).unwrap();
    assert!(matches!(reader.read_at(0..10).await, Err(object_store::Error::NotFound { .. })));
    assert!(matches!(reader.size().await, Err(object_store::Error::NotFound { .. })));
}

#[tokio::test]
async fn reads_seeks_and_lines_like_a_file() {
    let text = "one\ntwo\nthree\n".repeat(20_000);
    let store = in_memory(text.as_bytes()).await;
    let mut reader = store.reader(&Path::from(KEY)).unwrap();
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    assert_eq!(line, "one\n");
    let mut word = [0; 3];
    reader.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"two");
    assert_eq!(reader.seek(SeekFrom::End(-6)).await.unwrap(), text.len() as u64 - 6);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "three\n");
    assert_eq!(reader.seek(SeekFrom::Current(-3)).await.unwrap(), text.len() as u64 - 3);
    assert!(reader.seek(SeekFrom::Current(-10_000_000)).await.is_err());
    reader.rewind().await.unwrap();
    let mut all = String::new();
    reader.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, text);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_the_object_from_the_position_on() {
    let bench = Bench::new(64 * MIB);
    let mut reader = bench.reader();
    reader.seek(SeekFrom::Start(1000)).await.unwrap();
    let chunks: Vec<_> = reader.stream().try_collect().await.unwrap();
    bench.check(&(1000..64 * MIB), &chunks);
    assert_eq!(bench.counts().bytes_sent, 64 * MIB - 1000);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_read_ahead_is_the_stores_own() {
    let bench = Bench::with(64 * MIB, PrefetchConfig { max_prefetch_bytes: 0, ..PrefetchConfig::default() });
    for (at, expected) in [(0, 0..64 * MIB), (1000, 1000..64 * MIB), (64 * MIB, 0..0), (65 * MIB, 0..0)] {
        let mut reader = bench.reader();
        reader.seek(SeekFrom::Start(at)).await.unwrap();
        let chunks: Vec<_> = reader.stream().try_collect().await.unwrap();
        bench.check(&expected, &chunks);
    }
    let reader = bench.reader();
    bench.read(&reader, 0..10).await;
    bench.sim.overwrite(KEY, None).unwrap();
    let error = reader.stream().try_collect::<Vec<_>>().await.unwrap_err();
    assert!(ObjectChanged::find(&error).is_some(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_another_version_is_counted() {
    let bench = Bench::with(64 * MIB, PrefetchConfig::default());
    let reader = bench.reader();
    bench.read(&reader, 0..10).await;
    assert_eq!(bench.store.stats().object_changes, 0);
    bench.sim.overwrite(KEY, None).unwrap();
    let error = reader.read_at(32 * MIB..32 * MIB + 10).await.unwrap_err();
    assert!(ObjectChanged::find(&error).is_some(), "{error}");
    assert_eq!(bench.store.stats().object_changes, 1);
}

#[test]
fn plain_threads_read_and_runtime_threads_are_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let bytes = numbers(300_000);
    let store = runtime.block_on(in_memory(&bytes));
    let open = || store.reader(&Path::from(KEY)).unwrap();
    runtime.block_on(async {
        let error = open().blocking().unwrap_err();
        assert!(error.to_string().contains("blocking_on"), "{error}");
    });
    let mut reader = open().blocking().unwrap();
    let mut start = [0; 10];
    reader.read_exact(&mut start).unwrap();
    assert_eq!(start, bytes[..10]);
    assert_eq!(reader.fill_buf().unwrap()[0], bytes[10]);
    reader.seek(SeekFrom::End(-5)).unwrap();
    let mut end = Vec::new();
    reader.read_to_end(&mut end).unwrap();
    assert_eq!(end, bytes[bytes.len() - 5..]);
    let reader = open();
    let spawned = runtime.spawn_blocking(move || {
        let mut all = Vec::new();
        reader.blocking_on(tokio::runtime::Handle::current()).read_to_end(&mut all).unwrap();
        all
    });
    assert_eq!(runtime.block_on(spawned).unwrap(), bytes);
}

#[tokio::test(start_paused = true)]
async fn an_overwrite_is_one_version_or_an_error() {
    for overwrite_after in 0..12 {
        let bench = Bench::new(16 * MIB);
        let before = bench.sim.catalog().get(KEY, None).unwrap().number;
        let reader = bench.reader();
        let mut changed = false;
        for (n, range) in sequential(16 * MIB, MIB).enumerate() {
            if n == overwrite_after {
                bench.sim.overwrite(KEY, None).unwrap();
            }
            let expected = if overwrite_after == 0 { before + 1 } else { before };
            match reader.chunks_at(range.clone()).await {
                Ok(chunks) => check(expected, &range, &chunks),
                Err(error) => {
                    assert!(ObjectChanged::find(&error).is_some(), "{error}");
                    changed = true;
                }
            }
        }
        assert_eq!(changed, overwrite_after > 0 && overwrite_after < 4 || changed, "{overwrite_after}");
        drop(reader);
        common::settle().await;
        assert_eq!(bench.counts().live, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_reads_leave_nothing_behind() {
    let bench = Bench::new(256 * MIB);
    let reader = bench.reader();
    for (n, range) in sequential(40 * MIB, MIB).enumerate() {
        let patience = Duration::from_millis(n as u64 * 3);
        let _ = tokio::time::timeout(patience, reader.chunks_at(range)).await;
    }
    drop(reader);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.counts().live, 0);
    assert_eq!(bench.budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_races_a_read_is_an_error_never_short_bytes() {
    let bench = Bench::new(256 * MIB);
    let reader = bench.reader();
    for range in sequential(8 * MIB, MIB) {
        bench.read(&reader, range).await;
    }
    let racing = reader.chunks_at(100 * MIB..101 * MIB);
    let close = async {
        tokio::time::sleep(Duration::from_millis(35)).await;
        reader.close();
    };
    let (answer, ()) = tokio::join!(racing, close);
    assert!(answer.unwrap_err().to_string().contains("closed"));
    assert!(reader.chunks_at(0..1).await.unwrap_err().to_string().contains("closed"));
    reader.close();
    drop(reader);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((bench.counts().live, bench.budget.used_bytes()), (0, 0));
}

#[derive(Debug, Clone)]
enum Op {
    ReadAt(u64, u64),
    Continue(u64),
    GiveUp(u64, u64),
    Pause(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let len = prop_oneof![1_u64..5000, 60 * KIB..2 * MIB];
    let op = prop_oneof![
        2 => (0_u64..20 * MIB, len.clone()).prop_map(|(at, len)| Op::ReadAt(at, len)),
        6 => len.clone().prop_map(Op::Continue),
        1 => (0_u64..20 * MIB, len).prop_map(|(at, len)| Op::GiveUp(at, len)),
        1 => (0_u64..100).prop_map(Op::Pause),
    ];
    prop::collection::vec(op, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Random reads by readers and by calls: all bytes are right, and no memory stays reserved.
    #[test]
    fn any_mixture_of_reads_is_right(ops in ops(), size in 0_u64..16 * MIB, by_handle: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(size);
            let reader = bench.reader();
            let mut at = 0;
            for op in ops {
                let range = match op {
                    Op::ReadAt(start, len) => start..start + len,
                    Op::Continue(len) => at..at + len,
                    Op::GiveUp(start, len) => {
                        let patience = Duration::from_millis(len % 40);
                        let _ = tokio::time::timeout(patience, reader.chunks_at(start..start + len)).await;
                        continue;
                    }
                    Op::Pause(ms) => {
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        continue;
                    }
                };
                at = range.end;
                let clamped = range.start.min(size)..range.end.min(size);
                if by_handle {
                    let chunks = reader.chunks_at(range).await.unwrap();
                    bench.check(&clamped, &chunks);
                } else {
                    match bench.store.get_range(&Path::from(KEY), range.clone()).await {
                        Ok(bytes) => bench.check(&clamped, &[bytes]),
                        Err(error) => assert!(range.start >= size, "{error}"),
                    }
                }
            }
            drop(reader);
            bench.store.advise(&Path::from(KEY), headstart_fetch_core::AccessHint::Random);
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(bench.counts().live, 0);
        });
    }
}
