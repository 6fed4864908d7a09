//! Flipped bits, cut, swapped, doubled and deleted files, before and during use: misses, never wrong bytes.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use headstart_sim::{LinkProfile, SimStore};

use crate::home::{Cached, Dice, Home, MIB, PAGE, is_full, object, sleep};

const OBJECT: u64 = 12 * MIB;

/// Damages a file of the directory; returns what was done.
fn damage(home: &Home, dice: &mut Dice) -> String {
    let mut files: Vec<PathBuf> = home.segments("segment");
    files.extend(home.segments("open"));
    if files.is_empty() {
        return "nothing".to_owned();
    }
    let mut pick = || files[usize::try_from(dice.roll(files.len() as u64)).unwrap()].clone();
    let (file, other) = (pick(), pick());
    let shown = file.display();
    let length = fs::metadata(&file).map_or(0, |found| found.len()).max(1);
    match dice.roll(10) {
        // Most of a file is pages; a part of the flips goes to the header and the table.
        0..=5 => {
            let limit = if dice.roll(3) == 0 { length.min(8192) } else { length };
            let (at, bit) = (dice.roll(limit), dice.roll(8));
            let Ok(mut opened) = fs::OpenOptions::new().read(true).write(true).open(&file) else {
                return "gone".into();
            };
            let mut byte = [0];
            opened.seek(SeekFrom::Start(at)).unwrap();
            let _ = opened.read(&mut byte).unwrap();
            byte[0] ^= 1 << bit;
            opened.seek(SeekFrom::Start(at)).unwrap();
            opened.write_all(&byte).unwrap();
            format!("flipped bit {bit} of byte {at} of {shown}")
        }
        6 => {
            let kept = dice.roll(length);
            let Ok(opened) = fs::OpenOptions::new().write(true).open(&file) else { return "gone".into() };
            opened.set_len(kept).unwrap();
            format!("cut {shown} to {kept} bytes")
        }
        7 => {
            let aside = home.path().join("0000000000000001.lock");
            let moved = fs::rename(&file, &aside).and_then(|()| fs::rename(&other, &file));
            let _ = moved.and_then(|()| fs::rename(&aside, &other));
            let _ = fs::remove_file(&aside);
            format!("swapped {shown} and {}", other.display())
        }
        8 => {
            let copy = home.path().join(format!("{:016x}-{:08x}.segment", dice.roll(u64::MAX), dice.roll(100)));
            let _ = fs::copy(&file, &copy);
            format!("copied {shown} to {}", copy.display())
        }
        _ => {
            let _ = fs::remove_file(&file);
            format!("deleted {shown}")
        }
    }
}

fn fast() -> SimStore {
    SimStore::builder().profile(LinkProfile::fast()).warm_connections(8).build()
}

async fn read_some(cache: &Cached, dice: &mut Dice, reads: usize) {
    for _ in 0..reads {
        let path = object(&format!("d{}", dice.roll(2)), OBJECT);
        let page = dice.roll(OBJECT / PAGE);
        let pages = 1 + dice.roll(6);
        cache.read(&path, page * PAGE..((page + pages) * PAGE).min(OBJECT)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn damaged_files_are_misses() {
    let damages = if is_full() { 4000 } else { 400 };
    let (home, mut dice) = (Home::new(), Dice(17));
    let (mut found, mut hits, mut done) = (0, 0, 0);
    while done < damages {
        let store = fast();
        let cache = home.open(&store);
        for path in ["d0", "d1"].map(|name| object(name, OBJECT)) {
            cache.read(&path, 0..OBJECT).await;
        }
        cache.settle();
        for _ in 0..20 {
            let what = damage(&home, &mut dice);
            done += 1;
            let reading = read_some(&cache, &mut dice, 12);
            tokio::time::timeout(Duration::from_secs(600), reading).await.unwrap_or_else(|_| panic!("hangs: {what}"));
            if done % 10 == 0 {
                // Long enough for the directory to be looked at again.
                sleep(Duration::from_millis(if done % 50 == 0 { 260 } else { 1 }));
            }
        }
        found += cache.disk().damaged;
        hits += cache.disk().hits;
        cache.cache.close().await;
        drop(cache);
        for _ in 0..5 {
            damage(&home, &mut dice);
            done += 1;
        }
    }
    println!("{done} damages, {found} found while reading; {hits} hits");
    assert!(found > damages / 20 && hits > damages * 8, "{found} {hits}");
}
