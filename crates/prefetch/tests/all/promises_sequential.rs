//! Promises for sequential reads, in virtual time: prints exact figures.

use std::time::Duration;

use crate::common::{self, Bench, KIB, MIB, limit, raw, sequential, settle, times};
use headstart_fetch_core::AccessHint;
use headstart_prefetch::{PrefetchConfig, Reader};
use headstart_sim::LinkProfile;
use object_store::ObjectStoreExt;

const SIZE: u64 = 1024 * MIB;

/// The share of the link's limit that was reached, and the requests and memory it took.
#[derive(Debug)]
struct Reached {
    whole: f64,
    first_256_mib: f64,
    last_512_mib: f64,
    first_read: Duration,
    gets: u64,
}

/// Reads the object to its end in reads of `len`.
async fn read_through(bench: &Bench, reader: &Reader, len: u64) -> Reached {
    let (began, before) = (bench.sim.elapsed(), bench.counts());
    let elapsed = || bench.sim.elapsed() - began;
    let mut marks = vec![(0, Duration::ZERO)];
    for range in sequential(SIZE, len) {
        let end = range.end;
        bench.read(reader, range).await;
        marks.push((end, elapsed()));
    }
    // A mark within a large read is measured at the end of this read.
    let at = |bytes: u64| *marks.iter().find(|(end, _)| *end >= bytes).unwrap();
    let (first_bytes, first_took) = at(256 * MIB);
    let (half_bytes, half_took) = at(512 * MIB);
    let counts = bench.counts();
    assert_eq!(counts.bytes_sent - before.bytes_sent, SIZE, "every byte crosses the wire once");
    let rest = limit(SIZE - half_bytes) - Duration::from_millis(30);
    Reached {
        whole: times(limit(SIZE), elapsed()),
        first_256_mib: times(limit(first_bytes), first_took),
        last_512_mib: times(rest, elapsed() - half_took),
        first_read: marks[1].1,
        gets: counts.gets - before.gets,
    }
}

const LENGTHS: [u64; 4] = [64 * KIB, MIB, 16 * MIB, 100 * MIB];

#[track_caller]
fn promise(what: &str, len: u64, reached: &Reached, whole: f64, first_256_mib: f64) {
    println!(
        "sequential {} KiB, {what}: {:.3} of the limit over 1 GiB (promised {whole}), \
             {:.3} over the first 256 MiB ({first_256_mib}), \
         {:.3} over the last 512 MiB (0.95), {} GETs (360)",
        len / KIB,
        reached.whole,
        reached.first_256_mib,
        reached.last_512_mib,
        reached.gets,
    );
    assert!(reached.whole >= whole && reached.first_256_mib >= first_256_mib, "{reached:?}");
    assert!(reached.last_512_mib >= 0.95, "{reached:?}");
    assert!(reached.gets <= 360, "{reached:?}");
}

#[tokio::test(start_paused = true)]
async fn cold() {
    for len in LENGTHS {
        let bench = Bench::new(SIZE);
        let reached = read_through(&bench, &bench.reader(), len).await;
        promise("cold", len, &reached, 0.80, 0.52);
        let raw = raw(&[0..len.min(4 * MIB)]);
        assert!(len > 4 * MIB || reached.first_read <= raw + Duration::from_millis(1), "{reached:?}, raw {raw:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn announced() {
    for len in LENGTHS {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        reader.advise(AccessHint::Sequential);
        let reached = read_through(&bench, &reader, len).await;
        promise("announced", len, &reached, 0.92, 0.85);
    }
}

#[tokio::test(start_paused = true)]
async fn once_the_store_has_shown_long_runs() {
    for len in LENGTHS {
        let bench = Bench::new(SIZE);
        for _ in 0..4 {
            bench.read_all(&bench.reader(), sequential(SIZE, len)).await;
        }
        let reached = read_through(&bench, &bench.reader(), len).await;
        promise("after four long runs", len, &reached, 0.88, 0.70);
    }
}

/// For reads of any size, read-ahead is no slower than the store below it alone.
#[tokio::test(start_paused = true)]
async fn never_slower_than_the_store_below() {
    for len in [4 * KIB, 64 * KIB, MIB, 3 * MIB, 8 * MIB, 16 * MIB, 64 * MIB, 100 * MIB, 256 * MIB] {
        let size = (64 * len).clamp(4 * MIB, SIZE);
        let bench = Bench::new(size);
        let reader = bench.reader();
        let ahead = bench.read_all(&reader, sequential(size, len)).await;
        let alone = Bench::new(size);
        let store = alone.fetch_alone();
        let began = alone.sim.elapsed();
        for range in sequential(size, len) {
            store.get_range(&common::KEY.into(), range).await.unwrap();
        }
        let alone = alone.sim.elapsed() - began;
        println!("sequential {} KiB: {ahead:?}, without read-ahead {alone:?}", len / KIB);
        assert!(ahead <= alone, "{len}");
    }
}

/// A consumer that takes 1 MiB at a time at `mb_per_s`. Returns its waits, and the most bytes held.
async fn consume(bench: &Bench, mb_per_s: u64, bytes: u64) -> (Vec<(Duration, Duration)>, usize) {
    let reader = bench.reader();
    let mut waits = Vec::new();
    let mut held = 0;
    for range in sequential(bench.size, MIB).take_while(|range| range.end <= bytes) {
        let at = bench.sim.elapsed();
        waits.push((at, bench.read(&reader, range).await));
        held = held.max(bench.budget.used_bytes());
        tokio::time::sleep(Duration::from_micros(MIB / mb_per_s)).await;
        held = held.max(bench.budget.used_bytes());
    }
    (waits, held)
}

/// The promised window of a reader of `rate` bytes per second: a part, and 1.25 times bandwidth × delay.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few megabytes")]
fn window(rate: f64) -> usize {
    let part = 4_194_304.0;
    (part + 1.25 * rate * (0.030 + part / 60e6)) as usize
}

#[tokio::test(start_paused = true)]
async fn slow_consumers_wait_at_the_start_only_and_hold_little() {
    for (mb_per_s, mib) in [(200, 512), (20, 128)] {
        let bench = Bench::new(SIZE);
        let (waits, held) = consume(&bench, mb_per_s, mib * MIB).await;
        let stalled: Duration = waits.iter().map(|(_, wait)| *wait).sum();
        let late: Duration =
            waits.iter().filter(|(at, _)| *at > Duration::from_millis(300)).map(|(_, wait)| *wait).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let most = window(mb_per_s as f64 * 1e6) * 3 / 2;
        println!(
            "consumer of {mb_per_s} MB/s: stalled {stalled:?} (promised 180 ms), {late:?} of it after 300 ms (0), \
             held {} KiB ({} KiB)",
            held / 1024,
            most / 1024
        );
        assert!(stalled <= Duration::from_millis(180) && late.is_zero());
        assert!(held <= most);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_consumers_on_a_link_that_varies() {
    for (mb_per_s, mib) in [(200, 1024), (20, 128)] {
        let bench = Bench::on(LinkProfile::gcs().lognormal(), SIZE, 512 << 20, PrefetchConfig::default());
        let (waits, _) = consume(&bench, mb_per_s, mib * MIB).await;
        let stalled: Duration = waits.iter().map(|(_, wait)| *wait).sum();
        let share = times(stalled, bench.sim.elapsed());
        println!(
            "consumer of {mb_per_s} MB/s, lognormal first bytes: stalled {:.4} of the time (promised 0.02)",
            share
        );
        assert!(share <= 0.02, "{stalled:?}");
    }
}

/// A pause with a full window: no body stays open meanwhile, and reading continues without an error.
#[tokio::test(start_paused = true)]
async fn a_reader_that_pauses_ten_minutes() {
    let bench = Bench::new(SIZE);
    let reader = bench.reader();
    bench.read_all(&reader, sequential(128 * MIB, MIB)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(bench.counts().live, 0);
    tokio::time::sleep(Duration::from_secs(600)).await;
    bench.read_all(&reader, sequential(SIZE, MIB).skip(128)).await;
    let stats = bench.store.stats();
    println!("a pause of ten minutes: {} bytes wasted, {} GETs", stats.wasted_bytes, bench.counts().gets);
}
