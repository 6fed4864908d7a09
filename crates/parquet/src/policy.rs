//! Decides what to fetch. Pure: no I/O, clock or lock.

pub(crate) mod ahead;
pub(crate) mod layout;
pub(crate) mod prefix_history;
pub(crate) mod runs;
