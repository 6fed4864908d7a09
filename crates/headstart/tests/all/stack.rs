//! The whole stack on a simulated link: every byte right, nothing stuck, whatever the memory.

use std::sync::Arc;
use std::time::Duration;

use crate::content::check_chunks;
use bytes::Bytes;
use headstart::{CacheConfig, CacheStore, FetchConfig, FetchError, FetchStore, Headstart, MemoryBudget};
use headstart_sim::{LinkProfile, SeededRng, SimStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const MIB: u64 = 1 << 20;
const KEY: &str = "object";

/// A simulated bucket with one object, and a stack over it.
async fn stack(size: u64, options: &str) -> (SimStore, Headstart) {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).build();
    sim.catalog().add_synthetic(KEY, size);
    let builder = Headstart::builder().environment([]).store(Arc::new(sim.clone())).options_str(options);
    (sim, builder.build().await.unwrap())
}

#[track_caller]
fn check(sim: &SimStore, start: u64, chunks: &[Bytes]) {
    check_chunks(sim, KEY, start, chunks);
}

/// A reader slower than the link fills all the memory there is with what is ahead of it, and then reads elsewhere.
#[tokio::test(start_paused = true)]
async fn a_read_elsewhere_gets_memory_from_its_own_read_ahead() {
    for options in ["mode=cached,memory_bytes=32MiB,cache.memory_bytes=16MiB", "mode=adaptive,memory_bytes=16MiB"] {
        let (sim, headstart) = stack(1024 * MIB, options).await;
        let reader = headstart.reader(&Path::from(KEY)).unwrap();
        let other = headstart.reader(&Path::from(KEY)).unwrap();
        for at in (0..64 * MIB).step_by(1 << 20) {
            check(&sim, at, &reader.chunks_at(at..at + MIB).await.unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (reader, at) in [(&reader, 700 * MIB), (&other, 300 * MIB)] {
            let far = tokio::time::timeout(Duration::from_secs(5), reader.chunks_at(at..at + 24 * MIB)).await;
            check(&sim, at, &far.expect("a read never waits for memory for ever").unwrap());
        }
        let path = Path::from(KEY);
        let call = tokio::time::timeout(Duration::from_secs(5), headstart.get_range(&path, 500 * MIB..524 * MIB)).await;
        check(&sim, 500 * MIB, &[call.expect("nor does a call").unwrap()]);
    }
}

/// Random mixtures of reads by handle and by call, through every mode, with little memory and much.
#[tokio::test(start_paused = true)]
async fn every_mode_reads_every_byte_right() {
    for mode in ["none", "fetch", "adaptive", "cached"] {
        for memory in ["16MiB", "48MiB", "512MiB"] {
            for seed in 0..4 {
                let cache = if mode == "cached" { ",cache.memory_bytes=512KiB,cache.page_bytes=16KiB" } else { "" };
                let memory = if mode == "cached" && memory == "16MiB" { "17MiB" } else { memory };
                let (sim, headstart) =
                    stack(40 * MIB + 12_345, &format!("mode={mode},memory_bytes={memory}{cache}")).await;
                let reader = headstart.reader(&Path::from(KEY)).unwrap();
                let mut dice = SeededRng::new(seed);
                let mut at = 0;
                for _ in 0..60 {
                    if dice.below(4) == 0 {
                        at = dice.below(38 * MIB);
                    }
                    let most = [5_000, 300_000, 2 * MIB][usize::try_from(dice.below(3)).unwrap()];
                    let len = 1 + dice.below(most);
                    let range = at..(at + len).min(40 * MIB);
                    let chunks = if dice.below(2) == 0 {
                        reader.chunks_at(range.clone()).await.unwrap()
                    } else {
                        vec![headstart.get_range(&Path::from(KEY), range.clone()).await.unwrap()]
                    };
                    assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>() as u64, range.end - range.start);
                    check(&sim, range.start, &chunks);
                    at = range.end % (39 * MIB);
                }
                drop(reader);
                drop(headstart);
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert_eq!(sim.log().counts().live, 0, "{mode} {memory} seed {seed}");
            }
        }
    }
}

#[tokio::test]
async fn warming_goes_to_the_cache_where_there_is_one() {
    for (mode, warmed) in [("adaptive", 0), ("cached", 300_000)] {
        let builder = Headstart::builder().store(Arc::new(InMemory::new())).environment([]);
        let store = builder.option("mode", mode).build().await.unwrap();
        store.put(&"key".into(), vec![1; 300_000].into()).await.unwrap();
        assert_eq!(store.warm(&"key".into(), &[0..u64::MAX]).await.unwrap(), warmed, "{mode}");
        assert_eq!(store.get_range(&"key".into(), 5..9).await.unwrap(), [1; 4].as_slice());
        assert_eq!(store.stats().cache.map(|cache| cache.hits), (warmed > 0).then_some(1), "{mode}");
    }
}

#[tokio::test]
async fn files_are_fetched_and_left_alone_by_all_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), vec![7; 3 << 20]).unwrap();
    let url = format!("file://{}/file", folder.path().display());
    let store = Headstart::builder().url(url).environment([]).option("mode", "cached").build().await.unwrap();
    assert_eq!(store.to_string(), "Headstart(FetchStore(LocalFileSystem(file:///)))");
    assert!(store.stats().cache.is_none());
    let read = store.open().await.unwrap().read_at(1 << 20..2 << 20).await.unwrap();
    assert!(read.len() == 1 << 20 && read.iter().all(|byte| *byte == 7));
}

/// The cache trusts the end that it knows for a second, but asks the store about a range behind it. The layers above
/// merge such a range with its neighbours.
#[tokio::test(start_paused = true)]
async fn a_range_behind_the_known_end_is_asked_for_although_it_was_merged() {
    for facade in [true, false] {
        let (sim, headstart) = stack(772, "mode=cached").await;
        let store: Arc<dyn ObjectStore> = if facade {
            Arc::new(headstart)
        } else {
            let cache = CacheStore::new(Arc::new(sim.clone()), CacheConfig::default()).unwrap();
            Arc::new(FetchStore::new(Arc::new(cache), FetchConfig::default()).unwrap())
        };
        let path = Path::from(KEY);
        check(&sim, 700, &[store.get_range(&path, 700..772).await.unwrap()]);
        sim.overwrite(KEY, Some(1000)).unwrap();
        let ranges = [776..792, 148..527];
        let found = store.get_ranges(&path, &ranges).await.unwrap();
        for (range, bytes) in ranges.iter().zip(found) {
            assert_eq!(bytes.len() as u64, range.end - range.start);
            check(&sim, range.start, &[bytes]);
        }
        let error = store.get_ranges(&path, &[1000..1001, 148..527]).await.unwrap_err();
        assert_eq!(FetchError::find(&error), Some(&FetchError::PastEnd { start: 1000, size: 1000 }));
    }
}

#[tokio::test(start_paused = true)]
async fn stacks_share_a_budget_that_they_are_given() {
    let budget = MemoryBudget::new(32 << 20);
    let stack = |sim: &SimStore| {
        Headstart::builder().store(Arc::new(sim.clone())).environment([]).budget(Arc::clone(&budget)).build()
    };
    let sim = SimStore::builder().profile(LinkProfile::gcs()).build();
    let stacks = [stack(&sim).await.unwrap(), stack(&sim).await.unwrap()];
    let readers = ["synthetic/64MiB/a", "synthetic/64MiB/b"].map(Path::from);
    let readers = [stacks[0].reader(&readers[0]).unwrap(), stacks[1].reader(&readers[1]).unwrap()];
    for n in 0..32 {
        for reader in &readers {
            assert_eq!(reader.read_at(n << 20..(n + 1) << 20).await.unwrap().len(), 1 << 20);
        }
    }
    for stack in &stacks {
        let stats = stack.stats().budget;
        assert_eq!(stats.limit_bytes, 32 << 20);
        assert!((1..=32 << 20).contains(&stats.peak_bytes), "{stats:?}");
    }
    assert!(budget.peak_bytes() > 2 << 20, "both have read ahead");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_known_version_asks_for_no_metadata() {
    let (sim, store) = stack(MIB, "").await;
    let meta = store.head(&Path::from(KEY)).await.unwrap();
    let before = sim.log().counts();
    let reader = store.reader_with(meta).unwrap();
    assert_eq!(reader.size().await.unwrap(), MIB);
    assert_eq!(sim.log().counts(), before);
    check(&sim, 5, &[reader.read_at(5..100).await.unwrap()]);
}
