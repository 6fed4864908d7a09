//! What a cache finds on disk that an earlier one has left.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use headstart_cache::{CacheConfig, DiskConfig, Freshness};
use headstart_fetch_core::CacheHint;
use headstart_sim::{Content, SimStore};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::home::{Cached, Dice, Home, MIB, PAGE, object, sent, store};

#[tokio::test(start_paused = true)]
async fn a_clean_close_keeps_every_page() {
    let (home, first) = (Home::new(), store());
    let objects: Vec<_> = (0..5).map(|n| object(&format!("a{n}"), 3 * MIB + 1000 * n + 7)).collect();
    let size = |n: usize| 3 * MIB + 1000 * n as u64 + 7;
    let cache = home.open(&first);
    for (n, path) in objects.iter().enumerate() {
        cache.read(path, 0..size(n)).await;
        cache.settle();
    }
    cache.cache.close().await;
    let pages: u64 = (0..5).map(|n| size(n).div_ceil(PAGE)).sum();
    assert_eq!((cache.disk().writes, cache.disk().dropped), (pages, 0));

    let second = store();
    let cache = home.open(&second);
    assert_eq!(cache.disk().held_pages, pages);
    for (n, path) in objects.iter().enumerate() {
        cache.read(path, 0..size(n)).await;
    }
    assert_eq!(sent(&second), (0, 5), "one HEAD an object, and no byte");
    assert_eq!((cache.disk().hits, cache.cache.stats().misses, cache.cache.stats().fills), (pages, 0, 0));
    let amplification = cache.disk().written_bytes as f64 / (5 * 3 * MIB) as f64;
    assert!(amplification < 0.01, "nothing is written again: {amplification}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_an_epoch_fetches_what_was_not_written() {
    for is_closed in [true, false] {
        let (home, first, path) = (Home::new(), store(), object("epoch", 16 * MIB));
        let order = Dice(7).shuffled(16 * MIB / PAGE);
        let (before, after) = order.split_at(order.len() / 3);
        let cache = home.open(&first);
        for page in before {
            cache.read_page(&path, *page).await;
        }
        cache.settle();
        if is_closed {
            cache.cache.close().await;
        }
        drop(cache);
        let second = store();
        let cache = home.open(&second);
        for page in before.iter().chain(after) {
            cache.read_page(&path, *page).await;
            cache.settle();
        }
        assert_eq!(sent(&second), (after.len() as u64 * PAGE, 1), "closed: {is_closed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_overwritten_meanwhile_is_never_stale() {
    for freshness in [Freshness::EveryRead, Freshness::OnOpen, Freshness::Ttl(Duration::from_secs(60))] {
        let (home, store, path) = (Home::new(), store(), object("changed", MIB));
        let open = || Cached::new(&store, CacheConfig { freshness, ..home.config() });
        let cache = open();
        cache.read(&path, 0..MIB).await;
        cache.cache.close().await;
        drop(cache);
        for round in 0..3_u64 {
            store.overwrite(path.as_ref(), None).unwrap();
            let cache = open();
            let answer = cache.cache.get(&path).await.unwrap();
            let generation = answer.meta.version.clone().unwrap().parse().unwrap();
            let bytes = answer.bytes().await.unwrap();
            Content::new(path.as_ref(), generation).check(0, &bytes).unwrap();
            let present = store.head(&path).await.unwrap().version;
            assert_eq!(Some(generation.to_string()), present, "{freshness} {round}");
            cache.settle();
            cache.cache.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_way_to_read_finds_what_is_on_disk() {
    let (home, first, path) = (Home::new(), store(), object("ways", 2 * MIB + 100));
    let cache = home.open(&first);
    cache.read(&path, 0..2 * MIB + 100).await;
    cache.cache.close().await;
    let second = store();
    let cache = home.open(&second);
    let whole = cache.cache.get(&path).await.unwrap().bytes().await.unwrap();
    crate::home::check(&path, 0..2 * MIB + 100, &whole);
    drop(cache);
    let cache = home.open(&second);
    let last =
        cache.cache.get_opts(&path, GetOptions::new().with_range(Some(object_store::GetRange::Suffix(90)))).await;
    crate::home::check(&path, 2 * MIB + 10..2 * MIB + 100, &last.unwrap().bytes().await.unwrap());
    let ranges = [5..10, MIB..MIB + 9, 100_000..900_000];
    for (range, part) in ranges.iter().zip(cache.cache.get_ranges(&path, &ranges).await.unwrap()) {
        crate::home::check(&path, range.clone(), &part);
    }
    let mut stream = cache.cache.get(&path).await.unwrap().into_stream();
    let mut at = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        crate::home::check(&path, at..at + chunk.len() as u64, &chunk);
        at += chunk.len() as u64;
    }
    assert_eq!((at, sent(&second).0), (2 * MIB + 100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_page_on_disk_is_read_once_for_many_readers_and_then_in_memory() {
    let (home, first, path) = (Home::new(), store(), object("once", MIB));
    let cache = home.open(&first);
    cache.read(&path, 0..MIB).await;
    cache.cache.close().await;
    let cache = Arc::new(home.open(&store()));
    cache.read_page(&path, 0).await;
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let (cache, path) = (Arc::clone(&cache), path.clone());
            tokio::spawn(async move { cache.read_page(&path, 7).await })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(cache.disk().hits, 2);
}

#[tokio::test(start_paused = true)]
async fn hints_are_obeyed_and_what_has_no_exact_version_is_not_written() {
    let (home, first, path) = (Home::new(), store(), object("hints", MIB));
    let cache = home.open(&first);
    let read = |hint: CacheHint| {
        let mut options = GetOptions::new().with_range(Some(0..PAGE));
        options.extensions.insert(hint);
        cache.cache.get_opts(&path, options)
    };
    read(CacheHint::NoAdmit).await.unwrap().bytes().await.unwrap();
    read(CacheHint::Bypass).await.unwrap().bytes().await.unwrap();
    cache.settle();
    assert_eq!(cache.disk().writes, 0);
    cache.read_page(&path, 0).await;
    cache.settle();
    assert_eq!(cache.disk().writes, 1);
    let before = sent(&first).0;
    read(CacheHint::Refetch).await.unwrap().bytes().await.unwrap();
    assert_eq!((sent(&first).0, cache.disk().hits), (before + PAGE, 0));
    // The same, of a store with weak tags and no versions.
    let config = CacheConfig { freshness: Freshness::Ttl(Duration::from_secs(60)), ..home.config() };
    let weak = headstart_cache::CacheStore::new(Arc::new(Weak(store())), config).unwrap();
    let page = weak.get_range(&path, 0..PAGE).await.unwrap();
    crate::home::check(&path, 0..PAGE, &page);
    assert_eq!(weak.stats().disk.unwrap().writes, 0);
}

/// A store whose tags are weak.
#[derive(Debug)]
struct Weak(SimStore);

impl std::fmt::Display for Weak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Weak")
    }
}

fn weaken(meta: &mut ObjectMeta) {
    meta.version = None;
    meta.e_tag = Some("W/\"1\"".into());
}

#[async_trait::async_trait]
impl ObjectStore for Weak {
    headstart_fetch_core::internal::forward_object_store!(self => self.0; writes, lists);

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<object_store::GetResult> {
        let mut answer = self.0.get_opts(path, options).await?;
        weaken(&mut answer.meta);
        Ok(answer)
    }

    async fn get_ranges(
        &self,
        path: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> object_store::Result<Vec<bytes::Bytes>> {
        self.0.get_ranges(path, ranges).await
    }
}

#[tokio::test(start_paused = true)]
async fn warm_fills_the_disk_and_fetches_nothing_twice() {
    let (home, first, path) = (Home::new(), store(), object("warm", 8 * MIB));
    let cache = home.open(&first);
    assert_eq!(cache.cache.warm(&path, &[0..u64::MAX]).await.unwrap(), 8 * MIB);
    cache.cache.close().await;
    let second = store();
    let cache = home.open(&second);
    assert_eq!(cache.cache.warm(&path, &[0..u64::MAX]).await.unwrap(), 0);
    cache.read(&path, 0..8 * MIB).await;
    assert_eq!(sent(&second), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn stores_of_other_names_and_pages_of_other_sizes_share_a_directory() {
    let (home, path) = (Home::new(), object("shared", MIB));
    let (first, second) = (store(), store());
    home.open(&first).read(&path, 0..MIB).await;
    let config = home.config();
    let other_name = CacheConfig { disk: DiskConfig { name: "other".into(), ..config.disk.clone() }, ..config.clone() };
    let other_pages = CacheConfig { page_bytes: 64 << 10, ..config };
    for config in [other_name, other_pages] {
        second.log().clear();
        let cache = Cached::new(&second, config);
        cache.read(&path, 0..MIB).await;
        assert_eq!(sent(&second).0, MIB);
        cache.cache.close().await;
    }
    home.open(&second).read(&path, 0..MIB).await;
}

#[tokio::test(start_paused = true)]
async fn a_cache_without_a_name_for_its_store_is_refused() {
    let home = Home::new();
    let config = home.config();
    let config = CacheConfig { disk: DiskConfig { name: String::new(), ..config.disk }, ..config };
    let error = headstart_cache::CacheStore::new(Arc::new(store()), config).unwrap_err();
    assert!(error.to_string().contains("disk_name"), "{error}");
}
