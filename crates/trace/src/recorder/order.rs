//! The order of calls: which call came after which.

use std::time::Duration;

/// Number of slots for the last calls of tasks; a power of two. Tasks are assigned to slots by hash. A task whose slot
/// another task has overwritten counts as new, which happens to one of thirty concurrent tasks.
const TASK_SLOTS: usize = 1024;

/// Numbers calls and remembers which call ended last, in each task and overall.
#[derive(Debug)]
pub(super) struct CallOrder {
    next: u64,
    last: Option<EndedCall>,
    of_task: Box<[Option<(u64, EndedCall)>]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EndedCall {
    n: u64,
    at: Duration,
}

/// The place of a call in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallStart {
    pub(super) n: u64,
    /// The call that this call came after.
    pub(super) after: Option<u64>,
    /// Time since the end of `after`, or since the start of the recorder.
    pub(super) wait: Duration,
}

impl CallOrder {
    pub(super) fn new() -> Self {
        Self { next: 0, last: None, of_task: vec![None; TASK_SLOTS].into() }
    }

    /// Records the begin of a call in `task`, given by a hash.
    pub(super) fn begin(&mut self, task: Option<u64>, now: Duration) -> CallStart {
        let n = self.next;
        self.next += 1;
        let own = task.and_then(|task| self.of_task[slot(task)].filter(|(owner, _)| *owner == task));
        let before = own.map(|(_, ended)| ended).or(self.last);
        let since = before.map_or(Duration::ZERO, |ended| ended.at);
        CallStart { n, after: before.map(|ended| ended.n), wait: now.saturating_sub(since) }
    }

    /// Records the end of call `n` in `task`.
    pub(super) fn end(&mut self, n: u64, task: Option<u64>, now: Duration) {
        let ended = EndedCall { n, at: now };
        self.last = Some(ended);
        if let Some(task) = task {
            self.of_task[slot(task)] = Some((task, ended));
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only the lowest bits matter")]
fn slot(task: u64) -> usize {
    task as usize % TASK_SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_call_comes_after_the_last_call_of_its_task() {
        let mut order = CallOrder::new();
        assert_eq!(order.begin(Some(1), ms(5)), CallStart { n: 0, after: None, wait: ms(5) });
        assert_eq!(order.begin(Some(2), ms(5)), CallStart { n: 1, after: None, wait: ms(5) });
        order.end(0, Some(1), ms(10));
        order.end(1, Some(2), ms(20));
        assert_eq!(order.begin(Some(1), ms(21)), CallStart { n: 2, after: Some(0), wait: ms(11) });
        assert_eq!(order.begin(Some(2), ms(22)), CallStart { n: 3, after: Some(1), wait: ms(2) });
    }

    #[test]
    fn the_first_call_of_a_task_comes_after_the_last_call_overall() {
        let mut order = CallOrder::new();
        order.begin(Some(1), ms(0));
        order.end(0, Some(1), ms(30));
        assert_eq!(order.begin(Some(9), ms(31)), CallStart { n: 1, after: Some(0), wait: ms(1) });
        assert_eq!(order.begin(None, ms(32)), CallStart { n: 2, after: Some(0), wait: ms(2) });
    }

    #[test]
    fn two_hundred_tasks_rarely_share_a_slot() {
        let mut order = CallOrder::new();
        let task = |n: u64| Some(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20);
        for n in 0..200 {
            order.begin(task(n), ms(n));
            order.end(n, task(n), ms(n + 1));
        }
        let own = (0..200).filter(|n| order.begin(task(*n), ms(300)).after == Some(*n)).count();
        assert!(own >= 150, "{own} of 200 tasks came after their own last call");
    }

    proptest! {
        #[test]
        fn after_is_always_an_earlier_call_that_has_ended(
            steps in prop::collection::vec((0_u64..200, any::<bool>()), 1..200),
        ) {
            let mut order = CallOrder::new();
            let mut open = Vec::new();
            let mut ended = std::collections::HashMap::new();
            for (at, (task, begins)) in steps.into_iter().enumerate() {
                let now = ms(at as u64);
                if begins || open.is_empty() {
                    let begun = order.begin(Some(task), now);
                    let since = begun.after.map_or(Duration::ZERO, |after| ended[&after]);
                    prop_assert_eq!(begun.wait, now - since);
                    open.push((begun.n, task));
                } else {
                    let (n, task) = open.swap_remove(usize::try_from(task).unwrap() % open.len());
                    order.end(n, Some(task), now);
                    ended.insert(n, now);
                }
            }
        }
    }
}
