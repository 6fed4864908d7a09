//! Decides what to fetch, keep and drop: events come in with `now`, actions go out. Pure; `engine.rs` acts.
//!
//! One planner serves one object and all who read it. It owns their stream tables, the part map and the ledger, and keeps these
//! true after every event: parts are disjoint (no byte is fetched twice while held or in flight), a part somebody reads
//! is never dropped, and nothing is fetched ahead that the ledger does not allow.

use std::ops::Range;
use std::time::Duration;

use crate::holdings::{About, Holdings};
use crate::learned::RunEvent;
use crate::parts::{Part, PartId};
use crate::plan::{Action, Plan, ReaderId, Settings, Surroundings};
use crate::reading::Reading;
use crate::readings::Readings;
use crate::stream::{KEEP_BEHIND_MOST, Shape, names_of, reader_of};
use crate::streams::{Found, Joined};
use crate::waste::Ledger;
use crate::window::Window;

mod ahead;
mod cover;
mod hints;

/// A read this close to the object's end is a footer: it neither breaks a stream nor starts one.
const FOOTER_BYTES: u64 = 1024 * 1024;

/// Decides for one object.
#[derive(Debug)]
pub(crate) struct Planner {
    settings: Settings,
    readings: Readings,
    holdings: Holdings,
    size: Option<u64>,
    local: bool,
    /// Sent so far.
    requests: u64,
    /// A request ahead has failed, and no read was answered since.
    failing: bool,
    /// Of the latest read.
    window: Window,
    window_wanted: Window,
    runs: Vec<RunEvent>,
    turned: Vec<Shape>,
    #[cfg(test)]
    pub(crate) panics: bool,
}

impl Planner {
    /// A planner for an object just opened.
    #[must_use]
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            readings: Readings::new(settings.serve_once_within.is_some()),
            settings,
            holdings: Holdings::default(),
            size: None,
            local: false,
            requests: 0,
            failing: false,
            window: Window::default(),
            window_wanted: Window::default(),
            runs: Vec::new(),
            turned: Vec::new(),
            #[cfg(test)]
            panics: false,
        }
    }

    /// The books.
    #[must_use]
    pub(crate) fn ledger(&self) -> Ledger {
        self.holdings.ledger
    }

    /// The window of the latest read.
    #[must_use]
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// What it would be if neither memory nor options bounded it.
    #[must_use]
    pub(crate) fn window_wanted(&self) -> Window {
        self.window_wanted
    }

    /// Whether bytes are on their way, or here and not read yet.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        let index = self.holdings.parts().index();
        index.in_flight > 0 || index.unread_bytes > 0
    }

    /// Whether any part is being read.
    #[must_use]
    pub(crate) fn is_being_read(&self) -> bool {
        self.holdings.parts().index().being_read > 0
    }

    /// Whether part `id` is still wanted.
    #[must_use]
    pub(crate) fn has(&self, id: PartId) -> bool {
        self.holdings.parts().get(id).is_some()
    }

    /// How much memory its readers can use, all windows together.
    #[must_use]
    pub(crate) fn wanted_bytes(&self) -> u64 {
        if self.is_active() { self.window_wanted.ahead_bytes.saturating_mul(self.readings.offsets()) } else { 0 }
    }

    /// What has been learnt since this was asked last: runs that have ended, and shapes that streams have shown.
    pub(crate) fn take_learnt(&mut self) -> (Vec<RunEvent>, Vec<Shape>) {
        (std::mem::take(&mut self.runs), std::mem::take(&mut self.turned))
    }

    /// All runs that would end if every reader went now.
    pub(crate) fn all_ended(&self) -> Vec<RunEvent> {
        let of =
            |reading: &Reading| reading.streams.iter().filter_map(|s| reading.ended(s, self.size)).collect::<Vec<_>>();
        self.readings.iter().flat_map(|(_, reading)| of(reading)).collect()
    }

    /// Bytes that have arrived and that nobody has read.
    #[must_use]
    pub(crate) fn arrived_unread(&self) -> u64 {
        self.holdings.parts().iter().map(Part::arrived_unread).sum()
    }

    /// A planner that knows nothing of what this one has planned, and uses none of its names.
    pub(crate) fn successor(&self, settings: Settings) -> Self {
        let mut successor = Self { size: self.size, local: self.local, ..Self::new(settings) };
        successor.holdings.begin_after(&self.holdings);
        successor
    }

    /// Somebody opens the object.
    pub(crate) fn on_reader(&mut self, reader: ReaderId) {
        *self.readings.of(reader) = Reading::new(reader);
        self.on_moved(reader);
    }

    /// Reader `reader` has gone, and what was fetched for it alone.
    pub(crate) fn on_reader_gone(&mut self, reader: ReaderId, out: &mut Vec<Action>) {
        let Some(reading) = self.readings.remove(reader) else { return };
        let size = self.size;
        self.runs.extend(reading.streams.iter().filter_map(|stream| reading.ended(stream, size)));
        self.on_wants_changed(reader);
        let parts = self.holdings.parts().of_streams(names_of(reader));
        let starts: Vec<u64> = parts.map(|part| part.range.start).collect();
        self.holdings.suspect(starts);
        // Its two windows go with it, and so does what it has lost at the end.
        let (readings, once) = (&self.readings, self.serves_once());
        self.holdings.forgive(|holdings| sweep(holdings, readings, once, About::Everything, out));
    }

    /// Reader `reader` asks for `range` (not empty, not past a known end). Every plan must be ended by [`Planner::on_read_end`];
    /// one without pieces says that nothing here may answer.
    pub(crate) fn on_read(
        &mut self,
        now: Duration,
        reader: ReaderId,
        range: &Range<u64>,
        around: &Surroundings,
        out: &mut Vec<Action>,
    ) -> Plan {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.panics), "this panic is part of a test");
        let thinking = self.readings.of(reader).waiting.begin(now);
        if !self.forget_unservable(now, range, out) {
            return Plan { reader, ..Plan::default() };
        }
        self.holdings.ledger.demanded += range.end - range.start;
        let found = self.find_stream(reader, thinking, range, out);
        if found.joined == Joined::New && !self.is_footer(range.start) {
            self.stop_unwanted(reader, range, around, out);
        }
        if let Some(reading) = self.readings.get_mut(reader) {
            reading.read_last = Some(found.stream);
        }
        // Before windows are shared out by where readers are.
        self.readings.on_moved(reader);
        let mut plan = self.cover(now, reader, range, &found, around, out);
        for piece in &plan.pieces {
            self.holdings.begin_read(piece.part, piece.range.clone());
        }
        self.read_ahead(now, reader, found.stream, around, out);
        self.on_wants_changed(reader);
        plan.reader = reader;
        plan.stream = Some(found.stream);
        plan
    }

    /// The read of `plan` was answered, failed, or was given up by its caller.
    pub(crate) fn on_read_end(&mut self, now: Duration, plan: &Plan, answered: bool, out: &mut Vec<Action>) {
        for piece in &plan.pieces {
            // What nobody waits for any more and nobody bet on is not worth finishing.
            let pointless = |part: &Part| !answered && part.in_flight() && part.unread() == 0;
            if self.holdings.end_read(piece.part, pointless) {
                self.holdings.drop_part(piece.part, out);
            }
        }
        if answered {
            self.failing = false;
        }
        if let Some(reading) = self.readings.get_mut(plan.reader) {
            let thinking = reading.waiting.end(now);
            if let Some(stream) = plan.stream.and_then(|id| reading.streams.get_mut(id)) {
                stream.on_answered(thinking);
            }
        }
        // Only what it was about can have become useless.
        let once = self.serves_once();
        sweep(&mut self.holdings, &self.readings, once, About::Stream(plan.stream), out);
    }

    /// Bytes of part `id` up to `filled_to` have arrived.
    pub(crate) fn on_filled(&mut self, id: PartId, filled_to: u64) {
        self.holdings.fill(id, filled_to);
    }

    /// All bytes of part `id` have arrived: another request may go out, if its stream is still being read.
    pub(crate) fn on_complete(&mut self, now: Duration, id: PartId, around: &Surroundings, out: &mut Vec<Action>) {
        let Some(stream) = self.holdings.parts().get(id).map(|part| part.stream) else { return };
        let reader = reader_of(stream);
        if self.readings.get(reader).is_some_and(|reading| reading.read_last == Some(stream)) {
            self.read_ahead(now, reader, stream, around, out);
            self.on_wants_changed(reader);
        }
    }

    /// The request of part `id` failed. Reads that wait for it have the error; the next one starts clean, and nothing more is
    /// asked for ahead until one is answered.
    pub(crate) fn on_failed(&mut self, id: PartId) {
        self.failing = true;
        self.holdings.remove(id);
    }

    /// The request of part `id` was not sent.
    pub(crate) fn on_not_sent(&mut self, id: PartId) {
        self.holdings.remove(id);
    }

    /// Memory is short and somebody waits: gives up what nobody has asked for.
    pub(crate) fn on_memory_short(&mut self, out: &mut Vec<Action>) {
        self.holdings.drop_unread_where(|_| true, out);
    }

    /// Gives up all that nobody waits for: it may not be served from here on, or others need the memory.
    pub(crate) fn clear(&mut self, out: &mut Vec<Action>) {
        self.holdings.drop_where(|_| true, out);
    }

    /// Part `id` may be served until `expires_at` at the latest.
    pub(crate) fn on_fresh_until(&mut self, id: PartId, expires_at: Duration) {
        self.holdings.expire_at(id, expires_at);
    }

    /// Part `id` is too old to be served.
    pub(crate) fn on_expired(&mut self, id: PartId, out: &mut Vec<Action>) {
        self.holdings.drop_parts([id], out);
    }

    /// The object's length is known: parts end there. Who is to be read ahead of waits no longer for that.
    pub(crate) fn on_size(&mut self, now: Duration, size: u64, around: &Surroundings, out: &mut Vec<Action>) {
        if self.size.replace(size) == Some(size) {
            return;
        }
        self.holdings.end_at(size);
        let readers: Vec<ReaderId> = self.readings.iter().map(|(reader, _)| reader).collect();
        for reader in &readers {
            self.readings.of(*reader).streams.end_at(size);
            self.on_moved(*reader);
        }
        for reader in readers {
            if let Some(stream) = self.readings.get(reader).and_then(|reading| reading.read_last) {
                self.read_ahead(now, reader, stream, around, out);
                self.on_wants_changed(reader);
            }
        }
    }

    /// The object is a local file: the kernel reads ahead of it, and its bytes are not worth holding twice.
    pub(crate) fn on_local(&mut self, out: &mut Vec<Action>) {
        self.local = true;
        self.on_memory_short(out);
    }

    /// Serving once: what was served before, or asked for too long ago, is gone. False where another read still needs some of
    /// that for itself: then this one is the raw store's to answer.
    fn forget_unservable(&mut self, now: Duration, range: &Range<u64>, out: &mut Vec<Action>) -> bool {
        let Some(within) = self.settings.serve_once_within else { return true };
        let stale = |part: &Part| {
            let old = now.saturating_sub(part.sent_at) >= within || part.expires_at.is_some_and(|at| at <= now);
            old || part.read.overlap(range) > 0
        };
        self.holdings.drop_where(stale, out);
        !self.holdings.parts().overlapping(range).any(stale)
    }

    fn is_footer(&self, offset: u64) -> bool {
        self.size.is_some_and(|size| size >= 2 * FOOTER_BYTES && offset >= size - FOOTER_BYTES)
    }

    /// Finds the stream that a read of `range` belongs to, and forgets the one that has to make room for it.
    fn find_stream(
        &mut self,
        reader: ReaderId,
        thinking: Duration,
        range: &Range<u64>,
        out: &mut Vec<Action>,
    ) -> Found {
        let size = self.size;
        let reading = self.readings.of(reader);
        let (found, forgotten) = reading.streams.on_read(thinking, range);
        self.runs.extend(reading.resumed(found.stream, found.joined));
        self.runs.extend(found.merged.iter().filter_map(|merged| reading.resumed(*merged, Joined::Continued)));
        if let Some(gone) = forgotten {
            self.runs.extend(reading.ended(&gone, size));
            reading.forget(gone.id);
            let parts = self.holdings.parts().of_streams(gone.id..=gone.id);
            let unwanted: Vec<PartId> =
                parts.filter(|part| !self.readings.want(part, Some(reader))).map(|part| part.id).collect();
            self.holdings.drop_parts(unwanted, out);
        }
        self.holdings.relabel(&found.merged, found.stream);
        self.turned.extend(found.turned);
        found
    }

    fn serves_once(&self) -> bool {
        self.settings.serve_once_within.is_some()
    }

    /// `reader` is elsewhere: what is shared out by place, and what is wanted, follows.
    fn on_moved(&mut self, reader: ReaderId) {
        self.readings.on_moved(reader);
        self.on_wants_changed(reader);
    }

    /// `reader` may want other bytes than before: parts that it wants no more may have become useless.
    fn on_wants_changed(&mut self, reader: ReaderId) {
        for lost in self.readings.on_wants_changed(reader) {
            let starts = lost.starts(self.holdings.parts());
            self.holdings.suspect(starts);
        }
    }
}

/// Drops those of the parts that may be useless that no stream can still want.
fn sweep(holdings: &mut Holdings, readings: &Readings, once: bool, about: About, out: &mut Vec<Action>) {
    holdings.sweep(about, |part| is_useless(part, readings, once, |part| readings.want(part, None)), out);
}

/// Whether nobody will read `part` again, for all that is known; nobody reads it now.
fn is_useless(part: &Part, readings: &Readings, once: bool, is_wanted: impl Fn(&Part) -> bool) -> bool {
    if part.is_announced() && part.unread() > 0 {
        return !readings.contains(reader_of(part.stream)); // still to come
    }
    if part.unread() == 0 && (once || part.range.end - part.range.start > KEEP_BEHIND_MOST) {
        return true;
    }
    !is_wanted(part)
}

#[cfg(test)]
mod tests;
