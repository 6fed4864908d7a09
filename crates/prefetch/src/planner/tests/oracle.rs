//! Recomputes from scratch what the planner keeps incrementally, and compares.

use super::*;
use crate::planner::parts::{IndexedPart, PartIndex, is_useless};
use crate::planner::streams::ReadStream;

/// Checks all that `planner` keeps incrementally.
#[track_caller]
pub(super) fn check(planner: &mut Planner) {
    check_parts(planner);
    check_wanted(planner);
    check_places(planner);
    // A sweep looks only at candidates that were read or have the given owner. So it misses nothing if all useless
    // parts are candidates.
    let missed = useless(planner).find(|part| !part.is_sweep_candidate);
    assert!(missed.is_none(), "useless, excluded no mark_sweep_candidates: {missed:?}");
}

/// Checks that the sweep at the end of a read has dropped all useless parts that were read or that have this `owner`.
#[track_caller]
pub(super) fn check_swept(planner: &Planner, owner: Option<PartOwner>) {
    let about = |part: &&PartState| part.unread_bytes() == 0 || Some(part.owner) == owner;
    let left: Vec<_> = useless(planner).filter(about).collect();
    assert!(left.is_empty(), "useless, excluded kept: {left:?}");
}

fn useless(planner: &Planner) -> impl Iterator<Item = &PartState> {
    let is_useless = |part: &&PartState| {
        let is_wanted = |part: &PartState| is_wanted(planner, part, None);
        is_useless(part, &planner.readers, planner.serves_once(), is_wanted)
    };
    planner.parts.map().iter().filter(|part| part.readers == 0).filter(is_useless)
}

fn check_parts(planner: &Planner) {
    let parts = planner.parts.map();
    let (index, mut recount) = (parts.index(), PartIndex::default());
    let mut owners = std::collections::BTreeSet::new();
    for part in parts.iter() {
        recount.replace(None, Some(IndexedPart::of(part)));
        owners.insert(part.owner);
        assert_eq!(part.unread_bytes(), part.range.end - part.range.start - part.read.overlap(&part.range));
        assert_eq!(parts.get(part.id).map(|found| &found.range), Some(&part.range));
    }
    assert_eq!(*index, recount);
    let count = |of: fn(&PartState) -> bool| parts.iter().filter(|part| of(part)).count();
    assert_eq!(index.in_flight, count(PartState::in_flight));
    assert_eq!(index.in_flight_unasked, count(|part| part.in_flight() && part.readers == 0));
    assert_eq!(index.being_read, count(|part| part.readers > 0));
    assert_eq!(index.unread_bytes, parts.iter().map(PartState::unread_bytes).sum::<u64>());
    assert_eq!(
        index.announced_bytes,
        parts.iter().filter(|part| part.is_announced()).map(PartState::unread_bytes).sum::<u64>()
    );
    for owner in owners {
        let own = || parts.iter().filter(move |part| part.owner == owner);
        assert_eq!(index.unread_of(owner), own().map(PartState::unread_bytes).sum::<u64>());
        assert!(parts.of_owner(owner).map(|part| part.id).eq(own().map(|part| part.id)));
    }
}

fn check_wanted(planner: &Planner) {
    let readers: Vec<_> = planner.readers.iter().map(|(reader, _)| Some(reader)).collect();
    for part in planner.parts.map().iter() {
        for excluded in readers.iter().copied().chain([None]) {
            assert_eq!(
                planner.readers.is_wanted(part, excluded),
                is_wanted(planner, part, excluded),
                "{part:?} except {excluded:?}"
            );
        }
    }
}

/// Whether `part` is ahead of, or just behind, a stream of any reader except `excluded`. Where bytes are served once,
/// nothing behind is.
fn is_wanted(planner: &Planner, part: &PartState, excluded: Option<ReaderId>) -> bool {
    let once = planner.serves_once();
    let wants = |state: &ReaderState, stream: &ReadStream| {
        let (own, latest) = (part.owner.stream == Some(stream.id), Some(stream.id) == state.latest_stream);
        (own || latest) && stream.is_ahead(&part.range, own)
            || !once && (latest || stream.is_revisited()) && stream.just_behind().matches(&part.range)
    };
    let others = planner.readers.iter().filter(|(reader, _)| Some(*reader) != excluded);
    others.into_iter().any(|(_, state)| state.streams.iter().any(|stream| wants(state, stream)))
}

fn check_places(planner: &mut Planner) {
    let readers = || planner.readers.iter().map(|(_, state)| state);
    let mut streams: Vec<u64> = readers().flat_map(|state| state.streams.active()).map(ReadStream::position).collect();
    streams.sort_unstable();
    let apart = |near| streams.windows(2).filter(|pair| pair[1] - pair[0] > near).count() as u64 + 1;
    let place = |state: &ReaderState| Some((state.streams.get(state.latest_stream?)?.position(), state.window_bytes));
    let mut windows: Vec<(u64, u64)> = readers().filter_map(place).collect();
    windows.sort_unstable();
    let windows_bytes = |near| {
        let together = windows.chunk_by(|a, b| b.0 - a.0 <= near);
        together.map(|near| near.iter().map(|(_, window)| *window).max().unwrap_or(0)).sum::<u64>()
    };
    let expected = [MIB, 4 * MIB, 64 * MIB].map(|near| (near, apart(near), windows_bytes(near)));
    assert_eq!(planner.readers.offsets(), apart(0));
    for (near, apart, windows_bytes) in expected {
        let places = planner.readers.places_apart(near);
        assert_eq!((places.count(), places.windows_bytes()), (apart, windows_bytes), "{near} bytes apart");
    }
}
