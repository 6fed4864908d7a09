//! One request of the engine: asks the store below, checks the answer, and fills a buffer as bytes arrive.

use std::sync::{Arc, Weak};

use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::internal::runtime::has_timer;
use headstart_fetch_core::internal::{
    BodyCheck, CachedPages, ConfirmedAt, FreshUntil, Promotion, RangeOrigin, Reserved, ask, depends_on_request,
};
use headstart_fetch_core::{FetchError, ObjectChanged, PinBy};
use object_store::path::Path;
use object_store::{GetResult, GetResultPayload, Result};
use tokio::time::Instant;

use crate::engine::blocks::{BLOCK_BYTES, BlockWriter};
use crate::engine::part_buffer::PartBuffer;
use crate::engine::store_shared::StoreShared;
use crate::engine::{KnownObject, ObjectEngine};
use crate::planner::messages::PartFetch;
use crate::store::stats::add;

/// The request of one part, with what the task needs that runs it.
pub(crate) struct PartRequest {
    /// Weak: dropping the engine aborts this task.
    pub(crate) engine: Weak<ObjectEngine>,
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) path: Path,
    pub(crate) buffer: FailOnDrop,
    pub(crate) fetch: PartFetch,
    pub(crate) known: Option<Arc<KnownObject>>,
    /// Travels down with the request; a demand that comes to wait for it promotes it.
    pub(crate) promotion: Promotion,
}

impl PartRequest {
    /// Runs the request to its end.
    pub(crate) async fn run(self) {
        let id = self.fetch.id;
        let asked = Instant::now();
        let fresh_until = match self.fill().await {
            Ok(fresh_until) => {
                if let Some(engine) = self.engine.upgrade() {
                    engine.on_complete(id, &self.buffer.0);
                } else {
                    self.buffer.0.complete();
                }
                fresh_until
            }
            Err(error) => {
                let is_changed = ObjectChanged::find(&error).is_some();
                if is_changed {
                    add(&self.shared.counters.object_changes, 1);
                }
                if let Some(engine) = self.engine.upgrade() {
                    engine.on_failed(id);
                    if is_changed {
                        engine.on_outdated();
                    }
                }
                self.buffer.0.fail(Arc::new(error));
                return;
            }
        };
        if !has_timer() {
            return;
        }
        // A part that is served once expires, whether there still are readers or not.
        let Some(within) = self.engine.upgrade().and_then(|engine| engine.settings.serve_once_within) else { return };
        let Some(expires_at) = fresh_until.into_iter().chain(asked.checked_add(within)).min() else { return };
        tokio::time::sleep_until(expires_at).await;
        if let Some(engine) = self.engine.upgrade() {
            engine.dispatch(|planner| planner.on_given_up(id));
        }
    }

    async fn fill(&self) -> Result<Option<Instant>> {
        let pin = self.engine.upgrade().map_or(PinBy::Unpinned, |engine| engine.pin);
        let mut known = self.known.clone();
        let (asked, answer) = loop {
            let asked = Instant::now();
            let mut options = ask(self.fetch.range.clone(), self.fetch.intent);
            if !self.fetch.as_asked {
                options.extensions.insert(RangeOrigin::Chosen);
            }
            // The engine has reserved the memory of this part already, or a read waits for it, which needs no
            // reservation.
            options.extensions.insert(Reserved);
            options.extensions.insert(self.promotion.clone());
            let error = match self.shared.get_known(&self.path, known.as_deref(), pin, options).await {
                Ok(answer) => break (asked, answer),
                Err(error) => error,
            };
            let learnt = self.engine.upgrade().and_then(|engine| engine.known().cloned()).filter(|_| known.is_none());
            match learnt.filter(|learnt| self.fetch.range.start < learnt.version.size && depends_on_request(&error)) {
                // Other answers have shown another version meanwhile: ask again, pinned to that version.
                Some(learnt) => known = Some(learnt),
                None => return Err(error),
            }
        };
        if !self.fetch.as_asked {
            self.shared.refusals.granted_range();
        }
        let Some(alive) = self.engine.upgrade() else { return Ok(None) };
        alive.on_answered(self.fetch.id, &answer, asked)?;
        self.buffer.0.confirm(ConfirmedAt::of(&answer.extensions, asked));
        drop(alive);
        let fresh_until = answer.extensions.get().map(|FreshUntil(until)| *until);
        // What a read waits for is handed on at once, and a copy of a cache's pages would take their memory once more.
        if self.fetch.ahead_bytes >= BLOCK_BYTES / 2 && answer.extensions.get::<CachedPages>().is_none() {
            self.buffer.0.gather(BlockWriter::new(Arc::clone(&self.shared.blocks), self.fetch.range.end));
        }
        let mut check = BodyCheck::of_answer(&self.fetch.range, &answer.range, answer.meta.size)?;
        let mut meter = self.shared.link.to_measure(&answer).map(|estimate| estimate.body_started(asked.elapsed()));
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
            let filled_to = self.buffer.0.push(chunk);
            if let Some(meter) = &mut meter {
                meter.arrived(len);
            }
            let Some(engine) = self.engine.upgrade() else { return Ok(None) };
            engine.on_filled(self.fetch.id, filled_to, len);
        }
        check.on_end()?;
        Ok(fresh_until)
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
