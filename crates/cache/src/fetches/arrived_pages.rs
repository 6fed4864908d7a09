//! The pages of a fetch that have arrived and are still wanted, and the memory that is charged for them.

use std::collections::BTreeMap;

use bytes::Bytes;
use headstart_fetch_core::{Reservation, internal::byte_range};

use crate::policy::WINDOW_BYTES;

/// A fetch without a reservation holds at most so many bytes, or one page, ahead of its readers. So does `FetchStore`.
pub(crate) const UNRESERVED_BYTES: usize = 256 << 10;

/// The memory for the pages of a fetch, until they are taken.
#[derive(Debug, Default)]
pub(crate) enum Charge {
    /// There is no budget, or a layer above has reserved the bytes.
    #[default]
    NotCharged,
    /// Reserved: the bytes that are held, and those that are still to arrive, up to a window.
    Reserved(Reservation),
    /// Nothing is reserved. The fetch reads on only as its readers take what has arrived.
    Lockstep,
}

/// The pages of a fetch that have arrived and are still wanted.
#[derive(Debug, Default)]
pub(crate) struct ArrivedPages {
    arrived: BTreeMap<u64, Bytes>,
    /// The page that arrives next.
    next: Option<u64>,
    /// Bytes that are still to arrive.
    missing_bytes: usize,
    held_bytes: usize,
    /// Bytes that have arrived since the last page that a reader wanted.
    unwanted_bytes: usize,
    /// Number of readers that are interested in each page.
    interests: BTreeMap<u64, usize>,
    /// Number of readers that do not know yet which pages they want.
    undecided: usize,
    /// The reader that began the fetch wants all pages from this one on.
    followed_from: Option<u64>,
    /// Number of readers that wait for each page now.
    waits: BTreeMap<u64, usize>,
    charge: Charge,
    /// The most bytes that the fetch holds, unless a reader waits for a later page.
    max_held_bytes: usize,
}

impl ArrivedPages {
    /// Sets the memory for a fetch of pages of `page_bytes`.
    pub(crate) fn charge(&mut self, charge: Charge, page_bytes: usize) {
        let max_held_bytes =
            if matches!(charge, Charge::Lockstep) { UNRESERVED_BYTES } else { byte_range::in_memory(WINDOW_BYTES) };
        self.charge = charge;
        self.max_held_bytes = max_held_bytes.max(page_bytes);
    }

    /// Whether the fetch has no memory of its own.
    pub(crate) fn is_lockstep(&self) -> bool {
        matches!(self.charge, Charge::Lockstep)
    }

    /// Whether the fetch may drop a page of its `bytes` before an interested reader has taken it.
    pub(crate) fn may_drop_some_of(&self, bytes: u64) -> bool {
        self.is_lockstep() || bytes > self.max_held_bytes as u64
    }

    /// Whether `page` has arrived.
    pub(crate) fn has_arrived(&self, page: u64) -> bool {
        self.next.is_some_and(|next| page < next)
    }

    /// Whether `page` has arrived and was dropped.
    pub(crate) fn is_dropped(&self, page: u64) -> bool {
        self.has_arrived(page) && !self.arrived.contains_key(&page)
    }

    /// Whether everything has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.next.is_some() && self.missing_bytes == 0
    }

    /// The page that arrives next.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }

    pub(crate) fn get(&self, page: u64) -> Option<&Bytes> {
        self.arrived.get(&page)
    }

    /// Adds a reader that is interested in `page`; false where the page was dropped.
    pub(crate) fn add_interest(&mut self, page: u64) -> bool {
        let is_available = !self.is_dropped(page);
        if is_available {
            *self.interests.entry(page).or_default() += 1;
        }
        is_available
    }

    /// Removes a reader that was interested in `page`.
    pub(crate) fn remove_interest(&mut self, page: u64) {
        remove_one(&mut self.interests, page);
        if !self.is_wanted(page) {
            self.remove(page);
        }
    }

    /// Adds a reader that does not know yet which pages it wants: all of them are kept for it.
    pub(crate) fn add_undecided(&mut self) {
        self.undecided += 1;
    }

    /// Removes a reader that did not know which pages it wants.
    pub(crate) fn remove_undecided(&mut self) {
        self.undecided -= 1;
        self.remove_unwanted();
    }

    /// The reader that began the fetch wants all pages from this one on, or none beside those it is interested in.
    pub(crate) fn follow(&mut self, from: Option<u64>) {
        if self.followed_from != from {
            self.followed_from = from;
            self.remove_unwanted();
        }
    }

    /// Adds a reader that waits for `page`.
    pub(crate) fn add_wait(&mut self, page: u64) {
        *self.waits.entry(page).or_default() += 1;
    }

    /// Removes a reader that waited for `page`.
    pub(crate) fn remove_wait(&mut self, page: u64) {
        remove_one(&mut self.waits, page);
    }

    /// Whether the fetch may read `page`, of `bytes`, now.
    ///
    /// Pages that nobody wants are kept for later readers, up to a window. Beyond, the fetch waits for a reader that
    /// wants one of the next pages, or for its end.
    pub(crate) fn may_read(&self, page: u64, bytes: usize) -> bool {
        let is_last = |pages: &BTreeMap<u64, usize>| pages.last_key_value().is_some_and(|(last, _)| *last >= page);
        let has_room = self.held_bytes == 0 || self.held_bytes + bytes <= self.max_held_bytes;
        let has_reader = self.undecided > 0 || self.followed_from.is_some() || is_last(&self.interests);
        is_last(&self.waits)
            || has_room && (has_reader || self.unwanted_bytes + bytes <= byte_range::in_memory(WINDOW_BYTES))
    }

    /// Whether pages have to be dropped before `bytes` are taken in.
    pub(crate) fn makes_room_for(&self, bytes: usize) -> bool {
        self.held_bytes > 0 && self.held_bytes + bytes > self.max_held_bytes
    }

    /// Takes in `page`. Where too much is held, the oldest pages are dropped for it, even those that readers are
    /// interested in: these readers find them in the memory tier, or fetch them again.
    pub(crate) fn push(&mut self, page: u64, bytes: Bytes) {
        self.next = Some(page + 1);
        self.missing_bytes = self.missing_bytes.saturating_sub(bytes.len());
        if !self.is_wanted(page) {
            self.unwanted_bytes += bytes.len();
            return self.release();
        }
        self.unwanted_bytes = 0;
        self.held_bytes += bytes.len();
        self.arrived.insert(page, bytes);
        while self.held_bytes > self.max_held_bytes {
            match self.arrived.first_key_value() {
                Some((oldest, _)) if *oldest != page => self.remove(*oldest),
                _ => return,
            }
        }
    }

    /// The request is answered: the fetch brings `bytes`, beginning in page `first`.
    pub(crate) fn begin(&mut self, first: u64, bytes: usize) {
        self.next = Some(first);
        self.missing_bytes = bytes;
        self.release();
    }

    /// The fetch has ended: releases what is reserved beyond the held pages.
    pub(crate) fn end(&mut self) {
        self.missing_bytes = 0;
        self.release();
    }

    fn is_wanted(&self, page: u64) -> bool {
        self.undecided > 0 || self.followed_from.is_some_and(|from| page >= from) || self.interests.contains_key(&page)
    }

    fn remove_unwanted(&mut self) {
        let unwanted: Vec<u64> = self.arrived.keys().copied().filter(|page| !self.is_wanted(*page)).collect();
        unwanted.into_iter().for_each(|page| self.remove(page));
    }

    fn remove(&mut self, page: u64) {
        if let Some(bytes) = self.arrived.remove(&page) {
            self.held_bytes -= bytes.len();
            self.release();
        }
    }

    /// Releases what is reserved for neither held nor missing bytes.
    fn release(&mut self) {
        let needed = self.held_bytes.saturating_add(self.missing_bytes);
        if let Charge::Reserved(reservation) = &mut self.charge {
            reservation.release(reservation.bytes().saturating_sub(needed));
        }
    }
}

/// Removes one of the readers of `page`.
fn remove_one(readers: &mut BTreeMap<u64, usize>, page: u64) {
    match readers.get_mut(&page) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(readers.remove(&page)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_fetch_core::MemoryBudget;

    const PAGE: usize = 64 << 10;

    fn page() -> Bytes {
        Bytes::from(vec![0; PAGE])
    }

    #[test]
    fn pages_that_are_taken_or_unwanted_are_dropped_and_uncharged() {
        let budget = MemoryBudget::new(1 << 20);
        let mut pages = ArrivedPages::default();
        pages.charge(Charge::Reserved(budget.try_reserve(8 * PAGE).expect("free")), PAGE);
        pages.begin(10, 4 * PAGE);
        assert_eq!(budget.used_bytes(), 4 * PAGE, "the rest of the reservation is released");
        assert!(pages.add_interest(10) && pages.add_interest(10) && pages.add_interest(12));
        (10..13).for_each(|at| pages.push(at, page()));
        assert_eq!(budget.used_bytes(), 3 * PAGE, "nobody wants page 11");
        pages.remove_interest(10);
        assert!(pages.get(10).is_some(), "another reader wants it");
        pages.remove_interest(10);
        assert!(pages.is_dropped(10) && pages.is_dropped(11) && !pages.is_dropped(12) && !pages.is_dropped(13));
        assert!(!pages.add_interest(10));
        pages.end();
        assert_eq!(budget.used_bytes(), PAGE);
        pages.remove_interest(12);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn undecided_readers_keep_all_pages() {
        let mut pages = ArrivedPages::default();
        pages.charge(Charge::NotCharged, PAGE);
        pages.add_undecided();
        pages.begin(0, 3 * PAGE);
        (0..3).for_each(|at| pages.push(at, page()));
        assert!(pages.add_interest(1));
        pages.remove_undecided();
        assert!(pages.is_dropped(0) && pages.get(1).is_some() && pages.is_dropped(2));
    }

    #[test]
    fn a_long_body_is_read_one_window_ahead_of_its_reader_and_beyond_it_only_for_a_reader_that_waits() {
        const WINDOW: u64 = WINDOW_BYTES / PAGE as u64;
        let budget = MemoryBudget::new(16 << 20);
        let mut pages = ArrivedPages::default();
        pages.charge(Charge::Reserved(budget.try_reserve(8 << 20).expect("free")), PAGE);
        pages.begin(0, 200 * PAGE);
        pages.follow(Some(0));
        (0..WINDOW).for_each(|at| {
            assert!(pages.may_read(at, PAGE));
            pages.push(at, page());
        });
        assert!(!pages.may_read(WINDOW, PAGE), "a window is held");
        assert!(pages.add_interest(0));
        pages.follow(Some(1));
        pages.remove_interest(0);
        assert!(pages.is_dropped(0) && pages.get(1).is_some() && pages.may_read(WINDOW, PAGE));
        assert_eq!(budget.used_bytes(), 8 << 20, "its place is for a page to come");
        pages.add_wait(WINDOW + 1);
        (WINDOW..WINDOW + 2).for_each(|at| {
            assert!(pages.may_read(at, PAGE));
            pages.push(at, page());
        });
        assert!(pages.is_dropped(1) && pages.get(2).is_some(), "the oldest page made room");
        pages.remove_wait(WINDOW + 1);
        // The reader leaves; another one wants one page.
        assert!(pages.add_interest(WINDOW + 1));
        pages.follow(None);
        assert!(pages.is_dropped(2) && pages.get(WINDOW + 1).is_some());
        assert_eq!(budget.used_bytes(), 71 * PAGE, "the held page, and 70 to come");
        pages.end();
        pages.remove_interest(WINDOW + 1);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn pages_that_nobody_wants_are_read_for_a_window() {
        let mut pages = ArrivedPages::default();
        pages.charge(Charge::NotCharged, PAGE);
        pages.begin(0, 1000 * PAGE);
        let mut next = 0;
        while pages.may_read(next, PAGE) {
            pages.push(next, page());
            next += 1;
        }
        assert_eq!(next, WINDOW_BYTES / PAGE as u64);
        assert!(pages.add_interest(next + 5));
        assert!(pages.may_read(next + 5, PAGE) && !pages.may_read(next + 6, PAGE));
    }

    #[test]
    fn a_fetch_in_lockstep_reads_on_only_for_a_reader_and_holds_little() {
        let mut pages = ArrivedPages::default();
        pages.charge(Charge::Lockstep, PAGE);
        pages.begin(0, 20 * PAGE);
        (0..20).for_each(|at| assert!(pages.add_interest(at)));
        let mut next = 0;
        while pages.may_read(next, PAGE) {
            pages.push(next, page());
            next += 1;
        }
        assert_eq!(next, 4, "256 KiB");
        pages.remove_interest(0);
        assert!(pages.may_read(4, PAGE), "a page was taken");
        pages.push(4, page());
        assert!(!pages.may_read(5, PAGE));
        pages.add_wait(7);
        (5..8).for_each(|at| {
            assert!(pages.may_read(at, PAGE), "a reader waits for page 7");
            pages.push(at, page());
        });
        pages.remove_wait(7);
        assert!(!pages.may_read(8, PAGE));
        assert!(pages.is_dropped(3) && pages.get(4).is_some(), "the oldest page made room");
        let mut large = ArrivedPages::default();
        large.charge(Charge::Lockstep, 1 << 20);
        assert!(large.add_interest(0) && large.add_interest(1));
        large.push(0, Bytes::from(vec![0; 1 << 20]));
        assert!(large.get(0).is_some(), "at least one page");
        assert!(!large.may_read(1, 1 << 20));
    }
}
