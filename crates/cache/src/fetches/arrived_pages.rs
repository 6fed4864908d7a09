//! The pages of a fetch that have arrived and are still wanted, and the memory that is charged for them.

use std::collections::BTreeMap;

use bytes::Bytes;
use headstart_fetch_core::Reservation;

/// A fetch without a reservation holds at most so many bytes, or one page, ahead of its readers. So does `FetchStore`.
pub(crate) const UNRESERVED_BYTES: usize = 256 << 10;

/// The memory for the pages of a fetch, until they are taken.
#[derive(Debug, Default)]
pub(crate) enum Charge {
    /// There is no budget, or a layer above has reserved the bytes.
    #[default]
    NotCharged,
    /// Reserved: all bytes that are still to arrive or to be taken.
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
    held_bytes: usize,
    /// Number of readers that are interested in each page.
    interests: BTreeMap<u64, usize>,
    /// Number of readers that do not know yet which pages they want.
    undecided: usize,
    /// Number of readers that wait for each page now; `u64::MAX` stands for all pages.
    waits: BTreeMap<u64, usize>,
    charge: Charge,
    /// The most that a fetch in lockstep holds.
    unreserved_bytes: usize,
}

impl ArrivedPages {
    /// Sets the memory for a fetch of pages of `page_bytes`.
    pub(crate) fn charge(&mut self, charge: Charge, page_bytes: usize) {
        self.charge = charge;
        self.unreserved_bytes = UNRESERVED_BYTES.max(page_bytes);
    }

    /// Whether the fetch has no memory of its own, so that it may drop a page before an interested reader has taken it.
    pub(crate) fn is_lockstep(&self) -> bool {
        matches!(self.charge, Charge::Lockstep)
    }

    /// Whether `page` has arrived and was dropped.
    pub(crate) fn is_dropped(&self, page: u64) -> bool {
        self.next.is_some_and(|next| page < next) && !self.arrived.contains_key(&page)
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
        if remove_one(&mut self.interests, page) && self.undecided == 0 {
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
        if self.undecided == 0 {
            let is_unwanted = |page: &u64| !self.interests.contains_key(page);
            let unwanted: Vec<u64> = self.arrived.keys().copied().filter(is_unwanted).collect();
            unwanted.into_iter().for_each(|page| self.remove(page));
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

    /// Whether a reader waits for any page.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.waits.is_empty()
    }

    /// Whether the fetch may read `page`, of `bytes`, now.
    pub(crate) fn may_read(&self, page: u64, bytes: usize) -> bool {
        !self.is_lockstep()
            || self.held_bytes == 0
            || self.held_bytes + bytes <= self.unreserved_bytes
            || self.waits.last_key_value().is_some_and(|(awaited, _)| *awaited >= page)
    }

    /// Whether pages have to be dropped before `bytes` are taken in.
    pub(crate) fn makes_room_for(&self, bytes: usize) -> bool {
        self.is_lockstep() && self.held_bytes > 0 && self.held_bytes + bytes > self.unreserved_bytes
    }

    /// Takes in `page`. In lockstep the oldest pages are dropped for it, even those that readers are interested in:
    /// these readers find them in the memory tier, or fetch them again.
    pub(crate) fn push(&mut self, page: u64, bytes: Bytes) {
        self.next = Some(page + 1);
        if self.undecided == 0 && !self.interests.contains_key(&page) {
            return self.release(bytes.len());
        }
        self.held_bytes += bytes.len();
        self.arrived.insert(page, bytes);
        while self.is_lockstep() && self.held_bytes > self.unreserved_bytes {
            match self.arrived.first_key_value() {
                Some((oldest, _)) if *oldest != page => self.remove(*oldest),
                _ => return,
            }
        }
    }

    /// The request is answered: the fetch brings `bytes`, beginning in page `first`.
    pub(crate) fn begin(&mut self, first: u64, bytes: usize) {
        self.next = Some(first);
        self.keep_reserved(bytes);
    }

    /// The fetch has ended: releases what is reserved beyond the held pages.
    pub(crate) fn end(&mut self) {
        self.keep_reserved(self.held_bytes);
    }

    fn keep_reserved(&mut self, bytes: usize) {
        if let Charge::Reserved(reservation) = &mut self.charge {
            reservation.release(reservation.bytes().saturating_sub(bytes));
        }
    }

    fn remove(&mut self, page: u64) {
        if let Some(bytes) = self.arrived.remove(&page) {
            self.held_bytes -= bytes.len();
            self.release(bytes.len());
        }
    }

    fn release(&mut self, bytes: usize) {
        if let Charge::Reserved(reservation) = &mut self.charge {
            reservation.release(bytes);
        }
    }
}

/// Removes one of the readers of `page`; true where none is left.
fn remove_one(readers: &mut BTreeMap<u64, usize>, page: u64) -> bool {
    match readers.get_mut(&page) {
        Some(count) if *count > 1 => {
            *count -= 1;
            false
        }
        _ => {
            readers.remove(&page);
            true
        }
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
        pages.add_undecided();
        pages.begin(0, 3 * PAGE);
        (0..3).for_each(|at| pages.push(at, page()));
        assert!(pages.add_interest(1));
        pages.remove_undecided();
        assert!(pages.is_dropped(0) && pages.get(1).is_some() && pages.is_dropped(2));
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
