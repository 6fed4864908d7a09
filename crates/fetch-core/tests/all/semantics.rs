//! A `FetchStore` answers like the store it wraps: the same calls to both, over objects and parts of a few bytes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::internal::LocalFile;
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchError, FetchStore, MemoryBudget};
use object_store::chunked::ChunkedStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt, PutOptions,
    Result,
};
use proptest::prelude::*;

use crate::common::{Altered, settle};

const SIZE: u64 = 300;

/// Parts of 8 to 32 bytes.
fn profile() -> BackendProfile {
    BackendProfile { stream_bytes_per_s: 200.0, min_part_bytes: 8, max_part_bytes: 32, ..BackendProfile::default() }
}

fn config(concurrency: usize, budget_bytes: usize) -> FetchConfig {
    let budget = Some(MemoryBudget::new(budget_bytes));
    FetchConfig { concurrency, profile: Some(profile()), budget, ..FetchConfig::default() }
}

async fn objects() -> Arc<InMemory> {
    let inner = InMemory::new();
    for size in [0, 1, 7, 8, 9, 12, 33, SIZE] {
        let bytes: Vec<u8> = (0..size).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
        let attributes = Attributes::from_iter([(Attribute::ContentType, "text/plain")]);
        let options = PutOptions { attributes, ..PutOptions::default() };
        inner.put_opts(&Path::from(size.to_string()), bytes.into(), options).await.unwrap();
    }
    Arc::new(inner)
}

/// Everything that a caller can see of an answer.
async fn seen(store: &dyn ObjectStore, path: &Path, options: GetOptions) -> Result<String, String> {
    let result = store.get_opts(path, options.clone()).await.map_err(|error| variant(&error))?;
    let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
    let bytes = if options.head { Vec::new() } else { result.bytes().await.map_err(|e| variant(&e))?.to_vec() };
    Ok(format!("{meta:?} {range:?} {attributes:?} {bytes:?}"))
}

fn variant(error: &Error) -> String {
    format!("{error:?}").split([' ', '(']).next().unwrap_or_default().to_owned()
}

fn ranges() -> impl Strategy<Value = Option<GetRange>> {
    let at = || prop_oneof![Just(0), Just(1), Just(8), Just(33), Just(SIZE), 0..SIZE + 20, Just(u64::MAX)];
    prop_oneof![
        Just(None),
        (at(), at()).prop_map(|(start, end)| Some(GetRange::Bounded(start..end))),
        at().prop_map(|start| Some(GetRange::Offset(start))),
        at().prop_map(|n| Some(GetRange::Suffix(n))),
    ]
}

/// Options, and how many days after the object's date the two date conditions lie.
fn options() -> impl Strategy<Value = (GetOptions, Option<i8>, Option<i8>)> {
    let tag = || {
        let one_of_eight = (0..8).prop_map(|n| Some(format!("\"{n}\"")));
        prop_oneof![5 => Just(None), 1 => Just(Some("*".to_owned())), 1 => one_of_eight]
    };
    let day = || prop_oneof![5 => Just(None), 1 => (-1..2_i8).prop_map(Some)];
    (ranges(), tag(), tag(), day(), day(), prop::bool::weighted(0.1)).prop_map(
        |(range, if_match, if_none_match, modified, unmodified, head)| {
            (GetOptions { range, if_match, if_none_match, head, ..GetOptions::default() }, modified, unmodified)
        },
    )
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn get_opts_is_the_inner_stores(
        object in prop::sample::select(vec![0, 1, 7, 8, 9, 12, 33, SIZE, 999]),
        (mut options, modified, unmodified) in options(),
        concurrency in 1_usize..6,
        budget_bytes in prop::sample::select(vec![0, 16, 100, 10_000]),
        chunk in 1_usize..40,
    ) {
        block_on(async {
            let inner = objects().await;
            let path = Path::from(object.to_string());
            if let Ok(meta) = inner.head(&path).await {
                let day = |n: i8| match n {
                    -1 => meta.last_modified - Duration::from_secs(86_400),
                    0 => meta.last_modified,
                    _ => meta.last_modified + Duration::from_secs(86_400),
                };
                options.if_modified_since = modified.map(day);
                options.if_unmodified_since = unmodified.map(day);
            }
            let config = config(concurrency, budget_bytes);
            let budget = config.budget.clone().unwrap();
            let chunked = ChunkedStore::new(Arc::clone(&inner) as Arc<dyn ObjectStore>, chunk);
            let store = FetchStore::new(Arc::new(chunked), config).expect("valid settings");
            for _ in 0..2 {
                let expected = seen(&*inner, &path, options.clone()).await;
                let got = seen(&store, &path, options.clone()).await;
                prop_assert_eq!(got, expected);
            }
            settle().await;
            prop_assert_eq!((budget.used_bytes(), store.stats().in_flight), (0, 0));
            prop_assert!(store.stats().peak_in_flight <= concurrency as u64);
            Ok(())
        })?;
    }

    /// Local files on the default profile. Some answers are files and some are streams, and some bodies break
    /// off. The bytes counted as delivered are those that calls returned from streams, each once.
    #[test]
    fn what_get_ranges_delivers_is_counted_exactly(
        calls in prop::collection::vec(
            (prop::collection::vec((0..SIZE + 20, 1..80_u64), 1..8), prop::bool::ANY, prop::bool::weighted(0.2)),
            1..5,
        ),
        tiny in prop::bool::ANY,
    ) {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("a"), vec![7; usize::try_from(SIZE).unwrap()]).unwrap();
            let files = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
            let (as_stream, breaks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (stream, broken) = (Arc::clone(&as_stream), Arc::clone(&breaks));
            let altered = Altered::new(files, Ok).answers(move |mut answer| {
                if stream.load(Relaxed) {
                    let rest = answer.range.end - answer.range.start;
                    let kept = if broken.load(Relaxed) { rest / 2 } else { rest };
                    let body = futures::stream::iter([kept / 3, kept - kept / 3]);
                    let chunk = |len: u64| Ok(vec![7; usize::try_from(len).unwrap()].into());
                    answer.payload = GetResultPayload::Stream(body.map(chunk).boxed());
                }
                answer
            });
            let profile = if tiny { profile() } else { BackendProfile::default() };
            let config = FetchConfig { retries: 0, profile: Some(profile), ..FetchConfig::default() };
            let store = FetchStore::new(Arc::new(altered), config).expect("valid settings");
            let mut delivered = 0;
            for (ranges, streams, broken) in calls {
                as_stream.store(streams, Relaxed);
                breaks.store(streams && broken, Relaxed);
                let ranges: Vec<Range<u64>> = ranges.into_iter().map(|(start, n)| start..start + n).collect();
                let answer = store.get_ranges(&Path::from("a"), &ranges).await;
                settle().await;
                let asked = (0..SIZE).filter(|at| ranges.iter().any(|range| range.contains(at))).count();
                match answer {
                    Ok(parts) if streams => {
                        prop_assert!(parts.iter().all(|part| part.iter().all(|byte| *byte == 7)));
                        delivered += asked as u64;
                    }
                    _ => {}
                }
                let stats = store.stats();
                prop_assert_eq!(stats.delivered_bytes, delivered);
                prop_assert_eq!(stats.fetched_bytes, stats.delivered_bytes + stats.wasted_bytes);
            }
            Ok(())
        })?;
    }

    #[test]
    fn get_ranges_is_the_inner_stores(
        object in prop::sample::select(vec![0, 1, 7, 8, 9, 12, 33, SIZE, 999]),
        ranges in prop::collection::vec((0..SIZE + 20, 0..80_u64), 0..12),
        concurrency in 1_usize..6,
        budget_bytes in prop::sample::select(vec![0, 16, 100, 10_000]),
        chunk in 1_usize..40,
    ) {
        block_on(async {
            let inner = objects().await;
            let path = Path::from(object.to_string());
            let ranges: Vec<Range<u64>> = ranges.into_iter().map(|(start, n)| start..start + n).collect();
            let chunked = ChunkedStore::new(Arc::clone(&inner) as Arc<dyn ObjectStore>, chunk);
            let store = FetchStore::new(Arc::new(chunked), config(concurrency, budget_bytes)).expect("valid settings");
            let got = store.get_ranges(&path, &ranges).await;
            match inner.get_ranges(&path, &ranges).await {
                // Empty ranges are not requested, so nothing is missing.
                Err(_) if ranges.is_empty() => prop_assert_eq!(got.unwrap(), Vec::<bytes::Bytes>::new()),
                Ok(expected) => {
                    prop_assert_eq!(got.unwrap(), expected);
                    let stats = store.stats();
                    prop_assert_eq!(stats.fetched_bytes, stats.delivered_bytes + stats.wasted_bytes);
                }
                Err(_) => prop_assert!(got.is_err()),
            }
            Ok(())
        })?;
    }
}

#[track_caller]
fn fetch_error<T>(result: Result<T>) -> FetchError {
    let Err(Error::Generic { source, .. }) = result else { panic!("expected a FetchError") };
    source.downcast_ref::<FetchError>().expect("a FetchError").clone()
}

#[tokio::test]
async fn get_ranges_says_what_is_wrong() {
    let store = FetchStore::new(objects().await, config(4, 1000)).expect("valid settings");
    let read = async |ranges: &[(u64, u64)]| {
        let ranges: Vec<Range<u64>> = ranges.iter().map(|&(start, end)| start..end).collect();
        store.get_ranges(&Path::from("300"), &ranges).await
    };
    // Merged with a valid range, and alone.
    assert_eq!(fetch_error(read(&[(290, 300), (300, 310)]).await), FetchError::PastEnd { start: 300, size: 300 });
    assert!(read(&[(400, 410)]).await.is_err());
    assert_eq!(fetch_error(read(&[(0, 5), (7, 7)]).await), FetchError::EmptyRange { start: 7, end: 7 });
    assert_eq!(fetch_error(read(&[(9, 7)]).await), FetchError::EmptyRange { start: 9, end: 7 });
    assert_eq!(read(&[(295, 400)]).await.unwrap()[0].len(), 5);
    assert!(read(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_part_is_the_clients_own_bytes() {
    let inner = objects().await;
    let path = Path::from("300");
    let theirs = inner.get(&path).await.unwrap().bytes().await.unwrap();
    let store = FetchStore::new(inner, config(4, 1000)).expect("valid settings");
    assert_eq!(store.get_range(&path, 5..9).await.unwrap().as_ptr(), theirs[5..].as_ptr());
    let ranges = store.get_ranges(&path, &[20..22, 5..9]).await.unwrap();
    assert_eq!((ranges[0].as_ptr(), ranges[1].as_ptr()), (theirs[20..].as_ptr(), theirs[5..].as_ptr()));
}

#[test]
fn only_a_read_in_parts_needs_a_runtime() {
    use futures::FutureExt;
    let inner = block_on(objects());
    let store = FetchStore::new(inner, config(4, 1000)).expect("valid settings");
    let path = Path::from("300");
    assert_eq!(store.get_range(&path, 0..8).now_or_never().expect("in memory").unwrap().len(), 8);
    assert_eq!(fetch_error(store.get_range(&path, 0..200).now_or_never().expect("in memory")), FetchError::NoRuntime);
}

#[tokio::test]
async fn local_files_are_read_in_large_steps() {
    const SIZE: usize = 20 << 20;
    let folder = tempfile::tempdir().unwrap();
    let inner = Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let (path, empty) = (Path::from("a"), Path::from("empty"));
    let bytes = headstart_sim::Content::new("a", 1).bytes(0..SIZE as u64);
    inner.put(&path, bytes.clone().into()).await.unwrap();
    inner.put(&empty, Vec::new().into()).await.unwrap();
    // With a remote profile, which splits, and with the local one.
    for profile in [profile(), BackendProfile::local()] {
        let store = FetchStore::new(inner.clone(), FetchConfig { profile: Some(profile), ..FetchConfig::default() })
            .expect("valid settings");
        for (range, expected, reads) in [
            (None, 0..SIZE, 5),
            (Some(GetRange::Offset(10)), 10..SIZE, 5),
            (Some(GetRange::Bounded(10..250)), 10..250, 1),
            (Some(GetRange::Bounded(SIZE as u64 - 10..u64::MAX)), SIZE - 10..SIZE, 1),
            (Some(GetRange::Bounded(10..(16 << 20) + 10)), 10..(16 << 20) + 10, 1),
            (Some(GetRange::Suffix(100)), SIZE - 100..SIZE, 1),
        ] {
            let result = store.get_opts(&path, GetOptions { range, ..GetOptions::default() }).await.unwrap();
            assert!(LocalFile::is_source_of(&result));
            assert_eq!(result.range, expected.start as u64..expected.end as u64);
            let chunks: Vec<_> = result.into_stream().try_collect().await.unwrap();
            assert_eq!(chunks.len(), reads, "{expected:?}");
            assert!(chunks.concat() == bytes[expected.clone()], "{expected:?}");
        }
        assert_eq!(store.get(&empty).await.unwrap().bytes().await.unwrap().len(), 0);
        assert_eq!(store.get_ranges(&path, &[290..310, 0..5]).await.unwrap()[0], bytes[290..310]);
        settle().await;
        assert_eq!(store.stats().in_flight, 0);

        let target = folder.path().join("copy");
        store.download(&path, &target).await.unwrap();
        assert!(std::fs::read(&target).unwrap() == bytes);
    }
}

#[tokio::test]
async fn a_local_file_that_shrinks_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let inner = Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let store = FetchStore::new(inner, FetchConfig::default()).expect("valid settings");
    let path = Path::from("a");
    store.put(&path, vec![7; 300].into()).await.unwrap();
    let answer = store.get(&path).await.unwrap();
    std::fs::OpenOptions::new().write(true).open(folder.path().join("a")).unwrap().set_len(200).unwrap();
    let error = answer.bytes().await.unwrap_err();
    assert!(error.to_string().contains("bytes 0..300 ended at byte 200"), "{error}");
}

#[test]
fn shows_the_inner_store_and_refuses_an_invalid_config() {
    let inner = Arc::new(InMemory::new());
    assert_eq!(
        FetchStore::new(inner.clone(), FetchConfig::default()).expect("valid settings").to_string(),
        "FetchStore(InMemory)"
    );
    let none = FetchConfig { concurrency: 0, ..FetchConfig::default() };
    let error = FetchStore::new(inner, none).unwrap_err().to_string();
    assert!(error.contains("concurrency"), "{error}");
}
