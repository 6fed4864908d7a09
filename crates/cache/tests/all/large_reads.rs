//! Reads longer than a window: one request each, shared by readers that keep up, held a window ahead of slow ones.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{MIB, Mood, cache, cache_with, content};
use bytes::Bytes;
use futures::stream::StreamExt;
use futures::{TryStreamExt, future};
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_sim::{LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const LEN: u64 = 40 << 20;

fn path() -> Path {
    Path::from("a")
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("small")
}

#[tokio::test]
async fn readers_of_a_long_range_share_one_get() {
    for known in [false, true] {
        let (double, store) = cache(Freshness::default());
        let data = content(1, 40 * MIB);
        double.write("a", data.clone()).await;
        if known {
            store.head(&path()).await.expect("there");
        }
        let readers = (0..6).map(|n| {
            let (store, data) = (store.clone(), data.clone());
            tokio::spawn(async move {
                // Ranges that end at different places, so that the answers differ.
                let range = 5..LEN - n * 1000;
                let bytes = store.get_range(&path(), range.clone()).await.expect("read");
                assert!(bytes == data[at(range.start)..at(range.end)]);
            })
        });
        future::try_join_all(readers).await.expect("no panic");
        assert_eq!(double.gets(), 1, "known: {known}");
        assert_eq!(store.stats().fetched_bytes, LEN);
    }
}

#[tokio::test]
async fn a_long_range_is_one_get_up_to_the_first_page_in_memory() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, 40 * MIB);
    double.write("a", data.clone()).await;
    store.get_range(&path(), 20 << 20..(20 << 20) + 10).await.expect("read");
    double.forget_requests();
    assert!(store.get_range(&path(), 0..LEN).await.expect("read") == data);
    assert_eq!(double.gets(), 2, "before that page, and after it");
    assert_eq!(store.stats().fetched_bytes, LEN, "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_long_read_aborts_its_get_at_once() {
    let (double, store) = cache(Freshness::default());
    double.write("a", content(1, 40 * MIB)).await;
    for known in [false, true] {
        let options = GetOptions::new().with_range(Some(0..LEN));
        let mut body = store.get_opts(&path(), options).await.expect("there").into_stream();
        body.next().await.expect("a page").expect("read");
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(double.open(), 1, "known: {known}");
        let started = Instant::now();
        drop(body);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!((double.open(), store.stats().in_flight), (0, 0), "known: {known}");
        assert!(started.elapsed() <= Duration::from_millis(1));
        store.delete(&path()).await.expect("memory");
        double.write("a", content(1, 40 * MIB)).await;
        if !known {
            store.head(&path()).await.expect("there");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_joined_a_long_read_does_not_keep_it_going() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, 40 * MIB);
    double.write("a", data.clone()).await;
    store.head(&path()).await.expect("there");
    let long = GetOptions::new().with_range(Some(0..LEN));
    let mut long = store.get_opts(&path(), long).await.expect("there").into_stream();
    long.next().await.expect("a page").expect("read");
    let short = GetOptions::new().with_range(Some(4 << 20..12 << 20));
    let mut short = store.get_opts(&path(), short).await.expect("there").into_stream();
    let first = short.next().await.expect("a page").expect("read");
    assert_eq!(double.gets(), 1);
    drop(long);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let fetched = store.stats().fetched_bytes;
    assert!(fetched <= 21 << 20, "{fetched}: what the reader wants, and a window");
    let rest: Vec<Bytes> = short.try_collect().await.expect("read");
    assert!([&first[..], &rest.concat()].concat() == data[4 * MIB..12 * MIB]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((double.gets(), double.open()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_beside_a_fast_one_finds_its_pages_in_memory_or_fetches_them_in_few_requests() {
    for memory_bytes in [64 << 20, 1 << 20] {
        let (double, store) = cache_with(CacheConfig { memory_bytes, ..CacheConfig::default() });
        let data = content(1, 40 * MIB);
        double.write("a", data.clone()).await;
        let mut slow = store.get(&path()).await.expect("there").into_stream();
        let mut read = slow.next().await.expect("a page").expect("read").to_vec();
        assert!(store.get(&path()).await.expect("there").bytes().await.expect("read") == data);
        while let Some(bytes) = slow.try_next().await.expect("read") {
            read.extend_from_slice(&bytes);
        }
        assert!(read == data);
        let gets = double.gets();
        assert!(gets <= if memory_bytes > 40 * MIB { 1 } else { 5 }, "{gets} GETs with {memory_bytes} bytes");
    }
}

#[tokio::test]
async fn a_long_object_without_a_validator_is_read_whole_by_each_reader() {
    let (double, store) = cache(Freshness::default());
    double.feel(Mood::NoToken);
    let data = content(1, 40 * MIB);
    double.write("a", data.clone()).await;
    let path = path();
    let part = async { store.get_range(&path, 4 << 20..12 << 20).await };
    let (whole, part) = future::join(async { store.get(&path).await.expect("there").bytes().await }, part).await;
    assert!(whole.expect("read") == data && part.expect("read") == data[4 * MIB..12 * MIB]);
}

#[tokio::test(start_paused = true)]
async fn long_reads_are_not_slower_than_those_of_the_store_below() {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build();
    sim.catalog().add_synthetic("a", 100 << 20);
    let store = CacheStore::new(Arc::new(sim.clone()), CacheConfig::default()).expect("a good config");
    store.head(&path()).await.expect("there");
    let mut took = Vec::new();
    for reader in [&sim as &dyn ObjectStore, &store] {
        let started = Instant::now();
        reader.get_range(&path(), 0..100 << 20).await.expect("there");
        took.push(started.elapsed());
    }
    println!("100 MiB of one GET: {:?} with the cache, {:?} without", took[1], took[0]);
    assert!(took[1] <= took[0] + Duration::from_millis(1));
}
