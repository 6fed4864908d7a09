//! One request of the engine: asks the store below, checks the answer, and fills a buffer as bytes arrive.

use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::internal::runtime::has_timer;
use headstart_fetch_core::internal::{
    ConfirmedAt, FreshUntil, Promotion, RangeOrigin, Reserved, ask, depends_on_request,
};
use headstart_fetch_core::{FetchError, Intent, ObjectChanged, PinBy};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, GetResultPayload};
use tokio::time::Instant;

use crate::engine::part_buffer::PartBuffer;
use crate::engine::store_shared::StoreShared;
use crate::engine::{KnownObject, ObjectEngine};
use crate::planner::parts::PartId;

pub(crate) struct PartRequest {
    pub(crate) id: PartId,
    pub(crate) range: Range<u64>,
    pub(crate) intent: Intent,
    /// Whether the range is exactly that of a read.
    pub(crate) as_asked: bool,
    pub(crate) known: Option<Arc<KnownObject>>,
    /// Travels down with the request; a demand that comes to wait for it promotes it.
    pub(crate) promotion: Promotion,
}

/// Runs `request` to its end. Holds the engine weakly: dropping the engine aborts this task.
pub(crate) async fn run(
    engine: Weak<ObjectEngine>,
    shared: Arc<StoreShared>,
    path: Path,
    buffer: FailOnDrop,
    request: PartRequest,
) {
    let id = request.id;
    let asked = Instant::now();
    let fresh_until = match fill(&engine, &shared, &path, &buffer.0, request).await {
        Ok(fresh_until) => {
            let bytes = buffer.0.complete();
            if let Some(engine) = engine.upgrade() {
                engine.on_complete(id, bytes);
            }
            fresh_until
        }
        Err(error) => {
            if let Some(engine) = engine.upgrade() {
                if ObjectChanged::find(&error).is_some() {
                    shared.objects.forget(&path);
                }
                engine.on_failed(id);
            }
            buffer.0.fail(Arc::new(error));
            return;
        }
    };
    if !has_timer() {
        return;
    }
    // A part that is served once expires, whether there still are readers or not.
    let Some(within) = engine.upgrade().and_then(|engine| engine.serve_once_within()) else { return };
    let expires_at = fresh_until.map_or(asked + within, |fresh_until| fresh_until.min(asked + within));
    tokio::time::sleep_until(expires_at).await;
    if let Some(engine) = engine.upgrade() {
        engine.dispatch(|planner, _, actions| planner.on_expired(id, actions));
    }
}

/// Fails its buffer when the task is dropped before it ended the buffer: it panicked, or its runtime shut down.
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
    shared: &StoreShared,
    path: &Path,
    buffer: &PartBuffer,
    request: PartRequest,
) -> object_store::Result<Option<Instant>> {
    let pin = engine.upgrade().map_or(PinBy::Unpinned, |engine| engine.pin);
    let mut known = request.known.clone();
    let (asked, answer) = loop {
        let asked = Instant::now();
        let mut options = ask(request.range.clone(), request.intent);
        if !request.as_asked {
            options.extensions.insert(RangeOrigin::Chosen);
        }
        // The engine has reserved the memory of this part already, or a read waits for it, which needs no reservation.
        options.extensions.insert(Reserved);
        options.extensions.insert(request.promotion.clone());
        let pinned = known.as_ref().is_some_and(|known| known.version.pin(pin, &mut options));
        let version = options.version.clone();
        let error = match shared.get_below(path, options).await {
            Ok(answer) => break (asked, answer),
            Err(error) => error,
        };
        let learnt = engine.upgrade().and_then(|engine| engine.known()).filter(|_| known.is_none());
        match learnt.filter(|learnt| request.range.start < learnt.version.size && depends_on_request(&error)) {
            // Other answers have shown another version meanwhile: ask again, pinned to that version.
            Some(learnt) => known = Some(learnt),
            None => return Err(explain(shared, path, known.as_deref(), (pinned, version), error).await),
        }
    };
    if !request.as_asked {
        shared.refusals.granted_range();
    }
    let Some(alive) = engine.upgrade() else { return Ok(None) };
    alive.on_answered(request.id, &answer, asked)?;
    buffer.confirm(ConfirmedAt::of(&answer.extensions, asked));
    drop(alive);
    let fresh_until = answer.extensions.get().map(|FreshUntil(until)| *until);
    let promised = check_range(&request.range, &answer)?;
    let mut meter = shared.link.to_measure().map(|estimate| estimate.body_started(asked.elapsed()));
    let mut body = match answer.payload {
        GetResultPayload::Stream(body) => body,
        // The store's stream of a file reads 8 KiB at a time; one large read is faster.
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
        at = buffer.push(chunk);
        if let Some(meter) = &mut meter {
            meter.arrived(len);
        }
        let Some(engine) = engine.upgrade() else { return Ok(None) };
        engine.on_filled(request.id, at, len);
    }
    if at < promised.end {
        return Err(FetchError::ShortBody { start: promised.start, end: promised.end, at }.into());
    }
    Ok(fresh_until)
}

/// Explains the `error` of a request for bytes of the version `known`: the object may have changed. `pinned` and
/// `version` are the pin that we added to the request.
pub(crate) async fn explain(
    shared: &StoreShared,
    path: &Path,
    known: Option<&KnownObject>,
    (pinned, version): (bool, Option<String>),
    error: object_store::Error,
) -> object_store::Error {
    let Some(known) = known else { return error };
    let mut head = GetOptions { version, ..GetOptions::new() };
    head.extensions.insert(Intent::Demand);
    ObjectChanged::explain_or_ask(error, pinned, &*shared.inner, path, &known.version, head).await
}

/// The body of `answer`, which must be `range` of the object. It ends after exactly these bytes, or with an error.
///
/// # Errors
/// [`FetchError::WrongRange`] where the answer has another range.
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

/// The range that an answer must have: the requested one, cut at the end of the object.
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
