//! The index: which pages are on disk, and where. In memory, 15 to 23 bytes a page.
//!
//! An entry takes 12 bytes: 56 bits of fingerprint and 40 bits of location. Tables are open-addressed and
//! grow by half when they are filled to four fifths, so at least 53 % of a table is used. `HashMap` doubles, and takes
//! 15 to 30 bytes. Two pages with one fingerprint are both kept: the record on disk has the whole key.

use headstart_fetch_core::internal::locks::RwLock;

/// Bits of a location that name the place within the segment.
const UNIT_BITS: u32 = 20;
const LOCATION_BITS: u32 = 40;
const SHARDS: usize = 16;

/// Pages with the same fingerprint that a look-up returns. Several processes may have written the same page.
pub(crate) const MAX_FOUND: usize = 4;

/// Most segments that the index can tell apart.
pub(crate) const MAX_SEGMENTS: usize = 1 << (LOCATION_BITS - UNIT_BITS);

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PagePlace {
    /// Number of the segment among those that this process knows.
    pub(crate) segment: u32,
    /// Where its record begins in the segment, in units of 64 bytes.
    pub(crate) unit: u32,
}

/// All pages on disk that this process knows of.
pub(crate) struct PageIndex {
    shards: Box<[RwLock<IndexShard>]>,
}

#[derive(Default)]
struct IndexShard {
    slots: Vec<IndexSlot>,
    used: usize,
}

/// 56 bits of fingerprint and 40 bits of location, as three words so that it takes 12 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct IndexSlot([u32; 3]);

impl IndexSlot {
    const EMPTY: Self = Self([u32::MAX; 3]);

    #[expect(clippy::cast_possible_truncation, reason = "words of a packed value")]
    fn new(fingerprint: u64, place: PagePlace) -> Self {
        let location = u64::from(place.segment) << UNIT_BITS | u64::from(place.unit);
        Self([(fingerprint >> 24) as u32, (fingerprint << 8) as u32 | (location >> 32) as u32, location as u32])
    }

    fn fingerprint(self) -> u64 {
        u64::from(self.0[0]) << 24 | u64::from(self.0[1]) >> 8
    }

    #[expect(clippy::cast_possible_truncation, reason = "a location has 40 bits")]
    fn place(self) -> PagePlace {
        let location = u64::from(self.0[1] & 0xff) << 32 | u64::from(self.0[2]);
        PagePlace { segment: (location >> UNIT_BITS) as u32, unit: location as u32 & ((1 << UNIT_BITS) - 1) }
    }
}

impl PageIndex {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    /// The places of pages with this fingerprint.
    pub(crate) fn find(&self, fingerprint: u64) -> ([Option<PagePlace>; MAX_FOUND], usize) {
        let (mut found, mut count) = ([None; MAX_FOUND], 0);
        self.shard(fingerprint).read().each(fingerprint, |place| {
            found[count] = Some(place);
            count += 1;
            count < MAX_FOUND
        });
        (found, count)
    }

    /// Adds a page.
    pub(crate) fn insert(&self, fingerprint: u64, place: PagePlace) {
        self.shard(fingerprint).write().insert(IndexSlot::new(fingerprint, place));
    }

    /// Keeps the pages in the segments that `keep` names.
    pub(crate) fn retain(&self, keep: impl Fn(u32) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let kept: Vec<IndexSlot> = shard
                .slots
                .iter()
                .copied()
                .filter(|slot| *slot != IndexSlot::EMPTY && keep(slot.place().segment))
                .collect();
            if kept.len() < shard.used {
                *shard = IndexShard { slots: vec![IndexSlot::EMPTY; kept.len() * 3 / 2 + 8], used: 0 };
                kept.into_iter().for_each(|slot| shard.insert(slot));
            }
        }
    }

    /// Pages in the index.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().used).sum()
    }

    /// Bytes of memory that the index takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().slots.capacity() * size_of::<IndexSlot>()).sum()
    }

    fn shard(&self, fingerprint: u64) -> &RwLock<IndexShard> {
        &self.shards[usize::try_from(fingerprint >> 52).expect("four bits") % SHARDS]
    }
}

impl IndexShard {
    /// The first slot to look at: the fingerprint's middle bits, scaled to the table.
    fn home(&self, fingerprint: u64) -> usize {
        let middle = (fingerprint >> 20) & u64::from(u32::MAX);
        usize::try_from((middle * self.slots.len() as u64) >> 32).expect("less than the slots")
    }

    /// Calls `visit` with the places of `fingerprint`, as long as it returns true.
    fn each(&self, fingerprint: u64, mut visit: impl FnMut(PagePlace) -> bool) {
        if self.used == 0 {
            return;
        }
        let mut at = self.home(fingerprint);
        while self.slots[at] != IndexSlot::EMPTY {
            let slot = self.slots[at];
            if slot.fingerprint() == fingerprint && !visit(slot.place()) {
                return;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn insert(&mut self, slot: IndexSlot) {
        if (self.used + 1) * 5 > self.slots.len() * 4 {
            let more = vec![IndexSlot::EMPTY; self.slots.len() * 3 / 2 + 8];
            let old = std::mem::replace(&mut self.slots, more);
            old.into_iter().filter(|slot| *slot != IndexSlot::EMPTY).for_each(|slot| self.put(slot));
        }
        self.put(slot);
        self.used += 1;
    }

    fn put(&mut self, slot: IndexSlot) {
        let mut at = self.home(slot.fingerprint());
        while self.slots[at] != IndexSlot::EMPTY {
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        self.slots[at] = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::policy::entry::DiskKey;

    fn fingerprint(n: u32) -> u64 {
        DiskKey { digest: [7; 32], page: n }.fingerprint()
    }

    fn place(n: u32) -> PagePlace {
        PagePlace { segment: n % (1 << 20), unit: n.wrapping_mul(977) % (1 << 20) }
    }

    #[test]
    fn every_page_is_found_where_it_was_put_until_its_segment_goes() {
        let index = PageIndex::new();
        (0..200_000).for_each(|n| index.insert(fingerprint(n), place(n)));
        let holds = |n| index.find(fingerprint(n)).0.contains(&Some(place(n)));
        assert!((0..200_000).all(holds));
        assert!((200_000..300_000).filter(|n| holds(*n)).count() == 0);
        index.retain(|segment| segment % 3 != 0);
        assert!((0..200_000).all(|n| holds(n) == (n % 3 != 0)));
        assert_eq!(index.len(), (0..200_000).filter(|n| n % 3 != 0).count());
    }

    #[test]
    fn pages_with_one_fingerprint_are_all_kept() {
        let index = PageIndex::new();
        (0..6).for_each(|n| index.insert(5, place(n)));
        assert_eq!(index.find(5).1, MAX_FOUND);
        assert_eq!(index.find(6).1, 0);
    }

    #[test]
    fn a_page_takes_at_most_24_bytes() {
        let index = PageIndex::new();
        for n in 0..400_000 {
            index.insert(fingerprint(n), place(n));
            if n > 20_000 && n % 1000 == 0 {
                let bytes = index.memory_bytes() as f64 / index.len() as f64;
                assert!((14.0..=24.0).contains(&bytes), "{bytes} bytes a page at {n} pages");
            }
        }
    }
}
