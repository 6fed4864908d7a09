//! Which worker runs which task, and how a task divides its parts into partitions. Pure: no plans, no I/O.

use std::collections::BTreeMap;

/// The task of the parts that a worker holds. With fewer tasks than workers, a task has the parts of several.
pub(crate) fn task_of(worker: usize, tasks: usize) -> usize {
    worker % tasks.max(1)
}

/// The worker of each task, of `workers` workers (at least one). `held` says for each task how many bytes of it each
/// worker holds.
///
/// A task goes to the worker that holds most of it. A task that reads nothing goes to a worker without a task, as long
/// as there is one.
#[must_use]
pub fn route(held: &[BTreeMap<usize, u64>], workers: usize) -> Vec<usize> {
    let chosen: Vec<Option<usize>> = held.iter().map(most_held).collect();
    let mut idle = (0..workers).filter(|worker| !chosen.contains(&Some(*worker)));
    let other = |task: usize| task % workers.max(1);
    (0..).zip(&chosen).map(|(task, worker)| worker.or_else(|| idle.next()).unwrap_or_else(|| other(task))).collect()
}

/// The worker that holds most bytes, of equal ones the first, so that all coordinators choose the same.
#[must_use]
pub fn most_held(held: &BTreeMap<usize, u64>) -> Option<usize> {
    let most = held.iter().max_by_key(|(worker, bytes)| (**bytes, std::cmp::Reverse(**worker)));
    most.map(|(worker, _)| *worker)
}

/// The partition of each part of a scan, of `partitions` (at least one). `parts` says which of `workers` workers holds
/// a part, and its size in bytes.
///
/// The partitions are dealt out to the workers in turn. Of a worker's own partitions, a part goes to the one with the
/// fewest bytes so far. With fewer partitions than workers, workers share partitions.
#[must_use]
pub fn spread(parts: &[(usize, u64)], workers: usize, partitions: usize) -> Vec<usize> {
    let (workers, partitions) = (workers.max(1), partitions.max(1));
    let mut loads = vec![0_u64; partitions];
    let mut lightest = |worker: usize, bytes: u64| {
        let first = worker % workers % partitions;
        let lightest = (first..partitions).step_by(workers).min_by_key(|partition| loads[*partition]);
        let partition = lightest.unwrap_or(first);
        // A part of no bytes is work, too.
        loads[partition] += bytes.max(1);
        partition
    };
    parts.iter().map(|(worker, bytes)| lightest(*worker, *bytes)).collect()
}

/// The partition of each part of a task: the one with the fewest bytes so far, of `partitions` (at least one).
pub(crate) fn balance(parts: impl Iterator<Item = u64>, partitions: usize) -> Vec<usize> {
    // All of them are those of one worker.
    spread(&parts.map(|bytes| (0, bytes)).collect::<Vec<_>>(), 1, partitions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(held: &[&[(usize, u64)]], workers: usize, expected: &[usize]) {
        let held: Vec<BTreeMap<usize, u64>> = held.iter().map(|held| held.iter().copied().collect()).collect();
        assert_eq!(route(&held, workers), expected);
    }

    #[test]
    fn tasks_go_where_their_bytes_are() {
        check(&[&[(0, 5)], &[(1, 5)], &[(2, 5)]], 3, &[0, 1, 2]);
        // A worker has left between planning and running: its keys have moved to workers 0 and 1.
        check(&[&[(0, 5)], &[(0, 2), (1, 3)], &[(1, 5)]], 2, &[0, 1, 1]);
        // Tasks without files.
        check(&[&[], &[(0, 5)], &[]], 3, &[1, 0, 2]);
        check(&[&[], &[], &[]], 2, &[0, 1, 0]);
        // Two workers hold as much.
        check(&[&[(1, 5), (2, 5)]], 3, &[1]);
    }

    #[test]
    fn parts_of_a_task_are_balanced() {
        assert_eq!(balance([9, 1, 1, 1, 8].into_iter(), 2), [0, 1, 1, 1, 1]);
        assert_eq!(balance([0, 0, 0].into_iter(), 2), [0, 1, 0]);
        assert_eq!(balance([].into_iter(), 4), Vec::<usize>::new());
    }

    #[test]
    fn workers_have_partitions_of_their_own() {
        // Partitions 0, 2 and 4 are those of worker 0.
        assert_eq!(spread(&[(0, 9), (1, 9), (0, 9), (0, 9), (0, 1)], 2, 5), [0, 1, 2, 4, 0]);
        assert_eq!(spread(&[(0, 9), (1, 9), (2, 9)], 3, 3), [0, 1, 2]);
        // Fewer partitions than workers.
        assert_eq!(spread(&[(0, 9), (1, 9), (2, 9)], 3, 2), [0, 1, 0]);
        assert_eq!(spread(&[], 3, 2), Vec::<usize>::new());
    }

    proptest! {
        /// Every task has a living worker; with a task a worker, each goes to the worker whose number it has.
        #[test]
        fn each_worker_gets_its_task(
            parts in prop::collection::vec((0_usize..9, 0_u64..9), 0..40),
            workers in 1_usize..9,
            tasks in 1_usize..12,
        ) {
            let mut held = vec![BTreeMap::new(); tasks];
            for (worker, bytes) in parts {
                let worker = worker % workers;
                *held[task_of(worker, tasks)].entry(worker).or_insert(0) += bytes;
            }
            let routes = route(&held, workers);
            prop_assert_eq!(routes.len(), tasks);
            prop_assert!(routes.iter().all(|worker| *worker < workers));
            if tasks >= workers {
                let own = |(task, worker): (usize, &usize)| held[task].is_empty() || *worker == task;
                prop_assert!(routes.iter().enumerate().all(own));
            }
        }

        /// The largest partition exceeds the mean by the largest part at most.
        #[test]
        fn partitions_are_balanced(parts in prop::collection::vec(1_u64..1000, 1..60), partitions in 1_usize..9) {
            let mut loads = vec![0; partitions];
            for (partition, bytes) in balance(parts.iter().copied(), partitions).into_iter().zip(&parts) {
                loads[partition] += bytes;
            }
            let mean = parts.iter().sum::<u64>() / partitions as u64;
            prop_assert!(loads.iter().max() <= parts.iter().max().map(|largest| mean + 1 + largest).as_ref());
        }
    }
}
