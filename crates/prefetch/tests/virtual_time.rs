//! What read-ahead gains and costs on a simulated GCS link, exact in virtual time.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Bench, KIB, MIB, sequential};
use headstart_fetch_core::AccessHint;
use headstart_sim::Dice;

const SIZE: u64 = 1024 * MIB;

/// Seconds a perfect reader needs: one round trip, then the link's rate.
#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn limit(bytes: u64) -> f64 {
    0.030 + bytes as f64 / 1e9
}

/// Reads the object to its end in reads of `len`; returns the share of the limit reached.
async fn share_of_limit(len: u64, hint: AccessHint) -> f64 {
    let bench = Bench::new(SIZE);
    let reader = bench.reader();
    reader.advise(hint.clone());
    for range in sequential(SIZE, len) {
        bench.read(&reader, range).await;
    }
    let share = limit(SIZE) / bench.sim.elapsed().as_secs_f64();
    let counts = bench.counts();
    println!(
        "sequential {} KiB {hint:?}: {share:.3} of the limit, {} GETs, {:?}",
        len / KIB,
        counts.gets,
        bench.store.stats()
    );
    assert!(counts.gets <= 420, "{} GETs for 1 GiB", counts.gets);
    assert_eq!(counts.bytes_sent, SIZE, "every byte crosses the wire once");
    share
}

#[tokio::test(start_paused = true)]
async fn sequential_reads_come_close_to_the_link() {
    for len in [64 * KIB, MIB, 16 * MIB, 100 * MIB] {
        let share = share_of_limit(len, AccessHint::Normal).await;
        assert!(share >= 0.80, "{len}: {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_announced_reader_skips_the_ramp() {
    let share = share_of_limit(MIB, AccessHint::Sequential).await;
    assert!(share >= 0.92, "{share}");
}

#[tokio::test(start_paused = true)]
async fn random_reads_cost_what_they_cost_raw() {
    for len in [4 * KIB, 64 * KIB, MIB] {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let mut dice = Dice::new(len);
        let mut expected = 0;
        for _ in 0..300 {
            let at = dice.below(SIZE - len);
            let took = bench.read(&reader, at..at + len).await;
            let raw =
                Duration::from_millis(30) + Duration::from_secs_f64(f64::from(u32::try_from(len).unwrap()) / 60e6);
            assert!(took <= raw + Duration::from_millis(1), "{took:?} for {len} bytes, raw {raw:?}");
            expected += len;
        }
        let counts = bench.counts();
        assert!(counts.gets <= 306 && counts.bytes_sent <= expected * 102 / 100, "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_interleaved_streams_are_both_read_ahead() {
    let bench = Bench::new(SIZE);
    let reader = bench.reader();
    let half = SIZE / 2;
    for range in sequential(128 * MIB, MIB) {
        bench.read(&reader, range.clone()).await;
        bench.read(&reader, half + range.start..half + range.end).await;
    }
    let took = bench.sim.elapsed();
    println!("two interleaved streams of 128 MiB: {took:?}, {} GETs", bench.counts().gets);
    assert!(took < Duration::from_millis(800), "raw takes 12 s, the link 0.3 s: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_waits_at_the_start_only_and_holds_little() {
    let bench = Bench::new(SIZE);
    let reader = bench.reader();
    let mut late = Duration::ZERO;
    for range in sequential(200 * MIB, MIB) {
        let waited = bench.read(&reader, range).await;
        if bench.sim.elapsed() > Duration::from_millis(300) {
            late += waited;
        }
        // 200 MB/s
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(bench.budget.used_bytes() <= 48 << 20, "{} bytes held", bench.budget.used_bytes());
    }
    assert!(late <= Duration::from_millis(5), "{late:?} of waiting after the first 300 ms");
}

#[tokio::test(start_paused = true)]
async fn a_far_seek_is_as_fast_as_raw_and_ends_what_nobody_wants() {
    let bench = Bench::new(SIZE);
    let reader = bench.reader();
    for range in sequential(128 * MIB, MIB) {
        bench.read(&reader, range).await;
    }
    assert!(bench.counts().live > 8, "a window is in flight: {:?}", bench.counts());
    let took = bench.read(&reader, 700 * MIB..700 * MIB + 64 * KIB).await;
    println!("far seek from a full window: {took:?}");
    // The bodies given up cost their connections: one set-up.
    assert!(took <= Duration::from_millis(30 + 30 + 2 + 1), "{took:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.counts().live, 0);
}

#[tokio::test(start_paused = true)]
async fn open_read_drop_costs_one_get_and_leaves_nothing() {
    let bench = Bench::new(SIZE);
    for _ in 0..100 {
        bench.read(&bench.reader(), 0..100_000).await;
    }
    let counts = bench.counts();
    assert_eq!((counts.gets, counts.heads, counts.bytes_sent, counts.live), (100, 0, 10_000_000, 0));
    assert_eq!(bench.budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn seeking_back_within_the_last_read_is_free() {
    let bench = Bench::new(SIZE);
    let reader = bench.reader();
    bench.read(&reader, 5 * MIB..6 * MIB).await;
    bench.read(&reader, 5 * MIB + 100..5 * MIB + 5_000).await;
    bench.read(&reader, 5 * MIB..6 * MIB).await;
    assert_eq!(bench.counts().gets, 1);
}

#[tokio::test(start_paused = true)]
async fn going_back_and_home_never_costs_more_than_raw() {
    // Three on, and back to where they began: 1,2,3,4 2,5,6,7 5,8,9,10 8,…
    let back: Vec<u64> =
        [1].into_iter().chain((0..16).flat_map(|n| [3 * n + 2, 3 * n + 3, 3 * n + 4, 3 * n + 2])).collect();
    let home: Vec<u64> = (2..34).flat_map(|n| [1, n]).collect();
    for (name, blocks) in [("1,2,3,4,2,5,6,7,5", back), ("1,2,1,3,1,4", home)] {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        for block in &blocks {
            bench.read(&reader, block * MIB..(block + 1) * MIB).await;
        }
        drop(reader);
        let counts = bench.counts();
        let raw =
            Duration::from_secs_f64((0.030 + 1_048_576.0 / 60e6) * f64::from(u32::try_from(blocks.len()).unwrap()));
        println!("{name}: {:?} (raw {raw:?}), {counts:?}", bench.sim.elapsed());
        assert!(counts.gets <= blocks.len() as u64, "{name}: {counts:?}");
        assert!(bench.sim.elapsed() < raw, "{name}: {:?}, raw {raw:?}", bench.sim.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn runs_that_end_waste_no_more_than_the_ledger_allows() {
    for run in [4_u64, 16, 64] {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let mut reads = 0_u32;
        for start in [0, 300 * MIB, 120 * MIB, 700 * MIB, 500 * MIB] {
            for n in 0..run {
                bench.read(&reader, start + n * MIB..start + (n + 1) * MIB).await;
                reads += 1;
            }
        }
        let elapsed = bench.sim.elapsed();
        drop(reader);
        let raw = Duration::from_secs_f64((0.030 + 1_048_576.0 / 60e6) * f64::from(reads));
        let stats = bench.store.stats();
        println!("runs of {run}: {elapsed:?} (raw {raw:?}), {stats:?}");
        assert!(elapsed <= raw, "{elapsed:?}, raw {raw:?}");
        assert!(stats.wasted_bytes <= stats.demanded_bytes / 10 + 2 * 130 * MIB);
    }
}
