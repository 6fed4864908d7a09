//! Promises for streams that share a link, in virtual time: prints exact figures.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "tests")]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Bench, KIB, MIB, sequential, settle, workload};
use futures::future::join_all;
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchStore, LinkEstimate, MemoryBudget};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{LinkProfile, SimStore};
use object_store::path::Path;

const SIZE: u64 = 1024 * MIB;

/// What readers reached that read `SIZE` bytes in all.
struct ReadApart {
    mb_per_s: f64,
    sent: u64,
    reserved_mib: usize,
}

/// Reads `SIZE` bytes by `readers`, through `stores` that share a link: each a range of one object, or each an object
/// of its own.
async fn read_apart(stores: u64, readers: u64, len: u64, one_object: bool) -> ReadApart {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(2048).build();
    let range_of = |n: u64| n * SIZE / readers..(n + 1) * SIZE / readers;
    let key = |n: u64| if one_object { "object".to_owned() } else { format!("object-{n}") };
    for n in 0..readers {
        let Range { start, end } = range_of(n);
        sim.catalog().add_synthetic(&key(n), if one_object { SIZE } else { end - start });
    }
    let shared = LinkEstimate::new(&BackendProfile::default());
    let opened: Vec<_> = (0..stores)
        .map(|_| {
            let budget = MemoryBudget::new(512 << 20);
            let (link, of_fetch) = (Some(Arc::clone(&shared)), Some(Arc::clone(&budget)));
            let fetch = FetchConfig { budget: of_fetch, link: link.clone(), ..FetchConfig::default() };
            let fetch = FetchStore::new(Arc::new(sim.clone()), fetch).expect("valid settings");
            let config = PrefetchConfig { link, budget: Some(Arc::clone(&budget)), ..PrefetchConfig::default() };
            (PrefetchStore::new(Arc::new(fetch), config).expect("valid settings"), budget)
        })
        .collect();
    join_all((0..readers).map(async |n| {
        let (store, _) = &opened[usize::try_from(n % stores).unwrap()];
        let reader = store.reader(&Path::from(key(n))).unwrap();
        let Range { start, end } = range_of(n);
        let first = if one_object { start } else { 0 };
        for range in sequential(end - start, len) {
            reader.chunks_at(first + range.start..first + range.end).await.unwrap();
        }
    }))
    .await;
    ReadApart {
        mb_per_s: SIZE as f64 / 1e6 / sim.elapsed().as_secs_f64(),
        sent: sim.log().counts().bytes_sent,
        reserved_mib: opened.iter().map(|(_, budget)| budget.peak_bytes() >> 20).sum(),
    }
}

/// 16 plain streams of 60 MB/s nearly fill the link of 1,000 MB/s. The window of one reader alone is 170 MiB.
#[tokio::test(start_paused = true)]
async fn all_readers_of_a_link_share_one_window() {
    let streams = SIZE as f64 / 1e6 / (0.03 + SIZE as f64 / 16.0 / 60e6);
    for (stores, len, promised, most_mib) in
        [(1, 64 * KIB, 0.93, 220), (1, MIB, 0.96, 220), (2, 64 * KIB, 0.93, 240), (2, MIB, 0.96, 240)]
    {
        let ReadApart { mb_per_s, reserved_mib, .. } = read_apart(stores, 16, len, false).await;
        let share = mb_per_s / streams;
        println!(
            "16 readers by {} KiB, {stores} stores: {mb_per_s:.0} MB/s, {share:.3} of plain streams (promised \
             {promised}), {reserved_mib} MiB reserved ({most_mib})",
            len / KIB
        );
        assert!(share >= promised && reserved_mib <= most_mib);
    }
}

/// As query engines split a large file. A reader that ends with its range does not slow down the others.
#[tokio::test(start_paused = true)]
async fn readers_of_ranges_of_one_object_are_as_fast_as_readers_of_one_object_each() {
    for (readers, promised) in [(4, 0.97), (12, 0.96), (16, 0.97), (64, 0.97)] {
        for len in [64 * KIB, MIB] {
            let ReadApart { mb_per_s: one, sent, .. } = read_apart(1, readers, len, true).await;
            let each = read_apart(1, readers, len, false).await.mb_per_s;
            let (share, fetched) = (one / each, sent as f64 / SIZE as f64);
            println!(
                "{readers} readers by {} KiB: {one:.0} MB/s of one object, {each:.0} MB/s of one each: {share:.3} \
                 (promised {promised}), fetched {fetched:.3} × delivered (1.01)",
                len / KIB
            );
            assert!(share >= promised && fetched <= 1.01, "{readers} readers by {len}");
        }
    }
}

/// What is promised of a reader that is closed before its streams end.
struct ClosedEarly {
    what: &'static str,
    /// The reader is closed after so many bytes or so much time.
    bytes: u64,
    time: Duration,
    mb_per_s: f64,
    /// Bytes fetched, per byte delivered.
    fetched: f64,
    reserved_mib: usize,
}

impl ClosedEarly {
    /// Makes `reads`, closes the reader, and checks what was promised.
    async fn check(self, reads: impl IntoIterator<Item = Range<u64>>) {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let (mut delivered, mut took) = (0, Duration::ZERO);
        for range in reads {
            if delivered >= self.bytes || took >= self.time {
                break;
            }
            delivered += range.end - range.start;
            took += bench.read(&reader, range).await;
        }
        drop(reader);
        settle().await;
        let counts = bench.counts();
        let mb_per_s = delivered as f64 / 1e6 / took.as_secs_f64();
        let fetched = counts.bytes_sent as f64 / delivered as f64;
        let reserved_mib = bench.budget.peak_bytes() >> 20;
        println!(
            "{}, closed after {} MiB: {mb_per_s:.0} MB/s (promised {}), fetched {fetched:.2} × delivered ({}), \
             {reserved_mib} MiB reserved ({}), {} GETs",
            self.what,
            delivered / MIB,
            self.mb_per_s,
            self.fetched,
            self.reserved_mib,
            counts.gets
        );
        assert!(mb_per_s >= self.mb_per_s && fetched <= self.fetched && reserved_mib <= self.reserved_mib);
    }
}

const LONG: Duration = Duration::from_secs(60);

/// The streams of one reader share the window of one stream, which is 170 MiB here.
#[tokio::test(start_paused = true)]
async fn streams_of_one_reader_share_one_window() {
    let cases = [
        ("interleaved-2", 192 * MIB, LONG, 450.0, 1.2),
        ("interleaved-4", 192 * MIB, LONG, 340.0, 1.32),
        ("interleaved-8", 192 * MIB, LONG, 380.0, 1.2),
        ("interleaved-16", SIZE, Duration::from_millis(800), 500.0, 1.2),
    ];
    for (what, bytes, time, mb_per_s, fetched) in cases {
        let promised = ClosedEarly { what, bytes, time, mb_per_s, fetched, reserved_mib: 200 };
        promised.check(workload(what, SIZE, 1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn readers_that_stop_halfway_have_fetched_little_more() {
    let promised =
        |what, bytes, mb_per_s, fetched| ClosedEarly { what, bytes, time: LONG, mb_per_s, fetched, reserved_mib: 180 };
    promised("backward by 1 MiB", 128 * MIB, 340.0, 1.4).check(workload("backward-1m", SIZE, 1)).await;
    promised("forward by 64 KiB", 256 * MIB, 520.0, 1.25).check(sequential(SIZE, 64 * KIB)).await;
    promised("forward by 1 MiB", 512 * MIB, 690.0, 1.12).check(sequential(SIZE, MIB)).await;
}
