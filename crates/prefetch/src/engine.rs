//! Acts on what the planner decides, for one open object: sends requests, holds their bytes, aborts and frees them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headstart_fetch_core::byte_range::in_memory;
use headstart_fetch_core::{
    AccessHint, FetchError, Intent, LinkEstimate, MemoryBudget, ObjectVersion, PinBy, Promotion, Reservation,
};
use object_store::path::Path;
use object_store::{Attributes, ObjectMeta, ObjectStore};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::cell::Cell;
use crate::fetch;
use crate::parts::PartId;
use crate::plan::{Action, Announced, Settings, Surroundings};
use crate::planner::Planner;
use crate::read::Read;
use crate::stats::{Counters, add};

/// What all objects of one store share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) link: Arc<LinkEstimate>,
    /// Whether `link` is ours to feed: nobody below measures.
    pub(crate) measures: bool,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) pin: PinBy,
    pub(crate) counters: Counters,
    /// The runtime the store was made in: requests run there when a caller has none of its own.
    pub(crate) runtime: Option<Handle>,
    /// Objects that hold or await bytes now: they share the budget evenly.
    pub(crate) active: AtomicUsize,
}

/// One open object: its planner, and the bytes it holds. Dropping it aborts its requests.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) common: Arc<Common>,
    pub(crate) path: Path,
    /// How requests are pinned to the version that is known.
    pub(crate) pin: PinBy,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) planner: Planner,
    held: HashMap<PartId, Held>,
    known: Option<Arc<Known>>,
    closed: bool,
    is_active: bool,
    wasted_seen: u64,
}

/// A read that has begun.
pub(crate) enum Begun {
    /// Its bytes come from the engine.
    Ours(Read),
    /// The caller sends the request itself; this only watches it: alive for as long as the caller waits.
    Callers(Read),
}

/// What the first answer told of the object.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) version: ObjectVersion,
    pub(crate) meta: ObjectMeta,
    pub(crate) attributes: Attributes,
}

/// A part's bytes, the task that fetches them, and the memory they are charged to.
#[derive(Debug)]
struct Held {
    cell: Arc<Cell>,
    task: AbortHandle,
    charge: Option<Reservation>,
    promotion: Promotion,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Common {
    /// The caller's runtime, or the one the store was made in.
    pub(crate) fn current_runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.clone())
    }
}

impl Engine {
    pub(crate) fn new(common: Arc<Common>, path: Path, pin: PinBy, settings: Settings) -> Arc<Self> {
        let state = State {
            planner: Planner::new(settings),
            held: HashMap::new(),
            known: None,
            closed: false,
            is_active: false,
            wasted_seen: 0,
        };
        Arc::new(Self { common, path, pin, start: Instant::now(), state: Mutex::new(state) })
    }

    /// Starts a read of `range`, which must not be empty or start past a known end.
    ///
    /// # Errors
    /// [`FetchError::NoRuntime`] outside a runtime; [`object_store::Error::Generic`] once closed.
    pub(crate) fn begin(self: &Arc<Self>, range: Range<u64>) -> object_store::Result<Read> {
        match self.begin_read(&range, false)? {
            Begun::Ours(read) | Begun::Callers(read) => Ok(read),
        }
    }

    /// Starts a read for a call without a handle: where nothing is ahead of it and nothing is to follow it,
    /// the caller's own request is as good as ours.
    ///
    /// # Errors
    /// As [`Engine::begin`].
    pub(crate) fn begin_call(self: &Arc<Self>, range: &Range<u64>) -> object_store::Result<Begun> {
        self.begin_read(range, true)
    }

    fn begin_read(self: &Arc<Self>, range: &Range<u64>, callers: bool) -> object_store::Result<Begun> {
        let runtime = self.common.current_runtime();
        if runtime.is_none() && !callers {
            return Err(FetchError::NoRuntime.into());
        }
        let around = self.surroundings();
        let mut actions = Vec::new();
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed(&self.path));
        }
        let plan = state.planner.on_read(self.now(), range, &around, &mut actions);
        let counters = &self.common.counters;
        add(&counters.reads, 1);
        add(&counters.demanded_bytes, range.end - range.start);
        add(&counters.ahead_bytes, plan.ahead_bytes);
        let own =
            actions.iter().position(|action| matches!(action, Action::Fetch { range: asked, .. } if asked == range));
        if callers && (own.is_some() || plan.pieces.is_empty()) {
            if let Some(own) = own {
                actions.remove(own);
                state.planner.on_not_sent(plan.pieces[0].part);
            }
            add(&counters.demand_requests, 1);
            self.act(&mut state, actions, runtime.as_ref());
            drop(state);
            return Ok(Begun::Callers(Read::new(Arc::clone(self), plan, Vec::new())));
        }
        self.act(&mut state, actions, runtime.as_ref());
        let mut cells = Vec::with_capacity(plan.pieces.len());
        for held in plan.pieces.iter().filter_map(|piece| state.held.get(&piece.part)) {
            held.promotion.promote();
            cells.push(Arc::clone(&held.cell));
        }
        drop(state);
        if cells.len() < plan.pieces.len() {
            return Err(FetchError::NoRuntime.into());
        }
        Ok(Begun::Ours(Read::new(Arc::clone(self), plan, cells)))
    }

    /// Takes in what the reader says of its future.
    pub(crate) fn advise(self: &Arc<Self>, hint: &AccessHint) {
        let around = self.surroundings();
        self.tell(|planner, now, actions| match hint {
            AccessHint::Normal => planner.on_announced(Announced::Nothing, actions),
            AccessHint::Sequential => planner.on_announced(Announced::Sequential, actions),
            AccessHint::Random => planner.on_announced(Announced::Random, actions),
            AccessHint::WillNeed(ranges) => planner.on_will_need(now, ranges, &around, actions),
            AccessHint::DontNeed(ranges) => planner.on_dont_need(ranges, actions),
            _ => {}
        });
    }

    /// Feeds the planner one event, outside of any read, and acts on what it decides.
    pub(crate) fn tell(self: &Arc<Self>, event: impl FnOnce(&mut Planner, Duration, &mut Vec<Action>)) {
        let mut actions = Vec::new();
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        event(&mut state.planner, self.now(), &mut actions);
        self.act(&mut state, actions, self.common.current_runtime().as_ref());
    }

    /// Where bytes are served once, how long after they were asked for.
    pub(crate) fn serve_once_within(&self) -> Option<Duration> {
        self.state.lock().planner.serve_once_within()
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// What is known of the object, once something answered.
    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        self.state.lock().known.clone()
    }

    /// An answer showed `meta`. Fails where another version is known.
    pub(crate) fn learn(&self, meta: &ObjectMeta, attributes: &Attributes) -> object_store::Result<()> {
        let mut state = self.state.lock();
        if let Some(known) = &state.known {
            return known.version.check(meta);
        }
        let known = Known { version: ObjectVersion::of(meta), meta: meta.clone(), attributes: attributes.clone() };
        state.known = Some(Arc::new(known));
        state.planner.on_size(meta.size);
        Ok(())
    }

    /// `bytes` more of part `id` arrived, up to `filled_to`.
    pub(crate) fn filled(&self, id: PartId, filled_to: u64, bytes: u64) {
        add(&self.common.counters.fetched_bytes, bytes);
        self.state.lock().planner.on_filled(id, filled_to);
    }

    /// The request of part `id` failed.
    pub(crate) fn failed(&self, id: PartId) {
        let mut state = self.state.lock();
        state.planner.on_failed(id);
        state.held.remove(&id);
        self.settle(&mut state);
    }

    /// Aborts every request and frees every byte. Reads that still wait fail; later ones too.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let held: Vec<_> = state.held.drain().collect();
        // The planner is asked no more, whatever it still lists.
        self.set_active(&mut state, false);
        drop(state);
        for (_, held) in held {
            held.cell.fail(Arc::new(closed(&self.path)));
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn surroundings(&self) -> Surroundings {
        let sharers = self.common.active.load(Ordering::Relaxed).max(1);
        let budget = &self.common.budget;
        Surroundings {
            link: self.common.link.link(),
            share_bytes: (budget.limit_bytes() / sharers) as u64,
            free_bytes: budget.limit_bytes().saturating_sub(budget.used_bytes()) as u64,
        }
    }

    fn act(self: &Arc<Self>, state: &mut State, actions: Vec<Action>, runtime: Option<&Handle>) {
        let counters = &self.common.counters;
        for action in actions {
            match action {
                Action::Fetch { id, range, intent } => {
                    let demanded = intent == Intent::Demand;
                    let wanted = in_memory(range.end - range.start);
                    let mut charge = self.common.budget.try_reserve(wanted);
                    if charge.is_none() && demanded {
                        let mut given_up = Vec::new();
                        state.planner.on_memory_short(&mut given_up);
                        self.act(state, given_up, None);
                        charge = self.common.budget.try_reserve(wanted);
                    }
                    let Some(runtime) = runtime.filter(|_| demanded || charge.is_some()) else {
                        add(&counters.budget_waits, 1);
                        state.planner.on_not_sent(id);
                        continue;
                    };
                    add(if demanded { &counters.demand_requests } else { &counters.speculative_requests }, 1);
                    let cell = Cell::new(range.start);
                    let known = state.known.clone();
                    let promotion = Promotion::default();
                    let request = fetch::Request { id, range, intent, known, promotion: promotion.clone() };
                    let task = runtime.spawn(fetch::run(
                        Arc::downgrade(self),
                        Arc::clone(&self.common),
                        self.path.clone(),
                        Arc::clone(&cell),
                        request,
                    ));
                    state.held.insert(id, Held { cell, task: task.abort_handle(), charge, promotion });
                }
                Action::Stop(id) => {
                    if let Some(held) = state.held.get_mut(&id) {
                        add(&counters.cancels, 1);
                        let kept = held.cell.complete();
                        held.task.abort();
                        if let Some(charge) = &mut held.charge {
                            charge.release(charge.bytes().saturating_sub(kept));
                        }
                    }
                }
                Action::Drop(id) => {
                    if let Some(held) = state.held.remove(&id) {
                        add(&counters.cancels, u64::from(held.cell.is_open()));
                    }
                }
            }
        }
        self.settle(state);
    }

    /// Brings what others see up to date: whether this object is active, what it wasted.
    fn settle(&self, state: &mut State) {
        let is_active = state.planner.is_active();
        self.set_active(state, is_active);
        let wasted = state.planner.ledger().wasted;
        add(&self.common.counters.wasted_bytes, wasted - state.wasted_seen);
        state.wasted_seen = wasted;
        self.common.counters.window_bytes.store(state.planner.window().ahead_bytes, Ordering::Relaxed);
    }

    fn set_active(&self, state: &mut State, is_active: bool) {
        if std::mem::replace(&mut state.is_active, is_active) == is_active {
            return;
        }
        if is_active {
            self.common.active.fetch_add(1, Ordering::Relaxed);
        } else {
            self.common.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed(path: &Path) -> object_store::Error {
    object_store::Error::Generic { store: "headstart", source: format!("the reader of {path} was closed").into() }
}
