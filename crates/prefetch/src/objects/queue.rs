//! The objects of a list that are requested and not taken yet, and the task that requests them.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use futures::StreamExt;
use futures::future::select;
use futures::stream::BoxStream;
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::internal::runtime::{TaskRuntime, has_timer};
use object_store::path::Path;
use object_store::{ObjectMeta, Result};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::coop;

use crate::engine::store_shared::StoreShared;
use crate::objects::ObjectsConfig;
use crate::objects::ahead_memory::{AheadCharge, AheadMemory};
use crate::objects::request::ObjectRequest;
use crate::objects::slot::{ObjectSlot, OwnedSlot};
use crate::policy::object_window::{ObjectLimits, ObjectLoad, ObjectWindow};
use crate::policy::request_pacer::RequestPacer;

/// What the consumer of a list, the task that sends its requests, and the tasks of its objects share.
pub(super) struct ObjectQueue {
    pub(super) shared: Arc<StoreShared>,
    pub(super) config: ObjectsConfig,
    pub(super) memory: Arc<AheadMemory>,
    /// As an engine's, for its share of the memory.
    id: u64,
    /// One more object may be requested now.
    changed: Notify,
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    window: ObjectWindow,
    /// The objects that the consumer has not taken, by their place in the list.
    line: BTreeMap<u64, QueuedObject>,
    /// Objects that the consumer can take, in the order in which they became so.
    ready: VecDeque<u64>,
    requested: u64,
    load: ObjectLoad,
    all_requested: bool,
    is_closed: bool,
    consumer: Option<Waker>,
}

struct QueuedObject {
    owned: OwnedSlot,
    is_ready: bool,
    /// Its size, once it is complete or has failed.
    ended_bytes: Option<u64>,
}

impl ObjectQueue {
    pub(super) fn new(shared: Arc<StoreShared>, config: ObjectsConfig) -> Arc<Self> {
        Arc::new(Self {
            id: shared.engines.fetch_add(1, Ordering::Relaxed),
            memory: AheadMemory::new(Arc::clone(&shared.budget)),
            shared,
            config,
            changed: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// Requests the objects at `paths` as fast as the limits allow.
    pub(super) async fn request_all(self: Arc<Self>, mut paths: BoxStream<'static, Path>) {
        let mut pacer = RequestPacer::default();
        while let Some(path) = paths.next().await {
            let (limits, charge) = self.admitted().await;
            let pause = pacer.pause(self.shared.now(), limits.usual_bytes, limits.bytes_per_s);
            if !pause.is_zero() && has_timer() {
                tokio::time::sleep(pause).await;
            }
            self.request(path, limits.first_bytes, charge);
            coop::consume_budget().await;
        }
        let consumer = {
            let mut state = self.state.lock();
            state.all_requested = true;
            state.consumer.take()
        };
        consumer.into_iter().for_each(Waker::wake);
    }

    /// Waits until one more object may be requested. Returns the limits, and the memory of its first bytes.
    async fn admitted(&self) -> (ObjectLimits, Option<AheadCharge>) {
        loop {
            let (changed, released) = (self.changed.notified(), self.memory.released());
            let (limits, is_idle, load) = self.limits_and_load();
            if is_idle || limits.admits(load) {
                let charge = self.memory.try_charge(limits.first_bytes);
                // The first object of the line never waits for memory.
                if is_idle || charge.is_some() {
                    return (limits, charge);
                }
            }
            select(pin!(changed), pin!(released)).await;
        }
    }

    /// The limits, whether the line is empty, and what is in flight.
    fn limits_and_load(&self) -> (ObjectLimits, bool, ObjectLoad) {
        let link = self.shared.link.estimate().link();
        let share_bytes = self.shared.share_bytes(self.id);
        let state = self.state.lock();
        let limits = state.window.limits(&link, share_bytes, self.config.most_requests);
        self.memory.set_limit(limits.memory_bytes);
        if !state.is_closed {
            self.shared.shares.lock().set_want(self.id, limits.wanted_bytes());
        }
        (limits, state.line.is_empty(), state.load)
    }

    /// The limits now.
    pub(super) fn limits(&self) -> ObjectLimits {
        self.limits_and_load().0
    }

    /// The object before the first of the line ends soon: all of the first one is requested.
    pub(super) fn prepare_next(&self) {
        if let Some((_, first)) = self.state.lock().line.first_key_value() {
            first.owned.0.is_next.promote();
        }
    }

    fn request(self: &Arc<Self>, path: Path, first_bytes: u64, charge: Option<AheadCharge>) {
        let runtime = Handle::current();
        let slot = ObjectSlot::new(path, TaskRuntime::of(&runtime), charge);
        let number = {
            let mut state = self.state.lock();
            if state.is_closed {
                return;
            }
            let number = state.requested;
            state.requested += 1;
            state.load.in_flight += 1;
            if state.line.is_empty() && state.consumer.is_some() {
                // The consumer found no object to wait for, and is not woken before this one is complete.
                slot.on_awaited();
            }
            let owned = OwnedSlot(Arc::clone(&slot));
            state.line.insert(number, QueuedObject { owned, is_ready: false, ended_bytes: None });
            number
        };
        // Outside the lock: a runtime that is shutting down drops the task at once, and `on_end` takes the lock.
        let request = ObjectRequest::new(Arc::clone(self), Arc::clone(&slot), number, first_bytes);
        slot.set_task(runtime.spawn(request.run()).abort_handle());
    }

    /// The first answer for object `number` has shown `meta`.
    pub(super) fn on_answer(&self, number: u64, slot: &ObjectSlot, meta: &ObjectMeta) {
        slot.on_answer(meta);
        // There is memory for all of it, so that it will be complete without the consumer.
        let is_small = slot.charged_bytes() >= meta.size;
        let consumer = {
            let mut state = self.state.lock();
            state.window.on_size(meta.size);
            // A large body is handed out as soon as it begins, a small one when it is complete: a consumer of bodies
            // then waits for the first one only.
            if is_small || self.config.collects { None } else { state.mark_ready(number, self.config.in_order) }
        };
        self.changed.notify_one();
        consumer.into_iter().for_each(Waker::wake);
    }

    /// The task of object `number` has ended.
    pub(super) fn on_end(&self, number: u64, slot: &ObjectSlot, result: Result<()>) {
        let bytes = if result.is_ok() { slot.meta().map_or(0, |meta| meta.size) } else { 0 };
        slot.end(result);
        let consumer = {
            let mut state = self.state.lock();
            let consumer = state.mark_ready(number, self.config.in_order);
            if let Some(object) = state.line.get_mut(&number)
                && object.ended_bytes.replace(bytes).is_none()
            {
                state.load.in_flight -= 1;
                state.load.waiting_bytes += bytes;
            }
            consumer
        };
        self.changed.notify_one();
        consumer.into_iter().for_each(Waker::wake);
    }

    /// Takes the next object; `None` after the last one. The consumer waits for the first of the line until then, so
    /// that object needs no memory of the list any more.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<OwnedSlot>> {
        let taken = {
            let mut state = self.state.lock();
            let next = match self.config.in_order {
                true => state.line.first_key_value().filter(|(_, object)| object.is_ready).map(|(number, _)| *number),
                false => state.ready.pop_front(),
            };
            match next.and_then(|number| state.line.remove(&number)) {
                Some(object) => {
                    match object.ended_bytes {
                        Some(bytes) => state.load.waiting_bytes -= bytes,
                        None => state.load.in_flight -= 1,
                    }
                    object.owned
                }
                None if state.line.is_empty() && state.all_requested => return Poll::Ready(None),
                None => {
                    state.consumer = Some(cx.waker().clone());
                    if let Some((_, first)) = state.line.first_key_value() {
                        first.owned.0.on_awaited();
                    }
                    return Poll::Pending;
                }
            }
        };
        taken.0.on_awaited();
        self.changed.notify_one();
        Poll::Ready(Some(taken))
    }

    /// The path of the first object that the consumer has not taken.
    pub(super) fn first_path(&self) -> Option<Path> {
        self.state.lock().line.first_key_value().map(|(_, object)| object.owned.0.path.clone())
    }

    /// Aborts all requests. None is sent from now on.
    pub(super) fn close(&self) {
        let line = {
            let mut state = self.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.line)
        };
        drop(line);
        self.shared.shares.lock().set_want(self.id, 0);
    }
}

impl QueueState {
    /// The consumer can take object `number`. Returns its waker, if it waits for this object.
    fn mark_ready(&mut self, number: u64, in_order: bool) -> Option<Waker> {
        let object = self.line.get_mut(&number)?;
        if std::mem::replace(&mut object.is_ready, true) {
            return None;
        }
        if in_order {
            let is_first = self.line.first_key_value().is_some_and(|(first, _)| *first == number);
            return if is_first { self.consumer.take() } else { None };
        }
        self.ready.push_back(number);
        self.consumer.take()
    }
}
