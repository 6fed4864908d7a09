//! The body of one GET: counted, measured, resumed if it breaks off, and exactly as long as promised.

use std::task::{Context, Poll, ready};
use std::{ops::Range, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture};
use object_store::{Error, Result};
use tokio::{task::coop, time::Instant};

use crate::limits::call_activity::{CallActivity, IdleWaker};
use crate::limits::permit_state::PermitKind;
use crate::limits::permits::{IDLE_TIMEOUT, Permit};
use crate::policy::body_check::BodyCheck;
use crate::policy::fill::FULL_WEIGHT;
use crate::protocol::extensions::Origin;
use crate::protocol::link_estimate::{BodyMeter, FirstByte};
use crate::request::resume::{Resume, ResumedAnswer};
use crate::request::{core::FetchCore, stall_watch::StallWatch};

mod stall_race;

use stall_race::{StallRace, StalledStream};

/// The body of one GET. It ends after exactly the promised bytes, or with an error.
pub(crate) struct ResponseBody {
    core: Arc<FetchCore>,
    stream: BoxStream<'static, Result<Bytes>>,
    check: BodyCheck,
    /// Whether somebody still reads the body.
    activity: Arc<CallActivity>,
    permit: Option<Permit>,
    reacquiring: Option<BoxFuture<'static, Permit>>,
    resume: Option<Box<Resume>>,
    resuming: Option<BoxFuture<'static, ResumedAnswer>>,
    watch: StallWatch,
    race: Option<StallRace>,
    /// Why the latest second request failed.
    race_error: Option<Error>,
    /// When the current silence began, once it has been long enough for a second request.
    silent_since: Option<Instant>,
    stalled: Option<StalledStream>,
    meter: Option<BodyMeter>,
    lower: Option<LowerOrigin>,
    origin: Origin,
    ended: bool,
}

/// The origin that a layer below reports, and how much of it has been added to ours.
struct LowerOrigin {
    origin: Origin,
    wire_bytes: u64,
    hit_bytes: u64,
}

impl ResponseBody {
    /// The body of the bytes `range`, counted on `origin`.
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
            check: BodyCheck::new(range.clone()),
            activity: Arc::clone(activity),
            permit: None,
            reacquiring: None,
            resume: None,
            resuming: None,
            watch: StallWatch::default(),
            race: None,
            race_error: None,
            silent_since: None,
            stalled: None,
            meter: None,
            lower: None,
            origin: origin.clone(),
            ended: false,
        }
    }

    /// The answer began with `first_byte` and holds `permit`. `lower` is the origin that a layer below reports.
    pub(crate) fn answered(mut self, first_byte: FirstByte, permit: Option<Permit>, lower: Option<Origin>) -> Self {
        self.permit = permit;
        self.measure(first_byte, lower);
        self
    }

    fn measure(&mut self, first_byte: FirstByte, lower: Option<Origin>) {
        // An answer of a cache below says nothing about the link.
        if lower.is_none() {
            self.core.counters.first_byte.record(first_byte.ttfb);
        }
        self.meter = lower.is_none().then(|| self.core.link.body_started_after(first_byte));
        self.lower = lower.map(|origin| LowerOrigin { origin, wire_bytes: 0, hit_bytes: 0 });
    }

    /// Resumes the body by `resume` if it breaks off or stalls.
    pub(crate) fn resumable(mut self, resume: Resume) -> Self {
        self.resume = Some(Box::new(resume));
        self
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The stream for the reader of a read that is one request.
    pub(crate) fn pass_through(self) -> BoxStream<'static, Result<Bytes>> {
        self.mark_idle();
        let waker = IdleWaker::new(&self.activity);
        PassThroughBody { body: self, waker, has_taken: true }.boxed()
    }

    /// The reader has what it asked for. If it does not poll again soon, the permit may be reclaimed.
    pub(crate) fn mark_idle(&self) {
        self.activity.mark_idle();
    }

    /// A task of its own reads the body from now on, instead of the call that sent the request.
    pub(crate) fn read_by_task(mut self) -> Self {
        self.activity = self.core.permits.activity();
        if let Some(permit) = &self.permit {
            permit.set_activity(&self.activity);
        }
        self
    }

    /// Excludes the rate of this body from the estimate of the link.
    pub(crate) fn exclude_rate(&mut self) {
        if let Some(meter) = &mut self.meter {
            meter.exclude();
        }
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.activity.mark_active();
        if self.permit.as_ref().is_some_and(Permit::is_reclaimed) {
            self.permit = None;
            self.exclude_rate();
            let (permits, activity) = (Arc::clone(&self.core.permits), Arc::clone(&self.activity));
            self.reacquiring =
                Some(async move { permits.acquire(PermitKind::LargeDemand, FULL_WEIGHT, &activity).await }.boxed());
        }
        if let Some(acquiring) = &mut self.reacquiring {
            self.permit = Some(ready!(acquiring.poll_unpin(cx)));
            self.reacquiring = None;
        }
        Poll::Ready(())
    }

    fn on_chunk(&mut self, bytes: u64) {
        self.core.counters.fetched_bytes.add(bytes);
        if let Some(meter) = &mut self.meter {
            meter.arrived(bytes);
        }
        if self.lower.is_none() {
            self.origin.add_wire(bytes);
        }
        self.add_lower_origin();
        if self.check.is_complete() {
            self.permit = None;
            if let Some(meter) = self.meter.take() {
                self.core.counters.body.record(meter.elapsed());
            }
        }
    }

    fn add_lower_origin(&mut self) {
        let Some(lower) = &mut self.lower else { return };
        let (wire_bytes, hit_bytes) = (lower.origin.wire_bytes(), lower.origin.hit_bytes());
        self.origin.add_wire(wire_bytes.saturating_sub(lower.wire_bytes));
        self.origin.add_hit(hit_bytes.saturating_sub(lower.hit_bytes));
        (lower.wire_bytes, lower.hit_bytes) = (wire_bytes, hit_bytes);
    }

    /// The stream has broken off with `error`: requests the missing bytes.
    ///
    /// # Errors
    /// The error that the reader gets, if the body cannot be resumed.
    fn resume_after(&mut self, error: Error) -> Result<()> {
        self.add_lower_origin();
        self.meter = None;
        self.lower = None;
        self.stream = stream::empty().boxed();
        if self.switch_to_second_request() {
            return Ok(());
        }
        let error = self.race_error.take().unwrap_or(error);
        self.silent_since = None;
        let Some(resume) = &mut self.resume else { return Err(error) };
        let permit = self.permit.take();
        self.resuming = Some(resume.request(&self.core, self.check.missing(), error, permit, &self.activity)?.1);
        Ok(())
    }

    /// Ready once the missing bytes, if they were requested, begin to arrive.
    fn poll_resumed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(resuming) = &mut self.resuming else { return Poll::Ready(Ok(())) };
        let ResumedAnswer { answered, permit } = ready!(resuming.poll_unpin(cx));
        self.resuming = None;
        self.permit = permit.or_else(|| self.permit.take());
        Poll::Ready(match answered {
            Ok((result, first_byte)) => {
                let lower = Origin::of(&result.extensions);
                self.stream = result.into_stream();
                self.measure(first_byte, lower);
                Ok(())
            }
            Err(error) => self.resume_after(error),
        })
    }

    fn end(&mut self) {
        self.add_lower_origin();
        self.ended = true;
        self.permit = None;
        self.meter = None;
        self.race = None;
        if self.stalled.take().is_some() {
            self.core.on_cancel();
        }
        self.stream = stream::empty().boxed();
    }

    /// The next chunk, from whichever request brings it; `None` after the last byte.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            ready!(self.poll_resumed(cx))?;
            if self.resuming.is_some() {
                continue;
            }
            ready!(self.poll_permit(cx));
            match ready!(self.poll_stream(cx)) {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.check.on_chunk(bytes.len())?;
                    self.on_chunk(bytes.len() as u64);
                    return Poll::Ready(Ok(Some(bytes)));
                }
                // After the last byte, an error does not matter; more bytes do.
                None | Some(Err(_)) if self.check.is_complete() => return Poll::Ready(Ok(None)),
                Some(Err(error)) => self.resume_after(error)?,
                None => self.check.on_end().or_else(|short| self.resume_after(short.into()))?,
            }
        }
    }
}

impl Stream for ResponseBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.poll_chunk(cx)).transpose();
        if !matches!(chunk, Some(Ok(_))) {
            self.end();
        }
        Poll::Ready(chunk)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.ended && self.resuming.is_none() && !self.check.is_complete() {
            self.core.on_cancel();
        }
    }
}

/// The body of a read that is one request, as its reader polls it.
struct PassThroughBody {
    body: ResponseBody,
    waker: Arc<IdleWaker>,
    /// The reader has taken the answer or a chunk, and has not asked for more since.
    has_taken: bool,
}

impl PassThroughBody {
    /// The reader polls or drops the body.
    fn count_unread(&mut self) {
        let idle = self.body.activity.idle_for();
        // A reader that is woken is polled a little later, because others are polled before.
        if (self.has_taken || idle >= IDLE_TIMEOUT)
            && let Some(meter) = &mut self.body.meter
        {
            meter.add_unread(idle);
        }
        self.has_taken = false;
    }
}

impl Drop for PassThroughBody {
    fn drop(&mut self) {
        self.count_unread();
    }
}

impl Stream for PassThroughBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // A reader of chunks that are always ready yields to other tasks from time to time.
        let coop = ready!(coop::poll_proceed(cx));
        self.count_unread();
        let waker = self.waker.begin_poll(cx);
        let item = ready!(self.body.poll_next_unpin(&mut Context::from_waker(&waker)));
        coop.made_progress();
        if let Some(item) = &item {
            self.body.core.counters.on_read_end(item);
        }
        if let Some(Ok(bytes)) = &item {
            self.body.core.counters.delivered_bytes.add(bytes.len() as u64);
            self.body.mark_idle();
            self.has_taken = true;
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(!self.body.check.is_complete()), None)
    }
}
