//! The tasks behind in_flight: send one request, check the answer, cut the body into pages.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future;
use futures::stream::{BoxStream, StreamExt};
use headstart_fetch_core::{
    FetchError, Intent, LocalFile, ObjectChanged, ObjectVersion, Origin, PinBy, RangeOrigin, Reserved, byte_range,
};
use object_store::path::Path;
use object_store::{Extensions, GetOptions, GetResult, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::engine::{Engine, PageSource, PlannedPage, runtime};
use crate::fetches::arrived_pages::Charge;
use crate::fetches::fetch::{FetchGuard, FetchOutcome};
use crate::fetches::registry::Sharing;
use crate::fetches::waiter::FetchWaiter;
use crate::lookup::call::ReadCall;
use crate::lookup::version_table::{ObjectHead, RequestStamp};
use crate::policy::freshness::{self, FirstStep, OpenRequest};
use crate::policy::page::{PageNeed, WINDOW_BYTES};

/// What a task needs to know of the call that began it.
struct FetchTask {
    engine: Arc<Engine>,
    path: Path,
    /// The version that the caller names, if any.
    version: Option<String>,
    /// Go down with the request: intent, hints and whatever the caller's caller put there.
    extensions: Extensions,
    /// Charged with what crosses the wire.
    origin: Origin,
    asking: RequestStamp,
    keeps_without_validator: bool,
    /// MemoryTier for what it brings has been looked for.
    is_charged: bool,
}

/// The part of a body that nobody has asked for yet, and what keeps it coming.
pub(crate) struct RemainingBody {
    body: oneshot::Receiver<FillBody>,
    /// The fetch that still reads the part before.
    before: Arc<FetchWaiter>,
}

impl Engine {
    /// Sends a request for something of an object whose present version is not known, or waits with others for an answer,
    /// where they asked for something of the same not too long ago. `None` where the version is known by now.
    ///
    /// `request`: the caller's options, of which preconditions go down.
    pub(crate) fn join_or_launch(
        self: &Arc<Self>,
        call: &ReadCall,
        asked: OpenRequest,
        request: GetOptions,
        sharing: Sharing,
    ) -> Result<Option<(Arc<FetchWaiter>, Option<RemainingBody>)>> {
        let runtime = runtime()?;
        let asking = self.table.asking(&call.path, self.now());
        let now = asking.at;
        let known = || {
            let known = self.known(call).map(|head| head.known());
            matches!(freshness::first_step(&call.plan, known, now), FirstStep::Serve | FirstStep::Bypass)
        };
        let Some(waiter) = self.in_flight.open(call, &asked, asking, sharing, known) else { return Ok(None) };
        if !waiter.mine {
            return Ok(Some((waiter, None)));
        }
        let mut job = self.job(call, &waiter, asking);
        if matches!(asked, OpenRequest::Bounded(_)) {
            job.extensions.insert(RangeOrigin::Chosen);
        }
        if let Some(bytes) = asked.most_bytes().filter(|bytes| *bytes <= WINDOW_BYTES) {
            job.charge(&waiter, bytes);
        }
        let (hand_on, body) = oneshot::channel();
        self.in_flight.launch(&runtime, &waiter, |guard| {
            Box::pin(async move {
                let end = job.open(&guard, &asked, request, hand_on).await;
                guard.finish(end.unwrap_or_else(|error| FetchOutcome::Failed(Arc::new(error))));
            })
        });
        let rest = RemainingBody { body, before: Arc::clone(&waiter) };
        Ok(Some((waiter, Some(rest))))
    }

    /// Sends the request that fills `run`, pages of the version `head`.
    pub(crate) fn launch_fill(
        self: &Arc<Self>,
        call: &ReadCall,
        runtime: &Handle,
        head: &Arc<ObjectHead>,
        run: &Range<u64>,
        waiter: &FetchWaiter,
    ) {
        let mut job = self.job(call, waiter, self.table.asking(&call.path, self.now()));
        job.extensions.insert(RangeOrigin::Chosen);
        let head = Arc::clone(head);
        let bytes = self.pages.start(run.start)..self.pages.start(run.end).min(head.meta.size);
        job.charge(waiter, byte_range::len(&bytes));
        self.in_flight.launch(runtime, waiter, |guard| {
            Box::pin(async move {
                let end = job.fill(&guard, &head, bytes).await;
                guard.finish(end.unwrap_or_else(|error| FetchOutcome::Failed(Arc::new(error))));
            })
        });
    }

    /// Goes on reading an open body: the bytes of `window`, of which the caller needs `needs`; and hands on the rest of that.
    pub(crate) fn launch_window(
        self: &Arc<Self>,
        call: &ReadCall,
        runtime: &Handle,
        head: &Arc<ObjectHead>,
        window: Range<u64>,
        needs: Vec<PageNeed>,
        rest: RemainingBody,
    ) -> (Vec<PlannedPage>, RemainingBody) {
        let head = Arc::clone(head);
        let whole = self.pages.whole_in(&window, head.meta.size);
        let admit = call.plan.admit && call.plan.may_keep(head.has_validator());
        let waiter = self.in_flight.window(call, head.id, whole.clone(), admit);
        let mut job = self.job(call, &waiter, self.table.asking(&call.path, self.now()));
        job.charge(&waiter, byte_range::len(&window));
        let take = |need: PageNeed| PlannedPage { from: PageSource::InFlight(waiter.interest_in(need.page)), need };
        let takes = needs.into_iter().map(take).collect();
        let (hand_on, body) = oneshot::channel();
        self.in_flight.launch(runtime, &waiter, |guard| {
            Box::pin(async move {
                let body = tokio::select! {
                    biased;
                    body = rest.body => body.ok(),
                    // The task that reads the part before is on a runtime that has stopped.
                    () = rest.before.stopped() => None,
                    // Never ends: it makes the part before read on for a reader of this one, however slow that part's own reader is.
                    () = pull(&guard, &rest.before) => None,
                };
                let end = match body {
                    Some(body) if body.at == window.start => {
                        guard.answered(&head, job.engine.pages, window.clone(), whole);
                        job.drain(&guard, &head, body, window.end, hand_on).await.map(|()| FetchOutcome::Finished)
                    }
                    _ => Ok(FetchOutcome::Lost),
                };
                guard.finish(end.unwrap_or_else(|error| FetchOutcome::Failed(Arc::new(error))));
            })
        });
        (takes, RemainingBody { body, before: waiter })
    }

    /// What the task of `waiter`'s fetch needs.
    fn job(self: &Arc<Self>, call: &ReadCall, waiter: &FetchWaiter, asking: RequestStamp) -> FetchTask {
        let mut extensions = call.extensions.clone();
        if extensions.get::<Intent>().is_none() {
            // With one, layers below tell where their answers come from, and when they were confirmed.
            extensions.insert(Intent::Demand);
        }
        if let Some(promotion) = waiter.promotion() {
            extensions.insert(promotion.clone());
        }
        FetchTask {
            engine: Arc::clone(self),
            path: call.path.clone(),
            version: call.version.clone(),
            extensions,
            origin: call.origin.clone(),
            asking,
            keeps_without_validator: call.plan.may_keep(false),
            is_charged: false,
        }
    }
}

/// Reads on what comes `before` as long as somebody waits for what comes after it.
async fn pull(guard: &FetchGuard, before: &FetchWaiter) {
    guard.awaited().await;
    let _ = before.landed().await;
    future::pending::<()>().await;
}

impl FetchTask {
    /// Looks for memory for `bytes` that the request of `waiter`'s fetch brings.
    fn charge(&mut self, waiter: &FetchWaiter, bytes: u64) {
        let charge = self.engine.charge(&self.extensions, bytes);
        if matches!(charge, Charge::Reserved(_)) {
            // A byte is charged once.
            self.extensions.insert(Reserved);
        }
        waiter.charge(charge, self.engine.pages);
        self.is_charged = true;
    }

    async fn open(
        self,
        guard: &FetchGuard,
        asked: &OpenRequest,
        mut options: GetOptions,
        hand_on: oneshot::Sender<FillBody>,
    ) -> Result<FetchOutcome> {
        let engine = &self.engine;
        options.extensions = self.extensions.clone();
        if *asked == OpenRequest::Head { &engine.counters.validations } else { &engine.counters.fills }.add(1);
        let result = match engine.inner.get_opts(&self.path, options).await {
            Err(error @ object_store::Error::NotFound { .. }) => {
                engine.table.gone(&self.path, self.version.as_deref());
                return Err(error);
            }
            other => other?,
        };
        // A file is as good as a page; and where the range was ignored, the wider one that we ask for does harm.
        let opaque = LocalFile::is_source_of(&result) || !answers(asked, &result);
        let confirmed = engine.confirmed(self.asking, &result.extensions);
        let (meta, attributes) = (result.meta.clone(), result.attributes.clone());
        let head = engine.table.learn(&self.path, self.version.as_deref(), confirmed, meta, attributes, opaque);
        let opaque = head.opaque;
        if *asked == OpenRequest::Head {
            engine.refusals.granted_head();
            guard.answered(&head, engine.pages, 0..0, 0..0);
            return Ok(FetchOutcome::Finished);
        }
        if opaque {
            // The next try goes past the cache.
            return Ok(FetchOutcome::Lost);
        }
        if matches!(asked, OpenRequest::Bounded(_)) {
            engine.refusals.granted_range();
        }
        let body = FillBody::new(result);
        let span = body.at..body.end.min(engine.pages.window_end(body.at));
        let keep = self.keeps_without_validator || head.has_validator();
        let whole = if keep { engine.pages.whole_in(&span, head.meta.size) } else { 0..0 };
        if !self.is_charged {
            // The layer below reads ahead on its own account: this is for what waits here.
            guard.charge(engine.charge(&self.extensions, byte_range::len(&span)), engine.pages);
        }
        guard.answered(&head, engine.pages, span.clone(), whole);
        self.drain(guard, &head, body, span.end, hand_on).await?;
        Ok(FetchOutcome::Finished)
    }

    async fn fill(self, guard: &FetchGuard, head: &Arc<ObjectHead>, run: Range<u64>) -> Result<FetchOutcome> {
        let table = &self.engine.table;
        let result = self.request(head, &run).await.inspect_err(|error| {
            if ObjectChanged::find(error).is_some() {
                table.forget(&self.path, self.version.as_deref(), head.id);
            }
        })?;
        if LocalFile::is_source_of(&result) {
            table.forget(&self.path, self.version.as_deref(), head.id);
            return Ok(FetchOutcome::Lost);
        }
        if result.range != run {
            let (wanted, got) = (run, result.range);
            return Err(FetchError::WrongRange {
                wanted_start: wanted.start,
                wanted_end: wanted.end,
                start: got.start,
                end: got.end,
            }
            .into());
        }
        self.engine.refusals.granted_range();
        let whole = self.engine.pages.whole_in(&run, head.meta.size);
        guard.answered(head, self.engine.pages, run.clone(), whole);
        self.cut(guard, head, &mut FillBody::new(result), run.end).await?;
        Ok(FetchOutcome::Finished)
    }

    /// Asks for `run` of the version `head`, and makes sure that the answer is of that version.
    async fn request(&self, head: &ObjectHead, run: &Range<u64>) -> Result<GetResult> {
        let engine = &self.engine;
        // Some servers refuse a range that covers the whole object.
        let is_all = *run == (0..head.meta.size) && engine.refusals.refuses_ends();
        let mut options = GetOptions::new().with_range((!is_all).then(|| run.clone()));
        options.version.clone_from(&self.version);
        options.extensions = self.extensions.clone();
        if is_all {
            options.extensions.insert(RangeOrigin::Asked);
        }
        let pinned = head.version.pin(engine.config.pin, &mut options);
        let named = options.version.clone();
        let by_version = named.is_some();
        #[cfg(test)]
        if engine.mutation.is(crate::mutants::Mutant::TrustsAnswers) {
            options = GetOptions::new().with_range(Some(run.clone()));
            return engine.inner.get_opts(&self.path, options).await;
        }
        engine.counters.fills.add(1);
        let result = match engine.refusals.get_opts(&*engine.inner, &self.path, options).await {
            Ok(result) => result,
            Err(error) => {
                let extensions = self.extensions.clone();
                let asked = GetOptions { version: named, extensions, ..GetOptions::new() };
                let (store, version) = (&*engine.inner, &head.version);
                return Err(ObjectChanged::explain_or_ask(error, pinned, store, &self.path, version, asked).await);
            }
        };
        if !head.has_validator() && self.keeps_without_validator && result.meta.size == head.meta.size {
            // Only what never changes is fetched in parts without a validator.
            return Ok(result);
        }
        let found = if by_version {
            // That a version can still be had does not make it the present one.
            ObjectVersion::of(&result.meta)
        } else {
            let (meta, attributes) = (result.meta.clone(), result.attributes.clone());
            let confirmed = engine.confirmed(self.asking, &result.extensions);
            engine.table.learn(&self.path, None, confirmed, meta, attributes, false).version.clone()
        };
        if head.version.is_same(&found) {
            return Ok(result);
        }
        Err(ObjectChanged::new(&self.path, &head.version, Some(&found)).into())
    }

    /// Reads `body` up to `until`, and hands on what is left of it then.
    async fn drain(
        self,
        guard: &FetchGuard,
        head: &Arc<ObjectHead>,
        mut body: FillBody,
        until: u64,
        hand_on: oneshot::Sender<FillBody>,
    ) -> Result<()> {
        self.cut(guard, head, &mut body, until).await?;
        if body.at < body.end {
            // Where nobody wants it, it is dropped, and the request aborted.
            let _ = hand_on.send(body);
        }
        Ok(())
    }

    /// Cuts `body` into pages up to `until`, stores and hands on each.
    async fn cut(&self, guard: &FetchGuard, head: &Arc<ObjectHead>, body: &mut FillBody, until: u64) -> Result<()> {
        let pages = self.engine.pages;
        let keep = self.keeps_without_validator || head.has_validator();
        while body.at < until {
            let page = pages.of(body.at);
            let piece = body.at..pages.start(page + 1).min(until);
            let length = byte_range::in_memory(byte_range::len(&piece));
            guard.room(page, length).await;
            let bytes = body.take(length, self).await?;
            let whole = keep && !pages.whole_in(&piece, head.meta.size).is_empty();
            guard.arrived(page, self.engine.memory.counted(bytes), |bytes, arrival| {
                if whole {
                    self.engine.memory.insert(head.place(page), bytes, arrival);
                }
            });
        }
        Ok(())
    }
}

/// Whether `result` is what was asked for, cut by the end of the object.
fn answers(asked: &OpenRequest, result: &GetResult) -> bool {
    let size = result.meta.size;
    let expected = match asked {
        OpenRequest::Head => return true,
        OpenRequest::Whole => 0..size,
        OpenRequest::Bounded(range) => range.start..range.end.min(size),
        OpenRequest::From(start) => *start..size,
        OpenRequest::Last(n) => size.saturating_sub(*n)..size,
    };
    result.range == expected
}

/// A body that is being read.
pub(crate) struct FillBody {
    stream: BoxStream<'static, Result<Bytes>>,
    /// The unread rest of the last chunk.
    chunk: Bytes,
    start: u64,
    /// The next byte to read.
    at: u64,
    end: u64,
    /// What the layers below say of the origin of these bytes, and how much of it is charged already.
    below: Option<(Origin, u64)>,
}

impl FillBody {
    fn new(result: GetResult) -> Self {
        let below = Origin::of(&result.extensions).map(|origin| (origin, 0));
        let range = result.range.clone();
        Self {
            stream: result.into_stream(),
            chunk: Bytes::new(),
            start: range.start,
            at: range.start,
            end: range.end,
            below,
        }
    }

    /// The next `n` bytes, in memory of their own: a slice of the chunk would hold on to all of it. The one exception is
    /// a chunk that is the whole answer.
    async fn take(&mut self, n: usize, job: &FetchTask) -> Result<Bytes> {
        let mut taken = Vec::new();
        while taken.len() < n {
            if self.chunk.is_empty() {
                self.chunk = self.next_chunk(job).await?.ok_or(FetchError::ShortBody {
                    start: self.start,
                    end: self.end,
                    at: self.at + taken.len() as u64,
                })?;
                continue;
            }
            if self.chunk.len() == n && self.end - self.start == n as u64 {
                break;
            }
            taken.reserve_exact(n - taken.len());
            let part = self.chunk.len().min(n - taken.len());
            taken.extend_from_slice(&self.chunk.split_to(part));
        }
        self.at += n as u64;
        let taken = if taken.is_empty() { std::mem::take(&mut self.chunk) } else { taken.into() };
        if self.at == self.end {
            // The last piece waits for the end of the body: one that is longer than promised is not what was promised.
            let mut more = !self.chunk.is_empty();
            while !more && let Some(chunk) = self.next_chunk(job).await? {
                more = !chunk.is_empty();
            }
            if more {
                return Err(FetchError::LongBody { start: self.start, end: self.end }.into());
            }
        }
        Ok(taken)
    }

    async fn next_chunk(&mut self, job: &FetchTask) -> Result<Option<Bytes>> {
        let chunk = self.stream.next().await.transpose()?;
        let bytes = chunk.as_ref().map_or(0, Bytes::len) as u64;
        job.engine.counters.fetched_bytes.add(bytes);
        match &mut self.below {
            None => job.origin.add_wire(bytes),
            Some((origin, charged)) => {
                let wire = origin.wire_bytes();
                job.origin.add_wire(wire - *charged);
                *charged = wire;
            }
        }
        Ok(chunk)
    }
}

/// Whether an answer pinned this way proves which version is the present one.
pub(crate) fn proves_present(pin: PinBy, head: &ObjectHead) -> bool {
    pin != PinBy::Version || head.meta.version.is_none()
}
