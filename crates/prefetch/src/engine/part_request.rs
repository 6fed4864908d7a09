//! One request of the engine: asks the store below, checks the answer, and fills a buffer as bytes arrive.

use std::ops::Range;
use std::sync::{Arc, Weak};

use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::internal::runtime::has_timer;
use headstart_fetch_core::internal::{
    BodyCheck, ConfirmedAt, FreshUntil, Promotion, RangeOrigin, Reserved, ask, depends_on_request,
};
use headstart_fetch_core::{FetchError, Intent, ObjectChanged, PinBy};
use object_store::path::Path;
use object_store::{GetResult, GetResultPayload, Result};
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
        engine.dispatch(|planner| planner.on_expired(id));
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
) -> Result<Option<Instant>> {
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
        let error = match shared.get_known(path, known.as_deref(), pin, options).await {
            Ok(answer) => break (asked, answer),
            Err(error) => error,
        };
        let learnt = engine.upgrade().and_then(|engine| engine.known()).filter(|_| known.is_none());
        match learnt.filter(|learnt| request.range.start < learnt.version.size && depends_on_request(&error)) {
            // Other answers have shown another version meanwhile: ask again, pinned to that version.
            Some(learnt) => known = Some(learnt),
            None => return Err(error),
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
    let mut check = BodyCheck::of_answer(&request.range, &answer.range, answer.meta.size)?;
    let mut meter = shared.link.to_measure().map(|estimate| estimate.body_started(asked.elapsed()));
    let mut body = match answer.payload {
        GetResultPayload::Stream(body) => body,
        // The store's stream of a file reads 8 KiB at a time; one large read is faster.
        payload @ GetResultPayload::File(..) => {
            let bytes = GetResult { payload, ..answer }.bytes();
            futures::stream::once(bytes).boxed()
        }
    };
    while let Some(chunk) = body.try_next().await? {
        check.on_chunk(chunk.len())?;
        let len = chunk.len() as u64;
        let at = buffer.push(chunk);
        if let Some(meter) = &mut meter {
            meter.arrived(len);
        }
        let Some(engine) = engine.upgrade() else { return Ok(None) };
        engine.on_filled(request.id, at, len);
    }
    check.on_end()?;
    Ok(fresh_until)
}
