//! The parts of one object and the books on them, kept in step: no part comes, is read or goes without its entry. Pure.

use std::ops::Range;
use std::time::Duration;

use crate::parts::{Part, PartId, PartMap};
use crate::plan::Action;
use crate::stream::StreamId;
use crate::waste::Ledger;

/// What is held or in flight, and what it may cost.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    parts: PartMap,
    /// The books. `outstanding` is what the parts have unread.
    pub(crate) ledger: Ledger,
}

impl Holdings {
    /// The parts.
    pub(crate) fn parts(&self) -> &PartMap {
        &self.parts
    }

    /// The part called `id`, which must be there.
    pub(crate) fn part(&self, id: PartId) -> &Part {
        self.parts.iter().find(|part| part.id == id).expect("it was found a moment ago")
    }

    /// What was fetched for `merged` streams is `stream`'s from here on.
    pub(crate) fn relabel(&mut self, merged: &[StreamId], stream: StreamId) {
        if merged.is_empty() {
            return;
        }
        for part in self.parts.iter_mut().filter(|part| merged.contains(&part.stream)) {
            part.stream = stream;
        }
    }

    /// Names no part as `other` has named one.
    pub(crate) fn begin_after(&mut self, other: &Self) {
        self.parts.begin_after(&other.parts);
    }

    /// A request for `range` is sent.
    pub(crate) fn add(&mut self, range: Range<u64>, stream: StreamId, now: Duration) -> PartId {
        self.ledger.outstanding += range.end - range.start;
        self.parts.add(range, stream, now)
    }

    /// Bytes of part `id` up to `filled_to` have arrived.
    pub(crate) fn fill(&mut self, id: PartId, filled_to: u64) {
        if let Some(part) = self.parts.get_mut(id) {
            part.filled_to = filled_to.min(part.range.end);
        }
    }

    /// Part `id` is too old at `expires_at`.
    pub(crate) fn expire_at(&mut self, id: PartId, expires_at: Duration) {
        if let Some(part) = self.parts.get_mut(id) {
            part.expires_at = Some(expires_at);
        }
    }

    /// Somebody reads `range` of part `id` from here on.
    pub(crate) fn begin_read(&mut self, id: PartId, range: Range<u64>) {
        let part = self.parts.get_mut(id).expect("a plan names live parts");
        part.readers += 1;
        self.ledger.outstanding -= part.read.insert(range);
    }

    /// Somebody has read part `id`. True where nobody reads it any more and it is `pointless`.
    pub(crate) fn end_read(&mut self, id: PartId, pointless: impl Fn(&Part) -> bool) -> bool {
        let Some(part) = self.parts.get_mut(id) else { return false };
        part.readers -= 1;
        part.readers == 0 && pointless(part)
    }

    /// Whether waiting until part `id`, which nobody reads, has come to `offset` takes longer than asking anew does:
    /// more than `round_trip_bytes` are to come before it.
    pub(crate) fn is_far_off(&self, id: PartId, offset: u64, round_trip_bytes: u64) -> bool {
        let part = self.part(id);
        part.readers == 0 && offset.saturating_sub(part.filled_to) > round_trip_bytes
    }

    /// The object ends at `size`, and so does every part.
    pub(crate) fn end_at(&mut self, size: u64) {
        let beyond: Vec<PartId> = self.parts.iter().filter(|p| p.range.end > size).map(|p| p.id).collect();
        for id in beyond {
            self.cut(id, size);
        }
    }

    /// Aborts the request of part `id`; what has arrived stays.
    pub(crate) fn stop_part(&mut self, id: PartId, out: &mut Vec<Action>) {
        match self.parts.get_mut(id).map(|part| (part.range.start, part.filled_to)) {
            Some((start, filled_to)) if filled_to > start => {
                self.cut(id, filled_to);
                out.push(Action::Stop(id));
            }
            Some(_) => self.drop_part(id, out),
            None => {}
        }
    }

    /// Drops part `id`, in flight or not.
    pub(crate) fn drop_part(&mut self, id: PartId, out: &mut Vec<Action>) {
        self.remove(id);
        out.push(Action::Drop(id));
    }

    /// What is lost by `drops` is held against nobody: whose it was has gone.
    pub(crate) fn forgive(&mut self, drops: impl FnOnce(&mut Self)) {
        let before = self.ledger.wasted;
        drops(self);
        self.ledger.forgiven += self.ledger.wasted - before;
    }

    /// Bytes that hints have announced and that nobody has read yet.
    pub(crate) fn announced_bytes(&self) -> u64 {
        self.parts.iter().filter(|part| part.is_announced()).map(Part::unread).sum()
    }

    /// Drops every part that is `unwanted` and that nobody reads.
    pub(crate) fn drop_where(&mut self, unwanted: impl Fn(&Part) -> bool, out: &mut Vec<Action>) {
        let ids: Vec<_> = self.parts.iter().filter(|p| p.readers == 0 && unwanted(p)).map(|p| p.id).collect();
        for id in ids {
            self.drop_part(id, out);
        }
    }

    /// Part `id` is gone; what arrived of it unread was in vain.
    pub(crate) fn remove(&mut self, id: PartId) {
        if let Some(part) = self.parts.remove(id) {
            self.ledger.outstanding -= part.unread();
            self.ledger.wasted += part.arrived_unread();
        }
    }

    /// Part `id` ends at `end`.
    fn cut(&mut self, id: PartId, end: u64) {
        let Some(part) = self.parts.get_mut(id) else { return };
        let before = part.unread();
        part.range.end = end.max(part.range.start);
        part.filled_to = part.filled_to.min(part.range.end);
        self.ledger.outstanding -= before - part.unread();
    }
}
