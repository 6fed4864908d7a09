//! One object of a list: its bytes that the consumer has not taken, the memory they are charged to, and its task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use headstart_fetch_core::internal::Promotion;
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::internal::runtime::TaskRuntime;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, Result};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::objects::ahead_memory::AheadCharge;

/// What the task of an object fills and the consumer takes from.
#[derive(Debug)]
pub(super) struct ObjectSlot {
    pub(super) path: Path,
    /// Used when the object is next: all that is missing is requested at once, without memory of the list.
    pub(super) is_next: Promotion,
    /// Used when the consumer waits for the object: its bytes are taken, whether there is memory or not.
    pub(super) is_awaited: Promotion,
    /// The runtime of its task.
    pub(super) home: TaskRuntime,
    state: Mutex<SlotState>,
    taken: Notify,
}

#[derive(Debug, Default)]
struct SlotState {
    meta: Option<ObjectMeta>,
    chunks: VecDeque<Bytes>,
    charge: Option<AheadCharge>,
    ended: Option<Result<()>>,
    reader: Option<Waker>,
    task: Option<AbortHandle>,
    is_abandoned: bool,
}

impl ObjectSlot {
    /// The object at `path`, whose task runs on `home` and whose first bytes are charged to `charge`.
    pub(super) fn new(path: Path, home: TaskRuntime, charge: Option<AheadCharge>) -> Arc<Self> {
        let (is_next, is_awaited) = (Promotion::default(), Promotion::default());
        let state = Mutex::new(SlotState { charge, ..SlotState::default() });
        Arc::new(Self { path, is_next, is_awaited, home, state, taken: Notify::new() })
    }

    /// The consumer waits for the object.
    pub(super) fn on_awaited(&self) {
        self.is_next.promote();
        self.is_awaited.promote();
    }

    pub(super) fn meta(&self) -> Option<ObjectMeta> {
        self.state.lock().meta.clone()
    }

    /// Bytes that are charged.
    pub(super) fn charged_bytes(&self) -> u64 {
        self.state.lock().charge.as_ref().map_or(0, AheadCharge::bytes)
    }

    /// The first answer has shown `meta`. Memory beyond the size of the object is released.
    pub(super) fn on_answer(&self, meta: &ObjectMeta) {
        let mut state = self.state.lock();
        if let Some(charge) = &mut state.charge {
            charge.release(charge.bytes().saturating_sub(meta.size));
        }
        state.meta = Some(meta.clone());
    }

    /// Memory for more bytes of the object.
    pub(super) fn add_charge(&self, more: AheadCharge) {
        let mut state = self.state.lock();
        if state.is_abandoned {
            return;
        }
        match &mut state.charge {
            Some(charge) => charge.merge(more),
            None => state.charge = Some(more),
        }
    }

    /// The task that fills the slot.
    pub(super) fn set_task(&self, task: AbortHandle) {
        let mut state = self.state.lock();
        if state.is_abandoned {
            task.abort();
        } else {
            state.task = Some(task);
        }
    }

    /// The next bytes of the object.
    pub(super) fn push(&self, chunk: Bytes) {
        let reader = {
            let mut state = self.state.lock();
            if !state.is_abandoned {
                state.chunks.push_back(chunk);
            }
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }

    /// The task has ended. Only the first call counts.
    pub(super) fn end(&self, result: Result<()>) {
        let reader = {
            let mut state = self.state.lock();
            state.ended.get_or_insert(result);
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }

    /// Waits until the consumer has taken every chunk and waits for the object.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn drained(&self) {
        self.is_awaited.promoted().await;
        loop {
            // Created before the look, so that no chunk taken meanwhile is missed.
            let taken = self.taken.notified();
            if self.state.lock().chunks.is_empty() {
                return;
            }
            taken.await;
        }
    }

    /// The next bytes, which are charged no longer; `None` after the last ones.
    ///
    /// # Errors
    /// Why the task has failed, once.
    pub(super) fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut state = self.state.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            if let Some(charge) = &mut state.charge {
                charge.release(chunk.len() as u64);
            }
            drop(state);
            self.taken.notify_waiters();
            return Poll::Ready(Some(Ok(chunk)));
        }
        let ended = match &mut state.ended {
            None => {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(ended) => std::mem::replace(ended, Ok(())),
        };
        state.charge = None;
        Poll::Ready(ended.err().map(Err))
    }

    /// Why the task has failed, if it has.
    pub(super) fn take_error(&self) -> Option<Error> {
        let ended = self.state.lock().ended.as_mut().map(|ended| std::mem::replace(ended, Ok(())));
        ended.and_then(Result::err)
    }
}

/// The consumer's hold on an object. Dropping it aborts the task and releases the memory.
#[derive(Debug)]
pub(super) struct OwnedSlot(pub(super) Arc<ObjectSlot>);

impl Drop for OwnedSlot {
    fn drop(&mut self) {
        let (task, _chunks, _charge);
        // The aborted task may hold the slot until its runtime drops the task.
        let mut state = self.0.state.lock();
        state.is_abandoned = true;
        (task, _chunks, _charge) = (state.task.take(), std::mem::take(&mut state.chunks), state.charge.take());
        drop(state);
        task.inspect(AbortHandle::abort);
    }
}
