//! The reads of the cache: which version a call reads, what it takes from memory, and what it has fetched.
//!
//! `version.rs` finds the version; `get.rs`, `ranges.rs`, `warm.rs` are operations, `page_stream.rs` a body of `get`.

mod get;
mod page_stream;
mod ranges;
mod version;
mod warm;

use std::sync::Arc;

use crate::{fetches::Fetches, lookup::Lookup};

/// Answers reads that need more than one page in memory. Clones share everything.
#[derive(Clone)]
pub(crate) struct Reads {
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) fetches: Arc<Fetches>,
}
