//! One attempt at a GET, and a hedge: a second GET if the answer to the first one is late.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::FutureExt;
use futures::future::{Either, select};
use object_store::{Error, GetOptions, GetResult, Result, path::Path};
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::Throttled;
use crate::internal::runtime::has_timer;
use crate::limits::permit_state::PermitKind;
use crate::limits::{call_activity::CallActivity, permits::Permit};
use crate::policy::fill::FULL_WEIGHT;
use crate::policy::{body_check::check_range, byte_range, concurrency::AnswerSample};
use crate::protocol::extensions::{Intent, Promotion};
use crate::protocol::link_estimate::FirstByte;
use crate::request::{core::FetchCore, retryable::is_transient};
use crate::stats::outcomes::RequestPurpose;
use crate::trace_events;

/// The shortest hedge delay before the link is measured: a first guess that is wrong would duplicate every request.
const UNMEASURED_DELAY: Duration = Duration::from_secs(1);

impl FetchCore {
    /// Sends a GET. If its answer is late and the request is demanded, sends a hedge; the request that is answered
    /// later is dropped at once. Also returns the time until the answer. `number` counts the attempts of this request
    /// from 1.
    ///
    /// If the hedge is answered first, its permit replaces `permit`. The time returned is then the time since the first
    /// request was sent. The first answer would have taken even longer, but leaving it out would lower the quantiles,
    /// and the next requests would be hedged too soon.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        path: &Path,
        options: &GetOptions,
        number: usize,
        permit: &mut Option<Permit>,
        activity: &Arc<CallActivity>,
    ) -> Result<(GetResult, FirstByte)> {
        let sent_at = Instant::now();
        let timed = |(result, connects)| (result, FirstByte { ttfb: sent_at.elapsed(), connects });
        let purpose = Intent::of(&options.extensions).into();
        let mut first = pin!(self.send(path, options, number, purpose));
        if !self.may_hedge(options) {
            return first.await.map(timed);
        }
        // Speculation is hedged only from its promotion on: before, no reader waits for the answer.
        if let (Intent::Speculative, Some(promotion)) =
            (Intent::of(&options.extensions), Promotion::of(&options.extensions))
            && let Either::Left((answered, _)) = select(first.as_mut(), pin!(promotion.promoted())).await
        {
            return answered.map(timed);
        }
        self.hedging.lock().on_request();
        let mut late_since = sent_at;
        let (answered, hedge_permit) = loop {
            let hedge_permit = match select(first.as_mut(), pin!(self.hedge_permit(late_since, activity))).await {
                Either::Left((answered, _)) => break (answered, None),
                Either::Right((hedge_permit, _)) => hedge_permit,
            };
            self.counters.hedges.add(1);
            trace_events::hedge_sent(path, sent_at);
            let hedge = self.send(path, options, number, RequestPurpose::Hedge).boxed();
            let answered = match select(first.as_mut(), hedge).await {
                Either::Left((Err(error), hedge)) if is_transient(&error) => match hedge.await {
                    Ok(result) => (Ok(result), Some(hedge_permit)),
                    Err(_) => (Err(error), None),
                },
                Either::Left((answered, _)) => (answered, None),
                Either::Right((Ok(result), _)) => (Ok(result), Some(hedge_permit)),
                Either::Right((Err(_), _)) => {
                    self.hedging.lock().on_outcome(false);
                    late_since = Instant::now();
                    continue;
                }
            };
            self.hedging.lock().on_outcome(answered.1.is_some());
            break answered;
        };
        if hedge_permit.is_some() {
            self.counters.hedges_won.add(1);
            trace_events::hedge_won(path, sent_at);
            *permit = hedge_permit;
        }
        answered.map(timed)
    }

    /// Whether a hedge may be sent: the request is demanded or may become so, the store is remote, and there is a
    /// timer.
    fn may_hedge(&self, options: &GetOptions) -> bool {
        self.config.hedge
            && (Intent::of(&options.extensions) == Intent::Demand || Promotion::of(&options.extensions).is_some())
            && !self.profile.is_local()
            && has_timer()
    }

    /// Waits until the answer to a request sent at `since` is late enough for a hedge, and for a permit for the hedge.
    async fn hedge_permit(self: &Arc<Self>, since: Instant, activity: &Arc<CallActivity>) -> Permit {
        loop {
            let (link, is_measured) = self.link.measured_with_connecting();
            let usual = self.hedging.lock().delay(&link);
            let delay = if is_measured { usual } else { usual.max(UNMEASURED_DELAY) };
            let late_for = since.elapsed();
            if late_for < delay {
                tokio::time::sleep(delay - late_for).await;
                continue;
            }
            let has_token = self.hedging.lock().has_token();
            if has_token {
                let permit = self.permits.acquire(PermitKind::Demand, FULL_WEIGHT, activity).boxed().await;
                // Now, because the request may be answered while the hedge waits for its permit.
                if self.hedging.lock().take() {
                    return permit;
                }
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// Adapts the limit on GETs in flight to the answer to one of them.
    fn adapt_concurrency(&self, error: Option<&Error>) {
        let throttled = error.and_then(Throttled::find);
        let (in_flight, is_filled) = self.permits.load();
        let sample = AnswerSample { is_throttled: throttled.is_some(), in_flight };
        let mut concurrency = self.concurrency.lock();
        let before = concurrency.limit();
        concurrency.on_answer(self.now(), sample);
        let limit = concurrency.limit();
        if is_filled {
            // Before that nobody waits for the fill limit.
            let fill = self.link.fill(&self.profile);
            let fill_before = self.permits.set_fill(fill);
            if fill != fill_before {
                trace_events::fill_limit(fill_before, fill);
            }
        }
        if limit == before {
            return;
        }
        // Under the lock, so that limits are applied in the order in which they were decided.
        self.permits.set_limit(limit);
        drop(concurrency);
        self.permits.serve();
        trace_events::concurrency_limit(before, limit);
    }

    /// Sends a GET and checks that its answer is about the range that was requested. Also returns whether it probably
    /// opened a connection. It is counted by its `purpose`.
    async fn send(
        &self,
        path: &Path,
        options: &GetOptions,
        number: usize,
        purpose: RequestPurpose,
    ) -> Result<(GetResult, bool)> {
        let intent = Intent::of(&options.extensions);
        self.counters.gets(intent).add(1);
        let sent = self.counters.outcomes.sent(purpose);
        let connects = self.link.request_sent(self.permits.in_flight());
        let cancel = CancelOnDrop(self);
        let mut request = options.clone();
        if request.extensions.get::<Intent>().is_none() {
            // With an intent, a cache below reports the origin of its answer.
            request.extensions.insert(intent);
        }
        let span = trace_events::request_span(path, options.range.as_ref(), intent, number);
        let answered = self.refusals.get_opts(&*self.inner, path, request).instrument(span).await;
        std::mem::forget(cancel);
        sent.ended(answered.as_ref().err());
        if let Some(throttled) = answered.as_ref().err().and_then(Throttled::find) {
            trace_events::throttled(path, &throttled);
        }
        self.adapt_concurrency(answered.as_ref().err());
        let result = answered?;
        let expected = match &options.range {
            None => Some(0..result.meta.size),
            // If the range is invalid for this size and the store answers nevertheless, its answer is accepted.
            Some(wanted) => wanted.as_range(result.meta.size).ok(),
        };
        if let Some(expected) = expected {
            check_range(&expected, &result.range)?;
        }
        self.counters.requested_bytes.add(byte_range::len(&result.range));
        Ok((result, connects))
    }
}

/// Counts a cancelled request, unless it was answered before the drop.
struct CancelOnDrop<'a>(&'a FetchCore);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.on_cancel();
    }
}
