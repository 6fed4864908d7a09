//! What the cache knows and holds.

pub(crate) mod call;
pub(crate) mod hits;
pub(crate) mod memory_tier;
pub(crate) mod version_table;
