//! Promises for other access patterns, in virtual time: prints exact figures.

use std::ops::Range;
use std::time::Duration;

use crate::common::{self, Bench, KIB, MIB, bytes_of, raw, sequential, settle, times, workload};
use futures::StreamExt;
use headstart_fetch_core::AccessHint;
use headstart_sim::SeededRng;
use object_store::{ObjectStore, ObjectStoreExt};

const SIZE: u64 = 1024 * MIB;
const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn interleaved_streams_are_as_good_as_handles_of_their_own() {
    for streams in [2, 4, 8, 16] {
        let reads = workload(&format!("interleaved-{streams}"), SIZE, 1);
        let one = Bench::new(SIZE);
        let took = one.read_all(&one.reader(), reads.clone()).await;
        let many = Bench::new(SIZE);
        let readers: Vec<_> = (0..streams).map(|_| many.reader()).collect();
        let began = many.sim.elapsed();
        for (n, range) in reads.into_iter().enumerate() {
            many.read(&readers[n % streams], range).await;
        }
        let apart = many.sim.elapsed() - began;
        let (gets, gets_apart) = (one.counts().gets, many.counts().gets);
        println!(
            "{streams} interleaved streams: {gets} GETs beside {gets_apart} of separate handles (promised ≤ 1.05 ×), \
                 {took:?} beside \
             {apart:?} (1.1 ×)"
        );
        assert!(gets * 100 <= gets_apart * 105);
        assert!(times(took, apart) <= 1.1);
    }
}

/// Sequential reads, but each group of eight in a random order, eight at a time as from threads.
#[tokio::test(start_paused = true)]
async fn preads_out_of_order_cost_the_requests_of_reads_in_order() {
    for len in [64 * KIB, MIB] {
        let reads: Vec<_> = sequential(SIZE, len).collect();
        let ordered = Bench::new(SIZE);
        ordered.read_all(&ordered.reader(), reads.clone()).await;
        let mut dice = SeededRng::new(len);
        let mut shuffled = Vec::new();
        for group in reads.chunks(8) {
            let mut group = group.to_vec();
            while !group.is_empty() {
                let at = usize::try_from(dice.below(group.len() as u64)).unwrap();
                shuffled.push(group.swap_remove(at));
            }
        }
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let threads = futures::stream::iter(shuffled).map(|range| bench.read(&reader, range)).buffered(8);
        threads.for_each(async |_| {}).await;
        let (gets, in_order) = (bench.counts().gets, ordered.counts().gets);
        println!(
            "eight threads, {} KiB out of order: {gets} GETs beside {in_order} in order (promised ≤ 1.05 ×), \
                 {:?} beside {:?}",
            len / KIB,
            bench.sim.elapsed(),
            ordered.sim.elapsed()
        );
        assert!(gets * 100 <= in_order * 105);
    }
}

#[tokio::test(start_paused = true)]
async fn strided() {
    let reads: Vec<_> = (0..256).map(|n| n * 4 * MIB..(n * 4 + 1) * MIB).collect();
    let bench = Bench::new(SIZE);
    let reader = bench.reader();
    let took = bench.read_all(&reader, reads.clone()).await;
    drop(reader);
    let faster = times(raw(&reads), took);
    let fetched = bench.counts().bytes_sent;
    println!(
        "1 MiB of every 4: {faster:.1} × raw (promised 10), fetched {:.3} × delivered (1.1), {} GETs",
        ratio(fetched, bytes_of(&reads)),
        bench.counts().gets
    );
    assert!(faster >= 10.0);
    assert!(fetched * 10 <= bytes_of(&reads) * 11);
}

#[tokio::test(start_paused = true)]
async fn backward_is_as_fast_as_forward() {
    let forward = Bench::new(SIZE);
    let onwards = forward.read_all(&forward.reader(), sequential(SIZE, MIB)).await;
    let bench = Bench::new(SIZE);
    let took = bench.read_all(&bench.reader(), workload("backward-1m", SIZE, 1)).await;
    let share = times(onwards, took);
    println!(
        "backward 1 MiB: {share:.3} of forward (promised 0.9), {} GETs beside {}, {} bytes",
        bench.counts().gets,
        forward.counts().gets,
        bench.counts().bytes_sent
    );
    assert!(share >= 0.9);
}

#[tokio::test(start_paused = true)]
async fn runs_that_end_are_never_slower_than_raw() {
    for run in [4_u64, 16, 64] {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let mut dice = SeededRng::new(run);
        let reads: Vec<_> = (0..2048 / run)
            .flat_map(|_| {
                let start = dice.below(SIZE - run * MIB);
                (0..run).map(move |n| start + n * MIB..start + (n + 1) * MIB)
            })
            .collect();
        let took = bench.read_all(&reader, reads.clone()).await;
        drop(reader);
        settle().await;
        let (faster, stats) = (times(raw(&reads), took), bench.store.stats());
        let allowed = stats.demanded_bytes / 10 + 2 * stats.window_wanted_bytes;
        println!(
            "runs of {run}, then a jump: {faster:.2} × raw (promised 1), wasted {} MiB of {} MiB read (allowed {} MiB)",
            stats.wasted_bytes / MIB,
            stats.demanded_bytes / MIB,
            allowed / MIB
        );
        assert!(faster >= 1.0);
        assert!(stats.wasted_bytes <= allowed);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_latches() {
    let bench = Bench::new(SIZE);
    let reader = bench.reader();
    bench.read_all(&reader, sequential(16 * MIB, MIB)).await;
    let mut dice = SeededRng::new(5);
    let random: Vec<_> = (0..40).map(|_| dice.below(SIZE - MIB)).map(|at| at..at + MIB).collect();
    let slow = bench.read_all(&reader, random.clone()).await;
    settle().await;
    let outstanding = bench.store.stats().outstanding_bytes;
    let before = bench.sim.elapsed();
    bench.read_all(&reader, sequential(600 * MIB, MIB).skip(500)).await;
    let again = times(raw(&sequential(100 * MIB, MIB).collect::<Vec<_>>()), bench.sim.elapsed() - before);
    println!(
        "16 MiB in order, 40 random reads: {outstanding} bytes outstanding (promised 0), {:.3} × raw; \
             then 100 MiB in order: {again:.1} × raw",
        times(raw(&random), slow)
    );
    assert_eq!(outstanding, 0);
    assert!(again >= 5.0);
}

#[tokio::test(start_paused = true)]
async fn random_reads_cost_what_they_cost_raw() {
    for (len, seed) in [4 * KIB, 64 * KIB, MIB].into_iter().flat_map(|len| [1, 2, 3].map(|seed| (len, seed))) {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let mut dice = SeededRng::new(seed * 1_000_003 + len);
        let reads: Vec<_> = (0..1000).map(|_| dice.below(SIZE - len)).map(|at| at..at + len).collect();
        let mut took = Vec::new();
        for range in reads.clone() {
            took.push(bench.read(&reader, range).await);
        }
        took.sort_unstable();
        let raw = raw(&reads[..1]);
        let counts = bench.counts();
        println!(
            "random {} KiB, seed {seed}: {} GETs (promised ≤ 1020), {:.4} × the bytes (1.02), \
                 p50 {:.4} ×, p99 {:.4} × raw (1.01)",
            len / KIB,
            counts.gets,
            ratio(counts.bytes_sent, bytes_of(&reads)),
            times(took[500], raw),
            times(took[990], raw)
        );
        assert!(counts.gets <= 1020 && counts.bytes_sent * 100 <= bytes_of(&reads) * 102);
        assert!(took[990] <= raw.mul_f64(1.01), "{:?} {raw:?}", took[990]);
    }
}

#[tokio::test(start_paused = true)]
async fn large_random_reads_are_the_store_belows() {
    for len in [16 * MIB, 100 * MIB] {
        let mut dice = SeededRng::new(len);
        let reads: Vec<_> = (0..20).map(|_| dice.below(SIZE - len)).map(|at| at..at + len).collect();
        let bench = Bench::new(SIZE);
        let took = bench.read_all(&bench.reader(), reads.clone()).await;
        let alone = Bench::new(SIZE);
        let store = alone.fetch_alone();
        let began = alone.sim.elapsed();
        for range in reads {
            store.get_range(&common::KEY.into(), range).await.unwrap();
        }
        let without = alone.sim.elapsed() - began;
        println!(
            "random {} MiB: {took:?} beside {without:?} without read-ahead, {} GETs beside {}",
            len / MIB,
            bench.counts().gets,
            alone.counts().gets
        );
        assert!(took <= without + MS);
        assert!(bench.counts().gets <= alone.counts().gets && bench.counts().bytes_sent <= alone.counts().bytes_sent);
    }
}

/// `steps` blocks of 1 MiB: three on and back to the start, or alternately the first block and a new one.
fn wandering(steps: usize) -> [(&'static str, Vec<Range<u64>>); 2] {
    let block = |n: u64| n * MIB..(n + 1) * MIB;
    let back = [1].into_iter().chain((0..).flat_map(|n| [3 * n + 2, 3 * n + 3, 3 * n + 4, 3 * n + 2]));
    let home = (2..).flat_map(|n| [1, n]);
    [
        ("1,2,3,4,2,5,6,7,5", back.take(steps).map(block).collect()),
        ("1,2,1,3,1,4", home.take(steps).map(block).collect()),
    ]
}

#[tokio::test(start_paused = true)]
async fn wandering_about_pays_too() {
    for ((name, reads), promised) in wandering(64).into_iter().zip([8.0, 4.0]) {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let took = bench.read_all(&reader, reads.clone()).await;
        drop(reader);
        let (faster, counts) = (times(raw(&reads), took), bench.counts());
        println!(
            "{name}: {faster:.2} × raw (promised {promised}), {} GETs (64), {} MiB",
            counts.gets,
            counts.bytes_sent / MIB
        );
        assert!(counts.gets <= 64);
        assert!(faster >= promised);
    }
}

/// Without a handle, too: the first two times, going back costs a request, because the bytes may have changed.
#[tokio::test(start_paused = true)]
async fn wandering_about_by_calls_pays_too() {
    for (name, promised, size) in [("backtrack-1m", 800.0, 512 * MIB), ("home-1m", 900.0, 256 * MIB)] {
        let reads = workload(name, size, 1);
        let bench = Bench::new(size);
        for range in reads.clone() {
            let bytes = bench.store.get_range(&common::KEY.into(), range.clone()).await.unwrap();
            bench.check(&range, &[bytes]);
        }
        let counts = bench.counts();
        let mb_per_s = ratio(bytes_of(&reads), 1_000_000) / bench.sim.elapsed().as_secs_f64();
        println!(
            "{name} by calls: {mb_per_s:.0} MB/s (promised {promised}), {} GETs ({}), {:.3} × the bytes (1.1)",
            counts.gets,
            reads.len(),
            ratio(counts.bytes_sent, bytes_of(&reads))
        );
        assert!(mb_per_s >= promised && counts.gets <= reads.len() as u64);
        assert!(ratio(counts.bytes_sent, bytes_of(&reads)) <= 1.1);
    }
}

/// A program may read an index and a dictionary by turns with its data, with and without a handle.
#[tokio::test(start_paused = true)]
async fn returns_to_two_ranges_pay_too() {
    let data = |n: u64| (16 + n) * MIB..(17 + n) * MIB;
    let reads: Vec<_> = (0..200).flat_map(|n| [0..MIB, data(2 * n), 8 * MIB..9 * MIB, data(2 * n + 1)]).collect();
    let without = raw(&reads);
    for by_calls in [false, true] {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let began = bench.sim.elapsed();
        for range in reads.clone() {
            let bytes = if by_calls {
                bench.store.get_range(&common::KEY.into(), range.clone()).await.unwrap()
            } else {
                reader.read_at(range.clone()).await.unwrap()
            };
            bench.check(&range, &[bytes]);
        }
        let (faster, counts) = (times(without, bench.sim.elapsed() - began), bench.counts());
        let fetched = ratio(counts.bytes_sent, 402 * MIB);
        println!(
            "two homes, by calls: {by_calls}: {faster:.1} × raw (promised 20), {} GETs (160), {fetched:.3} × the bytes \
             (1.1)",
            counts.gets
        );
        assert!(faster >= 20.0 && counts.gets <= 160 && fetched <= 1.1);
    }
}

/// Once a reader has made two long runs, the first read after a jump already starts read-ahead.
#[tokio::test(start_paused = true)]
async fn runs_and_jumps() {
    for (seed, promised) in [(1, 140.0), (2, 80.0), (3, 140.0)] {
        let reads = workload("runs-1m", SIZE, seed);
        let bench = Bench::new(SIZE);
        let took = bench.read_all(&bench.reader(), reads.clone()).await;
        settle().await;
        let (counts, mb_per_s) = (bench.counts(), ratio(bytes_of(&reads), 1_000_000) / took.as_secs_f64());
        println!(
            "runs of 4 to 40, seed {seed}: {mb_per_s:.0} MB/s (promised {promised}), {} GETs ({}), {:.2} × the bytes \
             (1.45)",
            counts.gets,
            reads.len(),
            ratio(counts.bytes_sent, bytes_of(&reads))
        );
        assert!(mb_per_s >= promised && counts.gets <= reads.len() as u64);
        assert!(ratio(counts.bytes_sent, bytes_of(&reads)) <= 1.45);
    }
}

#[tokio::test(start_paused = true)]
async fn seeking_back_inside_the_last_read_is_free() {
    for len in [64 * KIB, MIB, 16 * MIB] {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        bench.read(&reader, 50 * MIB..50 * MIB + len).await;
        let before = bench.counts().gets;
        for (from, to) in [(0, len), (len / 2, len), (10, 20), (len - 1, len), (0, 1)] {
            bench.read(&reader, 50 * MIB + from..50 * MIB + to).await;
        }
        assert_eq!(bench.counts().gets, before, "{len}");
    }
    println!("seeking back inside the last read: 0 GETs (promised 0)");
}

#[tokio::test(start_paused = true)]
async fn parquet_like() {
    for seed in [1, 2, 3] {
        let reads = workload("parquet", SIZE, seed);
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let took = bench.read_all(&reader, reads.clone()).await;
        drop(reader);
        settle().await;
        let (slow, counts) = (raw(&reads), bench.counts());
        println!(
            "Parquet-like, seed {seed}, one by one: {:.2} × raw (promised 1), {} GETs ({}), {:.3} × the bytes (1.15)",
            times(slow, took),
            counts.gets,
            reads.len(),
            ratio(counts.bytes_sent, bytes_of(&reads))
        );
        assert!(took <= slow);
        assert!(counts.gets <= reads.len() as u64);
        assert!(counts.bytes_sent * 100 <= bytes_of(&reads) * 115);

        // The footer, then a row group at a time.
        for announced in [false, true] {
            let bench = Bench::new(SIZE);
            let reader = bench.reader();
            let began = bench.sim.elapsed();
            bench.read(&reader, reads[0].clone()).await;
            for group in reads[1..].chunks(20) {
                if announced {
                    reader.advise(AccessHint::WillNeed(group.to_vec()));
                    bench.read_all(&reader, group.to_vec()).await;
                } else {
                    let got = bench.store.get_ranges(&common::KEY.into(), group).await.unwrap();
                    group.iter().zip(got).for_each(|(range, bytes)| bench.check(range, &[bytes]));
                }
            }
            let faster = times(slow, bench.sim.elapsed() - began);
            drop(reader);
            settle().await;
            let fetched = ratio(bench.counts().bytes_sent, bytes_of(&reads));
            let how = if announced { "announced with WillNeed" } else { "get_ranges" };
            println!(
                "Parquet-like, seed {seed}, {how}: {faster:.2} × raw (promised 8), {fetched:.3} × the bytes (1.05)"
            );
            assert!(faster >= 8.0);
            assert!(fetched <= 1.05);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_seek_is_as_fast_as_raw() {
    for warm in [true, false] {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        bench.read_all(&reader, sequential(128 * MIB, MIB)).await;
        if warm {
            // The connections of the idle readers, while a window is in flight.
            let path = common::KEY.into();
            let store = bench.fetch_alone();
            futures::future::join_all((0..64).map(|n| store.get_range(&path, n..n + 1))).await;
            bench.read_all(&reader, sequential(192 * MIB, MIB).skip(128)).await;
        }
        let live = bench.counts().live;
        assert!(live > 8, "a window is in flight: {live}");
        let seek = 700 * MIB..700 * MIB + 64 * KIB;
        let began = bench.sim.elapsed();
        let (took, live_after) = futures::join!(bench.read(&reader, seek.clone()), async {
            tokio::time::sleep(MS).await;
            bench.counts().live
        });
        let slow = raw(&[seek]);
        println!(
            "far seek from a full window of {live} bodies: {took:?}, raw {slow:?} (promised raw + 1 ms); \
         {live_after} bodies 1 ms later"
        );
        assert!(took <= slow + MS, "{took:?} since {began:?}");
        tokio::time::sleep(100 * MS).await;
        assert_eq!(bench.counts().live, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn open_read_drop_ten_thousand_times() {
    for len in [4 * KIB, 100_000] {
        let bench = Bench::new(SIZE);
        for _ in 0..10_000 {
            bench.read(&bench.reader(), 0..len).await;
        }
        settle().await;
        let counts = bench.counts();
        println!(
            "10,000 × open, read {len} bytes, drop: {} GETs (promised 10,000), {} bytes",
            counts.gets, counts.bytes_sent
        );
        assert_eq!((counts.gets, counts.heads, counts.bytes_sent, counts.live), (10_000, 0, 10_000 * len, 0));
        assert_eq!(bench.budget.used_bytes(), 0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}
