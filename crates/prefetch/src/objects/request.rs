//! The task of one object: requests it, in one version, and hands its bytes to the consumer's slot.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::internal::byte_range::{in_memory, len};
use headstart_fetch_core::internal::{BodyCheck, RangeOrigin, Reserved, ask, may_be_the_range};
use headstart_fetch_core::{FetchError, Intent, ObjectChanged, ObjectVersion};
use object_store::{GetOptions, GetResult, GetResultPayload, Result};
use tokio::time::Instant;

use crate::engine::KnownObject;
use crate::engine::store_shared::StoreShared;
use crate::objects::queue::ObjectQueue;
use crate::objects::slot::ObjectSlot;
use crate::store::stats::add;

/// How often an object is fetched again that was overwritten meanwhile, if none of its bytes were handed out.
const RESTARTS: usize = 2;

/// A local file of at most this size is read at once; the store's stream of it reads 8 KiB at a time.
const FILE_AT_ONCE_BYTES: u64 = 16 << 20;

/// Fetches one object.
pub(super) struct ObjectRequest {
    queue: Arc<ObjectQueue>,
    slot: Arc<ObjectSlot>,
    number: u64,
    first_bytes: u64,
    has_ended: bool,
}

/// The answer to a request for the bytes `requested`, which was sent at `asked`.
struct Answer {
    requested: Range<u64>,
    asked: Instant,
    result: GetResult,
}

impl Answer {
    /// The object that the answer shows.
    fn object(&self) -> KnownObject {
        let GetResult { meta, attributes, .. } = &self.result;
        KnownObject { version: ObjectVersion::of(meta), meta: meta.clone(), attributes: attributes.clone() }
    }
}

/// Where the bytes of the object go.
enum Sink {
    /// Into one buffer, which is handed out when it is complete.
    Collect(BytesMut),
    /// To the consumer, as they arrive.
    PassOn,
}

/// The bytes of an object that have arrived.
struct Arrived {
    at: u64,
    sink: Sink,
}

impl ObjectRequest {
    /// The task of object `number` of `queue`, which asks for `first_bytes` first.
    pub(super) fn new(queue: Arc<ObjectQueue>, slot: Arc<ObjectSlot>, number: u64, first_bytes: u64) -> Self {
        Self { queue, slot, number, first_bytes, has_ended: false }
    }

    /// Runs to the end of the object.
    pub(super) async fn run(mut self) {
        let mut restarts = if self.queue.config.collects { RESTARTS } else { 0 };
        let result = loop {
            match self.fill().await {
                Err(error) if restarts > 0 && ObjectChanged::find(&error).is_some() => restarts -= 1,
                result => break result,
            }
        };
        self.end(result);
    }

    fn end(&mut self, result: Result<()>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.queue.on_end(self.number, &self.slot, result);
        }
    }

    fn shared(&self) -> &Arc<StoreShared> {
        &self.queue.shared
    }

    async fn fill(&self) -> Result<()> {
        let mut answer = self.first_answer().await?;
        let mut known = answer.object();
        self.queue.on_answer(self.number, &self.slot, &known.meta);
        if answer.result.range.end < known.meta.size && !self.shared().is_provable(&known.version) {
            // Nothing proves that the answers to two requests are of one version.
            drop(answer);
            self.slot.is_next.promoted().await;
            answer = self.whole(None).await?;
            if !self.queue.config.collects {
                // The consumer may have the metadata already.
                self.shared().refusals.check(&known.version, &answer.result.meta)?;
            }
            known = answer.object();
            self.slot.on_answer(&known.meta);
        }
        let sink = if self.queue.config.collects { Sink::Collect(BytesMut::new()) } else { Sink::PassOn };
        let mut arrived = Arrived { at: 0, sink };
        loop {
            let missing = answer.result.range.end..known.meta.size;
            if missing.is_empty() {
                self.drain(answer, &mut arrived).await?;
                break;
            }
            answer = self.drain_and_request(answer, &mut arrived, missing, &known).await?;
        }
        if let Sink::Collect(bytes) = arrived.sink {
            self.slot.push(bytes.freeze());
        }
        Ok(())
    }

    /// The answer to a request for the first bytes; for the whole object, where the store refuses such a range.
    async fn first_answer(&self) -> Result<Answer> {
        let refusals = &self.shared().refusals;
        if refusals.refuses_ours(false) {
            return self.whole(None).await;
        }
        match self.range(0..self.first_bytes, self.slot.charged_bytes() >= self.first_bytes, None).await {
            Ok(answer) => {
                refusals.granted_range();
                Ok(answer)
            }
            Err(error) if may_be_the_range(&error) => {
                // An empty object has no range either.
                let answer = self.whole(None).await?;
                refusals.refused_ours(false, answer.result.meta.size);
                Ok(answer)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the bytes of `answer`, and returns the answer to a request for more of a large object: all of the bytes
    /// `missing` from the moment when the object is next, so that the layer below fetches them in parallel; a piece
    /// before, if there is memory for it.
    async fn drain_and_request(
        &self,
        answer: Answer,
        arrived: &mut Arrived,
        missing: Range<u64>,
        known: &KnownObject,
    ) -> Result<Answer> {
        let all_missing = async {
            self.slot.is_next.promoted().await;
            self.more(missing.clone(), false, known).await
        };
        let mut all_missing = pin!(all_missing);
        match select(pin!(self.drain(answer, arrived)), all_missing.as_mut()).await {
            Either::Left((drained, _)) => drained?,
            Either::Right((answer, drained)) => {
                drained.await?;
                return answer;
            }
        }
        let piece = missing.start..missing.end.min(missing.start + self.queue.limits().piece_bytes);
        match select(all_missing, pin!(self.queue.memory.charge(len(&piece)))).await {
            Either::Left((answer, _)) => answer,
            Either::Right((charge, all_missing)) if self.slot.is_next.is_promoted() => {
                drop(charge);
                all_missing.await
            }
            Either::Right((charge, _)) => {
                self.slot.add_charge(charge);
                self.more(piece, true, known).await
            }
        }
    }

    /// The answer to a request for more bytes of the version `known`.
    async fn more(&self, range: Range<u64>, is_charged: bool, known: &KnownObject) -> Result<Answer> {
        let answer = match self.range(range, is_charged, Some(known)).await {
            // The whole object is what its consumer asked for.
            Err(error) if may_be_the_range(&error) => self.whole(Some(known)).await?,
            answer => answer?,
        };
        self.shared().refusals.check(&known.version, &answer.result.meta)?;
        Ok(answer)
    }

    async fn range(&self, range: Range<u64>, is_charged: bool, known: Option<&KnownObject>) -> Result<Answer> {
        let mut options = ask(range.clone(), Intent::Demand);
        options.extensions.insert(RangeOrigin::Chosen);
        if is_charged {
            options.extensions.insert(Reserved);
        }
        self.get(range, options, known).await
    }

    /// The answer to the request that a caller without this layer would send.
    async fn whole(&self, known: Option<&KnownObject>) -> Result<Answer> {
        let mut options = GetOptions::new();
        options.extensions.insert(Intent::Demand);
        options.extensions.insert(RangeOrigin::Asked);
        self.get(0..u64::MAX, options, known).await
    }

    async fn get(&self, requested: Range<u64>, options: GetOptions, known: Option<&KnownObject>) -> Result<Answer> {
        add(&self.shared().counters.demand_requests, 1);
        let asked = Instant::now();
        let result = self.shared().get_known(&self.slot.path, known, self.shared().pin, options).await?;
        Ok(Answer { requested, asked, result })
    }

    /// Takes the bytes of an answer, except those that have arrived before.
    async fn drain(&self, answer: Answer, arrived: &mut Arrived) -> Result<()> {
        let Answer { requested, asked, result } = answer;
        let range = result.range.clone();
        let mut check = BodyCheck::of_answer(&requested, &range, result.meta.size)?;
        let mut meter = self.shared().link.to_measure(&result).map(|estimate| estimate.body_started(asked.elapsed()));
        let is_charged = self.slot.charged_bytes() >= arrived.held_bytes() + len(&range);
        let mut body = match result.payload {
            payload @ GetResultPayload::File(..) if len(&range) <= FILE_AT_ONCE_BYTES => {
                let bytes = GetResult { payload, ..result }.bytes();
                futures::stream::once(bytes).boxed()
            }
            payload => GetResult { payload, ..result }.into_stream(),
        };
        if let (Some(meter), false) = (&mut meter, is_charged) {
            meter.exclude();
        }
        // From this byte on, the next object is requested beside this one: its first byte is a round trip away.
        let mut soon_at = if is_charged { u64::MAX } else { range.end.saturating_sub(self.queue.limits().lead_bytes) };
        let mut at = range.start;
        loop {
            if !is_charged {
                self.wanted().await;
            }
            if at >= soon_at && self.queue.config.in_order {
                self.queue.prepare_next();
                soon_at = u64::MAX;
            }
            let Some(mut chunk) = body.try_next().await? else { break };
            check.on_chunk(chunk.len())?;
            if let Some(meter) = &mut meter {
                meter.arrived(chunk.len() as u64);
            }
            add(&self.shared().counters.fetched_bytes, chunk.len() as u64);
            let known_bytes = arrived.at.saturating_sub(at).min(chunk.len() as u64);
            at += chunk.len() as u64;
            let new = chunk.split_off(in_memory(known_bytes));
            arrived.put(new, range.end, &self.slot);
        }
        Ok(check.on_end()?)
    }

    /// Waits until the consumer waits for bytes that are not charged.
    async fn wanted(&self) {
        match self.queue.config.collects {
            true => self.slot.is_awaited.promoted().await,
            false => self.slot.drained().await,
        }
    }
}

impl Arrived {
    /// Bytes that are held here.
    fn held_bytes(&self) -> u64 {
        match &self.sink {
            Sink::Collect(bytes) => bytes.len() as u64,
            Sink::PassOn => 0,
        }
    }

    /// The next bytes, from an answer that ends at `end`.
    fn put(&mut self, chunk: Bytes, end: u64, slot: &ObjectSlot) {
        if chunk.is_empty() {
            return;
        }
        match &mut self.sink {
            Sink::PassOn => {
                self.at += chunk.len() as u64;
                slot.push(chunk);
            }
            Sink::Collect(bytes) => {
                // One allocation for each answer. The bytes are copied as they arrive: a chunk may be a slice of a much
                // larger buffer, which is charged to nobody.
                bytes.reserve(in_memory(end - self.at));
                self.at += chunk.len() as u64;
                bytes.extend_from_slice(&chunk);
            }
        }
    }
}

/// A task that is dropped before its end fails its object: it panicked, or its runtime was shut down.
impl Drop for ObjectRequest {
    fn drop(&mut self) {
        self.end(Err(FetchError::TaskLost.into()));
    }
}
