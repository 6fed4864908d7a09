//! What opening a directory costs: the tables of its segments are read, and nothing else. What a close keeps.
//!
//! `HEADSTART_DISK_TESTS=full` opens up to 40 GB, and checks the promised time (with `--release`, on a quiet machine).

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use headstart_cache::internal::DiskIo;
use headstart_cache::{CacheConfig, DiskConfig, Freshness};
use tokio::time::Instant;

use crate::home::{Cached, Home, KIB, MIB, is_full, object, sent, sleep, store};
use crate::tables::write_hollow;

const GB: u64 = 1_000_000_000;

/// Counts the reads.
#[derive(Debug, Default)]
struct CountingIo {
    opened: AtomicU64,
    reads: AtomicU64,
    read_bytes: AtomicU64,
}

impl DiskIo for CountingIo {
    fn read(&self, file: &File, parts: &mut [IoSliceMut<'_>], offset: u64, wait: bool) -> io::Result<usize> {
        self.reads.fetch_add(1, Relaxed);
        let read = headstart_cache::internal::SystemIo.read(file, parts, offset, wait)?;
        self.read_bytes.fetch_add(read as u64, Relaxed);
        Ok(read)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.opened.fetch_add(1, Relaxed);
        File::open(path)
    }
}

#[tokio::test]
async fn opening_reads_the_tables_and_no_page() {
    // A directory that is not full is not searched for what to delete: twice what is there.
    let sizes = if is_full() { &[GB, 10 * GB, 20 * GB, 40 * GB][..] } else { &[GB, 10 * GB][..] };
    println!("| directory | pages | opened in | reads | read | index, bytes a page |\n|---|---|---|---|---|---|");
    for bytes in sizes {
        let home = Home::new();
        drop(home.open(&store()));
        let segments = u32::try_from(bytes / (64 * MIB)).unwrap();
        let pages: u64 = (0..segments).map(|number| write_hollow(home.path(), number, 64 * MIB, 64 * KIB)).sum();
        let io = Arc::new(CountingIo::default());
        let disk = DiskConfig {
            bytes: bytes * 2,
            floor_bytes: 0,
            io: Some(Arc::clone(&io) as _),
            ..DiskConfig::new(home.path(), "test")
        };
        let begun = Instant::now();
        let cache = Cached::new(&store(), CacheConfig { disk, ..CacheConfig::default() });
        let opened_in = begun.elapsed();
        let stats = cache.disk();
        let index_bytes = stats.index_bytes as f64 / stats.held_pages as f64;
        let (opened, reads, read_bytes) =
            (io.opened.load(Relaxed), io.reads.load(Relaxed), io.read_bytes.load(Relaxed));
        println!(
            "| {} GB | {pages} | {:.0} ms | {reads} | {} MiB | {index_bytes:.1} |",
            bytes / GB,
            opened_in.as_secs_f64() * 1e3,
            read_bytes / MIB
        );
        assert_eq!((stats.held_pages, stats.segments), (pages, u64::from(segments)));
        assert!(index_bytes <= 24.0, "{index_bytes}");
        // A header and a table of two entries a page; no more calls for a segment than these.
        assert!(opened <= u64::from(segments) && reads <= 2 * u64::from(segments), "{opened} {reads}");
        assert!(read_bytes <= u64::from(segments) * (64 + 2048 * 64), "{read_bytes}");
        if is_full() && *bytes == 10 * GB && !cfg!(debug_assertions) {
            assert!(opened_in.as_millis() <= 500, "{opened_in:?}");
        }
    }
}

/// A large directory does not take the descriptors that the program needs for other files and connections.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn few_segments_are_kept_open() {
    let home = Home::new();
    drop(home.open(&store()));
    for number in 0..500 {
        write_hollow(home.path(), number, MIB, 64 * KIB);
    }
    let disk = DiskConfig { bytes: GB, floor_bytes: 0, ..DiskConfig::new(home.path(), "test") };
    let cache = Cached::new(&store(), CacheConfig { disk, ..CacheConfig::default() });
    assert_eq!(cache.disk().segments, 500);
    let open =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let kept =
        open.filter(|file| file.starts_with(home.path()) && file.extension() == Some("segment".as_ref())).count();
    assert!(kept <= 384, "{kept} of 500 segments are open");
}

/// Pages of 64 KiB, of which foyer 0.22 kept 247.
const BURST: u64 = 1493 * 64 * KIB;

fn for_burst(home: &Home) -> CacheConfig {
    let disk = DiskConfig { bytes: 256 * MIB, floor_bytes: 0, ..DiskConfig::new(home.path(), "test") };
    CacheConfig { disk, freshness: Freshness::Immutable, ..CacheConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn a_close_keeps_a_burst_that_is_faster_than_the_disk() {
    let home = Home::new();
    let config = for_burst(&home);
    let (first, second, path) = (store(), store(), object("burst", BURST));
    let cache = Cached::new(&first, config.clone());
    cache.read(&path, 0..BURST).await;
    let dropped = cache.disk().dropped;
    cache.cache.close().await;
    let stats = cache.disk();
    println!("{dropped} pages found the queue full; {} are written after the close", stats.writes);
    assert_eq!((stats.held_pages, stats.failures), (1493, 0), "{stats:?}");
    let cache = Cached::new(&second, config);
    cache.read(&path, 0..BURST).await;
    assert_eq!(sent(&second).0, 0);
}

/// The thread of the dropped cache writes on: a cache that is opened later finds the pages as they are written.
#[tokio::test(start_paused = true)]
async fn a_dropped_cache_keeps_a_burst_too() {
    let home = Home::new();
    let (first, path) = (store(), object("burst", BURST));
    let cache = Cached::new(&first, for_burst(&home));
    cache.read(&path, 0..BURST).await;
    drop(cache);
    let cache = Cached::new(&store(), for_burst(&home));
    for _ in 0..1000 {
        if cache.disk().held_pages == 1493 {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("{:?}", cache.disk());
}
