//! Decisions without plans and I/O: which executor runs which partition.

use std::collections::BTreeMap;

/// Partitions that one task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The number of the executor.
    pub(crate) executor: usize,
    pub(crate) partitions: Vec<usize>,
}

/// Binds partitions that wait to executors, each partition to one virtual core. Returns the partitions that go on
/// waiting, too, in their order.
///
/// `holder` names the executor that must run a partition, if it matters. `free` has the free virtual cores of each
/// executor, and loses those that are taken. A task has at most `most` partitions.
pub(crate) fn bind(
    waiting: Vec<usize>,
    holder: impl Fn(usize) -> Option<usize>,
    free: &mut [u32],
    most: usize,
) -> (Vec<Slice>, Vec<usize>) {
    let mut of_executor: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut left = Vec::new();
    for partition in waiting {
        match holder(partition).or_else(|| idlest(free)).filter(|executor| free.get(*executor).is_some_and(|n| *n > 0))
        {
            Some(executor) => {
                free[executor] -= 1;
                of_executor.entry(executor).or_default().push(partition);
            }
            None => left.push(partition),
        }
    }
    let tasks = |(executor, partitions): (usize, Vec<usize>)| {
        let chunks = partitions.chunks(most.max(1));
        chunks.map(|chunk| Slice { executor, partitions: chunk.to_vec() }).collect::<Vec<_>>()
    };
    (of_executor.into_iter().flat_map(tasks).collect(), left)
}

/// As [`bind`], of partitions that one task must run together, on one virtual core.
pub(crate) fn bind_all(waiting: Vec<usize>, holder: Option<usize>, free: &mut [u32]) -> (Vec<Slice>, Vec<usize>) {
    match holder.or_else(|| idlest(free)).filter(|executor| free.get(*executor).is_some_and(|n| *n > 0)) {
        Some(executor) if !waiting.is_empty() => {
            free[executor] -= 1;
            (vec![Slice { executor, partitions: waiting }], Vec::new())
        }
        _ => (Vec::new(), waiting),
    }
}

/// The executor with the most free virtual cores, of equal ones the first; `None` if no core is free.
fn idlest(free: &[u32]) -> Option<usize> {
    (0..free.len())
        .filter(|executor| free[*executor] > 0)
        .max_by_key(|executor| (free[*executor], free.len() - executor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(holders: &[Option<usize>], free: &[u32], most: usize, slices: &[(usize, &[usize])], left: &[usize]) {
        let mut after = free.to_vec();
        let (bound, waiting) = bind((0..holders.len()).collect(), |partition| holders[partition], &mut after, most);
        let bound: Vec<_> = bound.iter().map(|slice| (slice.executor, &slice.partitions[..])).collect();
        assert_eq!((bound, &waiting[..]), (slices.to_vec(), left));
    }

    #[test]
    fn partitions_wait_for_their_executors() {
        check(&[Some(0), Some(1), Some(0)], &[2, 2], 9, &[(0, &[0, 2]), (1, &[1])], &[]);
        // Executor 0 has one core, executor 1 none.
        check(&[Some(0), Some(1), Some(0)], &[1, 0], 9, &[(0, &[0])], &[1, 2]);
        check(&[Some(0), Some(0), Some(0)], &[9, 9], 2, &[(0, &[0, 1]), (0, &[2])], &[]);
        // Partitions without a holder go to whoever is free.
        check(&[None, None, None, None], &[1, 2], 9, &[(0, &[1]), (1, &[0, 2])], &[3]);
        check(&[], &[1], 9, &[], &[]);
    }

    #[test]
    fn partitions_of_one_task_wait_together() {
        let mut free = [0, 3, 2];
        assert_eq!(bind_all(vec![0, 1], Some(0), &mut free), (Vec::new(), vec![0, 1]));
        assert_eq!(bind_all(vec![0, 1], Some(2), &mut free).0, [Slice { executor: 2, partitions: vec![0, 1] }]);
        assert_eq!(bind_all(vec![4], None, &mut free).0, [Slice { executor: 1, partitions: vec![4] }]);
        assert_eq!(free, [0, 2, 1]);
        assert_eq!(bind_all(Vec::new(), None, &mut free), (Vec::new(), Vec::new()));
    }

    proptest! {
        /// Every partition is bound once or waits, a bound one to its holder, and no core is given twice.
        #[test]
        fn nothing_is_lost_or_bound_twice(
            holders in prop::collection::vec(prop::option::of(0_usize..5), 0..30),
            free in prop::collection::vec(0_u32..6, 5),
            most in 1_usize..4,
        ) {
            let mut after = free.clone();
            let (bound, left) = bind((0..holders.len()).collect(), |partition| holders[partition], &mut after, most);
            let of_tasks = bound.iter().flat_map(|slice| slice.partitions.clone());
            let mut all: Vec<usize> = of_tasks.chain(left.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..holders.len()).collect::<Vec<_>>());
            for slice in &bound {
                prop_assert!(slice.partitions.len() <= most);
                let may_run = |partition: &usize| holders[*partition].is_none_or(|holder| holder == slice.executor);
                prop_assert!(slice.partitions.iter().all(may_run));
            }
            for executor in 0..5 {
                let own = bound.iter().filter(|slice| slice.executor == executor);
                let taken: usize = own.map(|slice| slice.partitions.len()).sum();
                prop_assert_eq!(free[executor] - after[executor], u32::try_from(taken).unwrap());
            }
            let must_wait = |partition: &usize| match holders[*partition] {
                Some(holder) => after[holder] == 0,
                None => idlest(&after).is_none(),
            };
            prop_assert!(left.iter().all(must_wait));
        }
    }
}
