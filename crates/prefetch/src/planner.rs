//! Decides what to fetch, keep and drop: events come in, actions go out; the engine performs them.
//!
//! One planner serves one object and all of its readers. It owns their streams, the parts and the accounting. These
//! invariants hold after every event: parts are disjoint (no byte is fetched twice while held or in flight), a part
//! that is being read is never dropped, and nothing is fetched ahead beyond the limits of the accounting.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::planner::messages::{Decision, PlannerAction, PlannerInputs, PlannerSettings, ReadPlan, ReaderId};
use crate::planner::parts::{AccountedParts, PartId, PartState, SweepScope};
use crate::planner::readers::{ReaderState, ReaderStates};
use crate::planner::streams::{FoundStream, PartOwner, StreamIds, StreamJoin, StreamShape};
use crate::policy::run_lengths::RunEvent;
use crate::policy::speculation::SpeculationAccount;
use crate::policy::window::ReadAheadWindow;

pub(crate) mod hints;
pub(crate) mod messages;
pub(crate) mod parts;
mod read_ahead;
pub(crate) mod readers;
mod serve;
pub(crate) mod streams;

/// A read this close to the end of the object is a footer read: it neither ends a stream nor starts one.
const FOOTER_BYTES: u64 = 1024 * 1024;

/// The planner of one object.
#[derive(Debug)]
pub(crate) struct Planner {
    settings: PlannerSettings,
    readers: ReaderStates,
    stream_ids: StreamIds,
    parts: AccountedParts,
    /// The length of the object, once it is known.
    size: Option<u64>,
    /// Readers that announced all bytes from an offset on while the length was not known.
    announced_to_end: BTreeMap<ReaderId, u64>,
    /// Whether nothing is to be fetched ahead: the object is a local file, or nothing identifies its version.
    is_local: bool,
    /// Requests sent so far.
    requests: u64,
    /// Whether a request has failed and no read was answered since.
    is_failing: bool,
    /// The window of the latest read of a stream.
    pub(crate) window: ReadAheadWindow,
    /// The same without the limits of memory and settings.
    pub(crate) window_wanted: ReadAheadWindow,
    /// Ends of runs that [`Planner::take_observations`] has not returned yet.
    runs: Vec<RunEvent>,
    /// Shapes of streams that it has not returned yet.
    new_shapes: Vec<StreamShape>,
    #[cfg(test)]
    pub(crate) panics_at_next_read: bool,
}

impl Planner {
    pub(crate) fn new(settings: PlannerSettings) -> Self {
        Self {
            readers: ReaderStates::new(settings.serve_once_within.is_some()),
            stream_ids: StreamIds::default(),
            settings,
            parts: AccountedParts::default(),
            size: None,
            announced_to_end: BTreeMap::new(),
            is_local: false,
            requests: 0,
            is_failing: false,
            window: ReadAheadWindow::default(),
            window_wanted: ReadAheadWindow::default(),
            runs: Vec::new(),
            new_shapes: Vec::new(),
            #[cfg(test)]
            panics_at_next_read: false,
        }
    }

    pub(crate) fn account(&self) -> SpeculationAccount {
        self.parts.account
    }

    /// Whether bytes are in flight, or held and not read yet.
    pub(crate) fn is_active(&self) -> bool {
        let index = self.parts.map().index();
        index.in_flight > 0 || index.unread_bytes > 0
    }

    pub(crate) fn is_being_read(&self) -> bool {
        self.parts.map().index().being_read > 0
    }

    pub(crate) fn contains_part(&self, id: PartId) -> bool {
        self.parts.map().get(id).is_some()
    }

    /// The bytes of part `id`, if it is held or in flight.
    pub(crate) fn part_bytes(&self, id: PartId) -> Option<u64> {
        self.parts.map().get(id).map(|part| part.range.end - part.range.start)
    }

    /// The memory that the windows of all readers together would use, in bytes.
    pub(crate) fn wanted_bytes(&self) -> u64 {
        if self.is_active() { self.window_wanted.ahead_bytes.saturating_mul(self.readers.offsets()) } else { 0 }
    }

    /// Takes out the actions to perform since the last call, in order.
    pub(crate) fn take_actions(&mut self) -> Vec<PlannerAction> {
        std::mem::take(&mut self.parts.actions)
    }

    /// Takes out what was observed since the last call: ends of runs, and shapes of streams.
    pub(crate) fn take_observations(&mut self) -> (Vec<RunEvent>, Vec<StreamShape>) {
        (std::mem::take(&mut self.runs), std::mem::take(&mut self.new_shapes))
    }

    /// The runs that would end if all readers closed now.
    pub(crate) fn all_ended(&self) -> Vec<RunEvent> {
        let ends =
            |state: &ReaderState| state.streams.iter().filter_map(|s| state.ended(s, self.size)).collect::<Vec<_>>();
        self.readers.iter().flat_map(|(_, state)| ends(state)).collect()
    }

    pub(crate) fn arrived_unread_bytes(&self) -> u64 {
        self.parts.map().iter().map(PartState::arrived_unread_bytes).sum()
    }

    /// A new planner for the same object, without the state of this one. It uses none of the ids of this one.
    pub(crate) fn successor(&self, settings: PlannerSettings) -> Self {
        let mut successor =
            Self { size: self.size, is_local: self.is_local, stream_ids: self.stream_ids, ..Self::new(settings) };
        successor.parts.continue_ids_of(&self.parts);
        successor
    }

    /// A reader opened the object.
    pub(crate) fn on_reader(&mut self, reader: ReaderId) {
        *self.readers.get_or_insert(reader) = ReaderState::default();
        self.on_moved(reader);
    }

    /// A reader was closed: drops the parts that only this reader wanted.
    pub(crate) fn on_reader_gone(&mut self, reader: ReaderId) {
        let Some(state) = self.readers.remove(reader) else { return };
        let size = self.size;
        self.runs.extend(state.streams.iter().filter_map(|stream| state.ended(stream, size)));
        self.keep_no_longer(state.revisits.into_kept());
        self.announced_to_end.remove(&reader);
        self.on_wants_changed(reader);
        let starts: Vec<u64> = self.parts.map().of_reader(reader).map(|part| part.range.start).collect();
        self.parts.mark_sweep_candidates(starts);
        // The limit of the accounting shrinks by this reader's windows, so its last waste is exempt.
        let readers = &self.readers;
        self.parts.exempt_waste(|parts| parts.sweep(SweepScope::Everything, readers));
    }

    /// A reader asks for `range`, which must not be empty nor start past a known end. Every plan must be ended by
    /// [`Planner::on_read_end`].
    ///
    /// Passes the read through only for calls without a reader: where held bytes may not be served, and where the
    /// planner would send just the request of the caller.
    pub(crate) fn on_read(&mut self, reader: ReaderId, range: &Range<u64>, inputs: &PlannerInputs) -> Decision {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.panics_at_next_read), "this panic is part of a test");
        let think_time = self.readers.get_or_insert(reader).think_clock.on_read_begin(inputs.now);
        let revisits = &mut self.readers.get_or_insert(reader).revisits;
        let polls = revisits.is_latest(range);
        let is_revisited = revisits.on_read(range);
        let is_servable = self.drop_unservable(inputs.now, range, polls);
        self.parts.account.demanded_bytes += range.end - range.start;
        let found = self.find_stream(reader, think_time, range);
        if found.join == StreamJoin::New && !self.is_footer(range.start) {
            self.stop_unwanted(reader, range, inputs);
        }
        if let Some(state) = self.readers.get_mut(reader) {
            state.latest_stream = Some(found.stream);
        }
        // Before the window is computed: memory is divided by where the readers are.
        self.readers.on_moved(reader);
        let limits = self.update_window(reader, found.stream, inputs);
        let stream = self.readers.get(reader).and_then(|state| state.streams.get(found.stream));
        if let Some(start) = stream.filter(|_| limits.is_some()).map(|stream| stream.start) {
            self.readers.activity.on_read(reader, start);
        }
        let plan = if is_servable {
            self.plan_read(reader, range, &found, limits, inputs, is_revisited)
        } else {
            ReadPlan { reader, stream: Some(found.stream), ..ReadPlan::default() }
        };
        for piece in &plan.pieces {
            self.parts.begin_read(piece.part, piece.range.clone());
        }
        if limits.is_some() {
            self.read_ahead(reader, found.stream, inputs);
        }
        for stream in found.in_turn {
            self.read_ahead(reader, stream, inputs);
        }
        self.on_wants_changed(reader);
        if is_servable && is_revisited {
            self.keep_for_return(reader, range, &plan);
        }
        if plan.pieces.is_empty() { Decision::PassThrough(plan) } else { Decision::Serve(plan) }
    }

    /// The read of `plan` was answered, failed, or was dropped by its caller.
    pub(crate) fn on_read_end(&mut self, now: Duration, plan: &ReadPlan, answered: bool) {
        for piece in &plan.pieces {
            // A request without waiters and without bytes fetched ahead is not worth finishing.
            let is_pointless = |part: &PartState| !answered && part.in_flight() && part.unread_bytes() == 0;
            if self.parts.end_read(piece.part, is_pointless) {
                self.parts.drop_part(piece.part);
            }
        }
        if answered {
            self.is_failing = false;
        }
        if let Some(state) = self.readers.get_mut(plan.reader) {
            let think_time = state.think_clock.on_read_end(now);
            if let Some(stream) = plan.stream.and_then(|id| state.streams.get_mut(id)) {
                stream.on_answered(think_time);
            }
        }
        self.readers.activity.on_read_end(plan.reader, now);
        // Only parts of this read and of its stream can have become useless.
        self.parts.sweep(SweepScope::Owner(plan.owner()), &self.readers);
    }

    pub(crate) fn on_filled(&mut self, id: PartId, filled_to: u64) {
        self.parts.change(id, |part| part.filled_to = filled_to.min(part.range.end));
    }

    /// All bytes of part `id` have arrived: another request may go out, if the reader still reads this stream. Calls
    /// `inputs` only where this is possible.
    ///
    /// Not where bytes expire, after the reader has been away for as long: its parts expire one after the other, and
    /// their bytes would be requested again and again, up to the limit on waste.
    pub(crate) fn on_complete(&mut self, id: PartId, inputs: impl FnOnce() -> PlannerInputs) {
        let Some(PartOwner { reader, stream: Some(stream) }) = self.parts.map().get(id).map(|part| part.owner) else {
            return;
        };
        let Some(state) = self.readers.get(reader).filter(|state| state.is_reading(stream)) else { return };
        if self.settings.start_after > 1 && state.is_at_random(stream) {
            return;
        }
        let within = self.settings.serve_once_within.unwrap_or(Duration::MAX);
        let inputs = inputs();
        if state.think_clock.idle_for(inputs.now) < within {
            self.read_ahead(reader, stream, &inputs);
            self.on_wants_changed(reader);
        }
    }

    /// The request of part `id` failed. Its waiters get the error. The next read sends a new request, and nothing is
    /// fetched ahead until a read was answered.
    pub(crate) fn on_failed(&mut self, id: PartId) {
        self.is_failing = true;
        self.parts.remove(id);
    }

    /// The request of part `id` was not sent, or its task was lost.
    pub(crate) fn on_not_sent(&mut self, id: PartId) {
        self.parts.remove(id);
    }

    /// Memory is short and a read waits: drops all parts that no read has asked for, and those that are only kept for
    /// returns or, where bytes are served once, behind a caller.
    pub(crate) fn on_memory_short(&mut self) {
        let once = self.serves_once();
        self.parts.drop_unread_where(|_| true);
        self.parts.drop_where(|part| part.is_revisited || once && part.unread_bytes() == 0);
    }

    /// Drops all parts that are not being read: they may no longer be served, or other objects need the memory.
    pub(crate) fn clear(&mut self) {
        self.parts.drop_where(|_| true);
    }

    pub(crate) fn on_fresh_until(&mut self, id: PartId, expires_at: Duration) {
        self.parts.change(id, |part| part.expires_at = Some(expires_at));
    }

    /// Part `id` may not be kept, because it is too old or there is no memory for it. It is dropped as soon as no read
    /// uses it.
    pub(crate) fn on_given_up(&mut self, id: PartId) {
        self.parts.change(id, |part| part.is_given_up = true);
        self.parts.drop_parts([id]);
    }

    /// The length of the object is known: truncates parts and streams to it, and reads ahead where this was waited for.
    pub(crate) fn on_size(&mut self, size: u64, inputs: &PlannerInputs) {
        if self.size.replace(size) == Some(size) {
            return;
        }
        self.parts.end_at(size);
        let readers: Vec<ReaderId> = self.readers.iter().map(|(reader, _)| reader).collect();
        for reader in &readers {
            self.readers.get_or_insert(*reader).streams.end_at(size);
            self.on_moved(*reader);
        }
        for reader in readers {
            if let Some(stream) = self.readers.get(reader).and_then(|state| state.latest_stream) {
                self.read_ahead(reader, stream, inputs);
                self.on_wants_changed(reader);
            }
        }
        self.on_announced_end(size, inputs);
    }

    /// The object is a local file: the kernel reads ahead of it, and its bytes are not worth holding twice.
    pub(crate) fn on_local(&mut self) {
        self.is_local = true;
        self.on_memory_short();
    }

    fn is_footer(&self, offset: u64) -> bool {
        self.size.is_some_and(|size| size >= 2 * FOOTER_BYTES && offset >= size - FOOTER_BYTES)
    }

    /// Finds the stream that a read of `range` belongs to. Drops the parts of the stream that the table evicts for it.
    fn find_stream(&mut self, reader: ReaderId, think_time: Duration, range: &Range<u64>) -> FoundStream {
        let size = self.size;
        let state = self.readers.get_or_insert(reader);
        let mut found = state.streams.on_read(&mut self.stream_ids, think_time, range);
        self.runs.extend(state.resumed(found.stream, found.join));
        self.runs.extend(found.merged.iter().filter_map(|merged| state.resumed(*merged, StreamJoin::Continued)));
        if let Some(evicted) = found.evicted.take() {
            self.runs.extend(state.ended(&evicted, size));
            state.forget(evicted.id);
            let parts = self.parts.map().of_owner(PartOwner::stream(reader, evicted.id));
            let unwanted: Vec<PartId> =
                parts.filter(|part| !self.readers.is_wanted(part, Some(reader))).map(|part| part.id).collect();
            self.parts.drop_parts(unwanted);
        }
        let owner = |stream| PartOwner::stream(reader, stream);
        for merged in &found.merged {
            self.parts.change_owner(owner(*merged), owner(found.stream));
        }
        self.new_shapes.extend(found.new_shape);
        found
    }

    fn serves_once(&self) -> bool {
        self.readers.once
    }

    /// The position or the window of `reader` changed.
    fn on_moved(&mut self, reader: ReaderId) {
        self.readers.on_moved(reader);
        self.on_wants_changed(reader);
    }

    /// `reader` may want other bytes than before: the parts that it no longer wants may have become useless.
    fn on_wants_changed(&mut self, reader: ReaderId) {
        for change in self.readers.on_wants_changed(reader) {
            let starts = change.starts_of_lost(self.parts.map());
            self.parts.mark_sweep_candidates(starts);
        }
    }
}

/// Counts the parts and readers that the planner looks at. Tests compare these counts: they do not depend on the
/// machine.
pub(crate) mod visits {
    #[cfg(test)]
    thread_local! {
        static VISITS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// Counts one part or reader. Costs nothing outside of tests.
    #[inline]
    pub(crate) fn count() {
        #[cfg(test)]
        VISITS.set(VISITS.get() + 1);
    }

    /// Returns the count of this thread and resets it.
    #[cfg(test)]
    pub(crate) fn take() -> u64 {
        VISITS.take()
    }
}

#[cfg(test)]
mod tests;
