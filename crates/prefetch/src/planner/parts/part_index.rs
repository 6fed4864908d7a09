//! Sums over the parts of one object, and sorted sets of parts of each kind, updated with every change of a part.

use std::collections::{BTreeMap, BTreeSet};

use crate::planner::messages::ReaderId;
use crate::planner::parts::PartState;
use crate::planner::streams::PartOwner;

/// Sums over all parts, and sets of parts by their start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PartIndex {
    pub(crate) in_flight: usize,
    /// Of these, parts that are not being read.
    pub(crate) in_flight_unasked: usize,
    pub(crate) being_read: usize,
    pub(crate) unread_bytes: u64,
    /// Of these, bytes that a hint announced.
    pub(crate) announced_bytes: u64,
    /// Unread bytes by owner, without zeros.
    unread_by_owner: BTreeMap<PartOwner, u64>,
    by_owner: BTreeSet<(PartOwner, u64)>,
    /// Parts with unread bytes that are not being read.
    idle_unread: BTreeSet<u64>,
    /// Sweep candidates that are not being read: without unread bytes, and with some.
    read_candidates: BTreeSet<u64>,
    unread_candidates: BTreeSet<(PartOwner, u64)>,
}

/// The properties of a part that the index depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexedPart {
    start: u64,
    owner: PartOwner,
    unread_bytes: u64,
    in_flight: bool,
    is_being_read: bool,
    is_sweep_candidate: bool,
}

impl IndexedPart {
    pub(crate) fn of(part: &PartState) -> Self {
        Self {
            start: part.range.start,
            owner: part.owner,
            unread_bytes: part.unread_bytes(),
            in_flight: part.in_flight(),
            is_being_read: part.readers > 0,
            is_sweep_candidate: part.is_sweep_candidate,
        }
    }

    fn by_owner(self) -> (PartOwner, u64) {
        (self.owner, self.start)
    }

    fn announced_bytes(self) -> u64 {
        if self.owner.stream.is_none() { self.unread_bytes } else { 0 }
    }

    fn idle_unread(self) -> Option<u64> {
        (!self.is_being_read && self.unread_bytes > 0).then_some(self.start)
    }

    fn read_candidate(self) -> Option<u64> {
        (self.is_sweep_candidate && !self.is_being_read && self.unread_bytes == 0).then_some(self.start)
    }

    fn unread_candidate(self) -> Option<(PartOwner, u64)> {
        (self.is_sweep_candidate && !self.is_being_read && self.unread_bytes > 0).then_some(self.by_owner())
    }
}

impl PartIndex {
    /// Replaces the properties of one part; `None` stands for a part that does not exist.
    pub(crate) fn replace(&mut self, before: Option<IndexedPart>, now: Option<IndexedPart>) {
        if before == now {
            return;
        }
        if let Some(entry) = before {
            self.in_flight -= usize::from(entry.in_flight);
            self.in_flight_unasked -= usize::from(entry.in_flight && !entry.is_being_read);
            self.being_read -= usize::from(entry.is_being_read);
            self.unread_bytes -= entry.unread_bytes;
            self.announced_bytes -= entry.announced_bytes();
        }
        if let Some(entry) = now {
            self.in_flight += usize::from(entry.in_flight);
            self.in_flight_unasked += usize::from(entry.in_flight && !entry.is_being_read);
            self.being_read += usize::from(entry.is_being_read);
            self.unread_bytes += entry.unread_bytes;
            self.announced_bytes += entry.announced_bytes();
        }
        let unread = |entry: IndexedPart| (entry.owner, entry.unread_bytes);
        if before.map(unread) != now.map(unread) {
            self.move_unread(before, now);
        }
        move_entry(&mut self.by_owner, before, now, |part| Some(part?.by_owner()));
        move_entry(&mut self.idle_unread, before, now, |part| part?.idle_unread());
        move_entry(&mut self.read_candidates, before, now, |part| part?.read_candidate());
        move_entry(&mut self.unread_candidates, before, now, |part| part?.unread_candidate());
    }

    pub(crate) fn unread_of(&self, owner: PartOwner) -> u64 {
        self.unread_by_owner.get(&owner).copied().unwrap_or(0)
    }

    /// The starts below `end` of the parts of `owner`, ascending.
    pub(crate) fn of_owner(&self, owner: PartOwner, end: u64) -> impl DoubleEndedIterator<Item = u64> {
        self.by_owner.range((owner, 0)..(owner, end)).map(|(_, start)| *start)
    }

    /// The starts of the parts of `reader`: by owner, each ascending.
    pub(crate) fn of_reader(&self, reader: ReaderId) -> impl Iterator<Item = u64> {
        let owners = (PartOwner::hint(reader), 0)..=(PartOwner::last_of(reader), u64::MAX);
        self.by_owner.range(owners).map(|(_, start)| *start)
    }

    /// The starts of the parts that have unread bytes and are not being read.
    pub(crate) fn idle_unread(&self) -> impl Iterator<Item = u64> {
        self.idle_unread.iter().copied()
    }

    pub(crate) fn read_candidates(&self) -> impl Iterator<Item = u64> {
        self.read_candidates.iter().copied()
    }

    /// The starts of the sweep candidates with unread bytes: those of `owner`, or all.
    pub(crate) fn unread_candidates(&self, owner: Option<PartOwner>) -> impl Iterator<Item = u64> {
        let (first, last) = owner.map_or((PartOwner::FIRST, PartOwner::LAST), |owner| (owner, owner));
        self.unread_candidates.range((first, 0)..=(last, u64::MAX)).map(|(_, start)| *start)
    }

    fn move_unread(&mut self, before: Option<IndexedPart>, now: Option<IndexedPart>) {
        if let Some(now) = now.filter(|now| now.unread_bytes > 0) {
            *self.unread_by_owner.entry(now.owner).or_default() += now.unread_bytes;
        }
        if let Some(before) = before.filter(|before| before.unread_bytes > 0)
            && let Some(unread) = self.unread_by_owner.get_mut(&before.owner)
        {
            *unread -= before.unread_bytes;
            if *unread == 0 {
                self.unread_by_owner.remove(&before.owner);
            }
        }
    }
}

/// Replaces the key of the part `before` in `set` by that of `now`.
fn move_entry<K: Ord>(
    set: &mut BTreeSet<K>,
    before: Option<IndexedPart>,
    now: Option<IndexedPart>,
    key: impl Fn(Option<IndexedPart>) -> Option<K>,
) {
    let (before, now) = (key(before), key(now));
    if before != now {
        before.iter().for_each(|key| drop(set.take(key)));
        set.extend(now);
    }
}
