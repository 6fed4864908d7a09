//! Stores whose answers have no entity tag or version: objects that a date identifies, and objects that nothing
//! identifies.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::common::{self, Altered, KEY, KIB, Setup, check_body, path, settle};
use headstart_fetch_core::{CacheHint, FetchConfig, FetchError, FetchStore, ObjectChanged};
use headstart_sim::{Content, ExternalChange, FIRST_GENERATION, FaultEvent, FaultPlan, ReadAnswer, When};
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt};

/// What an answer tells about the version.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tells {
    Date,
    WeakTag,
    WeakTagAndDate,
    Nothing,
}

const WITHOUT_TAGS: [Tells; 4] = [Tells::Date, Tells::WeakTag, Tells::WeakTagAndDate, Tells::Nothing];

impl Tells {
    fn identifies(self) -> bool {
        matches!(self, Self::Date | Self::WeakTagAndDate)
    }

    /// The generation travels where a test finds it and the store does not look.
    fn strip(self, mut answer: GetResult) -> GetResult {
        let generation: i64 = answer.meta.version.take().unwrap().parse().unwrap();
        let age = generation - i64::try_from(FIRST_GENERATION).unwrap();
        answer.meta.last_modified = match self {
            Self::Date | Self::WeakTagAndDate => answer.meta.last_modified + chrono::TimeDelta::seconds(age),
            _ => chrono::DateTime::UNIX_EPOCH,
        };
        answer.meta.e_tag = matches!(self, Self::WeakTag | Self::WeakTagAndDate).then(|| "W/\"always\"".to_owned());
        answer.extensions.insert(Generation(u64::try_from(generation).unwrap()));
        answer
    }
}

#[derive(Debug, Clone, Copy)]
struct Generation(u64);

/// A store that ignores pins, since it has nothing to compare them with.
fn unpinned(options: GetOptions) -> object_store::Result<GetOptions> {
    Ok(GetOptions { if_match: None, version: None, ..options })
}

fn over(bench: &common::Bench, tells: Tells, config: FetchConfig) -> FetchStore {
    FetchStore::new(
        Arc::new(Altered::new(bench.sim.clone(), unpinned).answers(move |answer| tells.strip(answer))),
        config,
    )
    .expect("valid settings")
}

/// Every byte is of the generation that the head of the answer names.
async fn check(answer: GetResult) -> object_store::Result<u64> {
    let Generation(generation) = *answer.extensions.get().expect("put there by `strip`");
    let range = answer.range.clone();
    let bytes = answer.bytes().await?;
    Content::new(KEY, generation).check(range.start, &bytes).unwrap_or_else(|wrong| panic!("two versions: {wrong:?}"));
    assert_eq!(bytes.len() as u64, range.end - range.start);
    Ok(bytes.len() as u64)
}

fn reads(size: u64) -> [GetOptions; 4] {
    let range = |range: GetRange| GetOptions::new().with_range(Some(range));
    [
        GetOptions::new(),
        range(GetRange::Bounded(KIB..size - KIB)),
        range(GetRange::Offset(5 * KIB)),
        range(GetRange::Suffix(200 * KIB)),
    ]
}

/// Overwritten by an object of the same size, or cut, at every request boundary: one version per answer, or an
/// error.
#[tokio::test(start_paused = true)]
async fn a_version_of_the_same_size_is_never_mixed_in() {
    for tells in WITHOUT_TAGS {
        for read in 0..12 {
            for cut in [None, Some(read)] {
                let mut script = vec![(
                    When::Read(read + 1),
                    FaultEvent::Change(ExternalChange::Overwrite { key: KEY.into(), size: None }),
                )];
                script.extend(cut.map(|cut| (When::Read(cut), FaultEvent::Answer(ReadAnswer::Cut { after: 0.5 }))));
                let faults = FaultPlan { script, ..FaultPlan::default() };
                let setup = Setup { faults, ..Setup::default() };
                let config = setup.config();
                let bench = setup.build();
                let store = over(&bench, tells, config);
                for options in reads(bench.size) {
                    match store.get_opts(&path(), options).await {
                        Ok(answer) => match check(answer).await {
                            Err(error) if tells.identifies() => {
                                assert!(ObjectChanged::find(&error).is_some(), "{tells:?}: {error}");
                            }
                            // As with the plain client, a body that breaks off is an
                            // error.
                            Err(error) => assert!(cut.is_some() && ObjectChanged::find(&error).is_none(), "{error}"),
                            Ok(_) => {}
                        },
                        Err(error) => panic!("{tells:?}: nothing was handed on yet: {error}"),
                    }
                }
                settle().await;
                assert_eq!(store.stats().in_flight, 0);
            }
        }
    }
}

/// A part is answered while the date of the object is too young to count, and the first part, which is refused at
/// first, after that: both may be of different versions with one date.
#[tokio::test(start_paused = true)]
async fn a_date_that_settles_between_two_answers_proves_nothing_of_the_first() {
    for overwritten in 1..12 {
        let script = vec![
            (When::Read(0), FaultEvent::Answer(ReadAnswer::Unavailable)),
            (When::Read(overwritten), FaultEvent::Change(ExternalChange::Overwrite { key: KEY.into(), size: None })),
        ];
        let setup = Setup { faults: FaultPlan { script, ..FaultPlan::default() }, ..Setup::default() };
        let config = setup.config();
        let bench = setup.build();
        // The version in which the date had become old enough.
        let settled_in = AtomicI64::new(0);
        let answers = move |answer: GetResult| {
            let generation: i64 = answer.meta.version.as_deref().unwrap().parse().unwrap();
            if answer.range.start == KIB && settled_in.load(Ordering::SeqCst) == 0 {
                settled_in.store(generation, Ordering::SeqCst);
            }
            let mut answer = Tells::Nothing.strip(answer);
            answer.meta.last_modified = match settled_in.load(Ordering::SeqCst) {
                0 => chrono::Utc::now(),
                settled_in => {
                    chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::microseconds(1 + generation.max(settled_in))
                }
            };
            answer
        };
        let store = FetchStore::new(Arc::new(Altered::new(bench.sim.clone(), unpinned).answers(answers)), config)
            .expect("valid settings");
        if let Err(error) = check(store.get_opts(&path(), reads(bench.size)[1].clone()).await.unwrap()).await {
            assert!(ObjectChanged::find(&error).is_some(), "{error}");
        }
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_validator_each_read_is_one_request_once_that_is_known() {
    for tells in WITHOUT_TAGS {
        let bench = Setup::default().build();
        let store = over(&bench, tells, Setup::default().config());
        for (n, options) in reads(bench.size).into_iter().enumerate() {
            let before = store.stats().gets();
            check(store.get_opts(&path(), options).await.unwrap()).await.unwrap();
            let gets = store.stats().gets() - before;
            match (tells.identifies(), n) {
                (true, _) => assert!(gets > 10, "{tells:?}: {gets} GETs"),
                (false, 0) => assert_eq!(gets, 2, "{tells:?}: the first answer shows that there is no validator"),
                (false, _) => assert_eq!(gets, 1, "{tells:?}"),
            }
        }
        // A range read in parts is sent at once; its parts are then discarded.
        let store = over(&bench, tells, Setup::default().config());
        check(store.get_opts(&path(), reads(bench.size)[1].clone()).await.unwrap()).await.unwrap();
        settle().await;
        assert_eq!(store.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn objects_that_never_change_are_split_without_a_validator() {
    for hinted in [false, true] {
        let bench = Setup::default().build();
        let config = FetchConfig { immutable: !hinted, ..Setup::default().config() };
        let store = over(&bench, Tells::Nothing, config);
        let mut options = GetOptions::new();
        if hinted {
            options.extensions.insert(CacheHint::Immutable);
        }
        check(store.get_opts(&path(), options).await.unwrap()).await.unwrap();
        assert!(store.stats().gets() > 10, "hinted: {hinted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_validator_goes_on_only_where_nothing_was_handed_on() {
    for (after, ok) in [(0.0, true), (0.5, false)] {
        let script = vec![(When::Read(0), FaultEvent::Answer(ReadAnswer::Cut { after }))];
        let bench = Setup { faults: FaultPlan { script, ..FaultPlan::default() }, ..Setup::default() }.build();
        let store = over(&bench, Tells::Nothing, Setup::default().config());
        let read = check(store.get_opts(&path(), GetOptions::new().with_range(Some(0..4 * KIB))).await.unwrap()).await;
        assert_eq!(read.is_ok(), ok, "{read:?}");
    }
    // Nor is a body given up after a pause that a plain stream would wait for.
    let pause = std::time::Duration::from_secs(20);
    let script = vec![(When::Read(0), FaultEvent::Answer(ReadAnswer::Stalled { after: 0.5, pause }))];
    let bench = Setup { faults: FaultPlan { script, ..FaultPlan::default() }, ..Setup::default() }.build();
    let store = over(&bench, Tells::Nothing, Setup::default().config());
    let options = GetOptions::new().with_range(Some(0..4 * KIB));
    assert_eq!(check(store.get_opts(&path(), options).await.unwrap()).await.unwrap(), 4 * KIB);
    assert_eq!(store.stats().gets(), 1);
}

/// Overwritten by a shorter object while the first parts are sent or a body is resumed, on a server that ignores
/// pins: the caller gets `ObjectChanged`, not the store's error about a range of our choice.
#[tokio::test(start_paused = true)]
async fn a_shorter_version_is_a_changed_object_not_a_bad_range() {
    for read in 0..14 {
        for cut in [None, Some(read)] {
            let change = ExternalChange::Overwrite { key: KEY.into(), size: Some(20 * KIB) };
            let mut script = vec![(When::Read(read + 1), FaultEvent::Change(change))];
            script.extend(cut.map(|cut| (When::Read(cut), FaultEvent::Answer(ReadAnswer::Cut { after: 0.5 }))));
            let faults = FaultPlan { script, ..FaultPlan::default() };
            let bench = Setup { faults, ..Setup::default() }.build();
            let store = FetchStore::new(Arc::new(Altered::new(bench.sim.clone(), unpinned)), Setup::default().config())
                .expect("valid settings");
            for options in reads(bench.size) {
                let read = async { check_body(store.get_opts(&path(), options.clone()).await?).await };
                match read.await {
                    Ok(_) => {}
                    Err(error) => assert!(ObjectChanged::find(&error).is_some(), "{options:?}: {error:?}"),
                }
            }
            settle().await;
            bench.assert_nothing_left("at the end");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_past_the_end_is_told_as_the_store_tells_it() {
    let bench = Setup::default().build();
    let raw = bench.sim.get_range(&path(), 400 * KIB..900 * KIB).await.unwrap_err().to_string();
    let ours = bench.store.get_range(&path(), 400 * KIB..900 * KIB).await.unwrap_err();
    assert_eq!(ours.to_string(), raw);
    assert!(!matches!(&ours, object_store::Error::Generic { source, .. } if source.is::<FetchError>()));
}
