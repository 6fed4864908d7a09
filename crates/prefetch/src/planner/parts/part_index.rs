//! What the parts of one object add up to, and where those of each kind start: kept as parts change. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::planner::parts::part_state::PartState;
use crate::planner::streams::read_stream::ReadStreamId;

/// Sums over all parts, and sets of parts by where they start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PartIndex {
    /// Parts that are in flight.
    pub(crate) in_flight: usize,
    /// Of these, parts that nobody reads.
    pub(crate) in_flight_unasked: usize,
    /// Parts that somebody reads.
    pub(crate) being_read: usize,
    /// Bytes that nobody has read.
    pub(crate) unread_bytes: u64,
    /// Of these, bytes of announced parts.
    pub(crate) announced_bytes: u64,
    /// Bytes that nobody has read, by the stream they are for; only streams that have some.
    unread_by_stream: BTreeMap<ReadStreamId, u64>,
    by_stream: BTreeSet<(ReadStreamId, u64)>,
    /// Not read to the end, and nobody reads them.
    idle_unread: BTreeSet<u64>,
    /// Suspects that nobody reads: those that were read to the end, and the others.
    read_candidates: BTreeSet<u64>,
    unread_candidates: BTreeSet<(ReadStreamId, u64)>,
}

/// What of a part the index depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexedPart {
    start: u64,
    stream: ReadStreamId,
    unread_bytes: u64,
    in_flight: bool,
    is_announced: bool,
    is_being_read: bool,
    is_sweep_candidate: bool,
}

impl IndexedPart {
    /// That of `part`.
    pub(crate) fn of(part: &PartState) -> Self {
        Self {
            start: part.range.start,
            stream: part.stream,
            unread_bytes: part.unread(),
            in_flight: part.in_flight(),
            is_announced: part.is_announced(),
            is_being_read: part.readers > 0,
            is_sweep_candidate: part.is_sweep_candidate,
        }
    }

    fn in_stream(self) -> (ReadStreamId, u64) {
        (self.stream, self.start)
    }

    fn idle_unread(self) -> Option<u64> {
        (!self.is_being_read && self.unread_bytes > 0).then_some(self.start)
    }

    fn read_suspect(self) -> Option<u64> {
        (self.is_sweep_candidate && !self.is_being_read && self.unread_bytes == 0).then_some(self.start)
    }

    fn unread_suspect(self) -> Option<(ReadStreamId, u64)> {
        (self.is_sweep_candidate && !self.is_being_read && self.unread_bytes > 0).then_some(self.in_stream())
    }
}

impl PartIndex {
    /// A part that was as `before` is as `now`; `None` stands for a part that is not there.
    pub(crate) fn replace(&mut self, before: Option<IndexedPart>, now: Option<IndexedPart>) {
        if before == now {
            return;
        }
        if let Some(entry) = before {
            self.in_flight -= usize::from(entry.in_flight);
            self.in_flight_unasked -= usize::from(entry.in_flight && !entry.is_being_read);
            self.being_read -= usize::from(entry.is_being_read);
            self.unread_bytes -= entry.unread_bytes;
            self.announced_bytes -= if entry.is_announced { entry.unread_bytes } else { 0 };
        }
        if let Some(entry) = now {
            self.in_flight += usize::from(entry.in_flight);
            self.in_flight_unasked += usize::from(entry.in_flight && !entry.is_being_read);
            self.being_read += usize::from(entry.is_being_read);
            self.unread_bytes += entry.unread_bytes;
            self.announced_bytes += if entry.is_announced { entry.unread_bytes } else { 0 };
        }
        let unread = |entry: IndexedPart| (entry.stream, entry.unread_bytes);
        if before.map(unread) != now.map(unread) {
            self.move_unread(before, now);
        }
        move_entry(&mut self.by_stream, before.map(IndexedPart::in_stream), now.map(IndexedPart::in_stream));
        move_entry(
            &mut self.idle_unread,
            before.and_then(IndexedPart::idle_unread),
            now.and_then(IndexedPart::idle_unread),
        );
        move_entry(
            &mut self.read_candidates,
            before.and_then(IndexedPart::read_suspect),
            now.and_then(IndexedPart::read_suspect),
        );
        let (before, now) = (before.and_then(IndexedPart::unread_suspect), now.and_then(IndexedPart::unread_suspect));
        move_entry(&mut self.unread_candidates, before, now);
    }

    /// Bytes fetched for `stream` that nobody has read.
    pub(crate) fn unread_of(&self, stream: ReadStreamId) -> u64 {
        self.unread_by_stream.get(&stream).copied().unwrap_or(0)
    }

    /// Where the parts fetched for `streams` start that start below `end`; by stream, each ascending.
    pub(crate) fn of_streams(
        &self,
        streams: std::ops::RangeInclusive<ReadStreamId>,
        end: u64,
    ) -> impl DoubleEndedIterator<Item = u64> {
        let (first, last) = streams.into_inner();
        self.by_stream.range((first, 0)..(last, end)).map(|(_, start)| *start)
    }

    /// Where the parts start that nobody reads and that were not read to the end.
    pub(crate) fn idle_unread(&self) -> impl Iterator<Item = u64> {
        self.idle_unread.iter().copied()
    }

    /// Where the suspects start that were read to the end.
    pub(crate) fn read_candidates(&self) -> impl Iterator<Item = u64> {
        self.read_candidates.iter().copied()
    }

    /// Where the suspects start that were not read to the end: those of `stream`, or all.
    pub(crate) fn unread_candidates(&self, stream: Option<ReadStreamId>) -> impl Iterator<Item = u64> {
        let (first, last) = stream.map_or((0, ReadStreamId::MAX), |stream| (stream, stream));
        self.unread_candidates.range((first, 0)..=(last, u64::MAX)).map(|(_, start)| *start)
    }

    fn move_unread(&mut self, before: Option<IndexedPart>, now: Option<IndexedPart>) {
        if let Some(now) = now.filter(|now| now.unread_bytes > 0) {
            *self.unread_by_stream.entry(now.stream).or_default() += now.unread_bytes;
        }
        if let Some(before) = before.filter(|before| before.unread_bytes > 0)
            && let Some(unread) = self.unread_by_stream.get_mut(&before.stream)
        {
            *unread -= before.unread_bytes;
            if *unread == 0 {
                self.unread_by_stream.remove(&before.stream);
            }
        }
    }
}

/// `before` leaves `set` and `now` enters it.
fn move_entry<K: Ord + Copy>(set: &mut BTreeSet<K>, before: Option<K>, now: Option<K>) {
    if before == now {
        return;
    }
    before.iter().for_each(|key| {
        set.remove(key);
    });
    set.extend(now);
}
