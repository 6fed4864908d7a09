//! One cache used from several runtimes.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{KIB, MIB, Mood, cache, cache_with, content};
use futures::StreamExt;
use headstart_cache::{CacheConfig, Freshness};
use headstart_fetch_core::MemoryBudget;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};

const A: &str = "a";

fn path() -> Path {
    Path::from(A)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Lets `work` run for some milliseconds, then drops it.
async fn begin(work: impl Future) {
    tokio::time::timeout(Duration::from_millis(20), work).await.map(|_| ()).expect_err("it hangs");
}

#[test]
fn a_fetch_on_a_runtime_that_has_stopped_is_taken_over() {
    let (first, second) = (runtime(), runtime());
    for known in [false, true] {
        let budget = MemoryBudget::new(64 << 20);
        let config = CacheConfig { budget: Some(Arc::clone(&budget)), page_bytes: 16 << 10, ..CacheConfig::default() };
        let (double, store) = cache_with(config);
        let data = content(1, MIB);
        first.block_on(async {
            double.write(A, data.clone()).await;
            if known {
                for at in (0..10_u64).map(|n| n * 10_000) {
                    store.get_ranges(&path(), &[at..at + 100]).await.expect("read");
                }
            }
        });
        double.feel(Mood::Wait);
        // One reader is dropped, one still waits, one holds a body; their runtime drives none of them any more.
        let waiting = first.spawn({
            let store = store.clone();
            async move { store.get_range(&path(), 500_000..MIB as u64).await }
        });
        first.block_on(begin(store.get_range(&path(), 400_000..MIB as u64)));
        double.feel(Mood::Well);
        let read = second.block_on(async {
            let object = path();
            let read = store.get_range(&object, 0..MIB as u64);
            tokio::time::timeout(Duration::from_secs(5), read).await.expect("it is taken over")
        });
        assert!(read.expect("read") == data, "known: {known}");
        assert_eq!((store.stats().in_flight, budget.used_bytes()), (0, 0), "tasks of a stopped runtime hold nothing");
        // The reader on the first runtime retries when it is driven again.
        let waited = first.block_on(waiting).expect("no panic").expect("read");
        assert!(waited == data.slice(500_000..));
    }
}

#[test]
fn a_body_is_read_on_by_another_runtime() {
    let (first, second) = (runtime(), runtime());
    let (double, store) = cache(Freshness::default());
    let data = content(1, 20 * MIB);
    let (mut body, begun) = first.block_on(async {
        double.write(A, data.clone()).await;
        let mut body = store.get(&path()).await.expect("there").into_stream();
        let begun = body.next().await.expect("a page").expect("read");
        (body, begun)
    });
    let mut read = begun.to_vec();
    second.block_on(async {
        while let Some(page) = tokio::time::timeout(Duration::from_secs(5), body.next()).await.expect("it goes on") {
            read.extend_from_slice(&page.expect("read"));
        }
    });
    assert!(read == data);
    assert!(double.gets() <= 4, "{} GETs", double.gets());
}

#[test]
fn a_runtime_without_time_reads() {
    let without = Builder::new_current_thread().build().expect("a runtime");
    let (double, store) = cache(Freshness::default());
    let data = content(1, MIB);
    without.block_on(async {
        double.write(A, data.clone()).await;
        let (object, ranges) = (path(), [0..10, 500_000..500_010]);
        let (one, two, three) = futures::join!(
            store.get_range(&object, 0..64 * KIB),
            store.get_range(&object, 0..64 * KIB),
            store.get_ranges(&object, &ranges)
        );
        assert_eq!(one.expect("read"), two.expect("read"));
        assert_eq!(three.expect("read").len(), 2);
        store.warm(&object, &[0..u64::MAX]).await.expect("there");
        assert!(store.get(&object).await.expect("there").bytes().await.expect("read") == data);
    });
}
