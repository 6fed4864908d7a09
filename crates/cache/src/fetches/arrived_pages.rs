//! What has arrived of a fetch and is still wanted, and the memory that is charged for it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use headstart_fetch_core::Reservation;

/// Bytes that a fetch without a reservation may hold before a reader takes them, unless a page is larger. `FetchStore` allows a part
/// without a reservation as much.
pub(crate) const UNRESERVED_BYTES: usize = 256 << 10;

/// The memory for what a fetch brings, until it is taken.
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
    /// How many readers want each page.
    wanted: HashMap<u64, usize>,
    /// Readers that do not know yet which pages they want.
    undecided: usize,
    /// The pages that readers wait for now; `u64::MAX` where one waits for all.
    awaited: BTreeMap<u64, usize>,
    charge: Charge,
    /// The most a fetch in lockstep holds.
    unreserved_bytes: usize,
}

impl ArrivedPages {
    /// Sets the memory for a fetch of pages of `page_bytes`.
    pub(crate) fn charge(&mut self, charge: Charge, page_bytes: usize) {
        self.charge = charge;
        self.unreserved_bytes = UNRESERVED_BYTES.max(page_bytes);
    }

    /// Whether the fetch has no memory of its own, so that a reader may find a page gone that it wants.
    pub(crate) fn is_lockstep(&self) -> bool {
        matches!(self.charge, Charge::Lockstep)
    }

    /// Whether `page` has arrived and is here no more.
    pub(crate) fn is_gone(&self, page: u64) -> bool {
        self.next.is_some_and(|next| page < next) && !self.arrived.contains_key(&page)
    }

    pub(crate) fn get(&self, page: u64) -> Option<&Bytes> {
        self.arrived.get(&page)
    }

    /// One reader more wants `page`; false where it is gone.
    pub(crate) fn want(&mut self, page: u64) -> bool {
        let is_there = !self.is_gone(page);
        if is_there {
            *self.wanted.entry(page).or_default() += 1;
        }
        is_there
    }

    /// One reader less wants `page`.
    pub(crate) fn unwant(&mut self, page: u64) {
        if decrement(&mut self.wanted, page) && self.undecided == 0 {
            self.remove(page);
        }
    }

    /// One reader more does not know yet what it wants.
    pub(crate) fn undecided(&mut self) {
        self.undecided += 1;
    }

    /// One reader less does not know what it wants.
    pub(crate) fn decided(&mut self) {
        self.undecided -= 1;
        if self.undecided == 0 {
            let unwanted: Vec<u64> =
                self.arrived.keys().filter(|page| !self.wanted.contains_key(page)).copied().collect();
            unwanted.into_iter().for_each(|page| self.remove(page));
        }
    }

    /// One reader more waits for `page`.
    pub(crate) fn wait_for(&mut self, page: u64) {
        *self.awaited.entry(page).or_default() += 1;
    }

    /// One reader less waits for `page`.
    pub(crate) fn wait_no_more(&mut self, page: u64) {
        if let Some(readers) = self.awaited.get_mut(&page) {
            *readers -= 1;
            if *readers == 0 {
                self.awaited.remove(&page);
            }
        }
    }

    /// Whether any reader waits for any page.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Whether the fetch may read `page`, of `bytes`, now.
    pub(crate) fn may_read(&self, page: u64, bytes: usize) -> bool {
        match self.charge {
            Charge::NotCharged | Charge::Reserved(_) => true,
            Charge::Lockstep => {
                self.held_bytes == 0
                    || self.held_bytes + bytes <= self.unreserved_bytes
                    || self.awaited.last_key_value().is_some_and(|(awaited, _)| *awaited >= page)
            }
        }
    }

    /// Whether pages have to go before `bytes` are taken in.
    pub(crate) fn makes_room_for(&self, bytes: usize) -> bool {
        self.is_lockstep() && self.held_bytes > 0 && self.held_bytes + bytes > self.unreserved_bytes
    }

    /// Takes in `page`. In lockstep the oldest pages make room for it, whoever wants them still: these readers find them in the cache's
    /// memory, or fetch them again.
    pub(crate) fn push(&mut self, page: u64, bytes: Bytes) {
        self.next = Some(page + 1);
        if self.undecided == 0 && !self.wanted.contains_key(&page) {
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

    /// The fetch will bring `bytes` in all, from `first` page on.
    pub(crate) fn starts(&mut self, first: u64, bytes: usize) {
        self.next = Some(first);
        self.keep_reserved(bytes);
    }

    /// Nothing more arrives: what is reserved beyond the pages held is released.
    pub(crate) fn ends(&mut self) {
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

/// Counts one less; whether none is left.
fn decrement(counts: &mut HashMap<u64, usize>, key: u64) -> bool {
    let Some(count) = counts.get_mut(&key) else { return true };
    *count -= 1;
    if *count == 0 {
        counts.remove(&key);
    }
    !counts.contains_key(&key)
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
    fn what_is_taken_or_unwanted_is_dropped_and_uncharged() {
        let budget = MemoryBudget::new(1 << 20);
        let mut pieces = ArrivedPages::default();
        pieces.charge(Charge::Reserved(budget.try_reserve(8 * PAGE).expect("free")), PAGE);
        pieces.starts(10, 4 * PAGE);
        assert_eq!(budget.used_bytes(), 4 * PAGE, "less than was reserved");
        assert!(pieces.want(10) && pieces.want(10) && pieces.want(12));
        (10..13).for_each(|at| pieces.push(at, page()));
        assert_eq!(budget.used_bytes(), 3 * PAGE, "nobody wants page 11");
        pieces.unwant(10);
        assert!(pieces.get(10).is_some(), "another reader wants it");
        pieces.unwant(10);
        assert!(pieces.is_gone(10) && pieces.is_gone(11) && !pieces.is_gone(12) && !pieces.is_gone(13));
        assert!(!pieces.want(10));
        pieces.ends();
        assert_eq!(budget.used_bytes(), PAGE);
        pieces.unwant(12);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn readers_that_are_undecided_want_everything() {
        let mut pieces = ArrivedPages::default();
        pieces.undecided();
        pieces.starts(0, 3 * PAGE);
        (0..3).for_each(|at| pieces.push(at, page()));
        assert!(pieces.want(1));
        pieces.decided();
        assert!(pieces.is_gone(0) && pieces.get(1).is_some() && pieces.is_gone(2));
    }

    #[test]
    fn in_lockstep_it_reads_on_only_for_a_reader_and_holds_little() {
        let mut pieces = ArrivedPages::default();
        pieces.charge(Charge::Lockstep, PAGE);
        pieces.starts(0, 20 * PAGE);
        (0..20).for_each(|at| assert!(pieces.want(at)));
        let mut next = 0;
        while pieces.may_read(next, PAGE) {
            pieces.push(next, page());
            next += 1;
        }
        assert_eq!(next, 4, "256 KiB");
        pieces.unwant(0);
        assert!(pieces.may_read(4, PAGE), "one was taken");
        pieces.push(4, page());
        assert!(!pieces.may_read(5, PAGE));
        pieces.wait_for(7);
        (5..8).for_each(|at| {
            assert!(pieces.may_read(at, PAGE), "one is waited for");
            pieces.push(at, page());
        });
        pieces.wait_no_more(7);
        assert!(!pieces.may_read(8, PAGE));
        assert!(pieces.is_gone(3) && pieces.get(4).is_some(), "the oldest made room");
        let mut large = ArrivedPages::default();
        large.charge(Charge::Lockstep, 1 << 20);
        assert!(large.want(0) && large.want(1));
        large.push(0, Bytes::from(vec![0; 1 << 20]));
        assert!(large.get(0).is_some(), "one page at least");
        assert!(!large.may_read(1, 1 << 20));
    }
}
