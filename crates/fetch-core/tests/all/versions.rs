//! An object that changes while it is read: bytes of one version, or `ObjectChanged`; never bytes of two.

use crate::common::{
    ALL_PINS, Altered, KEY, KIB, Setup, check_body, is_object_changed, path, settle, slow_link, tiny_parts,
};
use headstart_fetch_core::{BackendProfile, Intent, ObjectChanged, ObjectVersion, PinBy};
use headstart_sim::{ExternalChange, FaultEvent, FaultPlan, RequestKind, When};
use object_store::{Error, Extensions, GetOptions, GetRange, GetResult, ObjectStore};

fn change_before(read: u64, change: ExternalChange) -> FaultPlan {
    FaultPlan { script: vec![(When::Read(read), FaultEvent::Change(change))], ..FaultPlan::default() }
}

/// Times to the first byte vary, so that the first part is not always answered first.
fn setup(pin: PinBy, versioned: bool, faults: FaultPlan) -> Setup {
    let profile = BackendProfile { pin, ..tiny_parts() };
    Setup { link: slow_link().lognormal(), profile, versioned, faults, ..Setup::default() }
}

/// Every request boundary, both kinds of bucket, every pin, every kind of read. `check_body` compares each byte
/// with the version that the answer named.
#[tokio::test(start_paused = true)]
async fn a_change_at_any_request_boundary_is_seen() {
    let (key, size) = (KEY.to_owned(), Setup::default().size);
    let changes = [
        ExternalChange::Overwrite { key: key.clone(), size: None },
        ExternalChange::Overwrite { key: key.clone(), size: Some(size / 2) },
        ExternalChange::Overwrite { key: key.clone(), size: Some(size * 2) },
        ExternalChange::Delete { key },
    ];
    let ranges =
        [None, Some(GetRange::Offset(5 * KIB)), Some((KIB..250 * KIB).into()), Some(GetRange::Suffix(200 * KIB))];
    let (mut seen, mut finished, mut restarted) = (0, 0, 0);
    for change in changes {
        for range in &ranges {
            for (pin, versioned) in ALL_PINS.into_iter().flat_map(|pin| [(pin, true), (pin, false)]) {
                let options = GetOptions { range: range.clone(), ..GetOptions::default() };
                let calm = setup(pin, versioned, FaultPlan::default()).build();
                calm.read(options.clone()).await.unwrap();
                let requests = calm.sim.log().counts().gets;
                assert!(requests > 10, "{requests} requests");
                for boundary in 0..=requests {
                    let bench = setup(pin, versioned, change_before(boundary, change.clone())).build();
                    match bench.read(options.clone()).await {
                        Ok(_) => finished += 1,
                        Err(error) if ObjectChanged::find(&error).is_some() => seen += 1,
                        Err(Error::NotFound { .. }) => {
                            assert!(
                                matches!(change, ExternalChange::Delete { .. }) && boundary < 5,
                                "boundary {boundary}"
                            );
                        }
                        Err(error) => panic!("{change:?} at {boundary}, {range:?}, {pin:?}: {error}"),
                    }
                    restarted += bench.store.stats().restarts;
                    settle().await;
                    bench.assert_nothing_left("after a change");
                }
            }
        }
    }
    eprintln!("{finished} finished, {seen} saw the change, {restarted} began anew");
    assert!(seen > 100 && finished > 100 && restarted > 10);
}

/// A mutant that neither pins nor compares: its requests have no pin, and every answer seems to be of the first
/// answer's version. The check of every byte must catch it.
#[tokio::test(start_paused = true)]
async fn a_mutant_without_pin_is_caught() {
    let mut caught = 0;
    for boundary in 1..20 {
        let change = ExternalChange::Overwrite { key: KEY.to_owned(), size: None };
        let bench = setup(PinBy::ETag, false, change_before(boundary, change)).build();
        let first = std::sync::OnceLock::new();
        let blind =
            Altered::new(bench.sim.clone(), |options| Ok(GetOptions { if_match: None, version: None, ..options }))
                .answers(move |answer| GetResult { meta: first.get_or_init(|| answer.meta.clone()).clone(), ..answer });
        let mutant = bench.store_over(blind);
        let read = async move { check_body(mutant.get_opts(&path(), GetOptions::new()).await.unwrap()).await.unwrap() };
        caught += usize::from(tokio::spawn(read).await.is_err_and(|error| error.is_panic()));
    }
    assert_eq!(caught, 19, "each splice of two versions is seen");
}

/// The parts of the first wave are answered with two versions, and the first part is not answered first.
#[tokio::test(start_paused = true)]
async fn a_change_before_the_first_answer_begins_anew() {
    let mut restarts = 0;
    for seed in 0..20 {
        let change = ExternalChange::Overwrite { key: KEY.to_owned(), size: None };
        let bench = Setup { seed, ..setup(PinBy::ETag, false, change_before(2, change)) }.build();
        match bench.read(GetOptions::new().with_range(Some(0..64 * KIB))).await {
            Ok(bytes) => assert_eq!((bytes, bench.store.stats().restarts), (64 * KIB, 1), "seed {seed}"),
            Err(error) => assert!(ObjectChanged::find(&error).is_some(), "seed {seed}: {error}"),
        }
        restarts += bench.store.stats().restarts;
    }
    assert!((5..20).contains(&restarts), "{restarts} of 20 were restarted");
}

/// Without a pin an unversioned store would answer later parts with the new version.
#[tokio::test(start_paused = true)]
async fn later_parts_carry_the_pin() {
    for pin in [PinBy::ETag, PinBy::Version] {
        let bench = setup(pin, true, FaultPlan::default()).build();
        let result = bench.store.get_opts(&path(), GetOptions::new()).await.unwrap();
        bench.sim.overwrite(KEY, None).unwrap();
        let read = check_body(result).await;
        let statuses: Vec<u16> = bench.sim.log().snapshot().iter().map(|record| record.status).collect();
        match pin {
            PinBy::ETag => {
                assert!(is_object_changed(&read), "{read:?}");
                assert!(statuses.contains(&412), "{statuses:?}");
            }
            _ => assert_eq!(read.unwrap(), bench.size, "a versioned bucket still has the old version"),
        }
    }
}

/// A caller, or a layer above, has pinned the read to the version it knows. Parts that were sent before the first
/// answer carry this pin, too, and are answered by 404 or 412 once the version is gone.
#[tokio::test(start_paused = true)]
async fn a_body_whose_pinned_version_is_gone_says_that_the_object_changed() {
    for (by_caller, pin) in [(false, PinBy::Version), (true, PinBy::Version), (true, PinBy::ETag)] {
        let mut seen = 0;
        for (boundary, seed) in (1..8).flat_map(|boundary| (0..5).map(move |seed| (boundary, seed))) {
            let change = ExternalChange::Overwrite { key: KEY.to_owned(), size: None };
            let bench = Setup { seed, ..setup(pin, false, change_before(boundary, change)) }.build();
            let known = ObjectVersion::of(&bench.sim.catalog().get(KEY, None).unwrap().meta(path()));
            let mut options = GetOptions::new().with_range(Some(0..64 * KIB));
            assert!(known.pin(pin, &mut options));
            if by_caller {
                options.extensions = Extensions::new();
            }
            // Whoever has pinned the request explains the error of an answer, but not that of a body.
            let Ok(answer) = bench.store.get_opts(&path(), options).await else { continue };
            if let Err(error) = check_body(answer).await {
                assert!(ObjectChanged::find(&error).is_some(), "boundary {boundary}, seed {seed}: {error}");
                seen += 1;
            }
        }
        assert!(seen > 5, "{seen} bodies saw the change");
    }
}

#[tokio::test(start_paused = true)]
async fn the_callers_version_is_never_replaced() {
    let bench = setup(PinBy::ETag, true, FaultPlan::default()).build();
    let first = bench.sim.catalog().get(KEY, None).unwrap().meta(path());
    bench.sim.overwrite(KEY, Some(200 * KIB)).unwrap();
    let old = GetOptions::new().with_version(first.version.clone());
    assert_eq!(bench.read(old).await.unwrap(), bench.size, "the version asked for");
    let stale = GetOptions::new().with_if_match(first.e_tag.clone());
    let error = bench.read(stale).await.unwrap_err();
    assert!(matches!(error, Error::Precondition { .. }), "{error}");
    assert!(ObjectChanged::find(&error).is_none(), "the caller's condition failed, not ours");
    let same = GetOptions::new().with_if_none_match(bench.sim.catalog().get(KEY, None).unwrap().meta(path()).e_tag);
    assert!(matches!(bench.read(same).await.unwrap_err(), Error::NotModified { .. }));
    let other = GetOptions::new().with_if_none_match(first.e_tag);
    assert_eq!(bench.read(other).await.unwrap(), 200 * KIB, "later parts do not repeat the condition");
}

#[tokio::test(start_paused = true)]
async fn ranges_of_one_call_are_of_one_version() {
    let ranges: Vec<_> = (0..10).map(|n| n * 30 * KIB..n * 30 * KIB + 100).collect();
    for boundary in 0..12 {
        let change = ExternalChange::Overwrite { key: KEY.to_owned(), size: None };
        let bench = setup(PinBy::ETag, false, change_before(boundary, change)).build();
        let old = bench.sim.catalog().get(KEY, None).unwrap();
        let got = bench.store.get_ranges(&path(), &ranges).await.expect("a restart finds the new version");
        let new = bench.sim.catalog().get(KEY, None).unwrap();
        let all_of = |of: &headstart_sim::Generation| ranges.iter().zip(&got).all(|(r, b)| of.bytes(r.clone()) == *b);
        assert!(all_of(&old) || all_of(&new), "boundary {boundary}: bytes of both versions");
    }
}

/// A versioned bucket still has the version that the first range was of, and this version does not have the second one.
#[tokio::test(start_paused = true)]
async fn a_range_that_only_the_new_version_has_is_read_in_the_new_version() {
    for pin in ALL_PINS {
        let change = ExternalChange::Overwrite { key: KEY.to_owned(), size: Some(600 * KIB) };
        let bench = Setup { concurrency: 1, ..setup(pin, true, change_before(1, change)) }.build();
        let ranges = [0..100, 400 * KIB..400 * KIB + 100];
        let got = bench.store.get_ranges(&path(), &ranges).await.unwrap();
        let new = bench.sim.catalog().get(KEY, None).unwrap();
        assert!(ranges.iter().zip(&got).all(|(range, bytes)| new.bytes(range.clone()) == *bytes), "{pin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_carries_the_callers_intent() {
    let bench = Setup::default().build();
    let options = headstart_fetch_core::internal::ask(0..bench.size, Intent::Speculative);
    bench.read(options).await.unwrap();
    let log = bench.sim.log().snapshot();
    assert!(log.len() > 10);
    assert!(log.iter().all(|r| r.kind == RequestKind::Get && r.intent == Some(Intent::Speculative)));
    assert_eq!(bench.store.stats().speculative_gets, log.len() as u64);
}
