//! The parts of one object by offset: disjoint ranges that are held or in flight. The engine holds their bytes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::planner::messages::ReaderId;
use crate::planner::parts::{IndexedPart, PartId, PartIndex, PartState, RangeSet};
use crate::planner::streams::{PartOwner, RangeFilter};
use crate::planner::visits;

/// The parts of one object, disjoint, by their first byte.
///
/// Parts change through [`PartMap::change`] only, which updates the index and the covered ranges.
#[derive(Debug, Default)]
pub(crate) struct PartMap {
    by_start: BTreeMap<u64, PartState>,
    starts: BTreeMap<PartId, u64>,
    index: PartIndex,
    /// The bytes of all parts. Adjacent parts are one range here, so finding the end of a covered stretch takes one
    /// lookup.
    covered: RangeSet,
    /// The latest id handed out.
    pub(super) next_id: PartId,
}

impl PartMap {
    /// Adds a part over `range`, which must not overlap another part. Returns its id.
    pub(crate) fn add(&mut self, range: Range<u64>, owner: PartOwner, now: Duration) -> PartId {
        debug_assert!(self.overlapping(&range).next().is_none(), "parts are disjoint: {range:?}");
        // A part that was truncated to nothing gives way.
        if let Some(empty) = self.by_start.get(&range.start).map(|part| part.id) {
            self.remove(empty);
        }
        self.next_id += 1;
        let part = PartState::new(self.next_id, range.clone(), owner, now);
        self.index.replace(None, Some(IndexedPart::of(&part)));
        self.starts.insert(part.id, range.start);
        self.covered.insert(range.clone());
        self.by_start.insert(range.start, part);
        self.next_id
    }

    pub(crate) fn index(&self) -> &PartIndex {
        &self.index
    }

    /// All parts, ascending. Must not run at every read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PartState> {
        self.by_start.values().inspect(|_| visits::count())
    }

    pub(crate) fn get(&self, id: PartId) -> Option<&PartState> {
        self.at(*self.starts.get(&id)?)
    }

    pub(crate) fn at(&self, start: u64) -> Option<&PartState> {
        visits::count();
        self.by_start.get(&start)
    }

    pub(crate) fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = &PartState> {
        let from = self.by_start.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        let (start, end) = (range.start, range.end.max(from));
        let parts = self.by_start.range(from..end).map(|(_, part)| part).inspect(|_| visits::count());
        parts.filter(move |part| part.range.end > start)
    }

    /// The parts that lie within `range`, ascending.
    pub(crate) fn within(&self, range: &Range<u64>) -> impl Iterator<Item = &PartState> {
        let (start, end) = (range.start, range.end.max(range.start));
        let parts = self.by_start.range(start..=end).map(|(_, part)| part).inspect(|_| visits::count());
        parts.filter(move |part| part.range.end <= end)
    }

    /// The parts that `filter` matches, descending.
    pub(crate) fn matching(&self, filter: RangeFilter) -> impl Iterator<Item = &PartState> {
        let parts = self.by_start.range(..filter.start_below).rev().map(|(_, part)| part).inspect(|_| visits::count());
        parts.take_while(move |part| part.range.end >= filter.min_end)
    }

    /// The parts of `owner` that `filter` matches, descending.
    pub(crate) fn matching_of(&self, owner: PartOwner, filter: RangeFilter) -> impl Iterator<Item = &PartState> {
        let starts = self.index.of_owner(owner, filter.start_below).rev();
        starts.filter_map(|start| self.at(start)).take_while(move |part| part.range.end >= filter.min_end)
    }

    /// The parts of `owner`, ascending.
    pub(crate) fn of_owner(&self, owner: PartOwner) -> impl Iterator<Item = &PartState> {
        self.index.of_owner(owner, u64::MAX).filter_map(|start| self.at(start))
    }

    /// The parts of `reader`: by owner, each ascending.
    pub(crate) fn of_reader(&self, reader: ReaderId) -> impl Iterator<Item = &PartState> {
        self.index.of_reader(reader).filter_map(|start| self.at(start))
    }

    /// Changes part `id`, except its id and first byte; the part may become shorter, not longer. `None` if it does not
    /// exist.
    pub(crate) fn change<T>(&mut self, id: PartId, change: impl FnOnce(&mut PartState) -> T) -> Option<T> {
        visits::count();
        let part = self.by_start.get_mut(self.starts.get(&id)?)?;
        let (before, end) = (IndexedPart::of(part), part.range.end);
        let answer = change(part);
        self.index.replace(Some(before), Some(IndexedPart::of(part)));
        self.covered.remove(&(part.range.end..end));
        Some(answer)
    }

    pub(crate) fn remove(&mut self, id: PartId) -> Option<PartState> {
        visits::count();
        let part = self.by_start.remove(&self.starts.remove(&id)?)?;
        self.index.replace(Some(IndexedPart::of(&part)), None);
        self.covered.remove(&part.range);
        Some(part)
    }

    /// The first byte at or after `offset` that no part covers.
    pub(crate) fn covered_until(&self, offset: u64) -> u64 {
        self.covered.at_or_below(offset).map_or(offset, |run| run.end.max(offset))
    }

    /// The lowest offset from which parts cover every byte up to `offset`.
    pub(crate) fn covered_down_to(&self, offset: u64) -> u64 {
        let run = offset.checked_sub(1).and_then(|below| self.covered.at_or_below(below));
        run.filter(|run| run.end >= offset).map_or(offset, |run| run.start)
    }

    /// The end of the last part that starts below `offset`, but at most `offset`.
    pub(crate) fn end_below(&self, offset: u64) -> Option<u64> {
        self.by_start.range(..offset).next_back().map(|(_, part)| part.range.end.min(offset))
    }

    /// The start of the first part that starts at or after `offset`.
    pub(crate) fn next_start(&self, offset: u64) -> Option<u64> {
        self.by_start.range(offset..).next().map(|(start, _)| *start)
    }
}

#[cfg(test)]
impl PartMap {
    /// Compares the index and the covered ranges with those computed anew.
    #[track_caller]
    pub(crate) fn check(&self) {
        let (index, mut recount) = (&self.index, PartIndex::default());
        for part in self.iter() {
            recount.replace(None, Some(IndexedPart::of(part)));
            assert_eq!(part.unread_bytes(), part.range.end - part.range.start - part.read.overlap(&part.range));
            assert_eq!(self.get(part.id).map(|found| &found.range), Some(&part.range));
        }
        assert_eq!(*index, recount);
        let count = |of: fn(&PartState) -> bool| self.iter().filter(|part| of(part)).count();
        assert_eq!(index.in_flight, count(PartState::in_flight));
        assert_eq!(index.in_flight_unasked, count(|part| part.in_flight() && part.readers == 0));
        assert_eq!(index.being_read, count(|part| part.readers > 0));
        let unread = |of: &dyn Fn(&PartState) -> bool| -> u64 {
            self.iter().filter(|part| of(part)).map(PartState::unread_bytes).sum()
        };
        assert_eq!(index.unread_bytes, unread(&|_| true));
        assert_eq!(index.announced_bytes, unread(&PartState::is_announced));
        for owner in self.iter().map(|part| part.owner).collect::<std::collections::BTreeSet<_>>() {
            assert_eq!(index.unread_of(owner), unread(&|part| part.owner == owner));
            let own = self.iter().filter(|part| part.owner == owner).map(|part| part.id);
            assert!(self.of_owner(owner).map(|part| part.id).eq(own));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn coverage_is_that_of_its_bytes(
            lens in prop::collection::vec((0_u64..6, 1_u64..6), 0..10),
            probe in 0_u64..70,
            len in 1_u64..20,
        ) {
            let mut map = PartMap::default();
            let mut covered = Vec::new();
            let mut at = 0;
            for (gap, len) in lens {
                at += gap;
                map.add(at..at + len, PartOwner::hint(1), Duration::ZERO);
                covered.extend(at..at + len);
                at += len;
            }
            let expected = (probe..).find(|byte| !covered.contains(byte)).unwrap();
            prop_assert_eq!(map.covered_until(probe), expected);
            let lowest = (0..=probe).rev().find(|byte| *byte == 0 || !covered.contains(&(byte - 1))).unwrap();
            prop_assert_eq!(map.covered_down_to(probe), lowest);
            let end = (0..=lowest).rev().find(|byte| *byte > 0 && covered.contains(&(byte - 1)));
            prop_assert_eq!(map.end_below(lowest), end);
            let seen: u64 = map
                .overlapping(&(probe..probe + len))
                .map(|part| part.range.end.min(probe + len) - part.range.start.max(probe))
                .sum();
            prop_assert_eq!(seen, (probe..probe + len).filter(|byte| covered.contains(byte)).count() as u64);
        }
    }
    proptest! {
        /// After any changes (also after truncation to nothing) the index and the covered ranges equal those computed
        /// anew.
        #[test]
        fn the_index_is_a_recount(steps in prop::collection::vec((0_u64..60, 1_u64..8, 0_u64..4, 0_u8..9), 1..80)) {
            let mut map = PartMap::default();
            for (at, len, stream, what) in steps {
                let owner = PartOwner::hint(stream);
                let id = map.overlapping(&(at..at + 1)).next().map(|part| part.id);
                match (id, what) {
                    (None, _) => {
                        let end = map.next_start(at + 1).map_or(at + len, |next| next.min(at + len));
                        map.add(at..end, owner, Duration::ZERO);
                    }
                    (Some(id), 0) => drop(map.remove(id)),
                    (Some(id), 1) => drop(map.change(id, |part| part.truncate(at))),
                    (Some(id), 2) => drop(map.change(id, |part| part.filled_to = at)),
                    (Some(id), 3) => drop(map.change(id, |part| part.owner = owner)),
                    (Some(id), 4) => drop(map.change(id, |part| part.is_sweep_candidate = !part.is_sweep_candidate)),
                    (Some(id), 5) => drop(map.change(id, |part| part.readers = part.readers.saturating_sub(1))),
                    (Some(id), _) => drop(map.change(id, |part| part.begin_read(at..part.range.end.min(at + len)))),
                }
                map.check();
                let covered: Vec<u64> = map.covered.iter().flatten().collect();
                let bytes: Vec<u64> = map.iter().flat_map(|part| part.range.clone()).collect();
                prop_assert_eq!(covered, bytes);
                let filter = RangeFilter { min_end: at, start_below: at + len };
                let matching = map.iter().filter(|part| filter.matches(&part.range));
                let naive: Vec<PartId> = matching.map(|part| part.id).collect();
                let mut found: Vec<PartId> = map.matching(filter).map(|part| part.id).collect();
                found.reverse();
                prop_assert_eq!(found, naive);
            }
        }
    }
}
