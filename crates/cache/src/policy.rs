//! The decisions of the cache: no I/O, clock, lock or task.

pub(crate) mod freshness;
pub(crate) mod page;
