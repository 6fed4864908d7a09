//! Recomputes from scratch what the planner keeps incrementally, and compares.

use super::*;
use crate::planner::parts::is_useless;
use crate::planner::readers::ReadPlaces;

/// Checks all that `planner` keeps incrementally.
#[track_caller]
pub(super) fn check(planner: &mut Planner) {
    planner.parts.map().check();
    check_wanted(planner);
    check_places(planner);
    // A sweep looks only at candidates that were read or have the given owner. So it misses nothing if all useless
    // parts are candidates.
    let missed = useless(planner).find(|part| !part.is_sweep_candidate);
    assert!(missed.is_none(), "useless, but no sweep candidate: {missed:?}");
}

/// Checks that the sweep at the end of a read has dropped all useless parts that were read or that have this `owner`.
#[track_caller]
pub(super) fn check_swept(planner: &Planner, owner: Option<PartOwner>) {
    let about = |part: &&PartState| part.unread_bytes() == 0 || Some(part.owner) == owner;
    let left: Vec<_> = useless(planner).filter(about).collect();
    assert!(left.is_empty(), "useless, but kept: {left:?}");
}

fn useless(planner: &Planner) -> impl Iterator<Item = &PartState> {
    let is_useless = |part: &&PartState| {
        let is_wanted = |part: &PartState| is_wanted(planner, part, None);
        is_useless(part, &planner.readers, is_wanted)
    };
    planner.parts.map().iter().filter(|part| part.readers == 0).filter(is_useless)
}

fn check_wanted(planner: &Planner) {
    let readers: Vec<_> = planner.readers.iter().map(|(reader, _)| Some(reader)).collect();
    for part in planner.parts.map().iter() {
        for excluded in readers.iter().copied().chain([None]) {
            let is_kept = planner.readers.is_wanted(part, excluded);
            assert_eq!(is_kept, is_wanted(planner, part, excluded), "{part:?} except {excluded:?}");
        }
        let is_behind = planner.readers.iter().any(|(_, state)| state.wants_behind(&part.range, planner.serves_once()));
        assert_eq!(planner.readers.is_kept_behind(part), is_behind, "{part:?}");
    }
}

/// Whether `part` is ahead of, or just behind, a stream of any reader except `excluded`.
fn is_wanted(planner: &Planner, part: &PartState, excluded: Option<ReaderId>) -> bool {
    let once = planner.serves_once();
    let others = planner.readers.iter().filter(|(reader, _)| Some(*reader) != excluded);
    others.into_iter().any(|(_, state)| state.wants(part.owner.stream, &part.range, once))
}

fn check_places(planner: &mut Planner) {
    let mut anew = ReadPlaces::new();
    planner.readers.iter().for_each(|(reader, state)| anew.update(reader, Some(state)));
    let figures = |places: &ReadPlaces| (places.count(), places.offsets(), places.windows_bytes());
    for near in [MIB, 4 * MIB, 64 * MIB] {
        anew.set_near(near);
        assert_eq!(figures(planner.readers.places_apart(near)), figures(&anew), "{near} bytes apart");
    }
}
