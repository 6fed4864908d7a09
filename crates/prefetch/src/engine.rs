//! Acts on what the planner decides, for one object: sends requests, holds their bytes, aborts and frees them.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headstart_fetch_core::byte_range::in_memory;
use headstart_fetch_core::runtime::Home;
use headstart_fetch_core::{AccessHint, FetchError, Intent, ObjectVersion, PinBy, Promotion, Reservation};
use object_store::path::Path;
use object_store::{Attributes, ObjectMeta};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::{Handle, Id};
use tokio::task::AbortHandle;

use crate::engine::part_buffer::PartBuffer;
use crate::engine::run_history::prefix_of;
use crate::engine::store_shared::StoreShared;
use crate::planner::Planner;
use crate::planner::messages::{AnnouncedPattern, PlannerAction, PlannerSettings, ReadPlan, ReaderId};
use crate::planner::parts::part_map::PartId;
use crate::reader::active_read::ActiveRead;
use crate::reader::close_signal::{CloseSignal, closed};
use crate::store::stats::add;

mod open;
pub(crate) mod open_objects;
pub(crate) mod part_buffer;
pub(crate) mod part_request;
pub(crate) mod run_history;
pub(crate) mod store_shared;

/// One object: its planner, and the bytes it holds, for all who read it. Dropping it aborts its requests.
#[derive(Debug)]
pub(crate) struct ObjectEngine {
    pub(crate) common: Arc<StoreShared>,
    pub(crate) path: Path,
    /// How requests are pinned to the version that is known.
    pub(crate) pin: PinBy,
    id: u64,
    prefix: String,
    settings: PlannerSettings,
    /// The runtime it was opened in: requests run there, so readers from elsewhere do not share it.
    runtime: Option<Id>,
    /// When somebody read last, in nanoseconds since the store was made.
    read_at: AtomicU64,
    state: Mutex<EngineState>,
}

#[derive(Debug)]
pub(crate) struct EngineState {
    pub(crate) planner: Planner,
    held: HashMap<PartId, HeldPart>,
    known: Option<Arc<KnownObject>>,
    /// Until when the version that is known may be taken for the present one by readers who open the object.
    trusted_until: Option<Duration>,
    readers: ReaderId,
    wasted_seen: u64,
    outstanding_seen: u64,
}

/// A read that has begun.
pub(crate) enum Begun {
    /// Its bytes come from the engine.
    Ours(ActiveRead),
    /// The caller sends the request itself; this only watches it: alive for as long as the caller waits.
    Callers(ActiveRead),
}

/// What the first answer told of the object.
#[derive(Debug, Clone)]
pub(crate) struct KnownObject {
    pub(crate) version: ObjectVersion,
    pub(crate) meta: ObjectMeta,
    pub(crate) attributes: Attributes,
}

/// A part's bytes, the task that fetches them, and the memory they are charged to.
#[derive(Debug)]
struct HeldPart {
    cell: Arc<PartBuffer>,
    task: AbortHandle,
    charge: Option<Reservation>,
    promotion: Promotion,
}

impl HeldPart {
    fn shrink_charge(&mut self, bytes: usize) {
        if let Some(charge) = &mut self.charge {
            charge.release(charge.bytes().saturating_sub(bytes));
        }
    }
}

impl Drop for HeldPart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ObjectEngine {
    pub(crate) fn new(common: Arc<StoreShared>, path: Path, pin: PinBy, settings: PlannerSettings) -> Arc<Self> {
        let state = EngineState {
            planner: Planner::new(settings.clone()),
            held: HashMap::new(),
            known: None,
            trusted_until: None,
            readers: 0,
            wasted_seen: 0,
            outstanding_seen: 0,
        };
        let (id, prefix) = (common.engine_id(), prefix_of(&path));
        let (state, runtime) = (Mutex::new(state), Handle::try_current().ok().map(|runtime| runtime.id()));
        let read_at = AtomicU64::new(0);
        let engine = Arc::new(Self { common, path, pin, id, prefix, settings, runtime, read_at, state });
        engine.touch();
        engine.common.objects.add(&engine);
        engine
    }

    /// Starts a read of `range`, which must not be empty or start past a known end.
    ///
    /// # Errors
    /// [`FetchError::NoRuntime`] outside a runtime; [`object_store::Error::Generic`] once `gate` is closed.
    pub(crate) fn begin(
        self: &Arc<Self>,
        gate: &Arc<CloseSignal>,
        range: Range<u64>,
    ) -> object_store::Result<ActiveRead> {
        if gate.is_closed() {
            return Err(closed(&self.path));
        }
        match self.begin_read(Some(gate), &range)? {
            Begun::Ours(read) | Begun::Callers(read) => Ok(read),
        }
    }

    /// Starts a read for a call without a handle: where nothing is ahead of it and nothing is to follow it,
    /// the caller's own request is as good as ours.
    ///
    /// # Errors
    /// As [`ObjectEngine::begin`].
    pub(crate) fn begin_call(self: &Arc<Self>, range: &Range<u64>) -> object_store::Result<Begun> {
        self.begin_read(None, range)
    }

    fn begin_read(
        self: &Arc<Self>,
        gate: Option<&Arc<CloseSignal>>,
        range: &Range<u64>,
    ) -> object_store::Result<Begun> {
        let runtime = self.common.current_runtime();
        if runtime.is_none() && gate.is_some() {
            return Err(FetchError::NoRuntime.into());
        }
        let inputs = self.common.planner_inputs(self.id, &self.prefix);
        let now = self.touch();
        let reader = gate.map_or(0, |gate| gate.reader);
        let mut actions = Vec::new();
        let mut state = self.state.lock();
        // Closed meanwhile: the planner has forgotten the reader, or will.
        if gate.is_some_and(|gate| gate.is_closed()) {
            return Err(closed(&self.path));
        }
        let planned =
            self.catch_planner_panic(&mut state, |planner| planner.on_read(now, reader, range, &inputs, &mut actions));
        let plan = match planned {
            Ok(plan) => plan,
            Err(panic) => {
                drop(state);
                resume_unwind(panic)
            }
        };
        let counters = &self.common.counters;
        add(&counters.reads, 1);
        add(&counters.demanded_bytes, range.end - range.start);
        add(&counters.ahead_bytes, plan.ahead_bytes);
        let own = actions
            .iter()
            .position(|action| matches!(action, PlannerAction::Fetch { range: asked, .. } if asked == range));
        let callers = gate.is_none() && (own.is_some() || plan.pieces.is_empty());
        if callers {
            if let Some(own) = own {
                actions.remove(own);
                state.planner.on_not_sent(plan.pieces[0].part);
            }
            add(&counters.demand_requests, 1);
        }
        let is_as_asked = own.is_some();
        let mut short = self.act(&mut state, actions, runtime.as_ref(), Some(range));
        short |= (self.common.budget.free_bytes() as u64) < state.planner.window_wanted().ahead_bytes;
        let mut cells = Vec::with_capacity(plan.pieces.len());
        for held in plan.pieces.iter().filter_map(|piece| state.held.get(&piece.part)).take_while(|_| !callers) {
            held.promotion.promote();
            cells.push(Arc::clone(&held.cell));
        }
        drop(state);
        self.common.objects.reclaim(now, short);
        if callers {
            return Ok(Begun::Callers(ActiveRead::new(Arc::clone(self), None, plan, Vec::new())));
        }
        let lost = cells.len() < plan.pieces.len();
        let read = ActiveRead::new(Arc::clone(self), gate.cloned(), plan, cells).with_own_request(is_as_asked);
        if lost { Err(FetchError::NoRuntime.into()) } else { Ok(Begun::Ours(read)) }
    }

    /// Takes in what the reader behind `gate`, or a caller without a handle, says of its future.
    pub(crate) fn advise(self: &Arc<Self>, gate: Option<&CloseSignal>, hint: &AccessHint) {
        if gate.is_some_and(CloseSignal::is_closed) {
            return;
        }
        self.touch();
        let reader = gate.map_or(0, |gate| gate.reader);
        let inputs = self.common.planner_inputs(self.id, &self.prefix);
        self.dispatch(|planner, now, actions| match hint {
            // Closed meanwhile: a reader that is gone does not come back.
            _ if gate.is_some_and(CloseSignal::is_closed) => {}
            AccessHint::Normal => planner.on_announced(reader, AnnouncedPattern::Normal, actions),
            AccessHint::Sequential => planner.on_announced(reader, AnnouncedPattern::Sequential, actions),
            AccessHint::Random => planner.on_announced(reader, AnnouncedPattern::Random, actions),
            AccessHint::WillNeed(ranges) => planner.on_will_need(now, reader, ranges, &inputs, actions),
            AccessHint::DontNeed(ranges) => planner.on_dont_need(reader, ranges, actions),
            _ => {}
        });
    }

    /// Feeds the planner one event, outside of any read, and acts on what it decides.
    pub(crate) fn dispatch(self: &Arc<Self>, event: impl FnOnce(&mut Planner, Duration, &mut Vec<PlannerAction>)) {
        let mut actions = Vec::new();
        let now = self.common.now();
        let mut state = self.state.lock();
        if self.catch_planner_panic(&mut state, |planner| event(planner, now, &mut actions)).is_err() {
            tracing::error!(path = %self.path, "the planner panicked; it begins anew");
            return;
        }
        self.act(&mut state, actions, self.common.current_runtime().as_ref(), None);
    }

    /// A read of `plan` has ended.
    pub(crate) fn on_read_end(self: &Arc<Self>, plan: &ReadPlan, answered: bool) {
        self.touch();
        self.dispatch(|planner, now, actions| planner.on_read_end(now, plan, answered, actions));
    }

    /// The reader behind `gate` reads no more.
    pub(crate) fn close_reader(self: &Arc<Self>, gate: &CloseSignal) {
        if gate.close() {
            self.dispatch(|planner, _, actions| planner.on_reader_gone(gate.reader, actions));
        }
    }

    /// Where bytes are served once, how long after they were asked for.
    pub(crate) fn serve_once_within(&self) -> Option<Duration> {
        self.settings.serve_once_within
    }

    /// What is known of the object, once something answered.
    pub(crate) fn known(&self) -> Option<Arc<KnownObject>> {
        self.state.lock().known.clone()
    }

    /// Whether nothing identifies the object's version: then no two answers can be put together, and nothing is read ahead or kept.
    pub(crate) fn is_unprovable(&self) -> bool {
        self.state.lock().known.as_ref().is_some_and(|known| !self.common.is_provable(&known.version))
    }

    /// Somebody reads, or says what it will read. Returns the time.
    fn touch(&self) -> Duration {
        let now = self.common.now();
        self.read_at.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        now
    }

    /// `bytes` more of part `id` arrived, up to `filled_to`.
    pub(crate) fn filled(&self, id: PartId, filled_to: u64, bytes: u64) {
        add(&self.common.counters.fetched_bytes, bytes);
        self.state.lock().planner.on_filled(id, filled_to);
    }

    /// The request of part `id` has brought all it was asked for.
    pub(crate) fn completed(self: &Arc<Self>, id: PartId, bytes: usize) {
        if let Some(held) = self.state.lock().held.get_mut(&id) {
            // The object may end before the range that was asked for.
            held.shrink_charge(bytes);
        }
        let inputs = self.common.planner_inputs(self.id, &self.prefix);
        self.dispatch(|planner, now, actions| planner.on_complete(now, id, &inputs, actions));
    }

    /// The request of part `id` failed.
    pub(crate) fn failed(&self, id: PartId) {
        let mut state = self.state.lock();
        state.planner.on_failed(id);
        state.held.remove(&id);
        self.settle(&mut state);
    }

    /// The runtime `home` has stopped, where it is another one: what its tasks were to bring is asked for again when it is needed.
    pub(crate) fn abandon(&self, home: &Home) {
        if home.is_current() {
            return;
        }
        let mut state = self.state.lock();
        let of_home = |(id, held): (&PartId, &HeldPart)| {
            (held.cell.is_open() && held.cell.home().id() == home.id()).then_some(*id)
        };
        let lost: Vec<PartId> = state.held.iter().filter_map(of_home).collect();
        for id in lost {
            state.planner.on_not_sent(id);
            if let Some(held) = state.held.remove(&id) {
                held.cell.fail(Arc::new(FetchError::RuntimeStopped.into()));
            }
        }
        self.settle(&mut state);
    }

    /// The planner panics at the next read.
    #[cfg(test)]
    pub(crate) fn panic_at_next_read(&self) {
        self.state.lock().planner.panics = true;
    }

    /// Bytes that are held here or reserved for what is on its way.
    pub(crate) fn held_bytes(&self) -> usize {
        self.state.lock().held.values().map(|held| held.charge.as_ref().map_or(0, Reservation::bytes)).sum()
    }

    /// When it was last read, if it holds anything and nobody reads now.
    pub(crate) fn holds_since(&self) -> Option<Duration> {
        let idle = |state: MutexGuard<'_, EngineState>| !state.held.is_empty() && !state.planner.is_being_read();
        let holds = self.state.try_lock().is_some_and(idle);
        holds.then(|| Duration::from_nanos(self.read_at.load(Ordering::Relaxed)))
    }

    /// Asks the planner. Where it panics, all it knew is worthless: who waits gets an error, and the next read finds a new one.
    fn catch_planner_panic<T>(
        &self,
        state: &mut EngineState,
        ask: impl FnOnce(&mut Planner) -> T,
    ) -> std::thread::Result<T> {
        let answer = catch_unwind(AssertUnwindSafe(|| ask(&mut state.planner)));
        if answer.is_err() {
            state.planner = state.planner.successor(self.settings.clone());
            state.wasted_seen = 0;
            for (_, held) in state.held.drain() {
                held.cell.fail(Arc::new(FetchError::TaskLost.into()));
            }
            self.settle(state);
        }
        answer
    }

    /// Does what the planner has decided, after a read of `asked` if it was one. True where memory was short.
    fn act(
        self: &Arc<Self>,
        state: &mut EngineState,
        actions: Vec<PlannerAction>,
        runtime: Option<&Handle>,
        asked: Option<&Range<u64>>,
    ) -> bool {
        let mut short = false;
        for action in actions {
            match action {
                // What came before may have cost it its place.
                PlannerAction::Fetch { id, .. } if !state.planner.has(id) => {}
                PlannerAction::Fetch { id, range, intent, ahead_bytes } => {
                    self.common.spend(ahead_bytes);
                    let as_asked = asked == Some(&range);
                    short |= !self.send(state, id, (range, as_asked), intent, runtime);
                }
                PlannerAction::Stop(id) => {
                    if let Some(held) = state.held.get_mut(&id) {
                        add(&self.common.counters.cancels, 1);
                        let kept = held.cell.complete();
                        held.task.abort();
                        held.shrink_charge(kept);
                    }
                }
                PlannerAction::Drop(id) => {
                    if let Some(held) = state.held.remove(&id) {
                        add(&self.common.counters.cancels, u64::from(held.cell.is_open()));
                    }
                }
            }
        }
        self.settle(state);
        short
    }

    /// Sends the request of part `id`, if there is memory for it or somebody waits. False where memory was short.
    fn send(
        self: &Arc<Self>,
        state: &mut EngineState,
        id: PartId,
        (range, as_asked): (Range<u64>, bool),
        intent: Intent,
        runtime: Option<&Handle>,
    ) -> bool {
        let counters = &self.common.counters;
        let demanded = intent == Intent::Demand;
        let wanted = in_memory(range.end - range.start);
        let mut charge = self.common.budget.try_reserve(wanted);
        let short = charge.is_none();
        if short && demanded && wanted <= self.common.budget.limit_bytes() {
            let mut given_up = Vec::new();
            state.planner.on_memory_short(&mut given_up);
            self.act(state, given_up, None, None);
            charge = self.common.budget.try_reserve(wanted);
        }
        let Some(runtime) = runtime.filter(|_| demanded || charge.is_some()) else {
            add(&counters.budget_waits, 1);
            state.planner.on_not_sent(id);
            return !short;
        };
        add(if demanded { &counters.demand_requests } else { &counters.speculative_requests }, 1);
        let cell = PartBuffer::new(range.start, Home::of(runtime));
        let lost = part_request::FailOnDrop(Arc::clone(&cell));
        let promotion = Promotion::default();
        let known = state.known.clone();
        let request = part_request::PartRequest { id, range, intent, as_asked, known, promotion: promotion.clone() };
        let (engine, common, path) = (Arc::downgrade(self), Arc::clone(&self.common), self.path.clone());
        let task = runtime.spawn(part_request::run(engine, common, path, lost, request));
        state.held.insert(id, HeldPart { cell, task: task.abort_handle(), charge, promotion });
        !short
    }

    /// Brings what others see up to date: how much memory this object wants, what it wasted, what was learnt.
    fn settle(&self, state: &mut EngineState) {
        let counters = &self.common.counters;
        self.common.shares.lock().want(self.id, state.planner.wanted_bytes());
        let ledger = state.planner.ledger();
        add(&counters.wasted_bytes, ledger.wasted - state.wasted_seen);
        counters.outstanding_bytes.fetch_add(ledger.outstanding, Ordering::Relaxed);
        counters.outstanding_bytes.fetch_sub(state.outstanding_seen, Ordering::Relaxed);
        (state.wasted_seen, state.outstanding_seen) = (ledger.wasted, ledger.outstanding);
        counters.window_bytes.store(state.planner.window().ahead_bytes, Ordering::Relaxed);
        counters.window_wanted_bytes.store(state.planner.window_wanted().ahead_bytes, Ordering::Relaxed);
        let (runs, new_shape) = state.planner.take_observations();
        self.common.runs.on_events(&self.prefix, &runs);
        for shape in new_shape {
            tracing::trace!(path = %self.path, ?shape, "a stream was found");
            counters.found(shape);
        }
    }
}

impl Drop for ObjectEngine {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let (runs, _) = state.planner.take_observations();
        self.common.runs.on_events(&self.prefix, &[runs, state.planner.all_ended()].concat());
        self.common.shares.lock().want(self.id, 0);
        let counters = &self.common.counters;
        counters.outstanding_bytes.fetch_sub(state.outstanding_seen, Ordering::Relaxed);
        let ledger = state.planner.ledger();
        add(&counters.wasted_bytes, state.planner.arrived_unread());
        let all = counters.snapshot();
        tracing::debug!(
            path = %self.path,
            demanded_bytes = ledger.demanded,
            wasted_bytes = ledger.wasted,
            window_bytes = state.planner.window().ahead_bytes,
            window_wanted_bytes = state.planner.window_wanted().ahead_bytes,
            store.fetched_bytes = all.fetched_bytes,
            store.wasted_bytes = all.wasted_bytes,
            store.stalled_ms = u64::try_from(all.stalled.as_millis()).unwrap_or(u64::MAX),
            store.cancels = all.cancels,
            store.budget_waits = all.budget_waits,
            store.streams_forward = all.streams_forward,
            store.streams_backward = all.streams_backward,
            store.streams_strided = all.streams_strided,
            "no longer read"
        );
        for (_, held) in state.held.drain() {
            held.cell.fail(Arc::new(closed(&self.path)));
        }
    }
}
