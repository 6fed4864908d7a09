//! A disk that fails, is full, or is slower than the link: reads succeed, and take no longer than without it.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headstart_cache::internal::{DiskIo, SystemIo};
use headstart_cache::{CacheConfig, DiskConfig, DiskState, Freshness};
use tokio::time::Instant;

use crate::home::{Cached, Dice, Home, MIB, PAGE, object, sent, sleep, store};

/// A disk that fails on demand.
#[derive(Debug, Default)]
struct Faulty {
    reads_fail: AtomicBool,
    writes_fail: AtomicBool,
    is_slow: AtomicBool,
    /// Slow reads.
    waits: AtomicU64,
    /// Bytes that may still be written, where `is_small`.
    left: AtomicU64,
    is_small: AtomicBool,
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl DiskIo for Faulty {
    fn read(&self, file: &File, parts: &mut [IoSliceMut<'_>], offset: u64, wait: bool) -> io::Result<usize> {
        if self.reads_fail.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if self.is_slow.load(Ordering::Relaxed) {
            if !wait {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.waits.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(200));
        }
        SystemIo.read(file, parts, offset, wait)
    }

    fn write(&self, file: &File, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        if self.writes_fail.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        if self.is_small.load(Ordering::Relaxed)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_err()
        {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        SystemIo.write(file, parts, offset)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        if self.writes_fail.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        SystemIo.create(path)
    }
}

/// How long it takes to read these pages one by one, in tokio's time.
async fn time(cache: &Cached, path: &object_store::path::Path, pages: &[u64]) -> Duration {
    let begun = Instant::now();
    for page in pages {
        cache.read_page(path, *page).await;
    }
    begun.elapsed()
}

/// The same without a disk tier.
async fn time_without(home: &Home, path: &object_store::path::Path, pages: &[u64]) -> Duration {
    let config = CacheConfig { disk: DiskConfig::default(), ..home.config() };
    let cache = Cached::new(&store(), config);
    time(&cache, path, pages).await
}

/// A directory with an object in it, and the pages of the object in random order.
async fn filled(path: &object_store::path::Path, bytes: u64) -> (Home, Vec<u64>) {
    let home = Home::new();
    let cache = home.open(&store());
    cache.read(path, 0..bytes).await;
    cache.settle();
    cache.cache.close().await;
    (home, Dice(3).shuffled(bytes / PAGE))
}

fn compare(what: &str, with: Duration, without: Duration) {
    println!("{what}: {with:?} with the disk tier, {without:?} without");
    assert!(with <= without.mul_f64(1.1), "{what}: {with:?} with, {without:?} without");
}

#[tokio::test(start_paused = true)]
async fn a_disk_whose_reads_fail_costs_nothing_and_works_again_when_they_do() {
    let path = object("eio", 4 * MIB);
    let (home, pages) = filled(&path, 4 * MIB).await;
    let without = time_without(&home, &path, &pages).await;
    let io = Arc::new(Faulty::default());
    let second = store();
    let cache = home.open_with_io(&second, Arc::clone(&io) as _);
    io.reads_fail.store(true, Ordering::Relaxed);
    let with = time(&cache, &path, &pages).await;
    compare("reads fail", with, without);
    assert_eq!(cache.disk().state, DiskState::Down);
    assert!((3..20).contains(&cache.disk().failures), "{:?}", cache.disk());
    io.reads_fail.store(false, Ordering::Relaxed);
    sleep(Duration::from_millis(1100));
    time(&cache, &path, &pages).await;
    assert_eq!(cache.disk().state, DiskState::Normal);
    assert!(cache.disk().hits > 100, "{:?}", cache.disk());
}

/// Each read asks the store first whether the version is the present one: this is no try of the disk.
#[tokio::test(start_paused = true)]
async fn a_disk_works_again_where_every_read_is_validated() {
    let path = object("eio", 4 * MIB);
    let (home, pages) = filled(&path, 4 * MIB).await;
    let io = Arc::new(Faulty::default());
    let disk = DiskConfig { io: Some(Arc::clone(&io) as _), ..home.config().disk };
    let config = CacheConfig { disk, freshness: Freshness::EveryRead, ..home.config() };
    let cache = Cached::new(&store(), config);
    io.reads_fail.store(true, Ordering::Relaxed);
    time(&cache, &path, &pages).await;
    assert_eq!(cache.disk().state, DiskState::Down);
    io.reads_fail.store(false, Ordering::Relaxed);
    sleep(Duration::from_millis(1100));
    time(&cache, &path, &pages).await;
    assert_eq!(cache.disk().state, DiskState::Normal, "{:?}", cache.disk());
}

#[tokio::test(start_paused = true)]
async fn a_disk_whose_writes_fail_costs_nothing() {
    for is_full in [true, false] {
        let (home, path) = (Home::new(), object("enospc", 4 * MIB));
        let pages = Dice(3).shuffled(256);
        let without = time_without(&home, &path, &pages).await;
        let io = Arc::new(Faulty::default());
        io.left.store(MIB, Ordering::Relaxed);
        io.is_small.store(is_full, Ordering::Relaxed);
        io.writes_fail.store(!is_full, Ordering::Relaxed);
        let opened = if is_full {
            home.open_with_io(&store(), Arc::clone(&io) as _)
        } else {
            // A read-only directory that was filled before.
            drop(home.open(&store()));
            home.open_with_io(&store(), Arc::clone(&io) as _)
        };
        let with = time(&opened, &path, &pages).await;
        opened.settle();
        compare("writes fail", with, without);
        let stats = opened.disk();
        assert_eq!(stats.state, DiskState::Unstable, "{stats:?}");
        assert!(stats.failures >= 3 && stats.dropped > 100, "{stats:?}");
        assert_eq!(stats.writes > 0, is_full, "what fits is written");
        if is_full {
            // What was written is read.
            time(&opened, &path, &pages).await;
            assert!(opened.disk().hits > stats.hits, "{stats:?} {:?}", opened.disk());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_200_ms_a_read_is_not_waited_for() {
    let path = object("slow", 2 * MIB);
    let (home, pages) = filled(&path, 2 * MIB).await;
    let mut best = f64::INFINITY;
    // Other work on this machine only makes reads slower: one calm round in three shows what the tier costs.
    for _ in 0..3 {
        let without = time_without(&home, &path, &pages[..60]).await;
        let io = Arc::new(Faulty::default());
        let second = store();
        let cache = home.open_with_io(&second, Arc::clone(&io) as _);
        io.is_slow.store(true, Ordering::Relaxed);
        let with = time(&cache, &path, &pages[..60]).await;
        println!("200 ms a read: {with:?} with the disk tier, {without:?} without");
        // The first read asks for the version by a HEAD: a round trip that the others do not have.
        let with = with.saturating_sub(Duration::from_millis(30));
        best = best.min(with.as_secs_f64() / without.as_secs_f64());
        assert_eq!((cache.disk().state, cache.disk().hits), (DiskState::Unstable, 0));
        assert_eq!((cache.disk().late, sent(&second).0), (60, 60 * PAGE));
        // Three reads wait, and then one a second at most.
        let waits = io.waits.load(Ordering::Relaxed);
        assert!(waits <= 4 + with.as_secs(), "{waits} reads waited");
        if best <= 1.1 {
            return;
        }
    }
    panic!("{best} x as long with the disk tier");
}

/// A small file system, where the user may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(bytes: u64) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let options = format!("size={bytes},mode=0700");
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(disk.0.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).output();
    }
}

/// Writes files until the file system is full but for so many bytes.
fn fill(disk: &Path, left: u64) {
    let free = SystemIo.free_bytes(disk).unwrap();
    std::fs::write(disk.join("ballast"), vec![1; usize::try_from(free - left).unwrap()]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_system_that_is_full_costs_nothing() {
    let Some(small) = SmallDisk::new(24 * MIB) else { return println!("this user may not mount a file system") };
    let path = object("tmpfs", 24 * MIB);
    let pages = Dice(3).shuffled(24 * MIB / PAGE);
    let home = Home::new();
    let without = time_without(&home, &path, &pages).await;
    let config = home.config();
    let disk = DiskConfig { directory: Some(small.0.path().join("cache")), ..config.disk };
    let cache = Cached::new(&store(), CacheConfig { disk, ..config });
    // The tier may have more than the file system has: it keeps a segment of free space.
    let with = time(&cache, &path, &pages).await;
    cache.settle();
    compare("a file system smaller than the tier", with, without);
    let stats = cache.disk();
    assert!(stats.failures == 0 && stats.held_bytes > 16 * MIB, "{stats:?}");
    // Others take the rest of it.
    fill(small.0.path(), 100_000);
    let more = object("more", 24 * MIB);
    let without = time_without(&home, &more, &pages).await;
    let with = time(&cache, &more, &pages).await;
    cache.settle();
    compare("a file system that others have filled", with, without);
}
