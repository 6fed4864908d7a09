//! The limits of a directory hold also where nothing is written, and small objects do not wear out its filter of paths.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use headstart_cache::internal::DiskIo;
use headstart_cache::{CacheConfig, DiskConfig};
use headstart_sim::{LinkProfile, SimStore};

use crate::home::{Cached, Home, MIB, PAGE, object, sent, sleep, store};

const FILLED: u64 = 24 * MIB;

/// A file system with so much free space.
#[derive(Debug)]
struct FreeSpace(AtomicU64);

impl DiskIo for FreeSpace {
    fn free_bytes(&self, _: &FilePath) -> std::io::Result<u64> {
        Ok(self.0.load(Relaxed))
    }
}

async fn fill(home: &Home) {
    let (store, path) = (store(), object("filled", FILLED));
    let cache = home.open(&store);
    for part in 0..FILLED / MIB {
        cache.read(&path, part * MIB..(part + 1) * MIB).await;
        cache.settle();
    }
    cache.cache.close().await;
    assert!(home.bytes() > FILLED);
}

/// Waits until the directory has at most `bytes`: the tier looks every five seconds.
fn shrinks_to(home: &Home, bytes: u64) {
    for _ in 0..300 {
        if home.bytes() <= bytes {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("{} bytes in place of {bytes}", home.bytes());
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_may_have_less_than_before_shrinks_without_a_write() {
    let home = Home::new();
    fill(&home).await;
    let config = home.config();
    let disk = DiskConfig { bytes: 16 * MIB, ..config.disk };
    let store = store();
    let cache = Cached::new(&store, CacheConfig { disk, ..config });
    let before = home.segments("segment").len() as u64;
    shrinks_to(&home, 16 * MIB);
    let (left, disk) = (home.segments("segment").len() as u64, cache.disk());
    assert_eq!((disk.deleted_segments, disk.evictions > 0), (before - left, true), "{disk:?}");
    cache.read(&object("filled", FILLED), 0..FILLED).await;
    assert!(cache.disk().hits > 0, "no more goes than has to");
}

#[tokio::test(start_paused = true)]
async fn space_that_others_need_is_given_back_without_a_write() {
    let home = Home::new();
    fill(&home).await;
    let config = home.config();
    let io = Arc::new(FreeSpace(AtomicU64::new(1 << 30)));
    let disk = DiskConfig { floor_bytes: 100 * MIB, io: Some(Arc::clone(&io) as _), ..config.disk };
    let store = store();
    let cache = Cached::new(&store, CacheConfig { disk, ..config });
    sleep(Duration::from_millis(600));
    assert!(home.bytes() > FILLED, "there is enough");
    // Others have written: ten MiB are missing.
    io.0.store(90 * MIB, Relaxed);
    shrinks_to(&home, FILLED - 9 * MIB);
    cache.read(&object("filled", FILLED), 0..FILLED).await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_are_not_on_disk_cost_no_request_more_however_small_the_others_are() {
    const SMALL: u64 = 1000;
    let home = Home::new();
    let fast = || SimStore::builder().profile(LinkProfile::fast()).warm_connections(8).build();
    let first = fast();
    let cache = home.open(&first);
    for n in 0..6_000 {
        cache.read(&object(&format!("small{n}"), SMALL), 0..SMALL).await;
        if n % 1000 == 0 {
            cache.settle();
        }
    }
    cache.settle();
    // The filter is renewed when the disk thread looks around.
    sleep(Duration::from_millis(400));
    let unknown = |store: SimStore, cache: Cached, name: &'static str| async move {
        store.log().clear();
        for n in 0..500 {
            cache.read(&object(&format!("{name}{n}"), PAGE), 0..PAGE).await;
        }
        let heads = sent(&store).1;
        assert!(heads < 50, "{heads} HEADs for 500 objects that are not on disk");
        cache.cache.close().await;
    };
    unknown(first, cache, "new").await;
    // And after a restart.
    let second = fast();
    let cache = home.open(&second);
    unknown(second, cache, "newer").await;
}
