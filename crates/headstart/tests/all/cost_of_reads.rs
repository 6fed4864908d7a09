//! What a read through the whole stack takes besides its request: locks and tasks, counted exactly. Where there is no
//! delay to hide, these are what a read costs, and locks are what more threads wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headstart::{CacheConfig, Headstart, Reader};
use headstart_fetch_core::internal::locks::locks_taken;
use headstart_sim::Altered;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

const KIB: u64 = 1 << 10;
const OBJECT_BYTES: u64 = 64 << 20;
const READS: u64 = 200;

fn path() -> Path {
    Path::from("object")
}

/// The whole stack over memory, and the most tasks that were there when a request arrived.
async fn stack(caches: bool) -> (Headstart, Reader, Arc<AtomicUsize>) {
    let memory = InMemory::new();
    memory.put(&path(), vec![7; usize::try_from(OBJECT_BYTES).unwrap()].into()).await.unwrap();
    let tasks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&tasks);
    let below = Altered::new(memory, move |options| {
        seen.fetch_max(Handle::current().metrics().num_alive_tasks(), Ordering::Relaxed);
        Ok(options)
    });
    let builder = Headstart::builder().environment([]).store(Arc::new(below) as Arc<dyn ObjectStore>);
    let store = if caches { builder.cache(CacheConfig::default()) } else { builder };
    let store = store.build().await.unwrap();
    let reader = store.reader(&path()).unwrap();
    (store, reader, tasks)
}

/// Starts of reads in a fixed order that looks random. No two reads are adjacent.
fn starts(bytes: u64) -> impl Iterator<Item = u64> {
    let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let next = move |state: &u64| Some(step(*state));
    std::iter::successors(next(&1), next).map(move |state| (state >> 20) % (OBJECT_BYTES - bytes))
}

/// Locks of a read of `bytes` at random, on average, by `reader` or by calls of `store`.
async fn locks_of_a_read(store: &Headstart, reader: Option<&Reader>, bytes: u64) -> f64 {
    let mut before = 0;
    // The first reads open the object and learn its version.
    for (n, start) in (0..READS + 10).zip(starts(bytes)) {
        if n == 10 {
            before = locks_taken();
        }
        let range = start..start + bytes;
        let read = match reader {
            Some(reader) => reader.read_at(range).await,
            None => store.get_range(&path(), range).await,
        };
        assert_eq!(read.unwrap().len() as u64, bytes);
    }
    (locks_taken() - before) as f64 / READS as f64
}

#[tokio::test]
async fn random_reads_start_no_task_and_take_few_locks() {
    for bytes in [4 * KIB, 64 * KIB] {
        let (store, reader, tasks) = stack(false).await;
        for (way, by, most) in [("read_at", Some(&reader), 36.0), ("get_range", None, 18.0)] {
            let locks = locks_of_a_read(&store, by, bytes).await;
            println!("{} KiB by {way}: {locks} locks (promised {most})", bytes / KIB);
            assert!(locks <= most, "{way}");
        }
        assert_eq!(tasks.load(Ordering::Relaxed), 0, "a task was started for a read");
    }
}

#[tokio::test]
async fn hits_of_the_cache_take_few_locks() {
    for (bytes, by_reader, by_call) in [(64 * KIB, 27.1, 7.0), (1024 * KIB, 57.3, 9.0)] {
        let (store, reader, _) = stack(true).await;
        store.get_range(&path(), 0..OBJECT_BYTES).await.unwrap();
        for (way, by, most) in [("read_at", Some(&reader), by_reader), ("get_range", None, by_call)] {
            let locks = locks_of_a_read(&store, by, bytes).await;
            println!("{} KiB by {way}, cached: {locks} locks (promised {most})", bytes / KIB);
            assert!(locks <= most, "{way}");
        }
    }
}
