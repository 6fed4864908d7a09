//! Flipped bits, cut, moved, swapped, doubled, replaced and deleted files, before and during use, with two caches on
//! the directory: misses, never wrong bytes, errors, panics or hangs. Segments that nobody has touched stay in use, and
//! once the damage ends everything is kept again.
//!
//! `HEADSTART_DISK_TESTS=full` does four times as much.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use headstart_sim::{LinkProfile, SimStore};

use crate::home::{Cached, Dice, Home, KIB, MIB, PAGE, is_full, object, sent, sleep};
use crate::tables::{self, ENTRY, HEADER};

const OBJECTS: u64 = 2;
const OBJECT: u64 = 6 * MIB + 123;

/// Steps in the life of two caches, with a damage each.
const STEPS: u64 = 30;

/// A real time that no step takes.
const HANGS: Duration = Duration::from_secs(40);

/// Bytes of a record.
const RECORD: usize = ENTRY + (16 << 10);

/// Ways to damage a directory.
const WAYS: u64 = 18;

/// Damages a file; returns what was done, and how many segments may be found damaged for it.
fn damage(home: &Home, dice: &mut Dice) -> io::Result<(String, u64)> {
    let mut files = home.segments("segment");
    files.extend(home.segments("open"));
    files.extend(home.segments("open"));
    if files.is_empty() {
        return Ok(("nothing".to_owned(), 0));
    }
    let mut pick = || files[usize::try_from(dice.roll(files.len() as u64)).unwrap()].clone();
    let (path, other) = (pick(), pick());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let shown = name(&path);
    let length = fs::metadata(&path)?.len().max(1);
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    let named = |dice: &mut Dice, ending: &str| {
        home.path().join(format!("{:016x}-{:08x}.{ending}", dice.roll(u64::MAX), dice.roll(100)))
    };
    let way = dice.roll(WAYS);
    let done = match way {
        0..=3 => {
            let limit = [length, HEADER + 64 * KIB, 64, HEADER + 512][usize::try_from(way).unwrap()].min(length);
            let (at, bit) = (dice.roll(limit), dice.roll(8));
            let mut byte = [0];
            let file = open()?;
            file.read_exact_at(&mut byte, at)?;
            file.write_all_at(&[byte[0] ^ 1 << bit], at)?;
            (format!("flipped bit {bit} of byte {at} of {shown}"), 1)
        }
        4 => {
            let (at, many) = (dice.roll(length), dice.roll(9000));
            let noise: Vec<u8> = (0..many).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
            open()?.write_all_at(&noise, at)?;
            (format!("wrote {many} random bytes at {at} of {shown}"), 1)
        }
        5 => {
            let kept = if dice.roll(3) == 0 { 0 } else { dice.roll(length) };
            open()?.set_len(kept)?;
            (format!("cut {shown} to {kept} bytes"), 1)
        }
        6 => {
            let (kept, file) = (dice.roll(length), open()?);
            file.set_len(kept)?;
            file.set_len(length)?;
            (format!("zeroed {shown} from {kept} on"), 1)
        }
        7 => {
            // Both are whole, and stand where the other should.
            let Some(table) = tables::read(&path).filter(|table| table.entries.len() > 1) else {
                return Ok(("no table".into(), 0));
            };
            let mut place = || table.entries[usize::try_from(dice.roll(table.entries.len() as u64)).unwrap()].1;
            let (one, two, file) = (place(), place(), open()?);
            let (mut first, mut second) = (vec![0; RECORD], vec![0; RECORD]);
            let _ = (file.read_at(&mut first, one)?, file.read_at(&mut second, two)?);
            file.write_all_at(&first, two)?;
            file.write_all_at(&second, one)?;
            (format!("swapped the records at {one} and {two} of {shown}"), 1)
        }
        8 => {
            let Some(table) = tables::read(&path).filter(|table| table.entries.len() > 1) else {
                return Ok(("no table".into(), 0));
            };
            let (from, to) = (dice.roll(u64::from(table.slots)), dice.roll(u64::from(table.slots)));
            let mut entry = [0; ENTRY];
            let file = open()?;
            file.read_exact_at(&mut entry, HEADER + from * ENTRY as u64)?;
            file.write_all_at(&entry, HEADER + to * ENTRY as u64)?;
            (format!("copied entry {from} of {shown} over entry {to}"), 1)
        }
        9 => {
            // A page of the other segment, where this one has a page of its own.
            let (Some(here), Some(there)) = (tables::read(&path), tables::read(&other)) else {
                return Ok(("no table".into(), 0));
            };
            let (Some(to), Some(from)) = (here.entries.last(), there.entries.first()) else {
                return Ok(("no page".into(), 0));
            };
            let mut record = vec![0; RECORD];
            let read = File::open(&other)?.read_at(&mut record, from.1)?;
            open()?.write_all_at(&record[..read], to.1)?;
            (format!("copied a record of {} over one of {shown}", name(&other)), 1)
        }
        10 => {
            let aside = home.path().join("0000000000000001.lock");
            fs::rename(&path, &aside)?;
            fs::rename(&other, &path)?;
            fs::rename(&aside, &other)?;
            (format!("swapped {shown} and {}", name(&other)), 2)
        }
        11 => {
            let copy = named(dice, "segment");
            fs::copy(&path, &copy)?;
            (format!("copied {shown} to {}", name(&copy)), 1)
        }
        12 => {
            fs::copy(&path, &other)?;
            (format!("copied {shown} over {}", name(&other)), 1)
        }
        13 => {
            // A double that looks as if it were written so, with a table of another length.
            let copy = home.path().join(format!("{:016x}-00000001.segment", dice.roll(u64::MAX)));
            fs::copy(&path, &copy)?;
            let file = OpenOptions::new().read(true).write(true).open(&copy)?;
            let mut header = [0; ENTRY];
            file.read_exact_at(&mut header, 0)?;
            let writer = u64::from_str_radix(&name(&copy)[..16], 16).unwrap();
            header[12..20].copy_from_slice(&writer.to_le_bytes());
            header[20..24].copy_from_slice(&1_u32.to_le_bytes());
            if dice.roll(2) == 0 {
                let slots = u32::try_from(1 + dice.roll(500)).unwrap();
                header[32..36].copy_from_slice(&slots.to_le_bytes());
            }
            tables::seal(&mut header);
            file.write_all_at(&header, 0)?;
            (format!("doubled {shown} as {}", name(&copy)), 1)
        }
        14 => {
            let ending = ["open", "segment", "bad"][usize::try_from(dice.roll(3)).unwrap()];
            fs::rename(&path, path.with_extension(ending))?;
            (format!("renamed {shown} to .{ending}"), 0)
        }
        15 => {
            fs::remove_file(&path)?;
            (format!("deleted {shown}"), 0)
        }
        16 => {
            let mut others = home.segments("lock");
            others.extend(home.segments("uses"));
            others.retain(|file| !file.ends_with("keeper.lock") || dice.roll(2) == 0);
            let Some(file) = others.get(usize::try_from(dice.roll(others.len().max(1) as u64)).unwrap()) else {
                return Ok(("nothing".into(), 0));
            };
            fs::remove_file(file)?;
            (format!("deleted {}", name(file)), 0)
        }
        _ => {
            // What no process of ours has made.
            let strange = named(dice, "segment");
            match dice.roll(3) {
                0 => fs::create_dir(&strange)?,
                1 => std::os::unix::fs::symlink(&path, &strange)?,
                _ => fs::write(&strange, [7; 100])?,
            }
            (format!("made {}", name(&strange)), 1)
        }
    };
    Ok(done)
}

/// Ends the process where nothing happens for too long: a hang must not look like a slow test.
fn watch(steps: &Arc<AtomicU64>) {
    let steps = Arc::downgrade(steps);
    std::thread::spawn(move || {
        let mut before = u64::MAX;
        while let Some(steps) = steps.upgrade() {
            let now = steps.load(Relaxed);
            if now == before {
                eprintln!("hangs after {now} damages");
                std::process::abort();
            }
            before = now;
            drop(steps);
            sleep(HANGS);
        }
    });
}

fn fast() -> SimStore {
    SimStore::builder().profile(LinkProfile::fast()).warm_connections(8).build()
}

async fn read_all(cache: &Cached) {
    for n in 0..OBJECTS {
        let path = object(&format!("d{n}"), OBJECT);
        for part in 0..OBJECT.div_ceil(MIB) {
            cache.read(&path, part * MIB..((part + 1) * MIB).min(OBJECT)).await;
        }
        cache.settle();
    }
}

async fn read_some(cache: &Cached, dice: &mut Dice) {
    for _ in 0..12 {
        let path = object(&format!("d{}", dice.roll(OBJECTS)), OBJECT);
        let page = dice.roll(OBJECT / PAGE);
        let pages = 1 + dice.roll(6);
        cache.read(&path, page * PAGE..((page + pages) * PAGE).min(OBJECT)).await;
    }
}

fn remove_strange(home: &Home) {
    for path in home.segments("segment").into_iter().chain(home.segments("bad")) {
        // A cache that was dropped may still delete files.
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            fs::remove_dir(path).unwrap();
        } else if found.is_symlink() {
            fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn damaged_files_are_misses_and_the_rest_stays_in_use() {
    let lives = if is_full() { 140 } else { 35 };
    let done = Arc::new(AtomicU64::new(0));
    watch(&done);
    let (mut found, mut hits) = (0, 0);
    let mut home = Home::new();
    for life in 0..lives {
        let mut dice = Dice(life);
        if life % 4 == 0 {
            home = Home::new();
        }
        let mut did: Vec<String> = Vec::new();
        let mut may_find = 0;
        let damage_one = |dice: &mut Dice, did: &mut Vec<String>| {
            let (what, segments) = damage(&home, dice).unwrap_or_else(|error| (error.to_string(), 2));
            done.fetch_add(1, Relaxed);
            did.push(what);
            segments
        };
        // Before use.
        for _ in 0..dice.roll(5) {
            may_find += damage_one(&mut dice, &mut did);
        }
        let stores = [fast(), fast()];
        let caches = stores.each_ref().map(|store| home.open(store));
        read_all(&caches[0]).await;
        for step in 0..STEPS {
            may_find += damage_one(&mut dice, &mut did);
            for cache in &caches {
                read_some(cache, &mut dice).await;
            }
            if step % 10 == 9 {
                // Long enough for the directory to be looked at again.
                sleep(Duration::from_millis(30));
            }
        }
        // Once more, after the last damage.
        for cache in &caches {
            read_all(cache).await;
            cache.cache.close().await;
            let stats = cache.disk();
            (found, hits) = (found + stats.damaged, hits + stats.hits);
            // A damage counts once for each cache that finds it, and what both say must follow from what was done.
            assert!(stats.damaged <= may_find, "seed {life}: {} of {may_find}: {did:#?}", stats.damaged);
        }
    }
    println!("{} damages, {found} found while reading; {hits} hits", done.load(Relaxed));
    assert!(found > lives && hits > lives * 500, "{found} {hits}");
    // Nothing is damaged any more. A damaged copy of a page is found when it is read, and other copies are read first;
    // so this takes several rounds.
    remove_strange(&home);
    let mut rounds = 0;
    loop {
        let store = fast();
        let cache = home.open(&store);
        read_all(&cache).await;
        cache.cache.close().await;
        if sent(&store).0 == 0 {
            break;
        }
        rounds += 1;
        assert!(rounds < 12, "{:?}", cache.disk());
    }
    println!("{rounds} rounds until everything came from disk");
}

/// The file of the open segment, and the place of its page number `page`'s record.
fn record_of(home: &Home, page: u32) -> (PathBuf, u64) {
    let path = home.segments("open").remove(0);
    let entries = tables::read(&path).unwrap().entries;
    let at = entries.iter().find(|(key, _)| key[32..] == page.to_le_bytes()).unwrap().1;
    (path, at)
}

/// Waits until `is_so`.
fn until(is_so: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(5));
    }
    panic!("waited for too long");
}

#[tokio::test(start_paused = true)]
async fn a_writer_whose_own_segment_is_damaged_begins_another_and_leaves_those_of_others_alone() {
    let home = Home::new();
    let mut config = home.config();
    // Nearly everything that is read again is read from disk.
    config.memory_bytes = (5 * 17) << 10;
    let stores = [fast(), fast()];
    let cache = Cached::new(&stores[0], config.clone());
    let (path, theirs) = (object("mine", MIB), object("theirs", MIB));
    for page in 0..20 {
        cache.read_page(&path, page).await;
    }
    cache.settle();
    let (file, at) = record_of(&home, 5);
    OpenOptions::new().write(true).open(&file).unwrap().write_all_at(b"wrong", at + 1000).unwrap();
    cache.read_page(&path, 5).await;
    assert_eq!(cache.disk().damaged, 1);
    until(|| home.segments("bad").len() == 1);
    // Another cache begins a segment, which this one finds.
    let other = Cached::new(&stores[1], config);
    for page in 0..20 {
        other.read_page(&theirs, page).await;
    }
    until(|| cache.disk().held_pages >= 20);
    stores[0].log().clear();
    for _ in 0..2 {
        for page in 20..40 {
            cache.read_page(&path, page).await;
        }
        cache.settle();
    }
    for page in 0..20 {
        cache.read_page(&theirs, page).await;
    }
    let stats = cache.disk();
    assert_eq!((stats.damaged, stats.failures, home.segments("bad").len()), (1, 0, 1), "{stats:?}");
    assert_eq!(sent(&stores[0]).0, 20 * PAGE, "what was written after the damage is read from disk");
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_vanishes_is_no_error() {
    let home = Home::new();
    let path: PathBuf = home.path().join("cache");
    let mut config = home.config();
    config.disk.directory = Some(path.clone());
    let store = fast();
    let cache = Cached::new(&store, config);
    read_all(&cache).await;
    fs::remove_dir_all(&path).unwrap();
    for _ in 0..3 {
        read_all(&cache).await;
        sleep(Duration::from_millis(300));
    }
    cache.cache.close().await;
}
