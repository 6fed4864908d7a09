//! Several caches on one directory: each finds what the others write, and together they stay within its size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::home::{DISK, Dice, Home, MIB, PAGE, SEGMENT, object, sent, sleep, store};

#[tokio::test(start_paused = true)]
async fn what_one_cache_writes_another_reads_while_the_segment_is_open() {
    let (home, one, other) = (Home::new(), store(), store());
    let path = object("both", MIB);
    let (writer, reader) = (home.open(&one), home.open(&other));
    writer.read(&path, 0..MIB).await;
    writer.settle();
    assert_eq!(home.segments("segment").len(), 0, "nothing is sealed");
    let mut waits = 0;
    while reader.disk().held_pages < MIB / PAGE {
        sleep(Duration::from_millis(5));
        waits += 1;
        assert!(waits < 1000, "{:?}", reader.disk());
    }
    reader.read(&path, 0..MIB).await;
    assert_eq!(sent(&other).0, 0);
    // Sealed meanwhile, and written on by the other one.
    writer.cache.close().await;
    drop(writer);
    let more = object("more", MIB);
    reader.read(&more, 0..MIB).await;
    reader.read(&path, 0..MIB).await;
    assert_eq!(sent(&other).0, MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_never_exceeds_its_size_by_more_than_a_segment_for_each_cache() {
    let home = Arc::new(Home::new());
    let (is_done, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watch = {
        let (home, is_done, most) = (Arc::clone(&home), Arc::clone(&is_done), Arc::clone(&most));
        std::thread::spawn(move || {
            while !is_done.load(Ordering::Relaxed) {
                most.fetch_max(home.bytes(), Ordering::Relaxed);
                sleep(Duration::from_micros(300));
            }
        })
    };
    let mut caches = Vec::new();
    for n in 0..3_u64 {
        let home = Arc::clone(&home);
        caches.push(tokio::spawn(async move {
            let fast = headstart_sim::SimStore::builder().profile(headstart_sim::LinkProfile::fast()).build();
            let cache = home.open(&fast);
            let path = object(&format!("storm{n}"), 64 * MIB);
            let mut dice = Dice(n);
            for _ in 0..2 {
                for part in dice.shuffled(32) {
                    cache.read(&path, part * 2 * MIB..(part + 1) * 2 * MIB).await;
                    cache.settle();
                }
            }
            cache.cache.close().await;
            cache.disk()
        }));
    }
    let mut written = 0;
    for cache in caches {
        written += cache.await.unwrap().written_bytes;
    }
    is_done.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    let most = most.load(Ordering::Relaxed);
    println!("at most {most} bytes of {DISK}, and {SEGMENT} for each of three caches; {written} written");
    assert!(written > DISK, "segments were deleted");
    assert!(most <= DISK + 3 * SEGMENT, "{most}");
    assert!(home.bytes() >= DISK / 2, "{} are left", home.bytes());
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_deleted_segment_reads_on() {
    let (home, one, path) = (Home::new(), store(), object("deleted", 4 * MIB));
    let cache = home.open(&one);
    cache.read(&path, 0..4 * MIB).await;
    cache.settle();
    assert!(!home.segments("segment").is_empty());
    for file in home.segments("segment").into_iter().chain(home.segments("open")) {
        std::fs::remove_file(file).unwrap();
    }
    // Whether it still has the files open or has seen that they are gone: the bytes are right.
    cache.read(&path, 0..4 * MIB).await;
    sleep(Duration::from_millis(600));
    cache.read(&path, 0..4 * MIB).await;
    cache.settle();
    assert!(cache.disk().failures <= 1, "{:?}", cache.disk());
}

#[tokio::test(start_paused = true)]
async fn the_free_space_of_others_is_left_to_them() {
    let (home, one, path) = (Home::new(), store(), object("floor", 8 * MIB));
    let config = home.config();
    let disk = headstart_cache::DiskConfig { floor_bytes: 1 << 60, ..config.disk };
    let cache = crate::home::Cached::new(&one, headstart_cache::CacheConfig { disk, ..config });
    cache.read(&path, 0..8 * MIB).await;
    cache.settle();
    let stats = cache.disk();
    assert_eq!((stats.writes, stats.failures), (0, 0), "{stats:?}");
    assert!(home.bytes() < 10_000, "{}", home.bytes());
}
