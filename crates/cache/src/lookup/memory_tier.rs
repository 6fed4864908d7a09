//! The memory tier: pages in `quick_cache`, weighed in bytes. InFlight are ours, storage is theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use foldhash::fast::FixedState;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use crate::config::CacheConfig;
use crate::policy::page::PageSize;
use crate::stats::CacheCounters;

/// What a page costs beyond its bytes: key and value (56), the slots and ghosts of the table (21 more, times up to 3), the
/// owner that counts it (64) and the allocator's headers.
const ENTRY_OVERHEAD_BYTES: u64 = 320;

/// Locks a table is divided among, at most: more than cores that hit at once, and the same on every machine.
const SHARDS: usize = 64;

/// The share of the memory that goes to the ends of objects, where they are kept apart: one in so many bytes.
const EDGE_SHARE: usize = 8;

/// A page of a version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    /// The version's number in the version table: never used twice.
    pub(crate) version: u64,
    /// The page's number in the object.
    pub(crate) page: u64,
}

/// Where a page is to be found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLocation {
    pub(crate) key: PageKey,
    /// Bytes of the object.
    pub(crate) size: u64,
}

/// How a page comes to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Somebody waits for it.
    Demanded,
    /// It was fetched ahead; perhaps in error.
    Speculative,
    /// It was fetched ahead by a caller that has said it will be read: as good as read once.
    Announced,
}

/// Pages held in memory.
pub(crate) struct MemoryTier {
    pages: PageTable,
    /// The pages at both ends of objects, where they compete among themselves alone: no scan drives a footer out.
    edges: Option<PageTable>,
    edge_bytes: u64,
    page_size: PageSize,
    counters: Arc<CacheCounters>,
}

type PageTable = Cache<PageKey, Page, WeighPages, FixedState, CountEvictions>;

impl MemoryTier {
    pub(crate) fn new(config: &CacheConfig, page_size: PageSize, counters: Arc<CacheCounters>) -> Self {
        let edge_share = if config.edge_bytes == 0 { 0 } else { config.memory_bytes / EDGE_SHARE };
        let shelf = |bytes: usize| {
            let options = OptionsBuilder::new()
                .estimated_items_capacity(bytes / config.page_bytes)
                .weight_capacity(bytes as u64)
                .shards(SHARDS)
                .build()
                .expect("both capacities are given");
            // The keys are numbers of ours, so nobody can choose colliding ones; hashed alike in every run, what is evicted repeats.
            Cache::with_options(options, WeighPages, FixedState::default(), CountEvictions(Arc::clone(&counters)))
        };
        Self {
            pages: shelf(config.memory_bytes - edge_share),
            edges: (edge_share > 0).then(|| shelf(edge_share)),
            edge_bytes: config.edge_bytes as u64,
            page_size,
            counters,
        }
    }

    #[inline]
    pub(crate) fn get(&self, place: PageLocation) -> Option<Bytes> {
        self.shelf(place).get(&place.key).map(|page| page.bytes)
    }

    /// Whether the page is here; no access in the eyes of the eviction policy.
    pub(crate) fn has(&self, place: PageLocation) -> bool {
        self.shelf(place).contains_key(&place.key)
    }

    /// Keeps a page. `bytes` must own its memory alone: a slice would hold on to all that it was cut from.
    pub(crate) fn insert(&self, place: PageLocation, bytes: Bytes, arrival: Arrival) {
        let shelf = self.shelf(place);
        let unread = match arrival {
            Arrival::Demanded => 0,
            Arrival::Speculative => 1,
            // The look below is one of them.
            Arrival::Announced => 2,
        };
        if unread > 0 {
            if shelf.contains_key(&place.key) {
                return;
            }
            // Of a page evicted not long ago, the table remembers that; fetched ahead, it has been wanted no second time.
            shelf.remove(&place.key);
        }
        shelf.insert(place.key, Page { bytes, unread: AtomicU8::new(unread) });
        if arrival == Arrival::Announced {
            shelf.get(&place.key);
        }
    }

    /// `bytes`, counted until nobody holds them any more.
    pub(crate) fn counted(&self, bytes: Bytes) -> Bytes {
        let counters = Arc::clone(&self.counters);
        counters.live_bytes.add(bytes.len() as u64);
        Bytes::from_owner(CountedPage { bytes, counters })
    }

    /// Bytes held, overhead included.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.shelves().map(PageTable::weight).sum()
    }

    pub(crate) fn held_pages(&self) -> u64 {
        self.shelves().map(|shelf| shelf.len() as u64).sum()
    }

    /// Bytes of pages that are held by others alone.
    pub(crate) fn lent_bytes(&self) -> u64 {
        let kept = self.held_bytes().saturating_sub(self.held_pages() * ENTRY_OVERHEAD_BYTES);
        self.counters.live_bytes.now().saturating_sub(kept)
    }

    fn shelf(&self, place: PageLocation) -> &PageTable {
        match &self.edges {
            Some(edges) if self.page_size.is_edge(place.key.page, place.size, self.edge_bytes) => edges,
            _ => &self.pages,
        }
    }

    fn shelves(&self) -> impl Iterator<Item = &PageTable> {
        [&self.pages].into_iter().chain(&self.edges)
    }
}

/// A page as the table holds it.
struct Page {
    bytes: Bytes,
    /// More than zero: fetched ahead, and not read since.
    unread: AtomicU8,
}

/// The table hands out pages by cloning them: the one it keeps counts that.
impl Clone for Page {
    fn clone(&self) -> Self {
        let unread = self.unread.load(Ordering::Relaxed);
        if unread > 0 {
            self.unread.store(unread - 1, Ordering::Relaxed);
        }
        Self { bytes: self.bytes.clone(), unread: AtomicU8::new(0) }
    }
}

/// MemoryTier of a page, the cache's or a reader's.
struct CountedPage {
    bytes: Bytes,
    counters: Arc<CacheCounters>,
}

impl AsRef<[u8]> for CountedPage {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CountedPage {
    fn drop(&mut self) {
        self.counters.live_bytes.sub(self.bytes.len() as u64);
    }
}

#[derive(Clone)]
struct WeighPages;

impl Weighter<PageKey, Page> for WeighPages {
    fn weight(&self, _: &PageKey, page: &Page) -> u64 {
        page.bytes.len() as u64 + ENTRY_OVERHEAD_BYTES
    }
}

#[derive(Clone)]
struct CountEvictions(Arc<CacheCounters>);

impl Lifecycle<PageKey, Page> for CountEvictions {
    /// The page evicted last: freed after the shard's lock is released, as usually there is only one.
    type RequestState = Option<Bytes>;

    fn on_evict(&self, evicted: &mut Option<Bytes>, _: PageKey, page: Page) {
        self.0.evictions.add(1);
        self.0.evicted_unread.add(u64::from(page.unread.into_inner() > 0));
        *evicted = Some(page.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    const PAGE: usize = 16 << 10;
    const SIZE: u64 = 10_000 * PAGE as u64;
    const MEMORY: usize = 8 << 20;

    fn memory(edge_bytes: usize) -> (MemoryTier, Arc<CacheCounters>) {
        let counters = Arc::new(CacheCounters::default());
        let config = CacheConfig { memory_bytes: MEMORY, page_bytes: PAGE, edge_bytes, ..CacheConfig::default() };
        (MemoryTier::new(&config, PageSize::new(PAGE).expect("allowed"), Arc::clone(&counters)), counters)
    }

    fn place(version: u64, page: u64) -> PageLocation {
        PageLocation { key: PageKey { version, page }, size: SIZE }
    }

    fn keep(memory: &MemoryTier, version: u64, page: u64, arrival: Arrival) {
        memory.insert(place(version, page), memory.counted(Bytes::from(vec![0; PAGE])), arrival);
    }

    /// Reads once, in a version of its own, so many pages that are no ends.
    fn scan(memory: &MemoryTier, version: u64, pages: u64) {
        (10..10 + pages).for_each(|page| keep(memory, version, page, Arrival::Demanded));
    }

    /// A memory that is full: the first pages of all are hot for want of others.
    fn full(edge_bytes: usize) -> (MemoryTier, Arc<CacheCounters>) {
        let (memory, counters) = memory(edge_bytes);
        scan(&memory, 9, 1000);
        (memory, counters)
    }

    #[test]
    fn never_holds_more_than_it_may() {
        for edge_bytes in [0, 40_000] {
            let (memory, counters) = memory(edge_bytes);
            let arrivals = [Arrival::Demanded, Arrival::Speculative, Arrival::Announced];
            for (page, arrival) in (0..10_000).zip(arrivals.into_iter().cycle()) {
                keep(&memory, 1, page, arrival);
                assert!(memory.held_bytes() <= MEMORY as u64);
            }
            assert_eq!(memory.held_pages() + counters.evictions.now(), 10_000);
            assert!(memory.held_pages() >= 400, "{}", memory.held_pages());
        }
    }

    #[test]
    fn the_ends_of_objects_outlive_a_scan_where_that_is_asked_for() {
        for (edge_bytes, kept) in [(0, false), (1, true)] {
            let (memory, _) = full(edge_bytes);
            keep(&memory, 1, 0, Arrival::Demanded);
            keep(&memory, 1, 9999, Arrival::Demanded);
            scan(&memory, 2, 2000);
            assert_eq!([0, 9999].map(|page| memory.has(place(1, page))), [kept; 2], "{edge_bytes}");
        }
    }

    /// Of these pages, the ones that a scan leaves.
    fn left_by_a_scan(memory: &MemoryTier, pages: Range<u64>) -> Vec<u64> {
        scan(memory, 2, 2000);
        pages.filter(|page| memory.has(place(1, *page))).collect()
    }

    #[test]
    fn of_what_is_fetched_a_scan_leaves_what_was_read_from_here_or_announced() {
        for (arrival, left, unread) in
            [(Arrival::Demanded, 1..4, 0), (Arrival::Speculative, 1..4, 1), (Arrival::Announced, 0..4, 0)]
        {
            let (memory, counters) = full(0);
            (0..4).for_each(|page| keep(&memory, 1, page, arrival));
            for page in 1..4 {
                assert!(memory.get(place(1, page)).is_some());
            }
            assert_eq!(left_by_a_scan(&memory, 0..4), left.collect::<Vec<_>>(), "{arrival:?}");
            assert_eq!(counters.evicted_unread.now(), unread, "{arrival:?}");
        }
    }

    #[test]
    fn a_page_evicted_and_fetched_ahead_again_is_no_second_use() {
        for (arrival, left) in [(Arrival::Speculative, vec![]), (Arrival::Demanded, vec![0])] {
            let (memory, _) = full(0);
            keep(&memory, 1, 0, Arrival::Demanded);
            scan(&memory, 3, 200);
            assert!(!memory.has(place(1, 0)), "evicted");
            keep(&memory, 1, 0, arrival);
            assert_eq!(left_by_a_scan(&memory, 0..1), left, "{arrival:?}");
        }
    }

    #[test]
    fn what_others_hold_is_told() {
        let (memory, _) = full(0);
        keep(&memory, 1, 0, Arrival::Demanded);
        let held = memory.get(place(1, 0)).expect("kept");
        assert_eq!(memory.lent_bytes(), 0, "kept as well");
        memory.pages.clear();
        assert_eq!(memory.lent_bytes(), PAGE as u64);
        let slice = held.slice(5..6);
        drop(held);
        assert_eq!(memory.lent_bytes(), PAGE as u64, "a slice holds its page");
        drop(slice);
        assert_eq!(memory.lent_bytes(), 0);
    }
}
