//! Whether a call is still polled. A future or body that is polled once and then left alone loses its permit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::{pin::Pin, sync::Arc, time::Duration};

use futures::task::AtomicWaker;
use tokio::time::Instant;

use crate::internal::mutation::Mutation;

/// Since when a call has been idle. A call is idle if it was woken, or got what it waited for, and was not polled
/// since.
///
/// A call that waits for the network is not idle: its waker has not been called.
#[derive(Debug)]
pub(crate) struct CallActivity {
    started: Instant,
    /// Nanoseconds after `started`; [`ACTIVE`] while the call is not idle.
    idle_since_ns: AtomicU64,
}

const ACTIVE: u64 = u64::MAX;

impl CallActivity {
    /// A call that is being polled. Times are counted from `started`.
    pub(crate) fn new(started: Instant) -> Arc<Self> {
        Arc::new(Self { started, idle_since_ns: AtomicU64::new(ACTIVE) })
    }

    /// The caller polls the call.
    pub(crate) fn mark_active(&self) {
        self.idle_since_ns.store(ACTIVE, Ordering::Release);
    }

    /// The call makes no progress until the caller polls it.
    pub(crate) fn mark_idle(&self) {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(ACTIVE - 1);
        // Only the first of several wake-ups counts.
        let _ = self.idle_since_ns.compare_exchange(ACTIVE, now, Ordering::AcqRel, Ordering::Acquire);
    }

    /// When the call became idle, as time after `started`; `None` if it is active.
    pub(crate) fn idle_since(&self) -> Option<Duration> {
        let since = self.idle_since_ns.load(Ordering::Acquire);
        (since != ACTIVE).then(|| Duration::from_nanos(since))
    }

    /// For how long the call has been idle; zero if it is active.
    pub(crate) fn idle_for(&self) -> Duration {
        self.idle_since().map_or(Duration::ZERO, |since| self.started.elapsed().saturating_sub(since))
    }
}

/// A waker that marks its call idle and wakes the caller.
#[derive(Debug)]
pub(crate) struct IdleWaker {
    activity: Arc<CallActivity>,
    caller: AtomicWaker,
}

impl IdleWaker {
    pub(crate) fn new(activity: &Arc<CallActivity>) -> Arc<Self> {
        Arc::new(Self { activity: Arc::clone(activity), caller: AtomicWaker::new() })
    }

    /// Begins a poll of the caller behind `cx`. Returns the waker to poll with.
    pub(crate) fn begin_poll(self: &Arc<Self>, cx: &Context<'_>) -> Waker {
        self.activity.mark_active();
        self.caller.register(cx.waker());
        Waker::from(Arc::clone(self))
    }
}

impl Wake for IdleWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !Mutation::KeepsPermits.is_active() {
            self.activity.mark_idle();
        }
        self.caller.wake();
    }
}

/// The future of a call; it records the activity of the call.
pub(crate) struct TrackedCall<F> {
    waker: Arc<IdleWaker>,
    future: Pin<Box<F>>,
}

impl<F: Future> TrackedCall<F> {
    pub(crate) fn new(activity: &Arc<CallActivity>, future: F) -> Self {
        Self { waker: IdleWaker::new(activity), future: Box::pin(future) }
    }
}

impl<F: Future> Future for TrackedCall<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let waker = self.waker.begin_poll(cx);
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_call_is_idle_from_its_wake_up_to_its_next_poll() {
        let activity = CallActivity::new(Instant::now());
        let mut call = TrackedCall::new(&activity, async {
            tokio::time::sleep(50 * MS).await;
            tokio::time::sleep(50 * MS).await;
        });
        assert!(futures::poll!(&mut call).is_pending());
        tokio::time::sleep(40 * MS).await;
        assert_eq!(activity.idle_since(), None, "it waits for its timer");
        tokio::time::sleep(100 * MS).await;
        assert_eq!(activity.idle_since(), Some(50 * MS), "it was woken and not polled");
        assert!(futures::poll!(&mut call).is_pending());
        assert_eq!(activity.idle_since(), None);
        call.await;
    }
}
