//! Starts the tasks of fetches: an opening request, or a fill of missing pages.

use std::{ops::Range, sync::Arc};

use headstart_fetch_core::internal::{RangeOrigin, byte_range};
use headstart_fetch_core::{FetchError, Intent};
use object_store::{GetOptions, Result};
use tokio::runtime::Handle;

use super::fetch::FetchGuard;
use super::{Fetches, single_flight::Sharing, task::FetchTask, waiter::FetchWaiter};
use crate::lookup::{CacheCall, ObjectHead, RequestStamp};
use crate::policy::OpeningRequest;

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
    ) -> Result<Option<Arc<FetchWaiter>>> {
        let runtime = current_runtime()?;
        let stamp = self.lookup.stamp(&call.path);
        let is_known = || self.lookup.needs_no_request(call, stamp);
        let Some(waiter) = self.in_flight.open(call, &request, stamp, sharing, is_known) else { return Ok(None) };
        if !waiter.is_own {
            return Ok(Some(waiter));
        }
        let mut task = self.task(call, &waiter, stamp);
        if matches!(request, OpeningRequest::Bounded(_)) {
            task.extensions.insert(RangeOrigin::Chosen);
        }
        task.charge_request(request.max_bytes());
        launch(&runtime, &waiter, async move {
            let outcome = task.open(&request, options).await;
            match request {
                OpeningRequest::Head => task.guard.finish(outcome),
                request => task.finish_fill(&request, outcome),
            }
        });
        Ok(Some(waiter))
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
        let (task, bytes) = self.task_of_run(call, head, run, waiter);
        let head = Arc::clone(head);
        launch(runtime, waiter, async move {
            let outcome = task.fill(&head, &bytes).await;
            task.finish_fill(&bytes, outcome);
        });
    }

    /// The task of the fetch of `waiter`, which brings `run`, pages of the version `head`; and the bytes of the run.
    pub(super) fn task_of_run(
        self: &Arc<Self>,
        call: &Arc<CacheCall>,
        head: &ObjectHead,
        run: &Range<u64>,
        waiter: &FetchWaiter,
    ) -> (FetchTask, Range<u64>) {
        let mut task = self.task(call, waiter, self.lookup.stamp(&call.path));
        task.extensions.insert(RangeOrigin::Chosen);
        let pages = self.lookup.pages;
        let bytes = pages.start(run.start)..pages.start(run.end).min(head.meta.size);
        task.charge_request(Some(byte_range::len(&bytes)));
        (task, bytes)
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

/// Runs the task of the fetch of `waiter`. However the task ends, its [`FetchGuard`] informs the waiters.
pub(super) fn launch(runtime: &Handle, waiter: &FetchWaiter, task: impl Future<Output = ()> + Send + 'static) {
    let task = runtime.spawn(task);
    // `waiter` is alive, so nobody has wanted to abort the task before this line.
    let _ = waiter.fetch.task.set(task.abort_handle());
}

/// The runtime that new fetches run on.
pub(crate) fn current_runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| FetchError::NoRuntime.into())
}
