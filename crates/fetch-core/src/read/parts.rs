//! A read in several parts: fetched in parallel, handed on in order.
//!
//! A task per part drains its body at link speed into memory that was reserved before the request. The first part
//! never waits for memory: without a reservation, its task pauses while a few chunks are unread. So a read makes
//! progress with any budget. Nothing outlives the reader: dropping [`Parts`] drops the slots of all parts, and each
//! slot owns its task.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::{future::poll_fn, ops::Range, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::{Error, GetOptions, ObjectMeta, Result, path::Path};
use tokio::{runtime::Handle, task::coop};

use crate::error::{FetchError, ObjectChanged};
use crate::internal::sync::Mutex;
use crate::limits::permit_state::PermitKind;
use crate::policy::{byte_range, split::Split};
use crate::protocol::extensions::{Intent, Origin, Reserved};
use crate::protocol::version::{ObjectVersion, PinBy};
use crate::read::slots::{PartMemory, PartTask, PutOutcome, Slot, Slots};
use crate::request::refusals::{may_be_the_range, says_another_version};
use crate::request::retryable::{depends_on_request, is_transient};
use crate::request::{body::ResponseBody, core::FetchCore, outage::Outage};

/// The reader's end of a split read. Dropping it ends the read.
pub(crate) struct Parts(Arc<SplitRead>);

/// What the parts of one read share.
struct SplitRead {
    core: Arc<FetchCore>,
    path: Path,
    /// The caller's options; each part sets its own range.
    options: GetOptions,
    split: Split,
    runtime: Handle,
    origin: Origin,
    outage: Outage,
    state: Mutex<Slots>,
}

impl Parts {
    /// A read of `range`, before anything is sent. Its bytes are counted on `origin`.
    ///
    /// # Errors
    /// [`FetchError::NoRuntime`] outside a tokio runtime.
    pub(crate) fn new(
        core: &Arc<FetchCore>,
        path: &Path,
        options: GetOptions,
        split: Split,
        range: Range<u64>,
        origin: Origin,
    ) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|_| FetchError::NoRuntime)?;
        let nth = core.split_reads.fetch_add(1, Ordering::Relaxed);
        let split = split.for_range(byte_range::len(&range), nth, core.permits.large_in_flight());
        let state = Slots { position: range.start, unsent: range, ..Slots::default() };
        Ok(Self(Arc::new(SplitRead {
            core: Arc::clone(core),
            path: path.clone(),
            options,
            split,
            runtime,
            origin,
            outage: Outage::default(),
            state: Mutex::new(state),
        })))
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Takes the first part, whose request the caller sends. [`Parts::answered`] and [`Parts::head_body`] follow.
    pub(crate) fn take_head(&self, bytes: Option<u64>) -> Range<u64> {
        let mut state = self.0.state.lock();
        let unsent = byte_range::len(&state.unsent);
        let bytes = bytes.unwrap_or_else(|| self.0.split.next_bytes(0, 0, unsent));
        self.0.cut(&mut state, bytes, true).map_or(0..0, |(_, range)| range)
    }

    /// Sends as many parts as permits, memory and window allow.
    pub(crate) fn send(&self) {
        self.0.refill();
    }

    /// The circuit breaker that the requests of this read share.
    pub(crate) fn outage(&self) -> &Outage {
        &self.0.outage
    }

    /// Takes the version and the size from the first answer.
    ///
    /// # Errors
    /// [`ObjectChanged`] if another part has been answered with another version.
    pub(crate) fn answered(&self, meta: &ObjectMeta) -> Result<()> {
        self.0.learn(meta)
    }

    /// The body of the first part, drained from now on.
    pub(crate) fn head_body(&self, body: ResponseBody) {
        self.0.spawn(0, Arc::clone(&self.0).drain(0, body.read_by_task()));
    }

    /// The body of a part behind all others. It is drained if memory is free, else dropped and requested later.
    pub(crate) fn tail_body(&self, range: Range<u64>, body: ResponseBody) {
        let call = &self.0;
        let number = {
            let mut state = call.state.lock();
            let Some(memory) = call.memory(byte_range::len(&range)) else { return };
            state.unsent.end = range.start;
            let number = state.number();
            state.tail = Some(Slot::new(number, range, memory));
            number
        };
        call.spawn(number, Arc::clone(call).drain(number, body.read_by_task()));
    }

    /// Ready with the error that has ended the read.
    pub(crate) fn poll_failure(&self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut state = self.0.state.lock();
        if let Some(error) = state.failure.take() {
            return Poll::Ready(error);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Stream for Parts {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // A reader of chunks that are always ready yields to other tasks from time to time.
        let turn = ready!(coop::poll_proceed(cx));
        let taken = ready!(self.0.state.lock().take(cx));
        turn.made_progress();
        if let Some(taken) = &taken {
            self.0.core.counters.on_read_end(taken);
        }
        if let Some(Ok(bytes)) = &taken {
            self.0.core.counters.delivered_bytes.add(bytes.len() as u64);
            self.0.refill();
        }
        Poll::Ready(taken)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.0.end(None);
    }
}

impl SplitRead {
    /// Cuts and sends parts while permits, window and memory allow.
    ///
    /// Tasks are spawned outside the lock: a runtime that is shutting down drops them at once.
    fn refill(self: &Arc<Self>) {
        loop {
            let (number, range) = {
                let mut state = self.state.lock();
                let unsent = byte_range::len(&state.unsent);
                let running = state.all().filter(|slot| slot.is_running()).count();
                let split = match self.core.permits.is_filled_by_demand() {
                    true => self.split.one_at_a_time(),
                    false => self.split.with_slots(self.core.permits.fill_limit()),
                };
                if unsent == 0 || running >= split.slots() {
                    return;
                }
                let outstanding = state.all().map(|slot| slot.range.end - slot.at).sum();
                let bytes = split.next_bytes(state.sent, outstanding, unsent);
                let is_head = state.line.is_empty();
                let ahead_bytes = state.unsent.start - state.position;
                if !is_head && ahead_bytes.saturating_add(bytes) > split.window_bytes() {
                    return;
                }
                let Some(part) = self.cut(&mut state, bytes, is_head) else { return };
                part
            };
            self.spawn(number, Arc::clone(self).fetch(number, range));
        }
    }

    /// Cuts `bytes` off the unsent range; `None` if no memory is free and the part can wait.
    fn cut(&self, state: &mut Slots, bytes: u64, is_head: bool) -> Option<(u64, Range<u64>)> {
        let memory = self.memory(bytes).or(is_head.then_some(PartMemory::Unreserved))?;
        let range = state.unsent.start..state.unsent.start.saturating_add(bytes).min(state.unsent.end);
        state.unsent.start = range.end;
        let number = state.number();
        let slot = Slot::new(number, range.clone(), memory);
        if is_head {
            slot.promotion.promote();
        }
        state.line.push_back(slot);
        Some((number, range))
    }

    fn memory(&self, bytes: u64) -> Option<PartMemory> {
        if self.options.extensions.get::<Reserved>().is_some() {
            return Some(PartMemory::Elsewhere);
        }
        self.core.budget.try_reserve(byte_range::in_memory(bytes)).map(PartMemory::Reserved)
    }

    /// Runs `work` for the part `number` until it ends or the part is dropped.
    fn spawn(self: &Arc<Self>, number: u64, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.runtime.spawn(FailIfTaskLost { call: Arc::clone(self), number, armed: true }.watch(work));
        // Without a slot the read is over. The task is then aborted at the end of this function, after the lock is
        // released, because it was declared first.
        let task = PartTask(task.abort_handle());
        let mut state = self.state.lock();
        if let Some(slot) = state.slot(number) {
            slot.task = Some(task);
        }
    }

    /// Fetches one part, from its request to its last byte.
    async fn fetch(self: Arc<Self>, number: u64, range: Range<u64>) {
        let core = &self.core;
        let activity = core.permits.activity();
        let Some(promotion) = self.state.lock().slot(number).map(|slot| slot.promotion.clone()) else { return };
        let weight = core.link.weight(&core.profile, byte_range::len(&range));
        let answer = loop {
            let permit = match Intent::of(&self.options.extensions) {
                Intent::Demand => {
                    core.permits.acquire_promotable(PermitKind::Part, weight, &promotion, &activity).await
                }
                Intent::Speculative => {
                    core.permits.acquire_for(&self.options.extensions, PermitKind::Part, weight, &activity).await
                }
            };
            let version = self.state.lock().version.clone();
            let mut options = self.options.clone().with_range(Some(range.clone()));
            let pinned = version.as_ref().is_some_and(|version| version.pin(core.profile.pin, &mut options));
            if version.is_some() {
                // The first answer has met these conditions.
                options.if_none_match = None;
                options.if_modified_since = None;
            }
            let (path, origin) = (&self.path, &self.origin);
            let request =
                core.request(Some(&self.outage), path, options.clone(), Some(permit), origin, is_transient, &activity);
            match (request.await, &version) {
                (Ok(answer), _) => break answer,
                (Err(error), Some(version)) => {
                    let error = core.explain(error, pinned, &self.path, version, &options).await;
                    return self.part_failed(number, error);
                }
                (Err(error), None) if !depends_on_first_answer(&error, &options) => {
                    return self.part_failed(number, error);
                }
                (Err(error), None) => {
                    // Until the size is known, the part may lie past the end of the object, and is not needed then.
                    // Otherwise another version than the one being read has refused it, or that one is gone.
                    let version = poll_fn(|cx| self.state.lock().poll_version(number, cx)).await;
                    if !depends_on_request(&error) {
                        // By the caller, if anyone.
                        let pinned = version.pin(PinBy::Unpinned, &mut options);
                        let error = core.explain(error, pinned, &self.path, &version, &options).await;
                        return self.part_failed(number, error);
                    }
                }
            }
        };
        if let Err(changed) = self.learn(&answer.meta) {
            return self.part_failed(number, changed);
        }
        let body = answer.into_body(core, &self.origin, &activity);
        self.drain(number, body).await;
    }

    /// Moves `body` into its slot as it arrives.
    async fn drain(self: Arc<Self>, number: u64, mut body: ResponseBody) {
        while let Some(chunk) = body.next().await {
            let bytes = match chunk {
                Ok(bytes) => bytes,
                Err(error) => return self.part_failed(number, error),
            };
            let put = self.state.lock().put(number, bytes);
            match put {
                PutOutcome::Go => continue,
                PutOutcome::Full => {}
                PutOutcome::Unwanted(bytes) => return self.core.counters.wasted_bytes.add(bytes),
            }
            body.exclude_rate();
            body.mark_idle();
            poll_fn(|cx| self.state.lock().poll_room(number, cx)).await;
        }
        drop(body);
        self.state.lock().done(number);
        self.refill();
    }

    /// Remembers the version and size of the first answer, and compares every later answer with it.
    fn learn(&self, meta: &ObjectMeta) -> Result<()> {
        let beyond = {
            let mut state = self.state.lock();
            if let Some(version) = &state.version {
                self.core.refusals.check(version, meta)?;
                let found = ObjectVersion::of(meta);
                let is_provable = |version| self.core.is_provable(version, &self.options);
                if is_provable(version) || !is_provable(&found) {
                    return Ok(());
                }
                // The date became old enough to count between two answers, so it proves nothing about the first.
                return Err(ObjectChanged::new(&meta.location, version, Some(&found)).into());
            }
            let version = ObjectVersion::of(meta);
            let beyond = state.cut_off_at(version.size);
            state.version = Some(version);
            beyond
        };
        // Outside the lock, since their tasks are dropped with them.
        drop(beyond);
        let mut state = self.state.lock();
        state.all_mut().filter_map(|slot| slot.failed.take()).for_each(Waker::wake);
        Ok(())
    }

    /// Ends the read with `error` if the part `number` still belongs to it. An aborted part does not.
    fn part_failed(&self, number: u64, error: Error) {
        let is_wanted = self.state.lock().slot(number).is_some();
        if is_wanted {
            self.end(Some(error));
        }
    }

    /// Ends the read. Only the first error is kept. Aborts the tasks and releases the memory.
    fn end(&self, why: Option<Error>) {
        let (slots, tail, reader) = {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            state.closed = true;
            state.failure = why;
            state.unsent.start = state.unsent.end;
            (std::mem::take(&mut state.line), state.tail.take(), state.reader.take())
        };
        self.core.counters.wasted_bytes.add(slots.iter().chain(&tail).map(|slot| slot.unread_bytes).sum());
        drop((slots, tail));
        reader.into_iter().for_each(Waker::wake);
    }
}

/// Whether only the first answer, with version and size, tells what the `error` of a request with `options` means: the
/// part lies past the end, another version has refused it, or the version that it names is gone.
fn depends_on_first_answer(error: &Error, options: &GetOptions) -> bool {
    let names_version = options.version.is_some() || options.if_match.is_some();
    names_version && says_another_version(error)
        || depends_on_request(error) && (!matches!(error, Error::Generic { .. }) || may_be_the_range(error))
}

/// Fails the read if the task of a part ends without a result: it panicked, or its runtime was shut down.
struct FailIfTaskLost {
    call: Arc<SplitRead>,
    number: u64,
    armed: bool,
}

impl FailIfTaskLost {
    async fn watch(mut self, work: impl Future<Output = ()>) {
        work.await;
        self.armed = false;
    }
}

impl Drop for FailIfTaskLost {
    fn drop(&mut self) {
        if self.armed {
            self.call.part_failed(self.number, FetchError::TaskLost.into());
        }
    }
}
