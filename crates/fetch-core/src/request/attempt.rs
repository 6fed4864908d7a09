//! One GET on the wire, and a second one where the answer to the first is late.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetResult, Result};
use tokio::time::Instant;

use crate::error::{FetchError, Throttled};
use crate::internal::runtime::has_timer;
use crate::limits::call_activity::CallActivity;
use crate::limits::permits::Permit;
use crate::policy::byte_range;
use crate::policy::concurrency::Answered;
use crate::protocol::extensions::{Intent, Promotion};
use crate::request::FetchCore;
use crate::request::retryable::is_transient;

/// Nobody knows yet what is late on this link: a first guess that is wrong would duplicate every request.
const UNMEASURED_DELAY: Duration = Duration::from_secs(1);

impl FetchCore {
    /// Sends a GET; where its answer is late and somebody waits for it, another one, and whichever is answered later is
    /// dropped on the spot. Returns the time that the answer took, too.
    ///
    /// Where the second one is answered first, its permit replaces `permit`, and the time is the one that the first has
    /// been waited for: the truth is more, but what is known of it must count, or the next ones would seem late too soon.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        path: &Path,
        options: &GetOptions,
        permit: &mut Option<Permit>,
        activity: &Arc<CallActivity>,
    ) -> Result<(GetResult, Duration)> {
        let asked_at = Instant::now();
        let mut first = pin!(self.send(path, options));
        if !self.may_hedge(options) {
            return first.await.map(|result| (result, asked_at.elapsed()));
        }
        // Before anybody waits, nothing is late.
        if let (Intent::Speculative, Some(promotion)) =
            (Intent::of(&options.extensions), Promotion::of(&options.extensions))
            && let Either::Left((answered, _)) = select(first.as_mut(), pin!(promotion.promoted())).await
        {
            return answered.map(|result| (result, asked_at.elapsed()));
        }
        self.hedging.lock().on_request();
        let mut late_since = asked_at;
        let (answered, hedge_permit) = loop {
            let hedge_permit = match select(first.as_mut(), pin!(self.hedge_permit(late_since, activity))).await {
                Either::Left((answered, _)) => break (answered, None),
                Either::Right((hedge_permit, _)) => hedge_permit,
            };
            self.counters.hedge();
            let answered = match select(first.as_mut(), pin!(self.send(path, options))).await {
                Either::Left((Err(error), second)) if is_transient(&error) => match second.await {
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
            self.counters.hedge_won();
            *permit = hedge_permit;
        }
        answered.map(|result| (result, asked_at.elapsed()))
    }

    /// Somebody waits or may do so, the store is remote, and there is a clock.
    fn may_hedge(&self, options: &GetOptions) -> bool {
        self.config.enabled
            && self.config.hedge
            && (Intent::of(&options.extensions) == Intent::Demand || Promotion::of(&options.extensions).is_some())
            && !self.config.profile.is_local()
            && has_timer()
    }

    /// Waits until an answer that has been due since `since` is late enough for a second request, and for its turn.
    async fn hedge_permit(self: &Arc<Self>, since: Instant, activity: &Arc<CallActivity>) -> Permit {
        loop {
            let usual = self.hedging.lock().delay(&self.link.link());
            let delay = if self.link.is_measured() { usual } else { usual.max(UNMEASURED_DELAY) };
            let late_for = since.elapsed();
            if late_for < delay {
                tokio::time::sleep(delay - late_for).await;
                continue;
            }
            let taken = self.hedging.lock().take();
            if taken {
                return self.permits.acquire(Intent::Demand, activity).await;
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// Sets the number of GETs in flight by the answer to one of them.
    fn limit_by(&self, error: Option<&Error>) {
        let answered = Answered {
            refused: error.is_some_and(|error| Throttled::find(error).is_some()),
            in_flight: self.permits.in_flight(),
            all_bytes: self.link.all_bytes(),
        };
        let mut concurrency = self.concurrency.lock();
        let before = concurrency.limit();
        concurrency.on_answer(self.now(), answered);
        let limit = concurrency.limit();
        if limit == before {
            return;
        }
        // Under the lock, so that limits are applied in the order in which they were decided.
        self.permits.set_limit(limit);
        drop(concurrency);
        self.permits.serve();
    }

    /// Sends a GET and looks whether the answer is about the bytes that were asked for.
    async fn send(&self, path: &Path, options: &GetOptions) -> Result<GetResult> {
        let intent = Intent::of(&options.extensions);
        self.counters.get(intent);
        let unanswered = CancelOnDrop(Some(self));
        let mut request = options.clone();
        if request.extensions.get::<Intent>().is_none() {
            // With one, a cache below tells the origin of its answer.
            request.extensions.insert(intent);
        }
        let answered = self.refusals.get_opts(&*self.inner, path, request).await;
        unanswered.answered();
        self.limit_by(answered.as_ref().err());
        let result = answered?;
        let expected = match &options.range {
            None => Some(0..result.meta.size),
            // Where the range makes no sense for this size and the store answers nevertheless, its word counts.
            Some(wanted) => wanted.as_range(result.meta.size).ok(),
        };
        if let Some(expected) = expected.filter(|expected| *expected != result.range) {
            return Err(FetchError::WrongRange {
                wanted_start: expected.start,
                wanted_end: expected.end,
                start: result.range.start,
                end: result.range.end,
            }
            .into());
        }
        self.counters.asked(byte_range::len(&result.range));
        Ok(result)
    }
}

/// Counts a request that is dropped before its answer.
struct CancelOnDrop<'a>(Option<&'a FetchCore>);

impl CancelOnDrop<'_> {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(core) = self.0 {
            core.counters.cancel();
        }
    }
}
