//! A body that is silent is raced by a second request for the rest of it.

use std::ops::Range;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::{Error, Result};
use tokio::time::Instant;

use super::ResponseBody;
use crate::error::FetchError;
use crate::policy::byte_range;
use crate::protocol::extensions::Origin;
use crate::request::resume::Resumed;
use crate::request::stall::patience_now;

/// A stream that has been waited for so long, while another one has bytes, is silent.
const LEAST_SILENCE: Duration = Duration::from_millis(250);

/// A second request for the rest of a body that is silent. The one that brings bytes first goes on; both have one permit.
pub(super) struct Race {
    silent_since: Instant,
    /// When the second request is sent: the store may have asked for a pause.
    sent_at: Instant,
    racing: RacingRequest,
}

/// The stream that was silent, after another one has overtaken it. Some stores pause in every body: it is read on where the other one falls
/// silent too, from where that has come to.
pub(super) struct OvertakenStream {
    stream: BoxStream<'static, Result<Bytes>>,
    at: u64,
    silent_since: Instant,
}

enum RacingRequest {
    Asked(BoxFuture<'static, Resumed>),
    Answered { stream: BoxStream<'static, Result<Bytes>>, ttfb: Duration, below: Option<Origin> },
}

impl ResponseBody {
    /// The next bytes of the stream, or of another request where that brings some first after a long silence.
    pub(super) fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Poll::Ready(next) = self.stream.poll_next_unpin(cx) {
            self.watch.arrived();
            if matches!(next, Some(Ok(_))) {
                self.lost = None;
                self.silent_since = None;
            }
            if let (Some(race), Some(Ok(_))) = (&self.race, &next) {
                self.core.pauses.lock().went_on(race.silent_since.elapsed());
                self.race = None;
            }
            return Poll::Ready(next);
        }
        if self.at == self.range.end {
            // All is here: an end that does not come is not waited for longer than bytes would be.
            let patience = || patience_now(&self.core.link, 1);
            ready!(self.watch.poll_stalled(cx, patience));
            return Poll::Ready(None);
        }
        // What cannot be resumed is not given up.
        if self.resume.as_ref().is_none_or(|resume| !resume.is_possible_at(self.at)) {
            return Poll::Pending;
        }
        loop {
            if let Poll::Ready(Some(bytes)) = self.poll_overtaken(cx) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if let Poll::Ready(Some(bytes)) = self.poll_racing(cx) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            let core = &self.core;
            let patience = || patience_now(&core.link, core.permits.in_flight()).max(core.pauses.lock().patience());
            let waited = ready!(self.watch.poll_stalled(cx, patience));
            if let Err(error) = self.begin_race(waited) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Asks for the rest once more, after the stream, and the second request where there is one, have been silent for the time `waited`. Where that is
    /// not possible (tries are used up, or a second request was refused), the stream is waited for as long as tries may last.
    fn begin_race(&mut self, waited: Duration) -> Result<()> {
        self.app_limited();
        let now = Instant::now();
        if self.race.as_ref().is_some_and(|race| now.saturating_duration_since(race.sent_at) < waited) {
            // It has not been silent for as long yet.
            return Ok(());
        }
        let silent_since = match self.race.take() {
            Some(race) => {
                self.core.counters.cancel();
                race.silent_since
            }
            None => now - waited,
        };
        let silent_since = *self.silent_since.insert(self.silent_since.unwrap_or(silent_since).min(silent_since));
        let Range { start, end } = self.range;
        let stalled: Error = FetchError::Stalled { start, end, at: self.at, waited: now - silent_since }.into();
        let error = self.lost.take().unwrap_or(stalled);
        let Some(resume) = &mut self.resume else { return Err(error) };
        match resume.ask(&self.core, self.at..end, error, None, &self.activity) {
            Ok((pause, asked)) => {
                self.race = Some(Race { silent_since, sent_at: now + pause, racing: RacingRequest::Asked(asked) });
            }
            Err(error) if now - silent_since >= self.core.config.retry_timeout => return Err(error),
            Err(error) => self.lost = Some(error),
        }
        Ok(())
    }

    /// Bytes of the stream that was silent before, where the present one is silent now.
    fn poll_overtaken(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(overtaken) = &mut self.overtaken else { return Poll::Ready(None) };
        while let Some(Ok(mut bytes)) = ready!(overtaken.stream.poll_next_unpin(cx)) {
            if bytes.is_empty() {
                continue;
            }
            let len = bytes.len() as u64;
            if self.watch.is_waiting_for(Duration::ZERO) {
                self.core.pauses.lock().went_on(overtaken.silent_since.elapsed());
            }
            if self.race.is_none() && !self.watch.is_waiting_for(LEAST_SILENCE) {
                // The present one is on its way: to read both would take the link from it.
                self.core.counters.fetched(len);
                self.core.counters.wasted(len);
                self.core.counters.cancel();
                break;
            }
            let known = (self.at - overtaken.at).min(len);
            overtaken.at += len;
            self.core.counters.fetched(known);
            self.core.counters.wasted(known);
            bytes.advance(byte_range::in_memory(known));
            if bytes.is_empty() {
                continue;
            }
            let silent_since = self.race.take().map_or_else(Instant::now, |race| race.silent_since);
            let (stream, at) = (std::mem::replace(&mut overtaken.stream, stream::empty().boxed()), self.at);
            let before = std::mem::replace(&mut self.stream, stream);
            self.overtaken = Some(OvertakenStream { stream: before, at, silent_since });
            self.watch.arrived();
            self.lost = None;
            self.silent_since = None;
            return Poll::Ready(Some(bytes));
        }
        self.overtaken = None;
        Poll::Ready(None)
    }

    /// The first bytes of the second request, which goes on in place of the silent one; `None` where there is none or it has failed.
    fn poll_racing(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(race) = &mut self.race else { return Poll::Ready(None) };
        loop {
            match &mut race.racing {
                RacingRequest::Asked(asked) => match ready!(asked.poll_unpin(cx)).answered {
                    Ok((result, ttfb)) => {
                        let below = Origin::of(&result.extensions);
                        race.racing = RacingRequest::Answered { stream: result.into_stream(), ttfb, below };
                    }
                    Err(error) => {
                        self.lost = Some(error);
                        break;
                    }
                },
                RacingRequest::Answered { stream, .. } => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Ok(bytes)) if bytes.is_empty() => {}
                    Some(Ok(bytes)) => {
                        let silent_since = race.silent_since;
                        let stream = std::mem::replace(&mut self.stream, stream::empty().boxed());
                        self.overtaken = Some(OvertakenStream { stream, at: self.at, silent_since });
                        self.core.pauses.lock().was_stall();
                        self.watch.arrived();
                        self.lost = None;
                        self.silent_since = None;
                        self.change_over();
                        return Poll::Ready(Some(bytes));
                    }
                    None | Some(Err(_)) => break,
                },
            }
        }
        self.race = None;
        Poll::Ready(None)
    }

    /// Goes on with the second request. False where there is none.
    pub(super) fn change_over(&mut self) -> bool {
        let Some(race) = self.race.take() else { return false };
        self.pass_on_origin();
        match race.racing {
            RacingRequest::Asked(asked) => self.resuming = Some(asked),
            RacingRequest::Answered { stream, ttfb, below } => {
                self.stream = stream;
                self.measure(ttfb, below);
            }
        }
        true
    }
}
