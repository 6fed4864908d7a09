//! Promises for many readers that share memory or an object, in virtual time: prints exact figures.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{self, Bench, KIB, MIB, check, sequential, settle};
use futures::future::join_all;
use headstart_fetch_core::{AccessHint, FetchConfig, FetchStore, LinkEstimate, MemoryBudget, ObjectChanged};
use headstart_prefetch::{PrefetchConfig, PrefetchStore, Reader};
use headstart_sim::{Content, LinkProfile, SimStore};
use object_store::path::Path;

const MS: Duration = Duration::from_millis(1);

/// A bucket of `objects` objects of `size` bytes, and a store with a budget.
fn bucket(objects: usize, size: u64, budget_bytes: usize) -> (SimStore, PrefetchStore, Arc<MemoryBudget>) {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(2048).build();
    for n in 0..objects {
        sim.catalog().add_synthetic(&format!("object-{n}"), size);
    }
    let budget = MemoryBudget::new(budget_bytes);
    let fetch = FetchConfig { budget: Some(Arc::clone(&budget)), ..FetchConfig::default() };
    let fetch = FetchStore::new(Arc::new(sim.clone()), fetch).expect("valid settings");
    let link: Option<Arc<LinkEstimate>> = Some(fetch.link());
    let config = PrefetchConfig { link, budget: Some(Arc::clone(&budget)), ..PrefetchConfig::default() };
    (sim, PrefetchStore::new(Arc::new(fetch), config).expect("valid settings"), budget)
}

async fn read(sim: &SimStore, reader: &Reader, range: std::ops::Range<u64>) -> u64 {
    let chunks = reader.chunks_at(range.clone()).await.unwrap();
    let key = reader.path().to_string();
    let content = Content::new(&key, sim.catalog().get(&key, None).unwrap().number);
    let mut at = range.start;
    for chunk in chunks {
        content.check(at, &chunk).unwrap();
        at += chunk.len() as u64;
    }
    assert_eq!(at, range.end);
    at - range.start
}

/// Jain's index: 1 where all have the same, 1/n where one has everything.
#[expect(clippy::cast_precision_loss, reason = "an index")]
fn jain(shares: &[u64]) -> f64 {
    let shares: Vec<f64> = shares.iter().map(|share| *share as f64).collect();
    let (sum, squares) = (shares.iter().sum::<f64>(), shares.iter().map(|share| share * share).sum::<f64>());
    sum * sum / (shares.len() as f64 * squares)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_idle_readers_and_ten_active_ones() {
    for budget_bytes in [512 << 20, 64 << 20, 4 << 20] {
        let (sim, store, budget) = bucket(1010, 1024 * MIB, budget_bytes);
        let readers: Vec<_> = (0..1010).map(|n| store.reader(&Path::from(format!("object-{n}"))).unwrap()).collect();
        let (idle, active) = readers.split_at(1000);
        // The idle readers have read 256 KiB in order before.
        for reader in idle {
            for range in sequential(256 * KIB, 64 * KIB) {
                read(&sim, reader, range).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        let until = sim.elapsed() + Duration::from_secs(2);
        let shares = join_all(active.iter().map(async |reader| {
            let mut bytes = 0;
            for range in sequential(1024 * MIB, MIB) {
                if sim.elapsed() >= until {
                    break;
                }
                bytes += read(&sim, reader, range).await;
            }
            bytes
        }));
        let shares = shares.await;
        let index = jain(&shares);
        let idle_hold: usize = idle.iter().map(|reader| reader.held_bytes()).sum();
        println!(
            "1,000 idle and 10 active readers, budget {} MiB: Jain {index:.4} (promised 0.95), {} MB/s in all, \
         the idle hold {idle_hold} bytes (0), peak {} MiB",
            budget_bytes >> 20,
            shares.iter().sum::<u64>() / 2_000_000,
            budget.peak_bytes() >> 20
        );
        assert!(index >= 0.95, "{shares:?}");
        assert!(shares.iter().all(|bytes| *bytes > 0));
        assert_eq!(idle_hold, 0);
        assert!(budget.peak_bytes() <= budget_bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_larger_than_the_budget_completes() {
    let (sim, store, budget) = bucket(1, 256 * MIB, 8 << 20);
    let reader = store.reader(&Path::from("object-0")).unwrap();
    read(&sim, &reader, 0..200 * MIB).await;
    read(&sim, &reader, 200 * MIB..256 * MIB).await;
    println!("reads of 200 and 56 MiB with a budget of 8 MiB: peak {} KiB", budget.peak_bytes() >> 10);
    assert!(budget.peak_bytes() <= 8 << 20);
}

#[tokio::test(start_paused = true)]
async fn readers_of_one_object_share_its_requests() {
    let alone = Bench::new(256 * MIB);
    alone.read_all(&alone.reader(), sequential(256 * MIB, MIB)).await;
    let bench = Bench::new(256 * MIB);
    let readers: Vec<_> = (0..64).map(|_| bench.reader()).collect();
    for range in sequential(256 * MIB, MIB) {
        join_all(readers.iter().map(|reader| bench.read(reader, range.clone()))).await;
    }
    let (gets, one) = (bench.counts().gets, alone.counts().gets);
    println!(
        "64 readers at the same pace: {gets} GETs (promised those of one: {one}), {} MiB",
        bench.counts().bytes_sent / MIB
    );
    assert_eq!(gets, one);
    drop(readers);
    settle().await;
    assert_eq!((bench.counts().live, bench.budget.used_bytes()), (0, 0));
}

/// A reader that joins others of the object knows its end.
#[tokio::test(start_paused = true)]
async fn a_reader_that_joins_reads_across_the_end() {
    let bench = Bench::new(50_000);
    let first = bench.reader();
    assert_eq!(first.read_at(0..65_536).await.unwrap().len(), 50_000);
    let second = bench.reader();
    assert_eq!(second.read_at(0..65_536).await.unwrap().len(), 50_000);
    assert_eq!(second.read_at(60_000..65_536).await.unwrap().len(), 0);
    assert_eq!(bench.counts().gets, 1);
    assert_eq!(bench.budget.used_bytes(), 50_000, "no more is charged than there is");
}

/// Bytes that a reader announced and never reads are dropped with it, and do not stop the read-ahead of others.
#[tokio::test(start_paused = true)]
async fn announced_ranges_belong_to_their_reader() {
    let bench = Bench::new(1024 * MIB);
    let (announcer, other) = (bench.reader(), bench.reader());
    bench.read(&announcer, 0..MIB).await;
    announcer.advise(AccessHint::WillNeed(vec![600 * MIB..900 * MIB]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.budget.used_bytes() as u64, 301 * MIB, "it is all here");
    let took = bench.read_all(&other, sequential(200 * MIB, MIB)).await;
    assert!(took < Duration::from_millis(700), "{took:?}");
    announcer.close();
    other.close();
    settle().await;
    assert_eq!(bench.budget.used_bytes(), 0);
}

/// Reads larger than the whole budget leave no memory reserved.
/// A read does not wait for memory, but only what there is memory for is kept when it ends.
#[tokio::test(start_paused = true)]
async fn what_is_kept_after_a_read_is_charged() {
    for (budget_bytes, gets_again) in [(8 << 20, true), (64 << 20, false)] {
        let bench = Bench::on(LinkProfile::gcs(), 256 * MIB, budget_bytes, PrefetchConfig::default());
        let reader = bench.reader();
        bench.read(&reader, 0..16 * MIB).await;
        let (held_bytes, gets) = (reader.held_bytes() as u64, bench.counts().gets);
        bench.read(&reader, 0..16 * MIB).await;
        assert_eq!(bench.counts().gets > gets, gets_again, "with {budget_bytes} bytes");
        assert!(gets_again || held_bytes >= 16 * MIB, "{held_bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_larger_than_the_budget_pin_nothing() {
    let (sim, store, budget) = bucket(1, 1024 * MIB, 8 << 20);
    let reader = store.reader(&Path::from("object-0")).unwrap();
    for n in 0..8 {
        read(&sim, &reader, n * 50 * MIB..(n + 1) * 50 * MIB).await;
    }
    let counts = sim.log().counts();
    assert!(counts.bytes_sent <= 410 * MIB, "{} bytes twice", counts.bytes_sent - 400 * MIB);
    drop(reader);
    settle().await;
    assert_eq!(budget.used_bytes(), 0);
}

/// A listing of an hour ago does not make an old version look fresh to other readers.
#[tokio::test(start_paused = true)]
async fn what_a_reader_was_told_is_no_news_of_the_store() {
    let bench = Bench::new(8 * MIB);
    let old = bench.sim.catalog().get(common::KEY, None).unwrap().meta(Path::from(common::KEY));
    bench.sim.overwrite(common::KEY, Some(MIB)).unwrap();
    let told = bench.store.reader_with(old).unwrap();
    let fresh = bench.reader();
    assert_eq!(fresh.size().await.unwrap(), MIB);
    assert_eq!(told.size().await.unwrap(), 8 * MIB);
    assert!(ObjectChanged::find(&told.read_at(0..10).await.unwrap_err()).is_some());
}

/// Options limit speculation, and a limit of 0 bytes turns it off.
#[tokio::test(start_paused = true)]
async fn options_are_kept() {
    let with = |change: fn(&mut PrefetchConfig)| {
        let mut config = PrefetchConfig::default();
        change(&mut config);
        Bench::with(1024 * MIB, config)
    };
    let read_mib = async |bench: &Bench, mib| bench.read_all(&bench.reader(), sequential(mib * MIB, MIB)).await;
    let read = async |bench: &Bench| read_mib(bench, 64).await;

    let capped = with(|config| config.max_bytes_per_s = Some(50_000_000));
    let took = read_mib(&capped, 512).await;
    let (stats, seconds) = (capped.store.stats(), took.as_secs_f64());
    let ahead = stats.fetched_bytes + stats.outstanding_bytes - stats.demanded_bytes + stats.ahead_bytes;
    println!("speculation capped at 50 MB/s: {:.1} MB/s over {took:?}", ahead as f64 / 1e6 / seconds);
    assert!(ahead as f64 <= 50e6 * (seconds + 1.0), "{ahead} bytes ahead in {seconds} s");
    assert!(ahead > 10_000_000);

    let small = with(|config| config.max_prefetch_bytes = 4 << 20);
    read(&small).await;
    assert!(small.budget.peak_bytes() <= 10 << 20, "{}", small.budget.peak_bytes());

    let late = with(|config| config.start_after = 10);
    let reader = late.reader();
    late.read_all(&reader, sequential(9 * MIB, MIB)).await;
    assert_eq!(late.store.stats().speculative_requests, 0);
    late.read(&reader, 9 * MIB..10 * MIB).await;
    late.read(&reader, 10 * MIB..11 * MIB).await;
    assert!(late.store.stats().speculative_requests > 0);

    let off = with(|config| config.max_prefetch_bytes = 0);
    read(&off).await;
    assert_eq!((off.store.stats().speculative_requests, off.counts().gets), (0, 64));
}

/// An overwrite before any read: an open reader keeps its version or fails; a new one sees the new version.
#[tokio::test(start_paused = true)]
async fn an_overwrite_at_every_step() {
    const SIZE: u64 = 64 * MIB;
    let (mut went_on, mut seen) = (0, 0);
    for step in 0..64 {
        let bench = Bench::new(SIZE);
        let reader = bench.reader();
        let first = bench.sim.catalog().get(common::KEY, None).unwrap().number;
        let mut outcome = Ok(());
        for (n, range) in sequential(SIZE, MIB).enumerate() {
            if n == step {
                bench.sim.overwrite(common::KEY, None).unwrap();
            }
            match reader.chunks_at(range.clone()).await {
                Ok(chunks) if step == 0 => bench.check(&range, &chunks),
                Ok(chunks) => check(first, &range, &chunks),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        match outcome {
            Ok(()) => went_on += 1,
            Err(error) => {
                assert!(ObjectChanged::find(&error).is_some(), "step {step}: {error}");
                seen += 1;
            }
        }
        // After ten seconds no reader may get bytes that were replaced before.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let late = bench.reader();
        bench.read(&late, 0..MIB).await;
    }
    println!("an overwrite at each of 64 steps: {seen} readers said so, {went_on} had their version to the end");
    assert!(seen > 10);
}

/// After a write through the store, a new reader sees it.
#[tokio::test(start_paused = true)]
async fn a_reader_opened_after_a_write_sees_it() {
    use object_store::ObjectStoreExt;
    let bench = Bench::new(8 * MIB);
    let before = bench.reader();
    bench.read(&before, 0..MIB).await;
    bench.store.put(&Path::from(common::KEY), vec![7; 1000].into()).await.unwrap();
    let after = bench.reader();
    assert_eq!(after.read_at(0..10).await.unwrap(), vec![7; 10]);
    assert_eq!(after.size().await.unwrap(), 1000);
    tokio::time::sleep(MS).await;
    // The first reader is a snapshot: it may return held bytes, but none of the other version.
    let again = before.read_at(0..10).await;
    assert!(again.is_ok_and(|bytes| bytes != vec![7; 10]));
}
