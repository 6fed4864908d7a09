//! Which call came after which. Pure.

use std::time::Duration;

/// Tasks whose last call is remembered; a power of two. A task whose place another one has taken since its last call is taken for a new one: of thirty
/// tasks at once that happens to one.
const TASKS: usize = 1024;

/// Numbers calls, and remembers which ended last: in each task, and of all.
#[derive(Debug)]
pub(crate) struct Ledger {
    next: u64,
    last: Option<Ended>,
    of_task: Box<[Option<(u64, Ended)>]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    n: u64,
    at: Duration,
}

/// A call that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) n: u64,
    pub(crate) after: Option<u64>,
    /// Time since the end of `after`, or since the beginning.
    pub(crate) wait: Duration,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { next: 0, last: None, of_task: vec![None; TASKS].into() }
    }

    /// A call begins in `task`, whose number should be well mixed.
    pub(crate) fn begin(&mut self, task: Option<u64>, now: Duration) -> Begun {
        let n = self.next;
        self.next += 1;
        let own = task.and_then(|task| self.of_task[slot(task)].filter(|(owner, _)| *owner == task));
        let before = own.map(|(_, ended)| ended).or(self.last);
        let since = before.map_or(Duration::ZERO, |ended| ended.at);
        Begun { n, after: before.map(|ended| ended.n), wait: now.saturating_sub(since) }
    }

    /// Call `n` ends in `task`.
    pub(crate) fn end(&mut self, n: u64, task: Option<u64>, now: Duration) {
        let ended = Ended { n, at: now };
        self.last = Some(ended);
        if let Some(task) = task {
            self.of_task[slot(task)] = Some((task, ended));
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only the lowest bits are wanted")]
fn slot(task: u64) -> usize {
    task as usize % TASKS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_call_comes_after_its_own_tasks_last_one() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.begin(Some(1), ms(5)), Begun { n: 0, after: None, wait: ms(5) });
        assert_eq!(ledger.begin(Some(2), ms(5)), Begun { n: 1, after: None, wait: ms(5) });
        ledger.end(0, Some(1), ms(10));
        ledger.end(1, Some(2), ms(20));
        assert_eq!(ledger.begin(Some(1), ms(21)), Begun { n: 2, after: Some(0), wait: ms(11) });
        assert_eq!(ledger.begin(Some(2), ms(22)), Begun { n: 3, after: Some(1), wait: ms(2) });
    }

    #[test]
    fn the_first_call_of_a_task_comes_after_the_last_of_all() {
        let mut ledger = Ledger::new();
        ledger.begin(Some(1), ms(0));
        ledger.end(0, Some(1), ms(30));
        assert_eq!(ledger.begin(Some(9), ms(31)), Begun { n: 1, after: Some(0), wait: ms(1) });
        assert_eq!(ledger.begin(None, ms(32)), Begun { n: 2, after: Some(0), wait: ms(2) });
    }

    #[test]
    fn two_hundred_tasks_are_told_apart() {
        let mut ledger = Ledger::new();
        let task = |n: u64| Some(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20);
        for n in 0..200 {
            ledger.begin(task(n), ms(n));
            ledger.end(n, task(n), ms(n + 1));
        }
        let own = (0..200).filter(|n| ledger.begin(task(*n), ms(300)).after == Some(*n)).count();
        assert!(own >= 150, "{own} of 200 tasks came after their own last call");
    }

    proptest! {
        #[test]
        fn after_is_always_an_earlier_call_that_has_ended(steps in prop::collection::vec((0_u64..200, any::<bool>()), 1..200)) {
            let mut ledger = Ledger::new();
            let mut open = Vec::new();
            let mut ended = std::collections::HashMap::new();
            for (at, (task, begins)) in steps.into_iter().enumerate() {
                let now = ms(at as u64);
                if begins || open.is_empty() {
                    let begun = ledger.begin(Some(task), now);
                    let since = begun.after.map_or(Duration::ZERO, |after| ended[&after]);
                    prop_assert_eq!(begun.wait, now - since);
                    open.push((begun.n, task));
                } else {
                    let (n, task) = open.swap_remove(usize::try_from(task).unwrap() % open.len());
                    ledger.end(n, Some(task), now);
                    ended.insert(n, now);
                }
            }
        }
    }
}
