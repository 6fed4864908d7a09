//! A stalled body races against a second request for its missing bytes.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use object_store::{Error, Result};
use tokio::time::Instant;

use super::ResponseBody;
use crate::policy::{byte_range, stall::stall_timeout};
use crate::protocol::extensions::Origin;
use crate::protocol::link_estimate::FirstByte;
use crate::request::resume::ResumedAnswer;
use crate::trace_events;

/// A stream that has been waited for this long counts as silent if another stream has bytes.
const MIN_SILENCE: Duration = Duration::from_millis(250);

/// A second request for the missing bytes of a silent body. The stream that has bytes first is read on; both share a
/// permit.
pub(super) struct StallRace {
    silent_since: Instant,
    /// When the second request is sent: the store may have demanded a pause.
    sent_at: Instant,
    second: SecondRequest,
}

/// The stream that lost the race. Some stores pause in every body: if the other stream falls silent too, this one is
/// read on from the byte that the other has reached.
pub(super) struct StalledStream {
    stream: BoxStream<'static, Result<Bytes>>,
    at: u64,
    silent_since: Instant,
}

enum SecondRequest {
    Sent(BoxFuture<'static, ResumedAnswer>),
    Answered { stream: BoxStream<'static, Result<Bytes>>, first_byte: FirstByte, lower: Option<Origin> },
}

impl ResponseBody {
    /// The next chunk of the stream, or of a second request that has bytes first after a stall.
    pub(super) fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Poll::Ready(next) = self.stream.poll_next_unpin(cx) {
            self.watch.on_arrival();
            if let Some(Ok(_)) = next {
                self.on_silence_ended();
                if let Some(race) = self.race.take() {
                    self.core.pauses.lock().on_continued(race.silent_since.elapsed());
                }
            }
            return Poll::Ready(next);
        }
        if self.check.is_complete() {
            // Only the end is missing. It is not waited for longer than a byte would be.
            let timeout = || stall_timeout(&self.core.link.link(), self.core.link.is_measured(), 1);
            ready!(self.watch.poll_stalled(cx, timeout));
            return Poll::Ready(None);
        }
        // A body that cannot be resumed is waited for.
        if self.resume.as_ref().is_none_or(|resume| !resume.is_possible_at(self.check.at())) {
            return Poll::Pending;
        }
        loop {
            if let Poll::Ready(Some(bytes)) = self.poll_stalled_stream(cx) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if let Poll::Ready(Some(bytes)) = self.poll_second_request(cx) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            let core = &self.core;
            let timeout = || {
                let of_link = stall_timeout(&core.link.link(), core.link.is_measured(), core.permits.in_flight());
                of_link.max(core.pauses.lock().stall_timeout())
            };
            let waited = ready!(self.watch.poll_stalled(cx, timeout));
            if let Err(error) = self.begin_race(waited) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Sends a second request for the missing bytes after the stream, and an earlier second request, have been silent
    /// for the time `waited`.
    ///
    /// If that is impossible (no attempt is left, or a second request was refused), the stream is waited for until the
    /// retry timeout.
    ///
    /// # Errors
    /// The error that the reader gets after the retry timeout.
    fn begin_race(&mut self, waited: Duration) -> Result<()> {
        self.exclude_rate();
        let now = Instant::now();
        if self.race.as_ref().is_some_and(|race| now.saturating_duration_since(race.sent_at) < waited) {
            // The second request has not been silent for as long yet.
            return Ok(());
        }
        let mut silent_since = now - waited;
        if let Some(race) = self.race.take() {
            self.core.on_cancel();
            silent_since = race.silent_since;
        }
        let silent_since = *self.silent_since.insert(self.silent_since.unwrap_or(silent_since).min(silent_since));
        let silence = now - silent_since;
        let stalled: Error = self.check.stalled(silence).into();
        let error = self.race_error.take().unwrap_or(stalled);
        let Some(resume) = &mut self.resume else { return Err(error) };
        trace_events::stalled(resume.path(), self.check.at(), silence);
        match resume.request(&self.core, self.check.missing(), error, None, &self.activity) {
            Ok((pause, sent)) => {
                self.race = Some(StallRace { silent_since, sent_at: now + pause, second: SecondRequest::Sent(sent) });
            }
            Err(error) if silence >= self.core.config.retry_timeout => return Err(error),
            Err(error) => self.race_error = Some(error),
        }
        Ok(())
    }

    /// Bytes of the stream that lost an earlier race, if the present one is silent now.
    fn poll_stalled_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let at = self.check.at();
        let Some(stalled) = &mut self.stalled else { return Poll::Ready(None) };
        while let Some(Ok(mut bytes)) = ready!(stalled.stream.poll_next_unpin(cx)) {
            if bytes.is_empty() {
                continue;
            }
            let len = bytes.len() as u64;
            if self.watch.is_waiting_for(Duration::ZERO) {
                self.core.pauses.lock().on_continued(stalled.silent_since.elapsed());
            }
            if self.race.is_none() && !self.watch.is_waiting_for(MIN_SILENCE) {
                // The present stream is not silent. To read both would take bandwidth from it.
                self.core.counters.fetched_bytes.add(len);
                self.core.counters.wasted_bytes.add(len);
                self.core.on_cancel();
                break;
            }
            let known = (at - stalled.at).min(len);
            stalled.at += len;
            self.core.counters.fetched_bytes.add(known);
            self.core.counters.wasted_bytes.add(known);
            bytes.advance(byte_range::in_memory(known));
            if bytes.is_empty() {
                continue;
            }
            let silent_since = self.race.take().map_or_else(Instant::now, |race| race.silent_since);
            let stream = std::mem::replace(&mut stalled.stream, stream::empty().boxed());
            let stream = std::mem::replace(&mut self.stream, stream);
            self.stalled = Some(StalledStream { stream, at, silent_since });
            self.on_silence_ended();
            return Poll::Ready(Some(bytes));
        }
        self.stalled = None;
        Poll::Ready(None)
    }

    /// The first bytes of the second request, which replaces the silent stream; `None` if there is no second request,
    /// or it has failed.
    fn poll_second_request(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(race) = &mut self.race else { return Poll::Ready(None) };
        loop {
            match &mut race.second {
                SecondRequest::Sent(sent) => match ready!(sent.poll_unpin(cx)).answered {
                    Ok((result, first_byte)) => {
                        let lower = Origin::of(&result.extensions);
                        race.second = SecondRequest::Answered { stream: result.into_stream(), first_byte, lower };
                    }
                    Err(error) => {
                        self.race_error = Some(error);
                        break;
                    }
                },
                SecondRequest::Answered { stream, .. } => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Ok(bytes)) if bytes.is_empty() => {}
                    Some(Ok(bytes)) => {
                        let silent_since = race.silent_since;
                        let stream = std::mem::replace(&mut self.stream, stream::empty().boxed());
                        self.stalled = Some(StalledStream { stream, at: self.check.at(), silent_since });
                        self.core.pauses.lock().on_stall();
                        self.on_silence_ended();
                        self.switch_to_second_request();
                        return Poll::Ready(Some(bytes));
                    }
                    None | Some(Err(_)) => break,
                },
            }
        }
        self.race = None;
        Poll::Ready(None)
    }

    fn on_silence_ended(&mut self) {
        self.watch.on_arrival();
        self.race_error = None;
        self.silent_since = None;
    }

    /// Replaces the stream by the second request. Returns false if there is none.
    pub(super) fn switch_to_second_request(&mut self) -> bool {
        let Some(race) = self.race.take() else { return false };
        self.add_lower_origin();
        match race.second {
            SecondRequest::Sent(sent) => self.resuming = Some(sent),
            SecondRequest::Answered { stream, first_byte, lower } => {
                self.stream = stream;
                self.measure(first_byte, lower);
                // Its bytes may have waited since its answer.
                self.exclude_rate();
            }
        }
        true
    }
}
