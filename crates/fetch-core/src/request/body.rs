//! The body of one GET: counted, measured, and exactly as long as promised.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use object_store::{Error, Result};
use tokio::task::coop;
use tokio::time::Instant;

use crate::error::FetchError;
use crate::limits::call_activity::{CallActivity, IdleWaker};
use crate::limits::permits::Permit;
use crate::protocol::extensions::{Intent, Origin};
use crate::protocol::link_estimate::BodyMeter;
use crate::request::FetchCore;
use crate::request::resume::{Resume, Resumed};
use crate::request::stall::StallWatch;

mod stall_race;

use stall_race::{OvertakenStream, Race};

/// A reader that leaves a body alone for more than this share of its time set its rate: not the link.
const READER_SET_THE_RATE: u32 = 10;

/// The body of one GET. It ends after exactly the bytes that were promised, or with an error.
pub(crate) struct ResponseBody {
    core: Arc<FetchCore>,
    stream: BoxStream<'static, Result<Bytes>>,
    range: Range<u64>,
    /// The next byte to arrive.
    at: u64,
    /// Whether anybody still reads it.
    activity: Arc<CallActivity>,
    permit: Option<Permit>,
    reacquiring: Option<BoxFuture<'static, Permit>>,
    resume: Option<Box<Resume>>,
    resuming: Option<BoxFuture<'static, Resumed>>,
    watch: StallWatch,
    race: Option<Race>,
    /// Why the latest second request failed.
    lost: Option<Error>,
    /// Since when nothing has come, once that has been long enough for a second request.
    silent_since: Option<Instant>,
    overtaken: Option<OvertakenStream>,
    meter: Option<BodyMeter>,
    below: Option<LowerOrigin>,
    origin: Origin,
    ended: bool,
}

/// What a layer below says of its bytes, and how much of it has been passed on.
struct LowerOrigin {
    origin: Origin,
    wire_bytes: u64,
    hit_bytes: u64,
}

impl ResponseBody {
    /// The bytes of `range`, counted on `origin`.
    pub(crate) fn new(
        core: &Arc<FetchCore>,
        stream: BoxStream<'static, Result<Bytes>>,
        range: &Range<u64>,
        origin: &Origin,
        activity: &Arc<CallActivity>,
    ) -> Self {
        Self {
            core: Arc::clone(core),
            stream,
            range: range.clone(),
            at: range.start,
            activity: Arc::clone(activity),
            permit: None,
            reacquiring: None,
            resume: None,
            resuming: None,
            watch: StallWatch::default(),
            race: None,
            lost: None,
            silent_since: None,
            overtaken: None,
            meter: None,
            below: None,
            origin: origin.clone(),
            ended: false,
        }
    }

    /// It came `ttfb` after its request, holds `permit`, and `below` says where its bytes come from if a layer below knows.
    pub(crate) fn answered(mut self, ttfb: Duration, permit: Option<Permit>, below: Option<Origin>) -> Self {
        self.permit = permit;
        self.measure(ttfb, below);
        self
    }

    fn measure(&mut self, ttfb: Duration, below: Option<Origin>) {
        // What a cache below answers says nothing of the link.
        self.meter = below.is_none().then(|| self.core.link.body_started(ttfb));
        self.below = below.map(|origin| LowerOrigin { origin, wire_bytes: 0, hit_bytes: 0 });
    }

    /// Where it breaks off or stands still, it goes on by `resume`.
    pub(crate) fn resumable(mut self, resume: Resume) -> Self {
        self.resume = Some(Box::new(resume));
        self
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The body as the reader of a call's only GET gets it.
    pub(crate) fn pass_through(self) -> BoxStream<'static, Result<Bytes>> {
        PassThroughBody::new(self).boxed()
    }

    /// The reader does something else for now; others may have the permit meanwhile.
    pub(crate) fn mark_idle(&self) {
        self.activity.mark_idle();
    }

    /// A task of its own reads it from now on, not the call that sent the request.
    pub(crate) fn attended_by_task(mut self) -> Self {
        self.activity = self.core.permits.activity();
        if let Some(permit) = &self.permit {
            permit.set_activity(&self.activity);
        }
        self
    }

    /// The rate of this body is its reader's, not the link's.
    pub(crate) fn app_limited(&mut self) {
        if let Some(meter) = &mut self.meter {
            meter.app_limited();
        }
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.activity.mark_active();
        if self.permit.as_ref().is_some_and(Permit::is_reclaimed) {
            self.permit = None;
            let (permits, activity) = (Arc::clone(&self.core.permits), Arc::clone(&self.activity));
            self.reacquiring = Some(async move { permits.acquire(Intent::Demand, &activity).await }.boxed());
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

    /// The stream is of no use any more: asks for the rest, unless `error` is final.
    fn broke_off(&mut self, error: Error) -> Result<()> {
        self.pass_on_origin();
        self.meter = None;
        self.below = None;
        self.stream = stream::empty().boxed();
        if self.change_over() {
            return Ok(());
        }
        let error = self.lost.take().unwrap_or(error);
        self.silent_since = None;
        let Some(resume) = &mut self.resume else { return Err(error) };
        let missing = self.at..self.range.end;
        self.resuming = Some(resume.ask(&self.core, missing, error, self.permit.take(), &self.activity)?.1);
        Ok(())
    }

    /// Goes on with the rest.
    fn poll_resumed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(resuming) = &mut self.resuming else { return Poll::Ready(Ok(())) };
        let Resumed { answered, permit } = ready!(resuming.poll_unpin(cx));
        self.resuming = None;
        self.permit = permit.or_else(|| self.permit.take());
        Poll::Ready(match answered {
            Ok((result, ttfb)) => {
                let below = Origin::of(&result.extensions);
                self.stream = result.into_stream();
                self.measure(ttfb, below);
                Ok(())
            }
            Err(error) => self.broke_off(error),
        })
    }

    fn end(&mut self) {
        self.pass_on_origin();
        self.ended = true;
        self.permit = None;
        self.meter = None;
        self.race = None;
        if self.overtaken.take().is_some() {
            self.core.counters.cancel();
        }
        self.stream = stream::empty().boxed();
    }
}

impl Stream for ResponseBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            let wrong = match ready!(this.poll_resumed(cx)) {
                Err(error) => error,
                Ok(()) if this.resuming.is_some() => continue,
                Ok(()) => {
                    ready!(this.poll_permit(cx));
                    match ready!(this.poll_stream(cx)) {
                        Some(Ok(bytes)) if bytes.is_empty() => continue,
                        Some(Ok(bytes)) if bytes.len() as u64 <= this.range.end - this.at => {
                            this.arrived(bytes.len() as u64);
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                        // What comes after the last byte, be it an error, is of no interest; more bytes are.
                        None | Some(Err(_)) if this.at == this.range.end => {
                            this.end();
                            return Poll::Ready(None);
                        }
                        Some(Ok(_)) => FetchError::LongBody { start: this.range.start, end: this.range.end }.into(),
                        Some(Err(error)) => match this.broke_off(error) {
                            Ok(()) => continue,
                            Err(error) => error,
                        },
                        None => {
                            let Range { start, end } = this.range;
                            match this.broke_off(FetchError::ShortBody { start, end, at: this.at }.into()) {
                                Ok(()) => continue,
                                Err(error) => error,
                            }
                        }
                    }
                }
            };
            this.end();
            return Poll::Ready(Some(Err(wrong)));
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.ended && self.resuming.is_none() && self.at < self.range.end {
            self.core.counters.cancel();
        }
    }
}

/// Hands the body of a call's only GET to its reader.
struct PassThroughBody {
    body: ResponseBody,
    waker: Arc<IdleWaker>,
    started: Instant,
    /// When the reader took the latest chunk, and all the time it has spent elsewhere.
    taken_at: Option<Instant>,
    away: Duration,
}

impl PassThroughBody {
    fn new(body: ResponseBody) -> Self {
        let now = Instant::now();
        body.mark_idle();
        let waker = IdleWaker::new(&body.activity);
        Self { body, waker, started: now, taken_at: Some(now), away: Duration::ZERO }
    }
}

impl Stream for PassThroughBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(taken_at) = self.taken_at.take() {
            let now = Instant::now();
            self.away += now.duration_since(taken_at);
            if self.away * READER_SET_THE_RATE > now.duration_since(self.started) {
                self.body.app_limited();
            }
        }
        // A consumer of bytes that are ready leaves the thread to others now and then.
        let turn = ready!(coop::poll_proceed(cx));
        let waker = self.waker.begin_poll(cx);
        let item = ready!(self.body.poll_next_unpin(&mut Context::from_waker(&waker)));
        turn.made_progress();
        if let Some(Ok(bytes)) = &item {
            self.body.core.counters.delivered(bytes.len() as u64);
            self.body.mark_idle();
            self.taken_at = Some(Instant::now());
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.body.at < self.body.range.end), None)
    }
}
