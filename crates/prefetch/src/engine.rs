//! Performs what the planner decides, for one object: sends requests, holds their bytes, aborts and frees them.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headstart_fetch_core::internal::WindowMember;
use headstart_fetch_core::internal::locks::{Mutex, MutexGuard};
use headstart_fetch_core::internal::runtime::TaskRuntime;
use headstart_fetch_core::{AccessHint, FetchError, ObjectVersion, PinBy, Reservation};
use object_store::path::Path;
use object_store::{Attributes, ObjectMeta, Result};
use tokio::runtime::{Handle, Id};

use crate::engine::actions::HeldPart;
use crate::engine::run_history::prefix_of;
use crate::engine::store_shared::StoreShared;
use crate::planner::Planner;
use crate::planner::hints::AnnouncedPattern;
use crate::planner::messages::{Decision, PlannerInputs, PlannerSettings, ReadPlan, ReaderId};
use crate::planner::parts::PartId;
use crate::reader::active_read::ActiveRead;
use crate::reader::close_signal::{CloseSignal, closed};
use crate::store::stats::add;
use crate::trace_events;

mod actions;
mod answers;
pub(crate) mod blocks;
pub(crate) mod open_objects;
pub(crate) mod part_buffer;
pub(crate) mod part_request;
pub(crate) mod run_history;
pub(crate) mod store_shared;
pub(crate) mod work;

/// One object with its planner and the bytes held for its readers. Dropping it aborts its requests.
#[derive(Debug)]
pub(crate) struct ObjectEngine {
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) path: Path,
    /// How requests are pinned to the known version.
    pub(crate) pin: PinBy,
    id: u64,
    prefix: String,
    settings: PlannerSettings,
    /// The runtime in which the object was opened. Requests run there, so readers of other runtimes do not share it.
    runtime: Option<Id>,
    /// The time of the latest read or hint, in nanoseconds since the store was made.
    latest_read_ns: AtomicU64,
    is_outdated: AtomicBool,
    /// Set while the state is locked.
    known: OnceLock<Arc<KnownObject>>,
    state: Mutex<EngineState>,
}

#[derive(Debug)]
struct EngineState {
    planner: Planner,
    held: HashMap<PartId, HeldPart>,
    /// Until when new readers may take the known version for the present one.
    trusted_until: Option<Duration>,
    readers: ReaderId,
    /// Figures of the planner that the store's counters already contain.
    published: PublishedFigures,
    /// The demand of the streams among all streams of the link.
    window_member: Option<WindowMember>,
}

/// Figures of one planner as they were published last.
#[derive(Debug, Default)]
struct PublishedFigures {
    wasted_bytes: u64,
    outstanding_bytes: u64,
    wanted_bytes: u64,
}

/// The version and metadata of the object, from the first answer.
#[derive(Debug, Clone)]
pub(crate) struct KnownObject {
    pub(crate) version: ObjectVersion,
    pub(crate) meta: ObjectMeta,
    pub(crate) attributes: Attributes,
}

impl ObjectEngine {
    pub(crate) fn new(shared: Arc<StoreShared>, path: Path, pin: PinBy, settings: PlannerSettings) -> Arc<Self> {
        let id = shared.engines.fetch_add(1, Ordering::Relaxed);
        let settings = PlannerSettings { phase: id, ..settings };
        let state = EngineState {
            planner: Planner::new(settings.clone()),
            held: HashMap::new(),
            trusted_until: None,
            readers: 0,
            published: PublishedFigures::default(),
            window_member: None,
        };
        let engine = Arc::new(Self {
            id,
            prefix: prefix_of(&path),
            runtime: Handle::try_current().ok().map(|runtime| runtime.id()),
            latest_read_ns: AtomicU64::new(0),
            is_outdated: AtomicBool::new(false),
            known: OnceLock::new(),
            state: Mutex::new(state),
            shared,
            path,
            pin,
            settings,
        });
        engine.mark_read();
        engine.shared.objects.add(&engine);
        engine
    }

    /// Begins a read of `range`, which must not be empty nor start past a known end: a read of the reader of `signal`,
    /// or of a call without a reader. Only the latter can be passed through ([`ActiveRead::is_passed_through`]).
    ///
    /// # Errors
    /// [`FetchError::NoRuntime`] outside a runtime; [`object_store::Error::Generic`] once the reader is closed.
    pub(crate) fn begin(self: &Arc<Self>, signal: Option<&Arc<CloseSignal>>, range: &Range<u64>) -> Result<ActiveRead> {
        let is_closed = || signal.is_some_and(|signal| signal.is_closed());
        if is_closed() {
            return Err(closed(&self.path));
        }
        if signal.is_some() && self.shared.current_runtime().is_none() {
            return Err(FetchError::NoRuntime.into());
        }
        let now = self.mark_read();
        let inputs = self.planner_inputs();
        let reader = signal.map_or(0, |signal| signal.reader);
        let mut state = self.state.lock();
        // The planner has forgotten a reader that was closed meanwhile, or is about to.
        if is_closed() {
            return Err(closed(&self.path));
        }
        let planned = self.catch_planner_panic(&mut state, |planner| planner.on_read(reader, range, &inputs));
        let decision = match planned {
            Ok(decision) => decision,
            Err(panic) => {
                drop(state);
                resume_unwind(panic)
            }
        };
        let mut is_short = self.perform(&mut state);
        is_short |= (self.shared.budget.free_bytes() as u64) < state.planner.window_wanted.ahead_bytes;
        let counters = &self.shared.counters;
        add(&counters.reads, 1);
        add(&counters.demanded_bytes, range.end - range.start);
        add(&counters.demand_requests, u64::from(matches!(decision, Decision::PassThrough(_))));
        let plan = decision.plan();
        add(&counters.ahead_bytes, plan.ahead_bytes);
        let mut buffers = Vec::with_capacity(plan.pieces.len());
        let (mut own_work, mut to_hand_over) = (None, Vec::new());
        let EngineState { planner, held, .. } = &mut *state;
        for piece in &plan.pieces {
            let Some(held) = held.get_mut(&piece.part) else { continue };
            held.promotion.promote();
            buffers.push(Arc::clone(&held.buffer));
            if std::mem::take(&mut held.is_left_to_read) {
                held.run_by = Some(reader);
                own_work = Some(Arc::clone(&held.work));
            } else if held.run_by.take().is_some() {
                // The read that runs it may be left unpolled, while this one waits for it. From now on, closing the
                // reader of that read does not abort it.
                planner.on_filled(piece.part, held.buffer.report_chunks());
                to_hand_over.push(Arc::clone(&held.work));
            }
        }
        let is_complete = buffers.len() == plan.pieces.len();
        let read = ActiveRead::new(Arc::clone(self), signal.cloned(), decision, buffers, own_work);
        // A read must not end while the lock is held: its end takes the lock.
        drop(state);
        to_hand_over.iter().for_each(|work| work.hand_over());
        self.shared.objects.reclaim(now, is_short);
        if is_complete { Ok(read) } else { Err(FetchError::NoRuntime.into()) }
    }

    /// Takes in an access hint of the reader of `signal`, or of a caller without a reader.
    pub(crate) fn advise(self: &Arc<Self>, signal: Option<&CloseSignal>, hint: &AccessHint) {
        if signal.is_some_and(CloseSignal::is_closed) {
            return;
        }
        self.mark_read();
        let reader = signal.map_or(0, |signal| signal.reader);
        let inputs = self.planner_inputs();
        self.dispatch(|planner| match hint {
            // A reader that was closed meanwhile must not be entered again.
            _ if signal.is_some_and(CloseSignal::is_closed) => {}
            AccessHint::Normal => planner.on_announced(reader, AnnouncedPattern::Normal),
            AccessHint::Sequential => planner.on_announced(reader, AnnouncedPattern::Sequential),
            AccessHint::Random => planner.on_announced(reader, AnnouncedPattern::Random),
            AccessHint::WillNeed(ranges) => planner.on_will_need(reader, ranges, &inputs),
            AccessHint::DontNeed(ranges) => planner.on_dont_need(reader, ranges),
            _ => {}
        });
    }

    /// Gives the planner one event that is not a read, and performs the resulting actions.
    pub(crate) fn dispatch(self: &Arc<Self>, event: impl FnOnce(&mut Planner)) {
        self.dispatch_locked(&mut self.state.lock(), event);
    }

    fn dispatch_locked(self: &Arc<Self>, state: &mut EngineState, event: impl FnOnce(&mut Planner)) {
        if self.catch_planner_panic(state, event).is_err() {
            trace_events::planner_panicked(&self.path);
            return;
        }
        self.perform(state);
    }

    pub(crate) fn on_read_end(self: &Arc<Self>, plan: &ReadPlan, answered: bool) {
        let now = self.mark_read();
        let mut state = self.state.lock();
        self.dispatch_locked(&mut state, |planner| planner.on_read_end(now, plan, answered));
        self.charge_kept(&mut state, plan);
    }

    /// Closes the reader of `signal`.
    pub(crate) fn close_reader(self: &Arc<Self>, signal: &CloseSignal) {
        if signal.close() {
            let mut state = self.state.lock();
            self.dispatch_locked(&mut state, |planner| planner.on_reader_gone(signal.reader));
            // Wakes the reads that run a request themselves, so that they fail.
            let own = state.held.values().filter(|held| held.run_by == Some(signal.reader));
            own.for_each(|held| held.work.abort_if_run_by_waiter());
        }
    }

    /// The version and metadata of the object, once an answer had them.
    pub(crate) fn known(&self) -> Option<&Arc<KnownObject>> {
        self.known.get()
    }

    /// Whether nothing identifies the version of the object. Then no two answers can be combined, and nothing is read
    /// ahead or kept.
    pub(crate) fn is_unprovable(&self) -> bool {
        self.known().is_some_and(|known| !self.shared.is_provable(&known.version))
    }

    /// An answer has shown that the object has another version now. A reader keeps its version, but new readers and
    /// calls begin with another engine.
    pub(crate) fn on_outdated(self: &Arc<Self>) {
        self.is_outdated.store(true, Ordering::Relaxed);
        self.shared.objects.forget(&self.path);
        if self.settings.serve_once_within.is_some() {
            self.dispatch(Planner::clear);
        }
    }

    /// Whether calls without a reader may not use it any more.
    pub(crate) fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Relaxed)
    }

    pub(crate) fn on_failed(&self, id: PartId) {
        let mut state = self.state.lock();
        state.planner.on_failed(id);
        state.held.remove(&id);
        self.publish(&mut state);
    }

    /// The runtime of `home` has stopped: fails the requests of its tasks, unless this is the same runtime. Reads that
    /// need their bytes send new requests.
    pub(crate) fn on_runtime_stopped(&self, home: &TaskRuntime) {
        if home.is_current() {
            return;
        }
        let mut state = self.state.lock();
        let is_lost = |held: &HeldPart| held.buffer.is_open() && held.buffer.home.id() == home.id();
        let lost: Vec<PartId> = state.held.iter().filter(|(_, held)| is_lost(held)).map(|(id, _)| *id).collect();
        for id in lost {
            state.planner.on_not_sent(id);
            if let Some(held) = state.held.remove(&id) {
                held.buffer.fail(Arc::new(FetchError::RuntimeStopped.into()));
            }
        }
        self.publish(&mut state);
    }

    /// Lets the planner panic at the next read.
    #[cfg(test)]
    pub(crate) fn panic_at_next_read(&self) {
        self.state.lock().planner.panics_at_next_read = true;
    }

    /// Bytes held here, or reserved for requests in flight.
    pub(crate) fn held_bytes(&self) -> usize {
        self.state.lock().held.values().map(|held| held.charge.as_ref().map_or(0, Reservation::bytes)).sum()
    }

    /// The time of the latest read, if bytes are held and no read is in progress.
    pub(crate) fn idle_since(&self) -> Option<Duration> {
        let is_idle = |state: MutexGuard<'_, EngineState>| !state.held.is_empty() && !state.planner.is_being_read();
        let holds = self.state.try_lock().is_some_and(is_idle);
        holds.then(|| Duration::from_nanos(self.latest_read_ns.load(Ordering::Relaxed)))
    }

    /// Notes the time of a read or hint, and returns it.
    fn mark_read(&self) -> Duration {
        let now = self.shared.now();
        self.latest_read_ns.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        now
    }

    fn planner_inputs(&self) -> PlannerInputs {
        self.shared.planner_inputs(self.id, &self.prefix, self.settings.part_bytes)
    }

    /// Calls the planner. A planner that panicked is replaced by a new one: waiters get an error, and the next read
    /// begins without held bytes.
    fn catch_planner_panic<T>(
        &self,
        state: &mut EngineState,
        call: impl FnOnce(&mut Planner) -> T,
    ) -> std::thread::Result<T> {
        let answer = catch_unwind(AssertUnwindSafe(|| call(&mut state.planner)));
        if answer.is_err() {
            state.planner = state.planner.successor(self.settings.clone());
            state.published.wasted_bytes = 0;
            for (_, held) in state.held.drain() {
                held.buffer.fail(Arc::new(FetchError::TaskLost.into()));
            }
            self.publish(state);
        }
        answer
    }
}

impl Drop for ObjectEngine {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let (runs, _) = state.planner.take_observations();
        self.shared.runs.on_events(&self.prefix, &[runs, state.planner.all_ended()].concat());
        self.shared.shares.lock().set_want(self.id, 0);
        let counters = &self.shared.counters;
        counters.outstanding_bytes.fetch_sub(state.published.outstanding_bytes, Ordering::Relaxed);
        add(&counters.wasted_bytes, state.planner.arrived_unread_bytes());
        trace_events::object_closed(&self.path, &state.planner, counters);
        for (_, held) in state.held.drain() {
            held.buffer.fail(Arc::new(closed(&self.path)));
            held.buffer.discard();
        }
    }
}
