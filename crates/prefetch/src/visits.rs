//! Counts the parts and readers that the planner looks at, in tests: its work, whatever the machine. Pure.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    static VISITS: Cell<u64> = const { Cell::new(0) };
}

/// One part or reader is looked at. Costs nothing outside of tests.
#[inline]
pub(crate) fn count() {
    #[cfg(test)]
    VISITS.set(VISITS.get() + 1);
}

/// How many this thread has looked at since it asked last.
#[cfg(test)]
pub(crate) fn take() -> u64 {
    VISITS.take()
}
