//! One GET: sent, checked, measured, counted.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use object_store::path::Path;
use object_store::{Attributes, Extensions, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore, Result};
use tokio::time::Instant;

use crate::budget::MemoryBudget;
use crate::byte_range;
use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::estimate::{BodyMeter, LinkEstimate};
use crate::intent::{Intent, Origin};
use crate::permits::{Permit, Permits};
use crate::stats::Counters;

/// A reader that leaves a body alone for more than this share of its time set its rate: not the link.
const READER_SET_THE_RATE: u32 = 10;

/// What all calls of one store share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) config: FetchConfig,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) link: Arc<LinkEstimate>,
    pub(crate) counters: Counters,
}

/// An answer, its body not yet read.
pub(crate) struct Answer {
    pub(crate) meta: ObjectMeta,
    pub(crate) range: Range<u64>,
    pub(crate) attributes: Attributes,
    pub(crate) extensions: Extensions,
    pub(crate) payload: Payload,
}

/// What an answer carries.
pub(crate) enum Payload {
    /// A local file, handed on untouched.
    File(GetResultPayload),
    /// A body on the wire.
    Body(Body),
}

impl Core {
    /// Sends one GET. `permit` is held until the body ends or is dropped; bytes from the wire are counted on `origin`.
    pub(crate) async fn request(
        self: &Arc<Self>,
        path: &Path,
        options: GetOptions,
        permit: Option<Permit>,
        origin: &Origin,
    ) -> Result<Answer> {
        let wanted = options.range.clone();
        self.counters.get(Intent::of(&options.extensions));
        let unanswered = Unanswered(Some(self));
        let asked_at = Instant::now();
        let answered = self.inner.get_opts(path, options).await;
        unanswered.answered();
        let GetResult { payload, meta, range, attributes, extensions } = answered?;
        let expected = match wanted {
            None => Some(0..meta.size),
            // Where the range makes no sense for this size and the store answers nevertheless, its word counts.
            Some(wanted) => wanted.as_range(meta.size).ok(),
        };
        if let Some(expected) = expected.filter(|expected| *expected != range) {
            return Err(FetchError::WrongRange {
                wanted_start: expected.start,
                wanted_end: expected.end,
                start: range.start,
                end: range.end,
            }
            .into());
        }
        self.counters.asked(byte_range::len(&range));
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                let mut body = Body::new(self, stream, &range, origin);
                body.permit = permit;
                body.below = Origin::of(&extensions).map(|origin| Below { origin, wire_bytes: 0, hit_bytes: 0 });
                // What a cache below answers says nothing of the link.
                body.meter = body.below.is_none().then(|| self.link.body_started(asked_at.elapsed()));
                Payload::Body(body)
            }
            file @ GetResultPayload::File(..) => Payload::File(file),
        };
        Ok(Answer { meta, range, attributes, extensions, payload })
    }
}

impl Answer {
    /// The body, read from the file where it is one.
    pub(crate) fn into_body(self, core: &Arc<Core>, origin: &Origin) -> Body {
        let Self { meta, range, attributes, extensions, payload } = self;
        match payload {
            Payload::Body(body) => body,
            Payload::File(payload) => {
                let file = GetResult { payload, meta, range: range.clone(), attributes, extensions };
                Body::new(core, file.into_stream(), &range, origin)
            }
        }
    }

    /// The answer as the caller gets it: one request, its body passed through.
    pub(crate) fn into_result(self) -> GetResult {
        let Self { meta, range, attributes, mut extensions, payload } = self;
        let payload = match payload {
            Payload::File(file) => file,
            Payload::Body(body) => {
                extensions.insert(body.origin.clone());
                GetResultPayload::Stream(PassThrough::new(body).boxed())
            }
        };
        GetResult { payload, meta, range, attributes, extensions }
    }
}

/// Counts a request that is dropped before its answer.
struct Unanswered<'a>(Option<&'a Core>);

impl Unanswered<'_> {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(core) = self.0 {
            core.counters.cancel();
        }
    }
}

/// The body of one GET. It ends after exactly the bytes that were promised, or with an error.
pub(crate) struct Body {
    core: Arc<Core>,
    stream: BoxStream<'static, Result<Bytes>>,
    range: Range<u64>,
    /// The next byte to arrive.
    at: u64,
    permit: Option<Permit>,
    reacquiring: Option<BoxFuture<'static, Permit>>,
    meter: Option<BodyMeter>,
    below: Option<Below>,
    origin: Origin,
    ended: bool,
}

/// What a layer below says of its bytes, and how much of it has been passed on.
struct Below {
    origin: Origin,
    wire_bytes: u64,
    hit_bytes: u64,
}

impl Body {
    fn new(core: &Arc<Core>, stream: BoxStream<'static, Result<Bytes>>, range: &Range<u64>, origin: &Origin) -> Self {
        Self {
            core: Arc::clone(core),
            stream,
            range: range.clone(),
            at: range.start,
            permit: None,
            reacquiring: None,
            meter: None,
            below: None,
            origin: origin.clone(),
            ended: false,
        }
    }

    /// The reader does something else for now; others may have the permit meanwhile.
    pub(crate) fn rest(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.rest();
        }
    }

    /// The rate of this body is its reader's, not the link's.
    pub(crate) fn hindered(&mut self) {
        if let Some(meter) = &mut self.meter {
            meter.hindered();
        }
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(permit) = &mut self.permit
            && !permit.resume()
        {
            self.permit = None;
            self.reacquiring = Some(Arc::clone(&self.core.permits).acquire(Intent::Demand).boxed());
        }
        if let Some(acquiring) = &mut self.reacquiring {
            self.permit = Some(ready!(acquiring.poll_unpin(cx)));
            self.reacquiring = None;
        }
        Poll::Ready(())
    }

    fn arrived(&mut self, bytes: u64) {
        self.at += bytes;
        self.core.counters.fetched(bytes);
        if let Some(meter) = &mut self.meter {
            meter.arrived(bytes);
        }
        if self.below.is_none() {
            self.origin.add_wire(bytes);
        }
        self.pass_on_origin();
        if self.at == self.range.end {
            self.permit = None;
            self.meter = None;
        }
    }

    fn pass_on_origin(&mut self) {
        let Some(below) = &mut self.below else { return };
        let (wire_bytes, hit_bytes) = (below.origin.wire_bytes(), below.origin.hit_bytes());
        self.origin.add_wire(wire_bytes.saturating_sub(below.wire_bytes));
        self.origin.add_hit(hit_bytes.saturating_sub(below.hit_bytes));
        (below.wire_bytes, below.hit_bytes) = (wire_bytes, hit_bytes);
    }

    fn end(&mut self) {
        self.pass_on_origin();
        self.ended = true;
        self.permit = None;
        self.meter = None;
        self.stream = stream::empty().boxed();
    }
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        ready!(this.poll_permit(cx));
        loop {
            let wrong = match ready!(this.stream.poll_next_unpin(cx)) {
                Some(Ok(bytes)) if bytes.is_empty() => continue,
                Some(Ok(bytes)) if bytes.len() as u64 <= this.range.end - this.at => {
                    this.arrived(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Ok(_)) => FetchError::LongBody { start: this.range.start, end: this.range.end }.into(),
                Some(Err(error)) => error,
                None if this.at == this.range.end => {
                    this.end();
                    return Poll::Ready(None);
                }
                None => FetchError::ShortBody { start: this.range.start, end: this.range.end, at: this.at }.into(),
            };
            this.end();
            return Poll::Ready(Some(Err(wrong)));
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.ended && self.at < self.range.end {
            self.core.counters.cancel();
        }
    }
}

/// Hands the body of a call's only GET to its reader.
struct PassThrough {
    body: Body,
    started: Instant,
    /// When the reader took the latest chunk, and all the time it has spent elsewhere.
    taken_at: Option<Instant>,
    away: Duration,
}

impl PassThrough {
    fn new(mut body: Body) -> Self {
        let now = Instant::now();
        body.rest();
        Self { body, started: now, taken_at: Some(now), away: Duration::ZERO }
    }
}

impl Stream for PassThrough {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(taken_at) = self.taken_at.take() {
            let now = Instant::now();
            self.away += now.duration_since(taken_at);
            if self.away * READER_SET_THE_RATE > now.duration_since(self.started) {
                self.body.hindered();
            }
        }
        let item = ready!(self.body.poll_next_unpin(cx));
        if let Some(Ok(bytes)) = &item {
            self.body.core.counters.delivered(bytes.len() as u64);
            self.body.rest();
            self.taken_at = Some(Instant::now());
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.body.at < self.body.range.end), None)
    }
}
