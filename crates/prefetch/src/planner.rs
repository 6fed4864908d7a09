//! Decides what to fetch, keep and drop: events come in with `now`, actions go out. Pure; `engine.rs` acts.
//!
//! One planner serves one object and all who read it. It owns their stream tables, the part map and the ledger, and keeps these
//! true after every event: parts are disjoint (no byte is fetched twice while held or in flight), a part somebody reads
//! is never dropped, and nothing is fetched ahead that the ledger does not allow.

use std::ops::Range;
use std::time::Duration;

use crate::planner::messages::{PlannerAction, PlannerInputs, PlannerSettings, ReadPlan, ReaderId};
use crate::planner::parts::accounted_parts::{AccountedParts, SweepScope};
use crate::planner::parts::part_map::{PartId, PartState};
use crate::planner::readers::ReaderStates;
use crate::planner::readers::reader_state::ReaderState;
use crate::planner::streams::read_stream::{KEEP_BEHIND_MOST, StreamShape, names_of, reader_of};
use crate::planner::streams::stream_table::{FoundStream, StreamJoin};
use crate::policy::run_lengths::RunEvent;
use crate::policy::speculation::SpeculationAccount;
use crate::policy::window::ReadAheadWindow;

mod hints;
pub(crate) mod messages;
pub(crate) mod parts;
mod read_ahead;
pub(crate) mod readers;
mod serve;
pub(crate) mod streams;

/// A read this close to the object's end is a footer: it neither breaks a stream nor starts one.
const FOOTER_BYTES: u64 = 1024 * 1024;

/// Decides for one object.
#[derive(Debug)]
pub(crate) struct Planner {
    settings: PlannerSettings,
    readers: ReaderStates,
    parts: AccountedParts,
    size: Option<u64>,
    local: bool,
    /// Sent so far.
    requests: u64,
    /// A request ahead has failed, and no read was answered since.
    failing: bool,
    /// Of the latest read.
    window: ReadAheadWindow,
    window_wanted: ReadAheadWindow,
    runs: Vec<RunEvent>,
    new_shape: Vec<StreamShape>,
    #[cfg(test)]
    pub(crate) panics: bool,
}

impl Planner {
    /// A planner for an object just opened.
    #[must_use]
    pub(crate) fn new(settings: PlannerSettings) -> Self {
        Self {
            readers: ReaderStates::new(settings.serve_once_within.is_some()),
            settings,
            parts: AccountedParts::default(),
            size: None,
            local: false,
            requests: 0,
            failing: false,
            window: ReadAheadWindow::default(),
            window_wanted: ReadAheadWindow::default(),
            runs: Vec::new(),
            new_shape: Vec::new(),
            #[cfg(test)]
            panics: false,
        }
    }

    /// The books.
    #[must_use]
    pub(crate) fn ledger(&self) -> SpeculationAccount {
        self.parts.ledger
    }

    /// The window of the latest read.
    #[must_use]
    pub(crate) fn window(&self) -> ReadAheadWindow {
        self.window
    }

    /// What it would be if neither memory nor options bounded it.
    #[must_use]
    pub(crate) fn window_wanted(&self) -> ReadAheadWindow {
        self.window_wanted
    }

    /// Whether bytes are on their way, or here and not read yet.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        let index = self.parts.map().index();
        index.in_flight > 0 || index.unread_bytes > 0
    }

    /// Whether any part is being read.
    #[must_use]
    pub(crate) fn is_being_read(&self) -> bool {
        self.parts.map().index().being_read > 0
    }

    /// Whether part `id` is still wanted.
    #[must_use]
    pub(crate) fn has(&self, id: PartId) -> bool {
        self.parts.map().get(id).is_some()
    }

    /// How much memory its readers can use, all windows together.
    #[must_use]
    pub(crate) fn wanted_bytes(&self) -> u64 {
        if self.is_active() { self.window_wanted.ahead_bytes.saturating_mul(self.readers.offsets()) } else { 0 }
    }

    /// What has been learnt since this was asked last: runs that have ended, and shapes that streams have shown.
    pub(crate) fn take_observations(&mut self) -> (Vec<RunEvent>, Vec<StreamShape>) {
        (std::mem::take(&mut self.runs), std::mem::take(&mut self.new_shape))
    }

    /// All runs that would end if every reader went now.
    pub(crate) fn all_ended(&self) -> Vec<RunEvent> {
        let of = |reading: &ReaderState| {
            reading.streams.iter().filter_map(|s| reading.ended(s, self.size)).collect::<Vec<_>>()
        };
        self.readers.iter().flat_map(|(_, reading)| of(reading)).collect()
    }

    /// Bytes that have arrived and that nobody has read.
    #[must_use]
    pub(crate) fn arrived_unread(&self) -> u64 {
        self.parts.map().iter().map(PartState::arrived_unread).sum()
    }

    /// A planner that knows nothing of what this one has planned, and uses none of its names.
    pub(crate) fn successor(&self, settings: PlannerSettings) -> Self {
        let mut successor = Self { size: self.size, local: self.local, ..Self::new(settings) };
        successor.parts.begin_after(&self.parts);
        successor
    }

    /// Somebody opens the object.
    pub(crate) fn on_reader(&mut self, reader: ReaderId) {
        *self.readers.of(reader) = ReaderState::new(reader);
        self.on_moved(reader);
    }

    /// Reader `reader` has gone, and what was fetched for it alone.
    pub(crate) fn on_reader_gone(&mut self, reader: ReaderId, out: &mut Vec<PlannerAction>) {
        let Some(reading) = self.readers.remove(reader) else { return };
        let size = self.size;
        self.runs.extend(reading.streams.iter().filter_map(|stream| reading.ended(stream, size)));
        self.on_wants_changed(reader);
        let parts = self.parts.map().of_streams(names_of(reader));
        let starts: Vec<u64> = parts.map(|part| part.range.start).collect();
        self.parts.mark_sweep_candidates(starts);
        // Its two windows go with it, and so does what it has lost at the end.
        let (readers, once) = (&self.readers, self.serves_once());
        self.parts.exempt_waste(|parts| sweep(parts, readers, once, SweepScope::Everything, out));
    }

    /// Reader `reader` asks for `range` (not empty, not past a known end). Every plan must be ended by [`Planner::on_read_end`];
    /// one without pieces says that nothing here may answer.
    pub(crate) fn on_read(
        &mut self,
        now: Duration,
        reader: ReaderId,
        range: &Range<u64>,
        inputs: &PlannerInputs,
        out: &mut Vec<PlannerAction>,
    ) -> ReadPlan {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.panics), "this panic is part of a test");
        let think_time = self.readers.of(reader).waiting.begin(now);
        if !self.forget_unservable(now, range, out) {
            return ReadPlan { reader, ..ReadPlan::default() };
        }
        self.parts.ledger.demanded += range.end - range.start;
        let found = self.find_stream(reader, think_time, range, out);
        if found.joined == StreamJoin::New && !self.is_footer(range.start) {
            self.stop_unwanted(reader, range, inputs, out);
        }
        if let Some(reading) = self.readers.get_mut(reader) {
            reading.latest_stream = Some(found.stream);
        }
        // Before windows are shared out by where readers are.
        self.readers.on_moved(reader);
        let mut plan = self.cover(now, reader, range, &found, inputs, out);
        for piece in &plan.pieces {
            self.parts.begin_read(piece.part, piece.range.clone());
        }
        self.read_ahead(now, reader, found.stream, inputs, out);
        self.on_wants_changed(reader);
        plan.reader = reader;
        plan.stream = Some(found.stream);
        plan
    }

    /// The read of `plan` was answered, failed, or was given up by its caller.
    pub(crate) fn on_read_end(&mut self, now: Duration, plan: &ReadPlan, answered: bool, out: &mut Vec<PlannerAction>) {
        for piece in &plan.pieces {
            // What nobody waits for any more and nobody bet on is not worth finishing.
            let pointless = |part: &PartState| !answered && part.in_flight() && part.unread() == 0;
            if self.parts.end_read(piece.part, pointless) {
                self.parts.drop_part(piece.part, out);
            }
        }
        if answered {
            self.failing = false;
        }
        if let Some(reading) = self.readers.get_mut(plan.reader) {
            let think_time = reading.waiting.end(now);
            if let Some(stream) = plan.stream.and_then(|id| reading.streams.get_mut(id)) {
                stream.on_answered(think_time);
            }
        }
        // Only what it was about can have become useless.
        let once = self.serves_once();
        sweep(&mut self.parts, &self.readers, once, SweepScope::Stream(plan.stream), out);
    }

    /// Bytes of part `id` up to `filled_to` have arrived.
    pub(crate) fn on_filled(&mut self, id: PartId, filled_to: u64) {
        self.parts.fill(id, filled_to);
    }

    /// All bytes of part `id` have arrived: another request may go out, if its stream is still being read.
    pub(crate) fn on_complete(
        &mut self,
        now: Duration,
        id: PartId,
        inputs: &PlannerInputs,
        out: &mut Vec<PlannerAction>,
    ) {
        let Some(stream) = self.parts.map().get(id).map(|part| part.stream) else { return };
        let reader = reader_of(stream);
        if self.readers.get(reader).is_some_and(|reading| reading.latest_stream == Some(stream)) {
            self.read_ahead(now, reader, stream, inputs, out);
            self.on_wants_changed(reader);
        }
    }

    /// The request of part `id` failed. Reads that wait for it have the error; the next one starts clean, and nothing more is
    /// asked for ahead until one is answered.
    pub(crate) fn on_failed(&mut self, id: PartId) {
        self.failing = true;
        self.parts.remove(id);
    }

    /// The request of part `id` was not sent.
    pub(crate) fn on_not_sent(&mut self, id: PartId) {
        self.parts.remove(id);
    }

    /// Memory is short and somebody waits: gives up what nobody has asked for.
    pub(crate) fn on_memory_short(&mut self, out: &mut Vec<PlannerAction>) {
        self.parts.drop_unread_where(|_| true, out);
    }

    /// Gives up all that nobody waits for: it may not be served from here on, or others need the memory.
    pub(crate) fn clear(&mut self, out: &mut Vec<PlannerAction>) {
        self.parts.drop_where(|_| true, out);
    }

    /// PartState `id` may be served until `expires_at` at the latest.
    pub(crate) fn on_fresh_until(&mut self, id: PartId, expires_at: Duration) {
        self.parts.expire_at(id, expires_at);
    }

    /// PartState `id` is too old to be served.
    pub(crate) fn on_expired(&mut self, id: PartId, out: &mut Vec<PlannerAction>) {
        self.parts.drop_parts([id], out);
    }

    /// The object's length is known: parts end there. Who is to be read ahead of waits no longer for that.
    pub(crate) fn on_size(&mut self, now: Duration, size: u64, inputs: &PlannerInputs, out: &mut Vec<PlannerAction>) {
        if self.size.replace(size) == Some(size) {
            return;
        }
        self.parts.end_at(size);
        let readers: Vec<ReaderId> = self.readers.iter().map(|(reader, _)| reader).collect();
        for reader in &readers {
            self.readers.of(*reader).streams.end_at(size);
            self.on_moved(*reader);
        }
        for reader in readers {
            if let Some(stream) = self.readers.get(reader).and_then(|reading| reading.latest_stream) {
                self.read_ahead(now, reader, stream, inputs, out);
                self.on_wants_changed(reader);
            }
        }
    }

    /// The object is a local file: the kernel reads ahead of it, and its bytes are not worth holding twice.
    pub(crate) fn on_local(&mut self, out: &mut Vec<PlannerAction>) {
        self.local = true;
        self.on_memory_short(out);
    }

    /// Serving once: what was served before, or asked for too long ago, is gone. False where another read still needs some of
    /// that for itself: then this one is the raw store's to answer.
    fn forget_unservable(&mut self, now: Duration, range: &Range<u64>, out: &mut Vec<PlannerAction>) -> bool {
        let Some(within) = self.settings.serve_once_within else { return true };
        let stale = |part: &PartState| {
            let old = now.saturating_sub(part.sent_at) >= within || part.expires_at.is_some_and(|at| at <= now);
            old || part.read.overlap(range) > 0
        };
        self.parts.drop_where(stale, out);
        !self.parts.map().overlapping(range).any(stale)
    }

    fn is_footer(&self, offset: u64) -> bool {
        self.size.is_some_and(|size| size >= 2 * FOOTER_BYTES && offset >= size - FOOTER_BYTES)
    }

    /// Finds the stream that a read of `range` belongs to, and forgets the one that has to make room for it.
    fn find_stream(
        &mut self,
        reader: ReaderId,
        think_time: Duration,
        range: &Range<u64>,
        out: &mut Vec<PlannerAction>,
    ) -> FoundStream {
        let size = self.size;
        let reading = self.readers.of(reader);
        let (found, forgotten) = reading.streams.on_read(think_time, range);
        self.runs.extend(reading.resumed(found.stream, found.joined));
        self.runs.extend(found.merged.iter().filter_map(|merged| reading.resumed(*merged, StreamJoin::Continued)));
        if let Some(gone) = forgotten {
            self.runs.extend(reading.ended(&gone, size));
            reading.forget(gone.id);
            let parts = self.parts.map().of_streams(gone.id..=gone.id);
            let unwanted: Vec<PartId> =
                parts.filter(|part| !self.readers.want(part, Some(reader))).map(|part| part.id).collect();
            self.parts.drop_parts(unwanted, out);
        }
        self.parts.relabel(&found.merged, found.stream);
        self.new_shape.extend(found.new_shape);
        found
    }

    fn serves_once(&self) -> bool {
        self.settings.serve_once_within.is_some()
    }

    /// `reader` is elsewhere: what is shared out by place, and what is wanted, follows.
    fn on_moved(&mut self, reader: ReaderId) {
        self.readers.on_moved(reader);
        self.on_wants_changed(reader);
    }

    /// `reader` may want other bytes than before: parts that it wants no more may have become useless.
    fn on_wants_changed(&mut self, reader: ReaderId) {
        for lost in self.readers.on_wants_changed(reader) {
            let starts = lost.starts(self.parts.map());
            self.parts.mark_sweep_candidates(starts);
        }
    }
}

/// Drops those of the parts that may be useless that no stream can still want.
fn sweep(
    parts: &mut AccountedParts,
    readers: &ReaderStates,
    once: bool,
    about: SweepScope,
    out: &mut Vec<PlannerAction>,
) {
    parts.sweep(about, |part| is_useless(part, readers, once, |part| readers.want(part, None)), out);
}

/// Whether nobody will read `part` again, for all that is known; nobody reads it now.
fn is_useless(part: &PartState, readers: &ReaderStates, once: bool, is_wanted: impl Fn(&PartState) -> bool) -> bool {
    if part.is_announced() && part.unread() > 0 {
        return !readers.contains(reader_of(part.stream)); // still to come
    }
    if part.unread() == 0 && (once || part.range.end - part.range.start > KEEP_BEHIND_MOST) {
        return true;
    }
    !is_wanted(part)
}

/// Counts the parts and readers that the planner looks at. Tests compare the counts, so they do not depend on the machine.
pub(crate) mod visits {
    #[cfg(test)]
    use std::cell::Cell;

    #[cfg(test)]
    thread_local! {
        static VISITS: Cell<u64> = const { Cell::new(0) };
    }

    /// One part or reader is looked at. Costs nothing outside of tests.
    #[inline]
    pub(crate) fn count() {
        #[cfg(test)]
        VISITS.set(VISITS.get() + 1);
    }

    /// How many this thread has looked at since it asked last.
    #[cfg(test)]
    pub(crate) fn take() -> u64 {
        VISITS.take()
    }
}

#[cfg(test)]
mod tests;
