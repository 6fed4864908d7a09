//! Divides the memory for speculation among the objects that are read. Pure.
//!
//! Max-min fair (Bertsekas and Gallager, *Data Networks*, section 6.5): who wants less than an even share has what it wants, and
//! the others share what that leaves.

use std::collections::BTreeMap;

/// Who wants how much of what there is.
#[derive(Debug, Default)]
pub(crate) struct MemoryShares {
    wants: BTreeMap<u64, u64>,
    /// Nobody gets more than this; `None` after a change.
    level: Option<u64>,
}

impl MemoryShares {
    /// `who` wants `bytes` from now on; nothing takes it off the list.
    pub(crate) fn want(&mut self, who: u64, bytes: u64) {
        let before = if bytes == 0 { self.wants.remove(&who) } else { self.wants.insert(who, bytes) };
        if before.unwrap_or(0) != bytes {
            self.level = None;
        }
    }

    /// The most that anybody may have of `total_bytes`, `who` among them, whatever it has wanted so far.
    pub(crate) fn level(&mut self, who: u64, total_bytes: u64) -> u64 {
        if let Some(level) = self.level
            && self.wants.contains_key(&who)
        {
            return level;
        }
        let is_new = !self.wants.contains_key(&who);
        let mut wants: Vec<u64> = self.wants.values().copied().chain(is_new.then_some(u64::MAX)).collect();
        wants.sort_unstable();
        let level = water_level(&wants, total_bytes);
        if !is_new {
            self.level = Some(level);
        }
        level
    }
}

/// The level up to which `total` fills what each of `wants` (ascending) can hold; all of it where that is more than they want.
fn water_level(wants: &[u64], total: u64) -> u64 {
    let mut left = total;
    for (n, want) in wants.iter().enumerate() {
        let even = left / (wants.len() - n) as u64;
        if *want > even {
            return even;
        }
        left -= want;
    }
    // The last one may have what nobody else wants.
    left + wants.last().copied().unwrap_or(0)
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
            shares.want(who, bytes);
        }
        assert_eq!(shares.level(3, 100), 45);
        assert_eq!(shares.level(4, 100), 30, "a fourth one who wants everything");
        shares.want(3, 0);
        assert_eq!(shares.level(2, 100), 90, "more than it wants");
    }

    proptest! {
        /// Nothing is left while anybody wants more, and nobody has more than another who wants more.
        #[test]
        fn is_max_min_fair(mut wants in prop::collection::vec(1_u64..1000, 1..20), total in 0_u64..5000) {
            wants.sort_unstable();
            let level = water_level(&wants, total);
            let given: u64 = wants.iter().map(|want| (*want).min(level)).sum();
            prop_assert!(given <= total);
            let wanted: u64 = wants.iter().sum();
            prop_assert!(given == wanted.min(given) && (given == wanted || total - given < wants.len() as u64));
        }
    }
}
