//! Divides the memory for speculation among the open objects.
//!
//! Max-min fair (Bertsekas and Gallager, *Data Networks*, section 6.5): an object that wants less than an even share
//! gets what it wants, and the others divide the rest.

use std::collections::BTreeMap;

use headstart_fetch_core::internal::water_level;

/// The bytes that each object wants, by engine id.
#[derive(Debug, Default)]
pub(crate) struct MemoryShares {
    wants: BTreeMap<u64, u64>,
    /// The most that any object gets; `None` after a change.
    level: Option<u64>,
}

impl MemoryShares {
    /// Object `who` wants `bytes` from now on; with 0 it is removed.
    pub(crate) fn set_want(&mut self, who: u64, bytes: u64) {
        let before = if bytes == 0 { self.wants.remove(&who) } else { self.wants.insert(who, bytes) };
        if before.unwrap_or(0) != bytes {
            self.level = None;
        }
    }

    /// The most that an object may have of `total_bytes`. An object that has stated no wish yet counts as one that
    /// wants everything.
    pub(crate) fn level(&mut self, who: u64, total_bytes: u64) -> u64 {
        if let Some(level) = self.level
            && self.wants.contains_key(&who)
        {
            return level;
        }
        let is_new = !self.wants.contains_key(&who);
        let wants = self.wants.values().copied().chain(is_new.then_some(u64::MAX));
        let mut wants: Vec<(u64, u64)> = wants.map(|bytes| (bytes, 1)).collect();
        wants.sort_unstable();
        let level = water_level(&wants, total_bytes);
        if !is_new {
            self.level = Some(level);
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_wants_little_leaves_the_rest() {
        let mut shares = MemoryShares::default();
        assert_eq!(shares.level(1, 100), 100, "alone");
        for (who, bytes) in [(1, 10), (2, 60), (3, 90)] {
            shares.set_want(who, bytes);
        }
        assert_eq!(shares.level(3, 100), 45);
        assert_eq!(shares.level(4, 100), 30, "a fourth one who wants everything");
        shares.set_want(3, 0);
        assert_eq!(shares.level(2, 100), 90, "more than it wants");
    }

    proptest! {
        /// Nothing is left while an object wants more, and no object has more than another that wants more.
        #[test]
        fn is_max_min_fair(wants in prop::collection::vec(1_u64..1000, 1..20), total in 0_u64..5000) {
            let mut shares = MemoryShares::default();
            (0..).zip(&wants).for_each(|(who, want)| shares.set_want(who, *want));
            let level = shares.level(0, total);
            let given: u64 = wants.iter().map(|want| (*want).min(level)).sum();
            prop_assert!(given <= total);
            let wanted: u64 = wants.iter().sum();
            prop_assert!(given == wanted.min(given) && (given == wanted || total - given < wants.len() as u64));
        }
    }
}
