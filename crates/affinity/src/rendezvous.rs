//! Rankings of workers for keys, and the assignment of many keys at once.

use crate::hash::{mix, mixed_score, worker_hash};

/// How much more than the mean a worker may have.
pub const BALANCE: f64 = 1.15;

/// A file, or a block of it, that some worker is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileTask {
    /// The [hash](crate::FileKey::hash) of its key.
    pub key: u64,
    /// Its size, or any other measure of the work.
    pub bytes: u64,
}

/// The workers that live, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workers {
    ids: Vec<String>,
    /// The mixed hash of each id, so that a score costs one mix instead of two.
    mixed: Vec<u64>,
}

impl Workers {
    /// The workers with these ids. Their order and repetitions do not matter.
    pub fn new<I: Into<String>>(ids: impl IntoIterator<Item = I>) -> Self {
        let mut ids: Vec<String> = ids.into_iter().map(Into::into).collect();
        ids.sort_unstable();
        ids.dedup();
        let mixed = ids.iter().map(|id| mix(worker_hash(id))).collect();
        Self { ids, mixed }
    }

    /// The ids, sorted. Results are indexes into this.
    #[must_use]
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The owner of `key`, whatever the load; `None` without workers.
    #[must_use]
    pub fn owner(&self, key: u64) -> Option<usize> {
        self.first(key, |_| true)
    }

    /// All workers, from the owner of `key` to the last that would take it.
    #[must_use]
    pub fn ranking(&self, key: u64) -> Vec<usize> {
        let mut ranking: Vec<usize> = (0..self.ids.len()).collect();
        ranking.sort_unstable_by_key(|&worker| self.rank(worker, key));
        ranking
    }

    /// Assigns every task to a worker: the first of its ranking that then has at most `balance` times the mean. Returns
    /// the workers in the order of `tasks`; nothing without workers.
    ///
    /// The result does not depend on the order of `tasks`. Large tasks are assigned first, because small ones fit
    /// anywhere. A task that fits nowhere goes to the worker with the least load. Use [`BALANCE`] unless the tasks are
    /// few and equal shares matter more than caches.
    ///
    /// A file may be in `tasks` several times. Where its owner has no room for all of its tasks, the rest go to the
    /// next workers of the ranking, the same ones in every call with the same loads: a file that is read much is cached
    /// by several workers. An infinite `balance` keeps every task with the owner of its key.
    ///
    /// # Panics
    /// If `balance` is less than 1: then not all tasks fit.
    #[must_use]
    pub fn assign(&self, tasks: &[FileTask], balance: f64) -> Vec<usize> {
        if self.ids.is_empty() {
            return Vec::new();
        }
        let total_bytes: u128 = tasks.iter().map(|task| u128::from(task.bytes)).sum();
        let most_bytes = share_bytes(total_bytes, self.ids.len(), balance);
        let mut order: Vec<usize> = (0..tasks.len()).collect();
        order.sort_unstable_by_key(|&n| (std::cmp::Reverse(tasks[n].bytes), tasks[n].key));
        let mut loads = vec![0; self.ids.len()];
        let mut assigned = vec![0; tasks.len()];
        for same in order.chunk_by(|one, other| tasks[*one] == tasks[*other]) {
            let FileTask { key, bytes } = tasks[same[0]];
            let mut worker = self.with_room(key, bytes, &loads, most_bytes);
            for &n in same {
                // Loads only grow, so the first worker with room stays the first until it is full.
                if loads[worker] + u128::from(bytes) > most_bytes {
                    worker = self.with_room(key, bytes, &loads, most_bytes);
                }
                loads[worker] += u128::from(bytes);
                assigned[n] = worker;
            }
        }
        assigned
    }

    /// The first worker of the ranking of `key` that has room for `bytes`, or the one with the least load.
    pub(crate) fn with_room(&self, key: u64, bytes: u64, loads: &[u128], most_bytes: u128) -> usize {
        let has_room = |worker: usize| loads[worker] + u128::from(bytes) <= most_bytes;
        let least = || (0..self.ids.len()).min_by_key(|&worker| (loads[worker], self.rank(worker, key)));
        self.first(key, has_room).or_else(least).unwrap_or_default()
    }

    /// The first worker of the ranking of `key` that is `suitable`.
    fn first(&self, key: u64, suitable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut first: Option<(u64, usize)> = None;
        for (worker, mixed) in self.mixed.iter().enumerate() {
            let score = mixed_score(*mixed, key);
            // Of equal scores the first id, as in `rank`. Few workers are asked whether they are suitable.
            if first.is_none_or(|(highest, _)| score > highest) && suitable(worker) {
                first = Some((score, worker));
            }
        }
        first.map(|(_, worker)| worker)
    }

    /// A number that is smaller the earlier `worker` stands in the ranking of `key`. Equal scores are told apart by id.
    pub(crate) fn rank(&self, worker: usize, key: u64) -> (u64, usize) {
        (!mixed_score(self.mixed[worker], key), worker)
    }
}

/// What each of `workers` workers may have of `total_bytes`.
#[expect(clippy::cast_precision_loss, reason = "loads need no 53 bits")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of floats saturates")]
pub(crate) fn share_bytes(total_bytes: u128, workers: usize, balance: f64) -> u128 {
    assert!(balance >= 1.0, "a balance of {balance} leaves tasks over: it must be at least 1");
    (total_bytes as f64 * balance / workers.max(1) as f64).ceil() as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn workers(count: usize) -> Workers {
        Workers::new((0..count).map(|n| format!("worker-{n}")))
    }

    #[test]
    fn the_order_of_ids_does_not_matter() {
        let (one, other) = (Workers::new(["b", "a", "c", "a"]), Workers::new(["c", "b", "a"]));
        assert_eq!(one, other);
        assert_eq!((Workers::default().owner(1), Workers::default().assign(&[], 1.0)), (None, vec![]));
    }

    #[test]
    #[should_panic(expected = "must be at least 1")]
    fn a_balance_below_one_is_refused() {
        drop(workers(2).assign(&[FileTask { key: 1, bytes: 1 }], 0.9));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Tasks of equal size stay within the balance, and their order does not matter.
        #[test]
        fn loads_are_balanced(count in 1_usize..40, keys in prop::collection::vec(any::<u64>(), 1..600)) {
            let tasks: Vec<_> = keys.iter().map(|key| FileTask { key: *key, bytes: 7 }).collect();
            let assigned = workers(count).assign(&tasks, BALANCE);
            let most = (keys.len() * 115).div_ceil(100 * count);
            let loads = (0..count).map(|worker| assigned.iter().filter(|to| **to == worker).count());
            prop_assert!(loads.clone().all(|load| load <= most), "{:?}, at most {most}", loads.collect::<Vec<_>>());
            let reversed: Vec<_> = tasks.iter().rev().copied().collect();
            let mut again = workers(count).assign(&reversed, BALANCE);
            again.reverse();
            let same = tasks.iter().zip(assigned.iter().zip(&again)).all(|(_, (one, other))| one == other);
            let distinct = keys.iter().collect::<std::collections::HashSet<_>>().len() == keys.len();
            prop_assert!(same || !distinct);
        }

        /// Tasks of any size exceed the balance by the largest of them at most.
        #[test]
        fn large_tasks_exceed_the_balance_by_one_task(
            count in 1_usize..20,
            tasks in prop::collection::vec((any::<u64>(), 0_u64..1 << 40), 1..200),
        ) {
            let tasks: Vec<_> = tasks.into_iter().map(|(key, bytes)| FileTask { key, bytes }).collect();
            let assigned = workers(count).assign(&tasks, BALANCE);
            let mut loads = vec![0_u64; count];
            tasks.iter().zip(&assigned).for_each(|(task, worker)| loads[*worker] += task.bytes);
            let mean = tasks.iter().map(|task| task.bytes).sum::<u64>() as f64 / count as f64;
            let largest = tasks.iter().map(|task| task.bytes).max().unwrap_or(0) as f64;
            prop_assert!(loads.iter().all(|load| *load as f64 <= mean * BALANCE + largest + 1.0), "{loads:?}");
        }

        /// Each task goes to the first worker of its ranking that has room, also where files are read several times.
        #[test]
        fn tasks_are_assigned_along_the_ranking(
            count in 1_usize..20,
            tasks in prop::collection::vec((0_u64..20, 0_u64..4), 1..200),
            balance in prop_oneof![1.0..2.0, Just(f64::INFINITY)],
        ) {
            let tasks: Vec<_> = tasks.into_iter().map(|(key, bytes)| FileTask { key, bytes }).collect();
            let workers = workers(count);
            let most_bytes = share_bytes(tasks.iter().map(|task| u128::from(task.bytes)).sum(), count, balance);
            let mut order: Vec<usize> = (0..tasks.len()).collect();
            order.sort_by_key(|&n| (std::cmp::Reverse(tasks[n].bytes), tasks[n].key));
            let (mut loads, mut expected) = (vec![0; count], vec![0; tasks.len()]);
            for n in order {
                let (ranking, bytes) = (workers.ranking(tasks[n].key), u128::from(tasks[n].bytes));
                let first = ranking.iter().find(|worker| loads[**worker] + bytes <= most_bytes);
                let to = *first.or(ranking.iter().min_by_key(|worker| loads[**worker])).expect("there are workers");
                loads[to] += bytes;
                expected[n] = to;
            }
            let assigned = workers.assign(&tasks, balance);
            // Equal tasks may change places.
            let sorted = |assigned: Vec<usize>| {
                let mut pairs: Vec<_> = tasks.iter().map(|task| (task.key, task.bytes)).zip(assigned).collect();
                pairs.sort_unstable();
                pairs
            };
            prop_assert_eq!(sorted(assigned), sorted(expected));
        }

        /// The ranking of the workers that stay does not change where one leaves.
        #[test]
        fn rankings_are_stable(count in 2_usize..40, key: u64, leaving: prop::sample::Index) {
            let all = workers(count);
            let leaving = all.ids()[leaving.index(count)].clone();
            let fewer = Workers::new(all.ids().iter().filter(|id| **id != leaving).cloned());
            let names = |workers: &Workers, ranking: Vec<usize>| -> Vec<String> {
                ranking.into_iter().map(|worker| workers.ids()[worker].clone()).collect()
            };
            let mut before = names(&all, all.ranking(key));
            before.retain(|id| *id != leaving);
            prop_assert_eq!(before, names(&fewer, fewer.ranking(key)));
            prop_assert_eq!(all.owner(key), all.ranking(key).first().copied());
        }
    }
}
