//! Decisions without plans and I/O.

pub(crate) mod blocks;
pub(crate) mod holdings;
pub(crate) mod routes;
