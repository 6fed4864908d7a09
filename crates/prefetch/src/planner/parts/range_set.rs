//! A set of bytes of one object, as disjoint ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint, non-touching ranges in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// Adds `range`. Returns how many of its bytes were new.
    pub(crate) fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.start >= range.end {
            return 0;
        }
        let mut merged = range.clone();
        let mut known = 0;
        // Merges every range that touches `range`, from the last one on.
        while let Some((&start, &end)) = self.0.range(..=merged.end).next_back() {
            if end < merged.start {
                break;
            }
            known += end.min(range.end).saturating_sub(start.max(range.start));
            merged = merged.start.min(start)..merged.end.max(end);
            self.0.remove(&start);
        }
        self.0.insert(merged.start, merged.end);
        range.end - range.start - known
    }

    pub(crate) fn remove(&mut self, range: &Range<u64>) {
        if range.start >= range.end {
            return;
        }
        while let Some((&start, &end)) = self.0.range(..range.end).next_back()
            && end > range.start
        {
            self.0.remove(&start);
            if end > range.end {
                self.0.insert(range.end, end);
            }
            if start < range.start {
                self.0.insert(start, range.start);
            }
        }
    }

    pub(crate) fn overlap(&self, range: &Range<u64>) -> u64 {
        let from = self.at_or_below(range.start).map_or(range.start, |first| first.start);
        let ranges = self.0.range(from..range.end.max(from));
        ranges.map(|(start, end)| end.min(&range.end).saturating_sub(*start.max(&range.start))).sum()
    }

    /// The last range that starts at or below `offset`.
    pub(crate) fn at_or_below(&self, offset: u64) -> Option<Range<u64>> {
        self.0.range(..=offset).next_back().map(|(&start, &end)| start..end)
    }

    /// Removes ranges that end at or below `offset`.
    pub(crate) fn forget_below(&mut self, offset: u64) {
        while let Some((&start, &end)) = self.0.first_key_value()
            && end <= offset
        {
            self.0.remove(&start);
        }
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set_of_bytes(
            inserts in prop::collection::vec((0_u64..50, 0_u64..12), 0..20),
            probe in (0_u64..50, 0_u64..20),
        ) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (start, len) in inserts {
                let fresh = (start..start + len).filter(|byte| model.insert(*byte)).count();
                prop_assert_eq!(set.insert(start..start + len), fresh as u64);
            }
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|w| w[0].end < w[1].start), "disjoint, not touching: {:?}", ranges);
            let probe = probe.0..probe.0 + probe.1;
            prop_assert_eq!(set.overlap(&probe), probe.clone().filter(|byte| model.contains(byte)).count() as u64);
            let begins = |byte: &u64| model.contains(byte) && (*byte == 0 || !model.contains(&(byte - 1)));
            let from = (0..=probe.start).rev().find(begins);
            let run = from.map(|from| from..(from..).find(|byte| !model.contains(byte)).unwrap());
            prop_assert_eq!(set.at_or_below(probe.start), run);
            let mut rest = set.clone();
            rest.remove(&probe);
            let left: Vec<_> = rest.iter().flatten().collect();
            prop_assert_eq!(left, model.iter().copied().filter(|byte| !probe.contains(byte)).collect::<Vec<_>>());
            prop_assert!(rest.iter().all(|range| range.start < range.end));
            set.forget_below(probe.start);
            prop_assert!(set.iter().all(|range| range.end > probe.start));
            prop_assert_eq!(set.overlap(&probe), probe.filter(|byte| model.contains(byte)).count() as u64);
        }
    }
}
