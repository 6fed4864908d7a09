//! Performs the actions of the planner: sends requests, stops and drops parts, and publishes the resulting figures.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use headstart_fetch_core::internal::byte_range::in_memory;
use headstart_fetch_core::internal::runtime::TaskRuntime;
use headstart_fetch_core::internal::{Promotion, WindowMember};
use headstart_fetch_core::{Intent, Reservation};
use tokio::runtime::Handle;

use super::{EngineState, ObjectEngine};
use crate::engine::part_buffer::PartBuffer;
use crate::engine::part_request::{FailOnDrop, PartRequest};
use crate::engine::work::Work;
use crate::planner::messages::{PartFetch, PlannerAction, ReadPlan, ReaderId};
use crate::policy::window::idle_after;
use crate::store::stats::add;
use crate::trace_events;

/// The bytes of one part, the request that fetches them, and the memory they are charged to. Dropping it aborts the
/// request.
#[derive(Debug)]
pub(super) struct HeldPart {
    pub(super) buffer: Arc<PartBuffer>,
    pub(super) charge: Option<Reservation>,
    pub(super) promotion: Promotion,
    pub(super) work: Arc<Work>,
    /// Whether the read that is about to begin runs the request.
    pub(super) is_left_to_read: bool,
    /// The reader whose read has begun to run the request.
    pub(super) run_by: Option<ReaderId>,
}

impl HeldPart {
    /// Releases the charge beyond `bytes`.
    pub(super) fn shrink_charge(&mut self, bytes: usize) {
        if let Some(charge) = &mut self.charge {
            charge.release(charge.bytes().saturating_sub(bytes));
        }
    }
}

impl Drop for HeldPart {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl ObjectEngine {
    /// Performs the actions of the planner. Returns whether memory was short.
    pub(super) fn perform(self: &Arc<Self>, state: &mut EngineState) -> bool {
        let mut is_short = false;
        for action in state.planner.take_actions() {
            match action {
                PlannerAction::Fetch(fetch) => {
                    // An earlier request of this batch may have taken its memory.
                    if state.planner.contains_part(fetch.id) {
                        self.shared.spend_rate(fetch.ahead_bytes);
                        is_short |= !self.send(state, fetch);
                    }
                }
                PlannerAction::Stop(id) => {
                    if let Some(held) = state.held.get_mut(&id) {
                        add(&self.shared.counters.cancels, 1);
                        let kept_bytes = held.buffer.complete();
                        held.work.abort();
                        held.shrink_charge(kept_bytes);
                    }
                }
                PlannerAction::Drop(id) => {
                    if let Some(held) = state.held.remove(&id) {
                        add(&self.shared.counters.cancels, u64::from(held.buffer.is_open()));
                        held.buffer.discard();
                    }
                }
            }
        }
        self.publish(state);
        is_short
    }

    /// Sends the request of part `id`, if there is memory for it or a read waits. Returns false where memory was short.
    fn send(self: &Arc<Self>, state: &mut EngineState, fetch: PartFetch) -> bool {
        let counters = &self.shared.counters;
        let (id, is_demand) = (fetch.id, fetch.intent == Intent::Demand);
        let wanted_bytes = in_memory(fetch.range.end - fetch.range.start);
        let mut charge = self.shared.budget.try_reserve(wanted_bytes);
        let is_short = charge.is_none();
        if is_short && is_demand && wanted_bytes <= self.shared.budget.limit_bytes() {
            state.planner.on_memory_short();
            self.perform(state);
            charge = self.shared.budget.try_reserve(wanted_bytes);
        }
        let runtime: Option<Handle> = self.shared.current_runtime().filter(|_| is_demand || charge.is_some());
        let Some(runtime) = runtime else {
            add(&counters.budget_waits, 1);
            state.planner.on_not_sent(id);
            return !is_short;
        };
        add(if is_demand { &counters.demand_requests } else { &counters.speculative_requests }, 1);
        let home = TaskRuntime::of(&runtime);
        // The read polls its request in its own runtime. A part that is served once lives longer than its read.
        let is_left_to_read = is_demand
            && fetch.as_asked
            && fetch.ahead_bytes == 0
            && self.settings.serve_once_within.is_none()
            && home.is_current();
        let buffer = PartBuffer::new(fetch.range.start, home, is_left_to_read);
        let promotion = Promotion::default();
        let request = PartRequest {
            engine: Arc::downgrade(self),
            shared: Arc::clone(&self.shared),
            path: self.path.clone(),
            buffer: FailOnDrop(Arc::clone(&buffer)),
            fetch,
            known: self.known().cloned(),
            promotion: promotion.clone(),
        };
        let work = if is_left_to_read {
            Work::of_waiter(runtime, request.run())
        } else {
            Work::of_task(runtime, request.run())
        };
        let held = HeldPart { buffer, charge, promotion, work: Arc::new(work), is_left_to_read, run_by: None };
        state.held.insert(id, held);
        !is_short
    }

    /// Charges the parts of `plan` that were requested without memory, because a read waited, and that are kept. Where
    /// there still is no memory, they are dropped as soon as no read uses them.
    pub(super) fn charge_kept(self: &Arc<Self>, state: &mut EngineState, plan: &ReadPlan) {
        for piece in &plan.pieces {
            let Some(bytes) = state.planner.part_bytes(piece.part) else { continue };
            let Some(held) = state.held.get_mut(&piece.part).filter(|held| held.charge.is_none()) else { continue };
            held.charge = self.shared.budget.try_reserve(in_memory(bytes));
            if held.charge.is_none() {
                self.dispatch_locked(state, |planner| planner.on_given_up(piece.part));
            }
        }
    }

    /// Publishes the figures of the planner: the memory it wants, its waste and outstanding bytes, and its
    /// observations.
    pub(super) fn publish(&self, state: &mut EngineState) {
        let (counters, planner, published) = (&self.shared.counters, &mut state.planner, &mut state.published);
        let wanted_bytes = planner.wanted_bytes();
        if wanted_bytes != std::mem::replace(&mut published.wanted_bytes, wanted_bytes) {
            self.shared.shares.lock().set_want(self.id, wanted_bytes);
        }
        if planner.has_windows() || state.window_member.is_some() {
            let link = self.shared.link.estimate();
            let demand = planner.window_demand(self.shared.now(), idle_after(&link.link(), self.settings.part_bytes));
            let member = state.window_member.take().filter(|member| member.is_of(link));
            let member = member.unwrap_or_else(|| WindowMember::new(link));
            member.set(demand);
            state.window_member = Some(member);
        }
        let account = planner.account();
        add(&counters.wasted_bytes, account.wasted_bytes - published.wasted_bytes);
        counters.outstanding_bytes.fetch_add(account.outstanding_bytes, Ordering::Relaxed);
        counters.outstanding_bytes.fetch_sub(published.outstanding_bytes, Ordering::Relaxed);
        (published.wasted_bytes, published.outstanding_bytes) = (account.wasted_bytes, account.outstanding_bytes);
        counters.window_bytes.store(planner.window.ahead_bytes, Ordering::Relaxed);
        counters.window_wanted_bytes.store(planner.window_wanted.ahead_bytes, Ordering::Relaxed);
        let (runs, shapes) = planner.take_observations();
        self.shared.runs.on_events(&self.prefix, &runs);
        for shape in shapes {
            trace_events::stream_found(&self.path, shape);
            counters.found(shape);
        }
    }
}
