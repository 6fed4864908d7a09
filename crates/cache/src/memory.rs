//! The memory tier: pages in `quick_cache`, weighed in bytes. Flights are ours, storage is theirs.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use crate::stats::Counters;

/// What a page costs beyond its bytes: key and value (48), the slots and ghosts of the table (21 more, times up to 3),
/// the shared count of a cloned `Bytes` (24) and the allocator's headers.
const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// Locks the table is divided among, at most: more than cores that hit at once, and the same on every machine.
const SHARDS: usize = 64;

/// A page of a version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    /// The version's number in the version table: never used twice.
    pub(crate) version: u64,
    /// The page's number in the object.
    pub(crate) page: u64,
}

/// Pages held in memory.
pub(crate) struct Memory {
    pages: Cache<PageKey, Bytes, ByBytes, FixedState, CountEvictions>,
}

impl Memory {
    /// Room for `memory_bytes`, overhead included, of pages of `page_bytes`.
    pub(crate) fn new(memory_bytes: usize, page_bytes: usize, counters: Arc<Counters>) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(memory_bytes / page_bytes)
            .weight_capacity(memory_bytes as u64)
            .shards(SHARDS)
            .build()
            .expect("both capacities are given");
        // The keys are numbers of ours, so nobody can choose colliding ones; hashed alike in every run, what is evicted repeats.
        let pages = Cache::with_options(options, ByBytes, FixedState::default(), CountEvictions(counters));
        Self { pages }
    }

    pub(crate) fn get(&self, key: PageKey) -> Option<Bytes> {
        self.pages.get(&key)
    }

    /// Whether the page is here; no access in the eyes of the eviction policy.
    pub(crate) fn has(&self, key: PageKey) -> bool {
        self.pages.contains_key(&key)
    }

    /// Keeps a page. `bytes` must own its memory alone: a slice would hold on to all that it was cut from.
    pub(crate) fn insert(&self, key: PageKey, bytes: Bytes) {
        self.pages.insert(key, bytes);
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        self.pages.weight()
    }

    pub(crate) fn held_pages(&self) -> u64 {
        self.pages.len() as u64
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<PageKey, Bytes> for ByBytes {
    fn weight(&self, _: &PageKey, page: &Bytes) -> u64 {
        page.len() as u64 + ENTRY_OVERHEAD_BYTES
    }
}

#[derive(Clone)]
struct CountEvictions(Arc<Counters>);

impl Lifecycle<PageKey, Bytes> for CountEvictions {
    /// The page evicted last: freed after the shard's lock is released, as usually there is only one.
    type RequestState = Option<Bytes>;

    fn on_evict(&self, evicted: &mut Option<Bytes>, _: PageKey, page: Bytes) {
        self.0.evictions.add(1);
        *evicted = Some(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_holds_more_than_it_may() {
        let counters = Arc::new(Counters::default());
        let memory = Memory::new(1 << 20, 64 << 10, Arc::clone(&counters));
        for page in 0..100 {
            memory.insert(PageKey { version: 1, page }, Bytes::from(vec![0; 64 << 10]));
            assert!(memory.held_bytes() <= 1 << 20);
        }
        assert_eq!(memory.held_pages() + counters.evictions.now(), 100);
        assert!(memory.held_pages() >= 15, "{}", memory.held_pages());
    }
}
