//! Fetches in fetch.

pub(crate) mod arrived_pages;
pub(crate) mod fetch;
pub(crate) mod fill;
pub(crate) mod registry;
#[cfg(test)]
mod schedule_tests;
pub(crate) mod sync;
pub(crate) mod waiter;
