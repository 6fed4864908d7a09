//! What the tokio runtime of a call can do, and whether another runtime still runs its tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{cell::Cell, future, time::Duration};

use tokio::runtime::{Handle, Id};

/// How long a runtime may take to run an empty task before it counts as stopped. An error costs a second request.
const RESPONDS_WITHIN: Duration = Duration::from_millis(100);

/// Whether the caller may use tokio's timers: there is a runtime, and its time driver is enabled.
///
/// The only way to find out is to create a timer, which panics without a time driver. A runtime without one
/// therefore prints a panic message when it is first seen on a thread; the panic is caught.
pub fn has_timer() -> bool {
    thread_local!(static LATEST: Cell<Option<(Id, bool)>> = const { Cell::new(None) });
    let Ok(runtime) = Handle::try_current() else { return false };
    if let Some((id, has_timer)) = LATEST.get()
        && id == runtime.id()
    {
        return has_timer;
    }
    let has_timer = catch_unwind(AssertUnwindSafe(|| drop(tokio::time::sleep(Duration::ZERO)))).is_ok();
    LATEST.set(Some((runtime.id(), has_timer)));
    has_timer
}

/// The runtime that a task was spawned on, for those who wait for the task on another runtime.
///
/// A single-thread runtime runs its tasks only during `block_on`. After that they make no progress, although nothing
/// has been dropped. A waiter on another runtime watches this one, and does the work itself if it has stopped.
#[derive(Debug, Clone)]
pub struct TaskRuntime(Handle);

impl TaskRuntime {
    /// The runtime behind `handle`.
    pub fn of(handle: &Handle) -> Self {
        Self(handle.clone())
    }

    /// The caller's runtime, if it has one.
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self)
    }

    /// The id of the runtime.
    pub fn id(&self) -> Id {
        self.0.id()
    }

    /// Whether the caller runs on it.
    pub fn is_current(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.id())
    }

    /// Whether it runs an empty task within a tenth of a second.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn responds(&self) -> bool {
        matches!(tokio::time::timeout(RESPONDS_WITHIN, self.0.spawn(async {})).await, Ok(Ok(())))
    }

    /// Waits until it runs tasks no more. Never ready for the caller's own runtime, or without a timer.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn stopped(&self) {
        if self.is_current() || !has_timer() {
            return future::pending().await;
        }
        loop {
            tokio::time::sleep(RESPONDS_WITHIN).await;
            if !self.responds().await {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::runtime::Builder;

    #[test]
    fn a_timer_needs_a_runtime_with_time() {
        assert!(!has_timer());
        let without = Builder::new_current_thread().build().expect("a runtime");
        let with = Builder::new_current_thread().enable_time().build().expect("a runtime");
        for _ in 0..2 {
            assert!(!without.block_on(async { has_timer() }));
            assert!(with.block_on(async { has_timer() }));
        }
    }

    #[test]
    fn a_runtime_that_nobody_drives_has_stopped_and_ones_own_never_does() {
        let new = || Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let (here, there) = (new(), new());
        let runtime = there.block_on(async { TaskRuntime::current() }).expect("in a runtime");
        here.block_on(runtime.stopped());
        there.block_on(async { assert!(runtime.stopped().now_or_never().is_none() && runtime.is_current()) });
        let busy = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let runtime = TaskRuntime::of(busy.handle());
        let real = Builder::new_current_thread().enable_time().build().expect("a runtime");
        assert!(real.block_on(runtime.responds()));
        busy.shutdown_background();
        assert!(!real.block_on(runtime.responds()), "it drops every task");
    }
}
