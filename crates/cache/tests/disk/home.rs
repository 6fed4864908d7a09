//! A directory for the tests, the caches on it, and a store whose bytes are known.

use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headstart_cache::internal::DiskIo;
use headstart_cache::{CacheConfig, CacheStore, DiskConfig, DiskStats, Freshness};
use headstart_sim::{Content, FIRST_GENERATION, LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const PAGE: u64 = 16 * KIB;

/// What a directory may have; its segments take a sixteenth of it.
pub(crate) const DISK: u64 = 32 * MIB;
pub(crate) const SEGMENT: u64 = DISK / 16;

/// Whether the promised counts run, in place of a part of them.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the library")]
pub(crate) fn is_full() -> bool {
    std::env::var("HEADSTART_DISK_TESTS").is_ok_and(|value| value == "full")
}

#[expect(clippy::disallowed_methods, reason = "the disk thread is real")]
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Random numbers (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn shuffled(&mut self, items: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..items).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, usize::try_from(self.roll(at as u64 + 1)).unwrap());
        }
        order
    }
}

/// A directory that goes when the test ends.
pub(crate) struct Home {
    pub(crate) directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &FilePath {
        self.directory.path()
    }

    /// The settings of a cache on this directory, with little memory.
    pub(crate) fn config(&self) -> CacheConfig {
        let disk = DiskConfig { bytes: DISK, floor_bytes: 0, ..DiskConfig::new(self.path(), "test") };
        let (page_bytes, memory_bytes) = (16 << 10, (64 * 17) << 10);
        CacheConfig { memory_bytes, page_bytes, freshness: Freshness::Immutable, disk, ..CacheConfig::default() }
    }

    pub(crate) fn open(&self, store: &SimStore) -> Cached {
        Cached::new(store, self.config())
    }

    pub(crate) fn open_with_io(&self, store: &SimStore, io: Arc<dyn DiskIo>) -> Cached {
        let config = self.config();
        Cached::new(store, CacheConfig { disk: DiskConfig { io: Some(io), ..config.disk }, ..config })
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.path()).unwrap();
        files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
    }

    /// The segments' files.
    pub(crate) fn segments(&self, extension: &str) -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(self.path()).unwrap().map(|file| file.unwrap().path());
        let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
        segments.sort();
        segments
    }
}

/// A store behind a link of 30 ms.
pub(crate) fn store() -> SimStore {
    SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build()
}

/// Bytes that a store has sent, and HEADs that it has answered.
pub(crate) fn sent(store: &SimStore) -> (u64, u64) {
    let counts = store.log().counts();
    (counts.bytes_sent, counts.heads)
}

/// An object of so many bytes.
pub(crate) fn object(name: &str, bytes: u64) -> Path {
    format!("synthetic/{bytes}/{name}").into()
}

/// A cache, and the bytes that it must return.
pub(crate) struct Cached {
    pub(crate) cache: CacheStore,
}

impl Cached {
    pub(crate) fn new(store: &SimStore, config: CacheConfig) -> Self {
        let inner: Arc<dyn ObjectStore> = Arc::new(store.clone());
        Self { cache: CacheStore::new(inner, config).unwrap() }
    }

    /// Reads a range of an object of the first generation, and checks it.
    pub(crate) async fn read(&self, path: &Path, range: Range<u64>) {
        let bytes = self.cache.get_range(path, range.clone()).await.unwrap();
        check(path, range, &bytes);
    }

    pub(crate) async fn read_page(&self, path: &Path, page: u64) {
        self.read(path, page * PAGE..(page + 1) * PAGE).await;
    }

    pub(crate) fn disk(&self) -> DiskStats {
        self.cache.stats().disk.unwrap()
    }

    /// Waits until what was offered is written.
    pub(crate) fn settle(&self) {
        while self.disk().queued_bytes > 0 {
            sleep(Duration::from_micros(200));
        }
    }
}

/// Checks bytes of an object of the first generation.
pub(crate) fn check(path: &Path, range: Range<u64>, bytes: &Bytes) {
    assert_eq!(bytes.len() as u64, range.end - range.start, "{path} {range:?}");
    let content = Content::new(path.as_ref(), FIRST_GENERATION);
    content.check(range.start, bytes).unwrap_or_else(|wrong| panic!("{path} {range:?}: {wrong:?}"));
}
