//! The reads of the cache.

pub(crate) mod get;
pub(crate) mod page_body;
pub(crate) mod ranges;
pub(crate) mod version;
pub(crate) mod warm;
