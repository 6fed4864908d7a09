//! The reads of the cache: which version a call reads, what it takes from memory, and what it has fetched.
//!
//! `version.rs` finds the version. `get.rs`, `ranges.rs` and `warm.rs` are the three operations; `page_stream.rs` is
//! the body of an answer to `get`.

mod get;
mod page_stream;
mod ranges;
mod version;
mod warm;

use std::sync::Arc;

use self::version::VersionFinder;
use crate::fetches::Fetches;
use crate::lookup::Lookup;
use crate::lookup::call::CacheCall;
use crate::stats::CacheCounters;

/// Answers reads that need more than one page in memory. Clones share everything.
#[derive(Clone)]
pub(crate) struct Reads {
    lookup: Arc<Lookup>,
    fetches: Arc<Fetches>,
    counters: Arc<CacheCounters>,
}

impl Reads {
    pub(crate) fn new(lookup: Arc<Lookup>, fetches: Arc<Fetches>, counters: Arc<CacheCounters>) -> Self {
        Self { lookup, fetches, counters }
    }

    fn finder<'a>(&'a self, call: &'a Arc<CacheCall>) -> VersionFinder<'a> {
        VersionFinder::new(&self.lookup, &self.fetches, call)
    }
}
