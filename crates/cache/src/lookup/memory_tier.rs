//! The memory tier: pages in `quick_cache`, weighed in bytes. `quick_cache` decides what is evicted; this file decides
//! what counts as a use, and which pages compete with each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use foldhash::fast::FixedState;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::below::OfferUsed;
use crate::{config::CacheConfig, policy::PageSize, stats::CacheCounters, trace_events};

/// Memory of a page beyond its bytes: key and value (56), slots and ghost entries of the table (21 each, up to 3
/// times), the owner that counts it (64) and the headers of the allocator.
const ENTRY_OVERHEAD_BYTES: u64 = 320;

/// Most shards of a table: more than cores read at once. A constant, so that all machines evict the same.
const SHARDS: usize = 64;

/// One byte in so many goes to the ends of objects, where these have a table of their own.
const EDGE_SHARE: usize = 8;

/// The read of a page that makes the offer to the disk tier.
const SECOND: u8 = 2;

/// A page of a version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    /// Number of the version in the version table; never used twice.
    pub(crate) version: u64,
    /// Number of the page in the object.
    pub(crate) page: u64,
}

/// What it takes to find a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLocation {
    pub(crate) key: PageKey,
    /// Bytes of the object: tells whether the page is at one of its ends.
    pub(crate) size: u64,
}

/// Why a page was fetched. Decides what counts as its first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A reader waits for it.
    Demanded,
    /// It was fetched ahead, and may never be read.
    Speculative,
    /// It was fetched ahead for a caller that announced a read: counts as read once.
    Announced,
}

/// Pages held in memory.
pub(crate) struct MemoryTier {
    pages: PageTable,
    /// Pages at both ends of objects, if `edge_bytes` is set. They compete only with each other: scans evict no footer.
    edges: Option<PageTable>,
    edge_bytes: u64,
    page_size: PageSize,
    counters: Arc<CacheCounters>,
}

type PageTable = Cache<PageKey, CachedPage, WeighPages, FixedState, CountEvictions>;

impl MemoryTier {
    pub(crate) fn new(config: &CacheConfig, page_size: PageSize, counters: Arc<CacheCounters>) -> Self {
        let edge_share = if config.edge_bytes == 0 { 0 } else { config.memory_bytes / EDGE_SHARE };
        let table = |bytes: usize| {
            let options = OptionsBuilder::new()
                .estimated_items_capacity(bytes / config.page_bytes)
                .weight_capacity(bytes as u64)
                .shards(SHARDS)
                .build()
                .expect("both capacities are given");
            // Nobody can choose colliding keys: they are our own. A fixed hasher makes evictions reproducible.
            Cache::with_options(options, WeighPages, FixedState::default(), CountEvictions(Arc::clone(&counters)))
        };
        Self {
            pages: table(config.memory_bytes - edge_share),
            edges: (edge_share > 0).then(|| table(edge_share)),
            edge_bytes: config.edge_bytes as u64,
            page_size,
            counters,
        }
    }

    /// The page, if it is here. Counts as a use.
    #[inline]
    pub(crate) fn get(&self, location: PageLocation) -> Option<Bytes> {
        self.table(location).get(&location.key).map(|page| page.bytes)
    }

    /// Whether the page is here. Does not count as a use.
    pub(crate) fn has(&self, location: PageLocation) -> bool {
        self.table(location).contains_key(&location.key)
    }

    /// Keeps a page. `bytes` must own its memory alone: a slice would keep all that it was cut from.
    pub(crate) fn insert(&self, location: PageLocation, bytes: Bytes, arrival: Arrival) {
        self.insert_offering(location, bytes, arrival, None);
    }

    /// Keeps a page, and makes an `offer` when it is read for the second time.
    pub(crate) fn insert_offering(
        &self,
        location: PageLocation,
        bytes: Bytes,
        arrival: Arrival,
        offer: Option<OfferUsed>,
    ) {
        let table = self.table(location);
        let unread = match arrival {
            Arrival::Demanded => 0,
            Arrival::Speculative => 1,
            // The `get` below counts as a read.
            Arrival::Announced => 2,
        };
        if unread > 0 {
            if table.contains_key(&location.key) {
                return;
            }
            // The table remembers evicted pages and would count a second use, which no reader has made.
            table.remove(&location.key);
        }
        let reads = AtomicU8::new(0);
        table.insert(location.key, CachedPage { bytes, unread: AtomicU8::new(unread), reads, offer });
        if arrival == Arrival::Announced {
            table.get(&location.key);
        }
    }

    /// `bytes`, counted in `live_bytes` until nobody holds them any more.
    pub(crate) fn counted(&self, bytes: Bytes) -> Bytes {
        let counters = Arc::clone(&self.counters);
        counters.live_bytes.add(bytes.len() as u64);
        Bytes::from_owner(CountedPage { bytes, counters })
    }

    /// Offers the disk tier, for the last time, the pages that it has not taken.
    pub(crate) fn offer_last(&self) {
        for table in self.tables() {
            // All pages stay. Of the table's ways to visit them, this is the one that does not count as a read.
            table.retain(|_, page| {
                if let Some(offer) = &page.offer {
                    offer.offer_last(&page.bytes);
                }
                true
            });
        }
    }

    /// Bytes held, overhead included.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.tables().map(PageTable::weight).sum()
    }

    pub(crate) fn held_pages(&self) -> u64 {
        self.tables().map(|table| table.len() as u64).sum()
    }

    /// Bytes of pages that only others hold.
    pub(crate) fn lent_bytes(&self) -> u64 {
        let kept = self.held_bytes().saturating_sub(self.held_pages() * ENTRY_OVERHEAD_BYTES);
        self.counters.live_bytes.now().saturating_sub(kept)
    }

    fn table(&self, location: PageLocation) -> &PageTable {
        match &self.edges {
            Some(edges) if self.page_size.is_edge(location.key.page, location.size, self.edge_bytes) => edges,
            _ => &self.pages,
        }
    }

    fn tables(&self) -> impl Iterator<Item = &PageTable> {
        [&self.pages].into_iter().chain(&self.edges)
    }
}

/// A page, as the table keeps it.
struct CachedPage {
    bytes: Bytes,
    /// More than zero for a page that was fetched ahead and not read since.
    unread: AtomicU8,
    /// Reads, as long as there is an offer to make.
    reads: AtomicU8,
    /// The offer to the disk tier that the second read makes.
    offer: Option<OfferUsed>,
}

/// The table hands out pages by cloning them, so a clone counts as a read of the page that is kept.
impl Clone for CachedPage {
    fn clone(&self) -> Self {
        let unread = self.unread.load(Ordering::Relaxed);
        if unread > 0 {
            self.unread.store(unread - 1, Ordering::Relaxed);
        }
        if let Some(offer) = &self.offer
            && self.reads.load(Ordering::Relaxed) < SECOND
            && self.reads.fetch_add(1, Ordering::Relaxed) + 1 == SECOND
        {
            offer.offer(&self.bytes);
        }
        Self { bytes: self.bytes.clone(), unread: AtomicU8::new(0), reads: AtomicU8::new(SECOND), offer: None }
    }
}

/// Memory of a page, whether the cache or a reader holds it.
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

impl Weighter<PageKey, CachedPage> for WeighPages {
    fn weight(&self, _: &PageKey, page: &CachedPage) -> u64 {
        page.bytes.len() as u64 + ENTRY_OVERHEAD_BYTES
    }
}

#[derive(Clone)]
struct CountEvictions(Arc<CacheCounters>);

impl Lifecycle<PageKey, CachedPage> for CountEvictions {
    /// The page evicted last, usually the only one. It is freed after the lock of the shard is released.
    type RequestState = Option<Bytes>;

    fn on_evict(&self, evicted: &mut Option<Bytes>, key: PageKey, page: CachedPage) {
        let is_unread = page.unread.into_inner() > 0;
        trace_events::page_evicted(key, page.bytes.len(), is_unread);
        self.0.evictions.add(1);
        self.0.evicted_unread.add(u64::from(is_unread));
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

    fn location(version: u64, page: u64) -> PageLocation {
        PageLocation { key: PageKey { version, page }, size: SIZE }
    }

    fn keep(memory: &MemoryTier, version: u64, page: u64, arrival: Arrival) {
        memory.insert(location(version, page), memory.counted(Bytes::from(vec![0; PAGE])), arrival);
    }

    /// Reads `pages` pages of a version of its own once; none of them is at an end of the object.
    fn scan(memory: &MemoryTier, version: u64, pages: u64) {
        (10..10 + pages).for_each(|page| keep(memory, version, page, Arrival::Demanded));
    }

    /// A full memory tier. Its very first pages count as hot, as there were no others.
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
            assert_eq!([0, 9999].map(|page| memory.has(location(1, page))), [kept; 2], "{edge_bytes}");
        }
    }

    /// The pages among these that are left after a scan.
    fn left_by_a_scan(memory: &MemoryTier, pages: Range<u64>) -> Vec<u64> {
        scan(memory, 2, 2000);
        pages.filter(|page| memory.has(location(1, *page))).collect()
    }

    #[test]
    fn a_scan_leaves_fetched_pages_that_were_read_from_here_or_announced() {
        for (arrival, left, unread) in
            [(Arrival::Demanded, 1..4, 0), (Arrival::Speculative, 1..4, 1), (Arrival::Announced, 0..4, 0)]
        {
            let (memory, counters) = full(0);
            (0..4).for_each(|page| keep(&memory, 1, page, arrival));
            for page in 1..4 {
                assert!(memory.get(location(1, page)).is_some());
            }
            assert_eq!(left_by_a_scan(&memory, 0..4), left.collect::<Vec<_>>(), "{arrival:?}");
            assert_eq!(counters.evicted_unread.now(), unread, "{arrival:?}");
        }
    }

    #[test]
    fn to_fetch_an_evicted_page_ahead_again_is_not_a_second_use() {
        for (arrival, left) in [(Arrival::Speculative, vec![]), (Arrival::Demanded, vec![0])] {
            let (memory, _) = full(0);
            keep(&memory, 1, 0, Arrival::Demanded);
            scan(&memory, 3, 200);
            assert!(!memory.has(location(1, 0)), "evicted");
            keep(&memory, 1, 0, arrival);
            assert_eq!(left_by_a_scan(&memory, 0..1), left, "{arrival:?}");
        }
    }

    #[test]
    fn lent_bytes_are_those_that_only_others_hold() {
        let (memory, _) = full(0);
        keep(&memory, 1, 0, Arrival::Demanded);
        let held = memory.get(location(1, 0)).expect("kept");
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
