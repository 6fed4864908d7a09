//! Page arithmetic: which pages a range needs, and which missing pages are fetched by one request.

use std::ops::Range;

/// The pages that a stream plans at once; a longer stream is planned window by window. Also the most bytes that a fetch
/// holds for its readers, so that slow readers of large bodies do not fill the memory.
pub(crate) const WINDOW_BYTES: u64 = 8 << 20;

/// Calls join a fetch for pages that arrive within so many bytes; for later pages they send their own request. A reader
/// that keeps up has planned two windows beyond what has arrived, and the registration advances at least once in the
/// largest page.
const JOINABLE_BYTES: u64 = 2 * WINDOW_BYTES + MAX_PAGE_BYTES as u64;

/// The registration of a fetch advances after so many bytes, or one page.
const REGISTERED_STEP_BYTES: u64 = 1 << 20;

/// The longest request for the rest of a stream. To look up its pages takes half a millisecond (30 ns each), and at
/// 1 GB/s the next request begins after a second.
const LONGEST_RUN_BYTES: u64 = 1 << 30;

/// The smallest page.
pub(crate) const MIN_PAGE_BYTES: usize = 16 << 10;

/// The largest page.
pub(crate) const MAX_PAGE_BYTES: usize = 4 << 20;

/// The size of a page: a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageSize {
    shift: u32,
}

/// The bytes that a call needs of one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageNeed {
    /// Number of the page in its object.
    pub(crate) page: u64,
    /// The needed range of the object; it lies within this page.
    pub(crate) bytes: Range<u64>,
}

impl PageSize {
    /// Pages of `bytes`; `None` unless `bytes` is a power of two within the limits.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let allowed = bytes.is_power_of_two() && (MIN_PAGE_BYTES..=MAX_PAGE_BYTES).contains(&bytes);
        allowed.then(|| Self { shift: bytes.trailing_zeros() })
    }

    /// Bytes of one page.
    pub(crate) fn bytes(self) -> u64 {
        1 << self.shift
    }

    /// The page that contains byte `offset`.
    pub(crate) fn of(self, offset: u64) -> u64 {
        offset >> self.shift
    }

    /// The first byte of `page`, at most `u64::MAX`.
    pub(crate) fn start(self, page: u64) -> u64 {
        page.saturating_mul(self.bytes())
    }

    /// `range`, widened to whole pages. The result may exceed the end of the object.
    pub(crate) fn align(self, range: &Range<u64>) -> Range<u64> {
        self.start(self.of(range.start))..range.end.checked_next_multiple_of(self.bytes()).unwrap_or(range.end)
    }

    /// The pages that lie entirely in `range`, of an object of `size` bytes; the last page ends with the object.
    pub(crate) fn whole_in(self, range: &Range<u64>, size: u64) -> Range<u64> {
        let first = range.start.div_ceil(self.bytes());
        let last = if range.end >= size { size.div_ceil(self.bytes()) } else { self.of(range.end) };
        first..last.max(first)
    }

    /// Whether `page` contains one of the first or last `edge_bytes` of an object of `size` bytes.
    pub(crate) fn is_edge(self, page: u64, size: u64, edge_bytes: u64) -> bool {
        self.start(page) < edge_bytes || self.start(page + 1) > size.saturating_sub(edge_bytes)
    }

    /// The latest end of a window that begins at byte `start`: the end of a page.
    pub(crate) fn window_end(self, start: u64) -> u64 {
        self.start(self.of(start)).saturating_add(WINDOW_BYTES)
    }

    /// `range`, cut into windows.
    pub(crate) fn windows(self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let starts = std::iter::successors(Some(range.start), move |start| Some(self.window_end(*start)));
        starts
            .take_while(move |start| *start < range.end)
            .map(move |start| start..range.end.min(self.window_end(start)))
    }

    /// The needed pages of `ranges`, in ascending order. Ranges that touch the same page share one entry.
    pub(crate) fn needs(self, ranges: &[Range<u64>]) -> Vec<PageNeed> {
        let mut needs = Vec::new();
        for range in ranges.iter().filter(|range| range.start < range.end) {
            for page in self.of(range.start)..=self.of(range.end - 1) {
                let start = self.start(page);
                let bytes = range.start.max(start)..range.end.min(start.saturating_add(self.bytes()));
                needs.push(PageNeed { page, bytes });
            }
        }
        needs.sort_by_key(|need| need.page);
        needs.dedup_by(|next, kept| {
            let same = next.page == kept.page;
            if same {
                kept.bytes = kept.bytes.start.min(next.bytes.start)..kept.bytes.end.max(next.bytes.end);
            }
            same
        });
        needs
    }

    /// The stretches of whole pages that `ranges` touch, in ascending order, merged over holes of up to `bridge_bytes`.
    /// Never more than ranges, however long these are.
    pub(crate) fn stretches(self, ranges: &[Range<u64>], bridge_bytes: u64) -> Vec<Range<u64>> {
        let mut aligned: Vec<_> = ranges.iter().filter(|range| range.start < range.end).cloned().collect();
        aligned.sort_unstable_by_key(|range| range.start);
        let mut stretches: Vec<Range<u64>> = Vec::new();
        for range in aligned.iter().map(|range| self.align(range)) {
            match stretches.last_mut() {
                Some(last) if range.start <= last.end.saturating_add(bridge_bytes) => {
                    last.end = last.end.max(range.end);
                }
                _ => stretches.push(range),
            }
        }
        stretches
    }

    /// The end of the `last` run of missing pages, where a stream of the bytes `ahead` follows it: one request brings
    /// all missing pages up to the first hole of more than `bridge_bytes`.
    pub(crate) fn run_end(
        self,
        last: &Range<u64>,
        ahead: &Range<u64>,
        bridge_bytes: u64,
        is_missing: impl Fn(u64) -> bool,
    ) -> u64 {
        if ahead.is_empty() || self.start(last.end) < ahead.start {
            return last.end;
        }
        let max_end = last.start + (LONGEST_RUN_BYTES >> self.shift);
        let mut run_end = last.end;
        for page in last.end..(self.of(ahead.end - 1) + 1).min(max_end) {
            if is_missing(page) {
                run_end = page + 1;
            } else if page - run_end >= bridge_bytes >> self.shift {
                break;
            }
        }
        run_end
    }

    /// The first of the `pages` that a fetch brings next: those for which other calls join it.
    pub(crate) fn joinable(self, pages: &Range<u64>) -> Range<u64> {
        pages.start..pages.end.min(pages.start.saturating_add(JOINABLE_BYTES >> self.shift))
    }

    /// Whether the pages for which calls join a fetch change when it reads its page number `nth`.
    pub(crate) fn is_registered_anew(self, nth: u64) -> bool {
        nth > 0 && nth.is_multiple_of((REGISTERED_STEP_BYTES >> self.shift).max(1))
    }

    /// Groups `missing` pages (ascending) into runs, each fetched by one request of at most [`WINDOW_BYTES`].
    ///
    /// A run contains neighbouring pages, and pages with a hole of at most `bridge_bytes` between them.
    pub(crate) fn runs(self, missing: &[u64], bridge_bytes: u64) -> Vec<Range<u64>> {
        let max_pages = WINDOW_BYTES >> self.shift;
        let mut runs: Vec<Range<u64>> = Vec::new();
        for &page in missing {
            match runs.last_mut() {
                Some(run) if (page - run.end) <= bridge_bytes >> self.shift && page < run.start + max_pages => {
                    run.end = page + 1;
                }
                _ => runs.push(page..page + 1),
            }
        }
        runs
    }
}

const _: () = assert!(WINDOW_BYTES.is_multiple_of(MAX_PAGE_BYTES as u64));

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: u64 = 1024;

    fn pages() -> PageSize {
        PageSize::new(MIN_PAGE_BYTES).expect("16 KiB is allowed")
    }

    #[test]
    fn only_powers_of_two_within_the_limits() {
        let sizes = [0, 8 << 10, 16 << 10, 65_537, 4 << 20, 8 << 20];
        assert_eq!(sizes.map(|bytes| PageSize::new(bytes).is_some()), [false, false, true, false, true, false]);
    }

    #[test]
    fn the_last_page_ends_with_the_object() {
        assert_eq!(pages().whole_in(&(0..100), 100), 0..1);
        assert_eq!(pages().whole_in(&(0..100), 101), 0..0);
        assert_eq!(pages().whole_in(&(1..40 * KIB), 40 * KIB), 1..3);
        assert_eq!(pages().whole_in(&(5..6), 40 * KIB), 1..1);
        assert_eq!(pages().whole_in(&(0..0), 0), 0..0);
    }

    #[test]
    fn edges_are_the_first_and_the_last_pages() {
        let edges = |size: u64, edge_bytes| (0..10).filter(|page| pages().is_edge(*page, size, edge_bytes)).count();
        assert_eq!(edges(160 * KIB, 1), 2);
        assert_eq!(edges(160 * KIB, 16 * KIB), 2);
        assert_eq!(edges(160 * KIB, 16 * KIB + 1), 4);
        assert_eq!(edges(152 * KIB, 10 * KIB), 3, "the last page is short");
        assert_eq!(edges(160 * KIB, 160 * KIB), 10);
    }

    #[test]
    fn offsets_near_u64_max_do_not_overflow() {
        let range = u64::MAX - 5..u64::MAX;
        assert_eq!(pages().align(&range).end, u64::MAX);
        assert_eq!(pages().needs(&[range]).len(), 1);
    }

    #[test]
    fn stretches_are_no_more_than_ranges() {
        let ranges = [40 * KIB..u64::MAX, 5..6, 0..0, 20 * KIB..30 * KIB];
        assert_eq!(pages().stretches(&ranges, 0), [0..u64::MAX]);
        assert_eq!(pages().stretches(&ranges[1..], 0), [0..32 * KIB]);
        assert_eq!(pages().stretches(&[0..1, 33 * KIB..34 * KIB], 0), [0..16 * KIB, 32 * KIB..48 * KIB]);
        assert_eq!(pages().stretches(&[0..1, 33 * KIB..34 * KIB], 16 * KIB), [0..48 * KIB]);
    }

    #[test]
    fn one_request_brings_a_stream_up_to_the_first_large_hole() {
        let until = |ahead: Range<u64>, present: u64| pages().run_end(&(2..4), &ahead, 0, |page| page != present);
        assert_eq!(until(64 * KIB..400 * KIB, 100), 25);
        assert_eq!(until(64 * KIB..400 * KIB, 10), 10);
        assert_eq!(until(64 * KIB..400 * KIB, 4), 4);
        assert_eq!(until(0..0, 10), 4, "nothing follows");
        assert_eq!(until(80 * KIB..400 * KIB, 10), 4, "what follows is not adjacent");
        assert_eq!(until(64 * KIB..u64::MAX, 1 << 40), 2 + (LONGEST_RUN_BYTES / (16 * KIB)));
        let bridged = |present: Range<u64>| {
            pages().run_end(&(2..4), &(64 * KIB..400 * KIB), 32 * KIB, |page| !present.contains(&page))
        };
        assert_eq!((bridged(10..12), bridged(10..13), bridged(23..25)), (25, 10, 23));
    }

    #[test]
    fn a_fetch_is_joined_for_its_next_pages_only() {
        assert_eq!(pages().joinable(&(5..9)), 5..9);
        assert_eq!(pages().joinable(&(5..u64::MAX)), 5..5 + JOINABLE_BYTES / (16 * KIB));
        let anew: Vec<u64> = (0..200).filter(|nth| pages().is_registered_anew(*nth)).collect();
        assert_eq!(anew, [64, 128, 192]);
        let largest = PageSize::new(MAX_PAGE_BYTES).expect("it is allowed");
        assert!(largest.is_registered_anew(1) && !largest.is_registered_anew(0));
    }

    #[test]
    fn small_holes_are_bridged_large_ones_are_not() {
        assert_eq!(pages().runs(&[0, 1, 3, 9], 0), [0..2, 3..4, 9..10]);
        assert_eq!(pages().runs(&[0, 1, 3, 9], 16 * KIB), [0..4, 9..10]);
        assert_eq!(pages().runs(&[0, 511, 512], u64::MAX), [0..512, 512..513], "never more than 8 MiB");
    }

    proptest! {
        #[test]
        fn needs_hold_every_byte_asked_for_and_stay_in_their_page(
            ranges in prop::collection::vec((0_u64..400 * KIB, 1_u64..100 * KIB), 0..6),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len)| start..start + len).collect();
            let needs = pages().needs(&ranges);
            prop_assert!(needs.is_sorted_by_key(|need| need.page));
            for need in &needs {
                prop_assert!(need.bytes.start < need.bytes.end);
                prop_assert_eq!(pages().of(need.bytes.start), need.page);
                prop_assert_eq!(pages().of(need.bytes.end - 1), need.page);
            }
            for range in ranges {
                for at in [range.start, range.end - 1, (range.start + range.end) / 2] {
                    prop_assert_eq!(needs.iter().filter(|need| need.bytes.contains(&at)).count(), 1);
                }
            }
        }

        #[test]
        fn runs_hold_every_missing_page_once_and_begin_and_end_with_one(
            mut missing in prop::collection::vec(0_u64..3000, 0..60),
            bridge_pages in 0_u64..20,
        ) {
            missing.sort_unstable();
            missing.dedup();
            let runs = pages().runs(&missing, bridge_pages * pages().bytes());
            for page in &missing {
                prop_assert_eq!(runs.iter().filter(|run| run.contains(page)).count(), 1);
            }
            for run in &runs {
                prop_assert!(missing.contains(&run.start) && missing.contains(&(run.end - 1)));
                prop_assert!((run.end - run.start) * pages().bytes() <= WINDOW_BYTES);
            }
            for pair in runs.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
            }
        }

        #[test]
        fn whole_pages_lie_in_the_range(start in 0_u64..200 * KIB, len in 0_u64..200 * KIB, size in 0_u64..300 * KIB) {
            let range = start.min(size)..(start + len).min(size);
            for page in 0..20 {
                let bytes = pages().start(page)..pages().start(page + 1).min(size);
                let whole = bytes.start < size && range.start <= bytes.start && bytes.end <= range.end;
                prop_assert_eq!(pages().whole_in(&range, size).contains(&page), whole, "page {}", page);
            }
        }
    }
}
