//! `CacheDirectory`: what it counts, which damage it finds, and what it deletes beside caches in use.

use std::fs;
use std::os::unix::fs::FileExt;

use headstart_cache::{CacheDirectory, DiskCleared};

use crate::home::{Home, MIB, PAGE, object, store};
use crate::tables::{ENTRY, HEADER};

#[tokio::test(start_paused = true)]
async fn a_directory_is_counted_checked_and_cleared() {
    let (home, path) = (Home::new(), object("inspected", 6 * MIB));
    let cache = home.open(&store());
    cache.read(&path, 0..6 * MIB).await;
    cache.settle();
    let directory = CacheDirectory::open(home.path()).unwrap();
    let contents = directory.contents().unwrap();
    assert_eq!((contents.pages, contents.page_bytes), (6 * MIB / PAGE, 6 * MIB));
    assert_eq!((contents.file_bytes, contents.open_caches, contents.open_segments), (home.bytes(), 1, 1));
    let mut told = Vec::new();
    let check = directory.check(|read, total| told.push((read, total))).unwrap();
    assert_eq!((check.pages, check.damaged_pages, check.damaged_segments), (6 * MIB / PAGE, 0, 0));
    assert_eq!(told.last(), Some(&(6 * MIB, 6 * MIB)));

    // What the cache is writing stays.
    let cleared = directory.clear().unwrap();
    assert_eq!((cleared.segments, cleared.kept_segments), (contents.segments - 1, 1));
    cache.read(&path, 0..6 * MIB).await;
    cache.cache.close().await;
    drop(cache);
    assert_eq!(directory.contents().unwrap().open_segments, 0);
    let cleared = directory.clear().unwrap();
    assert!(cleared.segments > 0 && cleared.kept_segments == 0, "{cleared:?}");
    assert_eq!((directory.contents().unwrap().pages, home.segments("segment").len()), (0, 0));
    assert_eq!(directory.clear().unwrap(), DiskCleared::default());
}

#[tokio::test(start_paused = true)]
async fn damaged_pages_and_headers_are_found_and_left_alone() {
    let (home, path) = (Home::new(), object("damaged", 6 * MIB));
    let cache = home.open(&store());
    cache.read(&path, 0..6 * MIB).await;
    cache.settle();
    cache.cache.close().await;
    drop(cache);
    let flip = |file: &fs::File, at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    let segments = home.segments("segment");
    let open = |at: usize| fs::OpenOptions::new().read(true).write(true).open(&segments[at]).unwrap();
    let slots = 2 * (segments[0].metadata().unwrap().len() / PAGE);
    let end = segments[0].metadata().unwrap().len();
    assert!(HEADER + slots * (ENTRY as u64) < end);
    // The last page of one segment, and the header of another.
    flip(&open(0), end - PAGE / 2);
    flip(&open(1), 20);
    let directory = CacheDirectory::open(home.path()).unwrap();
    let check = directory.check(|_, _| {}).unwrap();
    assert_eq!((check.damaged_pages, check.damaged_segments), (1, 1));
    assert_eq!(home.segments("segment"), segments);
}

#[test]
fn other_directories_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (path, says) in [(folder.path().to_owned(), "no file headstart-cache"), (folder.path().join("x"), "no such")] {
        let error = CacheDirectory::open(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
