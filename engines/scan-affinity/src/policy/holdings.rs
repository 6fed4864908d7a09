//! Which worker holds which key, while workers join and leave and keys fall out of use. Pure: no plans, no I/O.

use std::collections::HashSet;

use headstart_affinity::Placement;

/// The placement of the keys that were used lately.
#[derive(Debug)]
pub struct Holdings {
    placement: Placement,
    /// Keys used since the generation began, and those of the generation before it.
    recent: HashSet<u64>,
    older: HashSet<u64>,
    /// How many keys are remembered at most.
    most_keys: usize,
}

impl Holdings {
    /// No workers, and no keys.
    #[must_use]
    pub(crate) fn new(most_keys: usize) -> Self {
        let placement = Placement::new(Vec::<String>::new());
        Self { placement, recent: HashSet::new(), older: HashSet::new(), most_keys }
    }

    pub(crate) fn set_most_keys(&mut self, most_keys: usize) {
        self.most_keys = most_keys;
    }

    /// These workers live, in the order of their ids. Keys of others move. Where none live, nothing changes, because
    /// that does not last. Returns how often keys moved.
    ///
    /// Workers leave before others join, unless nobody would be left: keys need a worker to move to.
    pub(crate) fn set_workers(&mut self, ids: &[String]) -> usize {
        let before = self.placement.workers().ids().to_vec();
        if ids.is_empty() || before == ids {
            return 0;
        }
        let gone = || before.iter().filter(|id| !ids.contains(id));
        let is_replaced = gone().count() == before.len();
        let leaves_first = gone().filter(|_| !is_replaced).map(|id| (id, false));
        let changes = leaves_first.chain(ids.iter().map(|id| (id, true)));
        let changes = changes.chain(gone().filter(|_| is_replaced).map(|id| (id, false)));
        let placement = &mut self.placement;
        changes.map(|(id, joins)| if joins { placement.join(id) } else { placement.leave(id) }.len()).sum()
    }

    /// The workers, sorted.
    #[must_use]
    pub fn workers(&self) -> &[String] {
        self.placement.workers().ids()
    }

    /// The number of the worker that holds a key of `bytes` bytes, from now on if nobody did; `None` without workers.
    pub fn use_key(&mut self, key: u64, bytes: u64) -> Option<usize> {
        self.remember(key);
        let id = self.placement.place(key, bytes)?.to_owned();
        self.workers().binary_search(&id).ok()
    }

    /// The worker that holds a key, if it was used lately.
    #[must_use]
    pub fn worker(&self, key: u64) -> Option<&str> {
        self.placement.worker(key)
    }

    /// Remembers the last use of a key by its generation: half of the most keys. Forgets the keys of the generation
    /// before the last one.
    fn remember(&mut self, key: u64) {
        if !self.recent.insert(key) || self.recent.len() <= self.most_keys.div_ceil(2) {
            return;
        }
        self.recent.remove(&key);
        let last = std::mem::take(&mut self.recent);
        self.older.difference(&last).for_each(|key| self.placement.remove(*key));
        self.older = last;
        self.recent.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
        numbers.into_iter().map(|number| format!("w{number:02}")).collect()
    }

    fn holders(holdings: &mut Holdings, keys: u64) -> Vec<String> {
        let mut holder = |key| {
            let nth = holdings.use_key(key, 1).unwrap();
            holdings.workers()[nth].clone()
        };
        (0..keys).map(&mut holder).collect()
    }

    #[test]
    fn a_worker_that_leaves_moves_its_keys_alone() {
        let mut holdings = Holdings::new(10_000);
        holdings.set_workers(&ids(0..5));
        let before = holders(&mut holdings, 1000);
        let moved = holdings.set_workers(&ids([0, 1, 3, 4]));
        let after = holders(&mut holdings, 1000);
        assert_eq!(moved, before.iter().filter(|id| *id == "w02").count());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before != after, before == "w02");
        }
        // Where the resolver names nobody for a moment, nothing moves.
        assert_eq!(holdings.set_workers(&[]), 0);
        assert_eq!(holders(&mut holdings, 1000), after);
    }

    #[test]
    fn all_workers_may_be_replaced() {
        let mut holdings = Holdings::new(10_000);
        holdings.set_workers(&ids(0..3));
        holders(&mut holdings, 100);
        holdings.set_workers(&ids(5..7));
        assert_eq!(holdings.workers(), ids(5..7));
        assert!(holders(&mut holdings, 100).iter().all(|id| id == "w05" || id == "w06"));
    }

    #[test]
    fn keys_that_are_not_used_are_forgotten() {
        let mut holdings = Holdings::new(100);
        holdings.set_workers(&ids(0..3));
        (0..50).for_each(|key| assert!(holdings.use_key(key, 1).is_some()));
        for key in 50..10_000 {
            holdings.use_key(key, 1).unwrap();
            // Is used all the time.
            holdings.use_key(7, 1).unwrap();
        }
        let known = (0..10_000).filter(|key| holdings.worker(*key).is_some()).count();
        assert!((50..=100).contains(&known), "{known} keys");
        assert!(holdings.worker(7).is_some() && holdings.worker(9_999).is_some() && holdings.worker(8).is_none());
        let loads: u128 = holdings.workers().iter().map(|id| holdings.placement.load_bytes(id)).sum();
        assert_eq!(loads, known as u128);
    }

    proptest! {
        /// A key keeps its worker unless that leaves, or a worker joins; and every key has a living worker.
        #[test]
        fn keys_stay_while_no_worker_joins(
            alive in prop::collection::vec(prop::collection::btree_set(0_usize..8, 0..8), 1..8),
        ) {
            let mut holdings = Holdings::new(1000);
            holdings.set_workers(&ids([8]));
            let mut before = holders(&mut holdings, 64);
            let mut workers = ids([8]);
            for alive in alive {
                let alive = ids(alive);
                holdings.set_workers(&alive);
                let after = holders(&mut holdings, 64);
                if !alive.is_empty() {
                    prop_assert_eq!(holdings.workers(), &alive[..]);
                    prop_assert!(after.iter().all(|id| alive.contains(id)));
                }
                if alive.iter().all(|id| workers.contains(id)) {
                    let stays = |id: &String| alive.is_empty() || alive.contains(id);
                    prop_assert!(before.iter().zip(&after).all(|(before, after)| before == after || !stays(before)));
                }
                workers = if alive.is_empty() { workers } else { alive };
                before = after;
            }
        }
    }
}
