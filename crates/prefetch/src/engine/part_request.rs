//! One request of the engine: asks the store below, checks the answer, and fills a cell as bytes arrive.

use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::runtime::has_timer;
use headstart_fetch_core::{
    ConfirmedAt, FetchError, FreshUntil, Intent, LocalFile, ObjectChanged, PinBy, Promotion, RangeOrigin, Reserved,
    ask, depends_on_request,
};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, GetResultPayload};
use tokio::time::Instant;

use crate::engine::part_buffer::PartBuffer;
use crate::engine::store_shared::StoreShared;
use crate::engine::{KnownObject, ObjectEngine};
use crate::planner::parts::part_map::PartId;

/// What to ask for, and for which part.
pub(crate) struct PartRequest {
    pub(crate) id: PartId,
    pub(crate) range: Range<u64>,
    pub(crate) intent: Intent,
    /// The range is that of a read.
    pub(crate) as_asked: bool,
    pub(crate) known: Option<Arc<KnownObject>>,
    /// Goes down with the request: whoever comes to wait for it says so with this.
    pub(crate) promotion: Promotion,
}

/// RunHistory `request` to its end. It holds the engine weakly: dropping the engine aborts this task, not the other way round.
pub(crate) async fn run(
    engine: Weak<ObjectEngine>,
    common: Arc<StoreShared>,
    path: Path,
    cell: FailOnDrop,
    request: PartRequest,
) {
    let id = request.id;
    let asked = Instant::now();
    let mut fresh_until = None;
    match fill(&engine, &common, &path, &cell.0, request, &mut fresh_until).await {
        Ok(()) => {
            let bytes = cell.0.complete();
            if let Some(engine) = engine.upgrade() {
                engine.completed(id, bytes);
            }
        }
        Err(error) => {
            if let Some(engine) = engine.upgrade() {
                if ObjectChanged::find(&error).is_some() {
                    common.objects.forget(&path);
                }
                engine.failed(id);
            }
            cell.0.fail(Arc::new(error));
        }
    }
    if !has_timer() {
        return;
    }
    // What is served once may be served for a while only; then it goes, whether anybody still reads or not.
    let Some(within) = engine.upgrade().and_then(|engine| engine.serve_once_within()) else { return };
    let expires_at = fresh_until.map_or(asked + within, |fresh_until| fresh_until.min(asked + within));
    tokio::time::sleep_until(expires_at).await;
    if let Some(engine) = engine.upgrade() {
        engine.dispatch(|planner, _, actions| planner.on_expired(id, actions));
    }
}

/// Fails its cell when the task ends without an end of its own: it panicked, or its runtime is gone, perhaps before it began.
pub(crate) struct FailOnDrop(pub(crate) Arc<PartBuffer>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        if self.0.is_open() {
            self.0.fail(Arc::new(FetchError::TaskLost.into()));
        }
    }
}

async fn fill(
    engine: &Weak<ObjectEngine>,
    common: &StoreShared,
    path: &Path,
    cell: &PartBuffer,
    request: PartRequest,
    fresh_until: &mut Option<Instant>,
) -> object_store::Result<()> {
    let pin = engine.upgrade().map_or(PinBy::Unpinned, |engine| engine.pin);
    let mut known = request.known.clone();
    let (asked, answer) = loop {
        let asked = Instant::now();
        let mut options = ask(request.range.clone(), request.intent);
        if !request.as_asked {
            options.extensions.insert(RangeOrigin::Chosen);
        }
        // What is ahead was reserved before, and what somebody waits for does not wait for memory: it all ends up in this cell.
        options.extensions.insert(Reserved);
        options.extensions.insert(request.promotion.clone());
        let pinned = known.as_ref().is_some_and(|known| known.version.pin(pin, &mut options));
        let version = options.version.clone();
        let error = match common.get(path, options).await {
            Ok(answer) => break (asked, answer),
            Err(error) => error,
        };
        let learnt = engine.upgrade().and_then(|engine| engine.known()).filter(|_| known.is_none());
        match learnt.filter(|learnt| request.range.start < learnt.version.size && depends_on_request(&error)) {
            // Another version than the one that others have learnt meanwhile has refused it.
            Some(learnt) => known = Some(learnt),
            None => return Err(explain(common, path, known.as_deref(), (pinned, version), error).await),
        }
    };
    if !request.as_asked {
        common.refusals.granted_range();
    }
    let Some(alive) = engine.upgrade() else { return Ok(()) };
    alive.learn(&answer, asked)?;
    cell.confirm(ConfirmedAt::of(&answer.extensions, asked));
    if LocalFile::is_source_of(&answer) {
        alive.dispatch(|planner, _, actions| planner.on_local(actions));
    }
    if let Some(FreshUntil(until)) = answer.extensions.get() {
        *fresh_until = Some(*until);
        let expires_at = common.at(*until);
        alive.dispatch(|planner, _, _| planner.on_fresh_until(request.id, expires_at));
    }
    drop(alive);
    let promised = check_range(&request.range, &answer)?;
    let mut meter = common.measures.then(|| common.link.body_started(asked.elapsed()));

    let mut body = match answer.payload {
        GetResultPayload::Stream(body) => body,
        // The store's own stream of a file reads 8 KiB at a time; one read is what a file is good at.
        payload @ GetResultPayload::File(..) => {
            let bytes = GetResult { payload, ..answer }.bytes();
            futures::stream::once(bytes).boxed()
        }
    };
    let mut at = promised.start;
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        let len = chunk.len() as u64;
        if at + len > promised.end {
            return Err(FetchError::LongBody { start: promised.start, end: promised.end }.into());
        }
        at = cell.push(chunk);
        if let Some(meter) = &mut meter {
            meter.arrived(len);
        }
        let Some(engine) = engine.upgrade() else { return Ok(()) };
        engine.filled(request.id, at, len);
    }
    if at < promised.end {
        return Err(FetchError::ShortBody { start: promised.start, end: promised.end, at }.into());
    }
    Ok(())
}

/// What the `error` of a request for bytes of the version that is `known`, if any, says: the object may have changed. The request was
/// `pinned` to that version by us, perhaps by its `version`.
pub(crate) async fn explain(
    common: &StoreShared,
    path: &Path,
    known: Option<&KnownObject>,
    (pinned, version): (bool, Option<String>),
    error: object_store::Error,
) -> object_store::Error {
    let Some(known) = known else { return error };
    let mut head = GetOptions { version, ..GetOptions::new() };
    head.extensions.insert(Intent::Demand);
    ObjectChanged::explain_or_ask(error, pinned, &*common.inner, path, &known.version, head).await
}

/// The body of `answer`, which must be `range` of the object: it ends after just these bytes, or with an error.
///
/// # Errors
/// [`FetchError::WrongRange`] where it is another range.
pub(crate) fn exact_body(
    range: &Range<u64>,
    answer: GetResult,
) -> object_store::Result<BoxStream<'static, object_store::Result<Bytes>>> {
    let Range { start, end } = check_range(range, &answer)?;
    let body = futures::stream::try_unfold((answer.into_stream(), start), move |(mut body, at)| async move {
        match body.try_next().await? {
            Some(chunk) if at + chunk.len() as u64 > end => Err(FetchError::LongBody { start, end }.into()),
            Some(chunk) => {
                let at = at + chunk.len() as u64;
                Ok(Some((chunk, (body, at))))
            }
            None if at < end => Err(FetchError::ShortBody { start, end, at }.into()),
            None => Ok(None),
        }
    });
    Ok(body.fuse().boxed())
}

/// The bytes an answer promises: those asked for, cut at the object's end.
pub(crate) fn check_range(asked: &Range<u64>, answer: &GetResult) -> object_store::Result<Range<u64>> {
    let expected = asked.start..asked.end.min(answer.meta.size);
    if answer.range == expected {
        return Ok(expected);
    }
    Err(FetchError::WrongRange {
        wanted_start: expected.start,
        wanted_end: expected.end,
        start: answer.range.start,
        end: answer.range.end,
    }
    .into())
}
