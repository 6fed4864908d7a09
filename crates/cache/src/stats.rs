//! What the cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What a cache has done so far. Counts only grow; `held_bytes` and `flights` are of this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Pages that were here when they were asked for.
    pub hits: u64,
    /// Pages that a call had to have fetched.
    pub misses: u64,
    /// Pages that a call got from a fetch which another call had begun.
    pub joins: u64,
    /// GETs sent.
    pub fills: u64,
    /// HEADs sent.
    pub validations: u64,
    /// Calls that the inner store answered alone.
    pub bypasses: u64,
    /// Bytes served from pages.
    pub hit_bytes: u64,
    /// Bytes that the inner store answered with; those of bypassed calls are not counted.
    pub fetched_bytes: u64,
    /// Pages evicted to make room.
    pub evictions: u64,
    /// Bytes of pages held now, overhead included.
    pub held_bytes: u64,
    /// Pages held now.
    pub held_pages: u64,
    /// Pages and objects being fetched now.
    pub flights: u64,
}

/// The counters behind [`CacheStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) joins: Counter,
    pub(crate) fills: Counter,
    pub(crate) validations: Counter,
    pub(crate) bypasses: Counter,
    pub(crate) hit_bytes: Counter,
    pub(crate) fetched_bytes: Counter,
    pub(crate) evictions: Counter,
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// The counts as they are now.
    pub(crate) fn snapshot(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.now(),
            misses: self.misses.now(),
            joins: self.joins.now(),
            fills: self.fills.now(),
            validations: self.validations.now(),
            bypasses: self.bypasses.now(),
            hit_bytes: self.hit_bytes.now(),
            fetched_bytes: self.fetched_bytes.now(),
            evictions: self.evictions.now(),
            ..CacheStats::default()
        }
    }
}
