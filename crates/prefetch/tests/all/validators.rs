//! Objects without anything that identifies their version: every read is one answer of the store, and no bytes are kept
//! for another.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{KEY, KIB, MIB};
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use headstart_fetch_core::internal::{ConfirmedAt, FreshUntil};
use headstart_fetch_core::{AccessHint, FetchConfig, FetchStore, ObjectChanged};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{
    Altered, Content, ExternalChange, FIRST_GENERATION, FaultEvent, FaultPlan, LinkProfile, SimStore, When,
};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

const SIZE: u64 = 64 * MIB;

fn path() -> Path {
    Path::from(KEY)
}

fn sim() -> SimStore {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).build();
    sim.catalog().add_synthetic(KEY, SIZE);
    sim
}

/// A store whose answers have no entity tag, no version and, unless `dated`, no date.
fn bare(sim: &SimStore, dated: bool) -> Altered {
    let strip = move |mut answer: GetResult| {
        let generation: u64 = answer.meta.version.take().unwrap().parse().unwrap();
        answer.meta.e_tag = None;
        answer.meta.last_modified = match dated {
            true => answer.meta.last_modified + Duration::from_secs(10 * (generation - FIRST_GENERATION)),
            false => chrono::DateTime::UNIX_EPOCH,
        };
        answer
    };
    Altered::new(sim.clone(), |options| Ok(GetOptions { if_match: None, version: None, ..options })).answers(strip)
}

/// The only generation that `chunks` at `range` can be of.
#[track_caller]
fn generation(sim: &SimStore, range: &Range<u64>, chunks: &[Bytes]) -> u64 {
    let live = sim.catalog().get(KEY, None).unwrap().number;
    let is = |generation: &u64| {
        let mut at = range.start;
        chunks.iter().all(|chunk| {
            at += chunk.len() as u64;
            Content::new(KEY, *generation).check(at - chunk.len() as u64, chunk).is_ok()
        })
    };
    (FIRST_GENERATION..=live).find(is).unwrap_or_else(|| panic!("{range:?} is of several versions"))
}

/// Sequential, overlapping and backward reads, with an overwrite between any two: each read is of one version. Without
/// a date all readers see the newest version; with a date, earlier readers get an error that the object changed.
#[tokio::test(start_paused = true)]
async fn no_read_mixes_versions_of_one_size() {
    for dated in [false, true] {
        for reads_ahead in [true, false] {
            for fetch_below in [true, false] {
                for overwritten_before in 1..12 {
                    let sim = sim();
                    let below: Arc<dyn ObjectStore> = match fetch_below {
                        true => Arc::new(
                            FetchStore::new(Arc::new(bare(&sim, dated)), FetchConfig::default())
                                .expect("valid settings"),
                        ),
                        false => Arc::new(bare(&sim, dated)),
                    };
                    let config = match reads_ahead {
                        true => PrefetchConfig::default(),
                        false => PrefetchConfig { max_prefetch_bytes: 0, ..PrefetchConfig::default() },
                    };
                    let store = PrefetchStore::new(below, config).expect("valid settings");
                    let reader = store.reader(&path()).unwrap();
                    let step = 256 * KIB;
                    let ranges: Vec<_> = (0..10_u64)
                        .map(|n| n * step..(n + 1) * step)
                        .chain([9 * step..11 * step, 8 * step..9 * step + 1])
                        .collect();
                    for (n, range) in ranges.iter().enumerate() {
                        if n == overwritten_before {
                            sim.overwrite(KEY, None).unwrap();
                        }
                        match reader.chunks_at(range.clone()).await {
                            Ok(chunks) => assert!(generation(&sim, range, &chunks) > 0),
                            Err(error) => assert!(dated && ObjectChanged::find(&error).is_some(), "{error}"),
                        }
                        let called = store.get_range(&path(), range.clone()).await.unwrap();
                        generation(&sim, range, &[called]);
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_ahead_or_kept_without_a_validator() {
    let sim = sim();
    let store = PrefetchStore::new(Arc::new(bare(&sim, false)), PrefetchConfig::default()).expect("valid settings");
    let mut reader = store.reader(&path()).unwrap();
    reader.advise(AccessHint::Sequential);
    for n in 0..20 {
        reader.read_at(n * 64 * KIB..(n + 1) * 64 * KIB).await.unwrap();
    }
    for n in 0..20 {
        store.get_range(&path(), n * 64 * KIB..(n + 1) * 64 * KIB).await.unwrap();
    }
    let counts = sim.log().counts();
    assert_eq!((counts.gets, counts.heads), (40, 0));
    assert_eq!((reader.held_bytes(), store.stats().outstanding_bytes), (0, 0));
    // All other ways to read the object.
    reader.seek(std::io::SeekFrom::End(-100)).await.unwrap();
    let mut end = Vec::new();
    reader.read_to_end(&mut end).await.unwrap();
    assert_eq!(end.len(), 100);
    let all: Vec<Bytes> = store.reader(&path()).unwrap().stream().try_collect().await.unwrap();
    assert_eq!(all.iter().map(Bytes::len).sum::<usize>() as u64, SIZE);
    assert!(reader.read_at(SIZE..SIZE + 1).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_date_or_a_promise_is_enough_to_read_ahead() {
    for (dated, immutable) in [(true, false), (false, true)] {
        let sim = sim();
        let config = PrefetchConfig { immutable, ..PrefetchConfig::default() };
        let store = PrefetchStore::new(Arc::new(bare(&sim, dated)), config).expect("valid settings");
        let reader = store.reader(&path()).unwrap();
        for n in 0..64 {
            reader.read_at(n * 64 * KIB..(n + 1) * 64 * KIB).await.unwrap();
        }
        assert!(sim.log().counts().gets < 32, "{}", sim.log().counts().gets);
    }
}

/// A cache below trusts a version for 60 s. Read-ahead must not trust its answers for 10 s more: otherwise a late
/// reader would read a version that was overwritten a minute before.
#[tokio::test(start_paused = true)]
async fn a_reader_joins_others_only_while_what_they_read_is_trusted() {
    for (says_until, at, joins) in [(true, 59, true), (true, 61, false), (false, 9, true), (false, 11, false)] {
        let sim = sim();
        let start = Instant::now();
        let told = Altered::new(sim.clone(), Ok).answers(move |mut answer| {
            answer.extensions.insert(ConfirmedAt(start));
            if says_until {
                answer.extensions.insert(FreshUntil(start + Duration::from_secs(60)));
            }
            answer
        });
        let store = PrefetchStore::new(Arc::new(told), PrefetchConfig::default()).expect("valid settings");
        let first = store.reader(&path()).unwrap();
        let before = first.read_at(0..KIB).await.unwrap();
        sim.overwrite(KEY, None).unwrap();
        tokio::time::sleep_until(start + Duration::from_secs(at)).await;
        // The reader's own reads confirm nothing: the answers come from the cache.
        assert_eq!(first.read_at(0..KIB).await.unwrap(), before);
        let second = store.reader(&path()).unwrap().read_at(0..KIB).await.unwrap();
        assert_eq!(second == before, joins, "says until: {says_until}, at {at} s");
    }
}

/// The object is overwritten between the request for its first bytes and the one for all of it, and again afterwards.
#[tokio::test(start_paused = true)]
async fn an_object_of_a_list_is_of_one_version_however_its_size_changes() {
    let overwrite = |size| FaultEvent::Change(ExternalChange::Overwrite { key: KEY.to_owned(), size: Some(size) });
    for size in [SIZE / 2, SIZE * 2] {
        let script = vec![(When::Read(1), overwrite(size)), (When::Read(2), overwrite(SIZE))];
        let faults = FaultPlan { script, ..FaultPlan::default() };
        let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).faults(faults).build();
        sim.catalog().add_synthetic(KEY, SIZE);
        let before = sim.catalog().get(KEY, None).unwrap().number;
        let store = PrefetchStore::new(Arc::new(bare(&sim, false)), PrefetchConfig::default()).expect("valid settings");
        let mut objects = store.objects(stream::iter([path()]));
        let (_, bytes) = objects.try_next().await.unwrap().unwrap();
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(generation(&sim, &(0..size), &[bytes]), before + 1);
        assert_eq!(sim.log().counts().gets, 2);
    }
}

/// The metadata of a body come from the first answer, so a body of another size is an error.
#[tokio::test(start_paused = true)]
async fn a_body_of_a_list_has_the_size_of_its_metadata() {
    for size in [SIZE / 2, SIZE * 2] {
        let overwrite = FaultEvent::Change(ExternalChange::Overwrite { key: KEY.to_owned(), size: Some(size) });
        let faults = FaultPlan { script: vec![(When::Read(1), overwrite)], ..FaultPlan::default() };
        let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).faults(faults).build();
        sim.catalog().add_synthetic(KEY, SIZE);
        let store = PrefetchStore::new(Arc::new(bare(&sim, false)), PrefetchConfig::default()).expect("valid settings");
        let mut bodies = store.objects(stream::iter([path()])).bodies();
        let body = bodies.try_next().await.unwrap().unwrap();
        assert_eq!(body.meta().size, SIZE);
        let error = body.bytes().await.unwrap_err();
        assert!(ObjectChanged::find(&error).is_some(), "{error}");
    }
}
