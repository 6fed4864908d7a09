//! Writers that are killed at any moment of a storm of writes: every page of every sealed segment is there afterwards,
//! also every page whose entry was written to an open one, and no byte is wrong. What must be there is read from the
//! files by the tests' own code (`tables.rs`).
//!
//! `HEADSTART_DISK_TESTS=full` kills 330 writers that are alone and 330 of three; else a part of them.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headstart_cache::{CacheConfig, DiskConfig};
use headstart_fetch_core::CacheHint;
use headstart_sim::{LinkProfile, SimStore};
use object_store::{GetOptions, ObjectStore};

use crate::home::{Cached, Dice, Home, MIB, PAGE, check, is_full, object, sleep, store};
use crate::tables;

const CHILD: &str = "HEADSTART_KILLED_WRITER";

/// What may lie in the directory of a storm: segments of 1 MiB, so that many are begun, sealed and deleted.
const STORM_DISK: u64 = 16 * MIB;

/// The objects of a storm: more than fits.
const OBJECTS: u64 = 3;
const OBJECT: u64 = 7 * MIB + 5000;

const KILLED: i32 = 9;

fn storm_object(n: u64) -> object_store::path::Path {
    object(&format!("storm{n}"), OBJECT)
}

/// The process that is killed. It does nothing unless another test has started it.
#[tokio::test(start_paused = true)]
async fn a_writer_that_will_be_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the other test tells its child")]
    let Ok(directory) = std::env::var(CHILD) else { return };
    let home = Home::new();
    let mut config = home.config();
    config.disk = DiskConfig { bytes: STORM_DISK, floor_bytes: 0, ..DiskConfig::new(directory, "test") };
    let fast = SimStore::builder().profile(LinkProfile::fast()).warm_connections(8).build();
    let cache = Cached::new(&fast, config);
    let mut dice = Dice(u64::from(std::process::id()));
    loop {
        let path = storm_object(dice.roll(OBJECTS));
        let start = dice.roll(OBJECT);
        let end = (start + 1 + dice.roll(40 * PAGE)).min(OBJECT);
        cache.read(&path, start..end).await;
        let stats = cache.disk();
        assert_eq!((stats.damaged, stats.failures), (0, 0), "{stats:?}");
    }
}

fn start(home: &Home) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::a_writer_that_will_be_killed", "--nocapture"])
        .env(CHILD, home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a process, which must have run until then.
fn kill(mut child: Child) {
    child.kill().unwrap();
    let ended = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(ended.signal(), Some(KILLED), "{ended}: {said}");
}

/// A moment in the life of a process: often while it opens the directory, mostly in the storm.
fn wait(home: &Home, dice: &mut Dice) {
    if dice.roll(4) > 0 {
        // A process has begun to write.
        for _ in 0..100 {
            if !home.segments("open").is_empty() {
                break;
            }
            sleep(Duration::from_millis(1));
        }
    }
    sleep(Duration::from_micros(dice.roll(60_000)));
}

#[derive(Debug, Default)]
struct Found {
    killed: u64,
    sealed: usize,
    open: usize,
    sealed_pages: usize,
    open_pages: usize,
    rounds: u64,
}

/// Kills `kills` processes, of which `writers` run at a time, and checks the directory whenever all are dead.
async fn storm(writers: usize, kills: u64) -> Found {
    let (mut dice, mut found) = (Dice(writers as u64), Found::default());
    let mut home = Home::new();
    let started = |home: &Home| (0..writers).map(|_| start(home)).collect::<Vec<_>>();
    while found.killed < kills {
        if found.rounds.is_multiple_of(4) {
            home = Home::new();
        }
        found.rounds += 1;
        let mut children = started(&home);
        if writers > 1 {
            // One dies and comes back while the others go on.
            wait(&home, &mut dice);
            let child = children.remove(usize::try_from(dice.roll(writers as u64)).unwrap());
            kill(child);
            found.killed += 1;
            children.push(start(&home));
        }
        for child in children {
            wait(&home, &mut dice);
            kill(child);
            found.killed += 1;
        }
        check_directory(&home, &mut found).await;
    }
    found
}

async fn check_directory(home: &Home, found: &mut Found) {
    assert_eq!(home.segments("bad").len(), 0, "nothing was damaged");
    let (before, open) = (home.segments("segment"), home.segments("open"));
    let (sealed_pages, of_sealed) = tables::pages(home.path(), "segment");
    let (open_pages, of_open) = tables::pages(home.path(), "open");
    let all = sealed_pages.union(&open_pages).count() as u64;
    (found.sealed, found.open) = (found.sealed + before.len(), found.open + open.len());
    (found.sealed_pages, found.open_pages) = (found.sealed_pages + of_sealed, found.open_pages + of_open);
    // A larger directory: nothing is deleted while it is looked at.
    let config = home.config();
    let disk = DiskConfig { bytes: 64 * STORM_DISK, ..config.disk };
    let store = store();
    let cache = Cached::new(&store, CacheConfig { disk, memory_bytes: (4 * 17) << 10, ..config });
    assert!(before.iter().all(|file| file.exists()), "a sealed segment is gone");
    let stats = cache.disk();
    assert_eq!(stats.held_pages, (of_sealed + of_open) as u64, "{stats:?}");
    for n in 0..OBJECTS {
        let path = storm_object(n);
        for page in 0..OBJECT.div_ceil(PAGE) {
            let range = page * PAGE..((page + 1) * PAGE).min(OBJECT);
            let mut options = GetOptions::new().with_range(Some(range.clone()));
            // The directory stays as it is.
            options.extensions.insert(CacheHint::NoAdmit);
            let bytes = cache.cache.get_opts(&path, options).await.unwrap().bytes().await.unwrap();
            check(&path, range, &bytes);
        }
    }
    let stats = cache.disk();
    assert_eq!((stats.damaged, stats.failures, stats.late, stats.writes), (0, 0, 0, 0), "{stats:?}");
    assert_eq!(stats.hits, all, "every page that was written is read: {stats:?}");
    cache.cache.close().await;
    assert_eq!(home.segments("bad").len() + home.segments("open").len(), 0, "what the dead left is sealed");
}

#[tokio::test(start_paused = true)]
async fn a_killed_writer_leaves_every_page_and_no_wrong_byte() {
    let found = storm(1, if is_full() { 330 } else { 40 }).await;
    println!("{found:?}");
    assert!(found.sealed > 0 && found.open > 0 && found.sealed_pages > 1000, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn three_writers_killed_one_after_the_other_leave_every_page_and_no_wrong_byte() {
    let found = storm(3, if is_full() { 330 } else { 40 }).await;
    println!("{found:?}");
    assert!(found.sealed > 0 && found.open > 0 && found.sealed_pages > 1000, "{found:?}");
}
