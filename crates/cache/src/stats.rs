//! What the cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::disk::DiskStats;

/// What a cache has done so far. Counts only grow; the fields from `held_bytes` on describe the present moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Pages that were in memory when they were asked for.
    pub hits: u64,
    /// Pages for which a call sent a request.
    pub misses: u64,
    /// Pages that a call got from another call's fetch.
    pub joins: u64,
    /// GETs sent.
    pub fills: u64,
    /// HEADs sent to find or confirm a version or growth; those that explain why a fill failed are not counted.
    pub validations: u64,
    /// Calls that were handed to the inner store.
    pub bypasses: u64,
    /// Bytes served from memory.
    pub hit_bytes: u64,
    /// Bytes served from another call's fetch.
    pub joined_bytes: u64,
    /// Bytes of the inner store's answers; those of bypassed calls are not counted.
    pub fetched_bytes: u64,
    /// Fetches that failed because the object had changed. The calls that waited for them looked anew.
    pub object_changes: u64,
    /// Pages evicted to make room, or replaced by the same page fetched again.
    pub evictions: u64,
    /// The evicted pages that were fetched ahead, or by [`crate::CacheStore::warm`], and never read from here. Where
    /// read-ahead is stacked above the cache, readers take the bytes from it, and the pages count here too.
    pub evicted_unread: u64,
    /// Bytes of the pages held now, overhead included.
    pub held_bytes: u64,
    /// Pages held now.
    pub held_pages: u64,
    /// Bytes of pages, on top of `memory_bytes`, that only callers or fetches hold: evicted since, or never kept. A
    /// fetch holds a page until its readers have taken it; a slice counts as the page that it was cut from.
    pub lent_bytes: u64,
    /// Pages and objects that are being fetched now.
    pub in_flight: u64,
    /// The disk tier; `None` without one.
    pub disk: Option<DiskStats>,
}

/// Defines the counters behind [`CacheStats`], one for each of these fields, and reads them all.
macro_rules! counters {
    ($($name:ident),+) => {
        #[derive(Debug, Default)]
        pub(crate) struct CacheCounters {
            $(pub(crate) $name: Counter,)+
            /// Bytes of pages in memory, whoever holds them.
            pub(crate) live_bytes: Counter,
        }

        impl CacheCounters {
            /// The counts as they are now.
            pub(crate) fn snapshot(&self) -> CacheStats {
                CacheStats { $($name: self.$name.now(),)+ ..CacheStats::default() }
            }
        }
    };
}

counters!(
    hits,
    misses,
    joins,
    fills,
    validations,
    bypasses,
    hit_bytes,
    joined_bytes,
    fetched_bytes,
    object_changes,
    evictions,
    evicted_unread
);

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
