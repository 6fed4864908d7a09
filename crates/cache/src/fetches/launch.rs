//! Starts the tasks of fetches: an opening request, a fill of missing pages, the next window of an open body.

use std::{ops::Range, sync::Arc};

use futures::future;
use headstart_fetch_core::internal::{RangeOrigin, byte_range};
use headstart_fetch_core::{FetchError, Intent};
use object_store::{GetOptions, Result};
use tokio::{runtime::Handle, sync::oneshot};

use super::fetch::{FetchGuard, FetchOutcome};
use super::{
    Fetches, PageSource, PlannedPage, fill_body::FillBody, single_flight::Sharing, task::FetchTask, waiter::FetchWaiter,
};
use crate::lookup::{CacheCall, ObjectHead, RequestStamp};
use crate::policy::{OpeningRequest, PageNeed, WINDOW_BYTES};

/// The part of an open body that no window has claimed yet.
pub(crate) struct RemainingBody {
    body: oneshot::Receiver<FillBody>,
    /// The fetch that still reads the window before.
    before: Arc<FetchWaiter>,
}

impl Fetches {
    /// Sends a request for an object whose present version is not known, or waits for one in flight that is fresh
    /// enough. `None` where the version is known by now.
    ///
    /// `options`: those of the request to send, preconditions included.
    pub(crate) fn open(
        self: &Arc<Self>,
        call: &Arc<CacheCall>,
        request: OpeningRequest,
        options: GetOptions,
        sharing: Sharing,
    ) -> Result<Option<(Arc<FetchWaiter>, Option<RemainingBody>)>> {
        let runtime = current_runtime()?;
        let stamp = self.lookup.stamp(&call.path);
        let is_known = || self.lookup.needs_no_request(call, stamp);
        let Some(waiter) = self.in_flight.open(call, &request, stamp, sharing, is_known) else { return Ok(None) };
        if !waiter.is_own {
            return Ok(Some((waiter, None)));
        }
        let mut task = self.task(call, &waiter, stamp);
        if matches!(request, OpeningRequest::Bounded(_)) {
            task.extensions.insert(RangeOrigin::Chosen);
        }
        if let Some(bytes) = request.max_bytes().filter(|bytes| *bytes <= WINDOW_BYTES) {
            task.charge(bytes);
        }
        let (hand_on, body) = oneshot::channel();
        launch(&runtime, &waiter, async move {
            let outcome = task.open(&request, options, hand_on).await;
            match request {
                OpeningRequest::Head => task.guard.finish(outcome),
                request => task.finish_fill(&request, outcome),
            }
        });
        let remaining = RemainingBody { body, before: Arc::clone(&waiter) };
        Ok(Some((waiter, Some(remaining))))
    }

    /// Sends the request that fills `run`, pages of the version `head`.
    pub(super) fn launch_fill(
        self: &Arc<Self>,
        call: &Arc<CacheCall>,
        runtime: &Handle,
        head: &Arc<ObjectHead>,
        run: &Range<u64>,
        waiter: &FetchWaiter,
    ) {
        let mut task = self.task(call, waiter, self.lookup.stamp(&call.path));
        task.extensions.insert(RangeOrigin::Chosen);
        let head = Arc::clone(head);
        let pages = self.lookup.pages;
        let bytes = pages.start(run.start)..pages.start(run.end).min(head.meta.size);
        task.charge(byte_range::len(&bytes));
        launch(runtime, waiter, async move {
            let outcome = task.fill(&head, &bytes).await;
            task.finish_fill(&bytes, outcome);
        });
    }

    /// Reads on in an open body: `window`, of which the caller needs `needs`. Returns their plan and the body beyond.
    pub(crate) fn next_window(
        self: &Arc<Self>,
        call: &Arc<CacheCall>,
        head: &Arc<ObjectHead>,
        window: Range<u64>,
        needs: Vec<PageNeed>,
        remaining: RemainingBody,
    ) -> Result<(Vec<PlannedPage>, RemainingBody)> {
        let runtime = current_runtime()?;
        let head = Arc::clone(head);
        let whole_pages = self.lookup.pages.whole_in(&window, head.meta.size);
        let admit = call.plan.admit && call.may_keep(&head);
        let waiter = self.in_flight.next_window(call, head.id, whole_pages.clone(), admit);
        let mut task = self.task(call, &waiter, self.lookup.stamp(&call.path));
        task.charge(byte_range::len(&window));
        let plan = |need: PageNeed| PlannedPage { source: PageSource::InFlight(waiter.interest_in(need.page)), need };
        let planned = needs.into_iter().map(plan).collect();
        let (hand_on, body) = oneshot::channel();
        launch(&runtime, &waiter, async move {
            let body = tokio::select! {
                biased;
                body = remaining.body => body.ok(),
                // The task that reads the window before is on a runtime that has stopped.
                () = remaining.before.stopped() => None,
                () = read_on(&task.guard, &remaining.before) => None,
            };
            let outcome = match body {
                Some(body) if body.at == window.start => {
                    task.guard.answered(&head, window.clone(), whole_pages);
                    task.drain(&head, body, window.end, hand_on).await
                }
                _ => Ok(FetchOutcome::Lost),
            };
            task.guard.finish(outcome);
        });
        Ok((planned, RemainingBody { body, before: waiter }))
    }

    /// The task of the fetch of `waiter`.
    fn task(self: &Arc<Self>, call: &Arc<CacheCall>, waiter: &FetchWaiter, stamp: RequestStamp) -> FetchTask {
        let mut extensions = call.extensions.clone();
        if extensions.get::<Intent>().is_none() {
            // To requests with an intent, layers below say where their answers come from and when they were confirmed.
            extensions.insert(Intent::Demand);
        }
        if let Some(promotion) = &waiter.fetch.promotion {
            extensions.insert(promotion.clone());
        }
        let (fetches, call) = (Arc::clone(self), Arc::clone(call));
        let guard = FetchGuard { fetch: Arc::clone(&waiter.fetch), in_flight: Arc::clone(&self.in_flight) };
        FetchTask { guard, fetches, call, extensions, stamp, is_charged: false }
    }
}

/// Waits for all of the window `before`, once a reader waits for the window after it. The wait makes the fetch of
/// `before` read on, however slowly its own reader takes the pages. Never resolves.
async fn read_on(guard: &FetchGuard, before: &FetchWaiter) {
    guard.awaited().await;
    let _ = before.finished().await;
    future::pending::<()>().await;
}

/// Runs the task of the fetch of `waiter`. However the task ends, its [`FetchGuard`] informs the waiters.
fn launch(runtime: &Handle, waiter: &FetchWaiter, task: impl Future<Output = ()> + Send + 'static) {
    let task = runtime.spawn(task);
    // `waiter` is alive, so nobody has wanted to abort the task before this line.
    let _ = waiter.fetch.task.set(task.abort_handle());
}

/// The runtime that new fetches run on.
pub(crate) fn current_runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| FetchError::NoRuntime.into())
}
