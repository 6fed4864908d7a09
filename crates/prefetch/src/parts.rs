//! What is here, in flight or behind: the requests of one object as disjoint ranges. Pure; the engine holds the bytes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::ranges::RangeSet;
use crate::stream::{StreamId, announced_by, reader_of};

/// Names a part; never used twice within one object.
pub(crate) type PartId = u64;

/// One request and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its name.
    pub(crate) id: PartId,
    /// The bytes it covers.
    pub(crate) range: Range<u64>,
    /// One past the last byte that has arrived.
    pub(crate) filled_to: u64,
    /// When it was sent.
    pub(crate) sent_at: Duration,
    /// When it is too old to be served as the present version, where a cache below has said so.
    pub(crate) expires_at: Option<Duration>,
    /// The stream it was fetched for, or the name of a reader's announcements.
    pub(crate) stream: StreamId,
    /// The bytes of it that were read.
    pub(crate) read: RangeSet,
    /// Reads that wait for it or copy from it now.
    pub(crate) readers: u32,
}

impl Part {
    /// Whether bytes are still on their way.
    #[must_use]
    pub(crate) fn in_flight(&self) -> bool {
        self.filled_to < self.range.end
    }

    /// Whether a hint has announced it.
    #[must_use]
    pub(crate) fn is_announced(&self) -> bool {
        self.stream == announced_by(reader_of(self.stream))
    }

    /// Bytes nobody has read.
    #[must_use]
    pub(crate) fn unread(&self) -> u64 {
        self.range.end - self.range.start - self.read.overlap(&self.range)
    }

    /// Bytes that have arrived and that nobody has read.
    #[must_use]
    pub(crate) fn arrived_unread(&self) -> u64 {
        let arrived = self.range.start..self.filled_to;
        arrived.end - arrived.start - self.read.overlap(&arrived)
    }
}

/// The parts of one object: disjoint, by their first byte.
#[derive(Debug, Default)]
pub(crate) struct PartMap {
    by_start: BTreeMap<u64, Part>,
    next_id: PartId,
}

impl PartMap {
    /// Adds a part over `range`, which no other part may overlap. Returns its name.
    pub(crate) fn add(&mut self, range: Range<u64>, stream: StreamId, now: Duration) -> PartId {
        debug_assert!(self.overlapping(&range).next().is_none(), "parts are disjoint: {range:?}");
        self.next_id += 1;
        let part = Part {
            id: self.next_id,
            filled_to: range.start,
            range: range.clone(),
            sent_at: now,
            expires_at: None,
            stream,
            read: RangeSet::default(),
            readers: 0,
        };
        self.by_start.insert(range.start, part);
        self.next_id
    }

    /// Names no part as `other` has named one.
    pub(crate) fn begin_after(&mut self, other: &Self) {
        self.next_id = other.next_id;
    }

    /// Every part, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Part> {
        self.by_start.values()
    }

    /// The parts that overlap `range`, ascending.
    pub(crate) fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = &Part> {
        let from = self.by_start.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        let (start, end) = (range.start, range.end.max(from));
        self.by_start.range(from..end).map(|(_, part)| part).filter(move |part| part.range.end > start)
    }

    /// Every part, ascending, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        self.by_start.values_mut()
    }

    /// The part called `id`.
    pub(crate) fn get_mut(&mut self, id: PartId) -> Option<&mut Part> {
        self.by_start.values_mut().find(|part| part.id == id)
    }

    /// Removes the part called `id`.
    pub(crate) fn remove(&mut self, id: PartId) -> Option<Part> {
        let start = self.by_start.values().find(|part| part.id == id)?.range.start;
        self.by_start.remove(&start)
    }

    /// The first byte at or after `offset` that no part covers.
    #[must_use]
    pub(crate) fn covered_until(&self, offset: u64) -> u64 {
        let mut at = offset;
        for part in self.overlapping(&(offset..u64::MAX)) {
            if part.range.start > at {
                break;
            }
            at = part.range.end;
        }
        at
    }

    /// The lowest offset from which on, up to `offset`, parts cover every byte.
    #[must_use]
    pub(crate) fn covered_down_to(&self, offset: u64) -> u64 {
        let mut at = offset;
        for part in self.by_start.range(..offset).rev().map(|(_, part)| part) {
            if part.range.end < at {
                break;
            }
            at = part.range.start;
        }
        at
    }

    /// Where the last part that starts below `offset` ends, if that is not above it.
    #[must_use]
    pub(crate) fn end_below(&self, offset: u64) -> Option<u64> {
        self.by_start.range(..offset).next_back().map(|(_, part)| part.range.end.min(offset))
    }

    /// Where the first part that starts at or after `offset` starts.
    #[must_use]
    pub(crate) fn next_start(&self, offset: u64) -> Option<u64> {
        self.by_start.range(offset..).next().map(|(start, _)| *start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn coverage_is_that_of_its_bytes(lens in prop::collection::vec((0_u64..6, 1_u64..6), 0..10), probe in 0_u64..70, len in 1_u64..20) {
            let mut map = PartMap::default();
            let mut covered = Vec::new();
            let mut at = 0;
            for (gap, len) in lens {
                at += gap;
                map.add(at..at + len, 1, Duration::ZERO);
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
}
