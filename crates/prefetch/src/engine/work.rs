//! Who runs a request: a task, or the read that waits for its answer.
//!
//! A read whose request nobody else needs polls this request itself. Where there is no delay to hide, a task for each
//! read costs more than the request: it is scheduled, wakes another worker, and wakes the read for every chunk. Once
//! another read waits for the same request, a task takes over, because the first read may not be polled any more.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use headstart_fetch_core::internal::locks::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// A request that runs. Aborting it drops the request.
pub(crate) struct Work {
    runtime: Handle,
    state: Mutex<WorkState>,
}

enum WorkState {
    /// The read polls it, but not now. The waker is that of its latest poll.
    Waiting(BoxFuture<'static, ()>, Option<Waker>),
    /// The read is polling it now. Afterwards it goes on as told.
    Polled(AfterPoll),
    Task(AbortHandle),
    /// It has ended or was aborted.
    Ended,
}

#[derive(Debug, Clone, Copy)]
enum AfterPoll {
    Wait,
    HandOver,
    Abort,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

impl Work {
    /// Runs `request` in a task.
    pub(crate) fn of_task(runtime: Handle, request: impl Future<Output = ()> + Send + 'static) -> Self {
        let task = runtime.spawn(request).abort_handle();
        Self { runtime, state: Mutex::new(WorkState::Task(task)) }
    }

    /// Leaves it to the read that sends `request` to run it, by [`Work::poll`].
    pub(crate) fn of_waiter(runtime: Handle, request: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { runtime, state: Mutex::new(WorkState::Waiting(request.boxed(), None)) }
    }

    /// Goes on with the request. Ready where it has ended, or where a task runs it.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (mut request, waker) = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, WorkState::Polled(AfterPoll::Wait)) {
                WorkState::Waiting(request, waker) => (request, waker),
                other => {
                    *state = other;
                    return Poll::Ready(());
                }
            }
        };
        // Without the lock: the request may abort itself, or be handed over meanwhile. A panic ends the request and not
        // the read, as in a task.
        let polled = catch_unwind(AssertUnwindSafe(|| request.poll_unpin(cx)));
        let is_done = !matches!(polled, Ok(Poll::Pending));
        let mut state = self.state.lock();
        let WorkState::Polled(after) = std::mem::replace(&mut *state, WorkState::Ended) else { return Poll::Ready(()) };
        match after {
            _ if is_done => Poll::Ready(()),
            AfterPoll::Wait => {
                let waker = waker.filter(|waker| waker.will_wake(cx.waker())).unwrap_or_else(|| cx.waker().clone());
                *state = WorkState::Waiting(request, Some(waker));
                Poll::Pending
            }
            AfterPoll::HandOver => {
                *state = WorkState::Task(self.runtime.spawn(request).abort_handle());
                Poll::Ready(())
            }
            AfterPoll::Abort => {
                // Dropping the request may take locks.
                drop(state);
                drop(request);
                Poll::Ready(())
            }
        }
    }

    /// Lets a task run the request from now on, if the read still does.
    pub(crate) fn hand_over(&self) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, WorkState::Ended) {
            WorkState::Waiting(request, waker) => {
                *state = WorkState::Task(self.runtime.spawn(request).abort_handle());
                drop(state);
                // The read has to wait for the task instead.
                waker.into_iter().for_each(Waker::wake);
            }
            WorkState::Polled(AfterPoll::Wait) => *state = WorkState::Polled(AfterPoll::HandOver),
            other => *state = other,
        }
    }

    /// Drops the request, unless it has ended.
    pub(crate) fn abort(&self) {
        self.abort_where(|_| true);
    }

    /// Drops the request where a read runs it for itself alone. Wakes this read.
    pub(crate) fn abort_if_run_by_waiter(&self) {
        self.abort_where(|state| matches!(state, WorkState::Waiting(..) | WorkState::Polled(AfterPoll::Wait)));
    }

    fn abort_where(&self, applies: impl FnOnce(&WorkState) -> bool) {
        let mut state = self.state.lock();
        if !applies(&state) {
            return;
        }
        match std::mem::replace(&mut *state, WorkState::Ended) {
            WorkState::Waiting(request, waker) => {
                // Dropping the request may take locks.
                drop(state);
                drop(request);
                waker.into_iter().for_each(Waker::wake);
            }
            WorkState::Polled(_) => *state = WorkState::Polled(AfterPoll::Abort),
            WorkState::Task(task) => task.abort(),
            WorkState::Ended => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use tokio::sync::oneshot;

    /// Work that ends with `end`, and reports by the returned receiver that it has ended or was dropped.
    fn work(end: oneshot::Receiver<()>) -> (Arc<Work>, oneshot::Receiver<()>) {
        let (ended, has_ended) = oneshot::channel();
        let request = async move {
            // The sender is kept until the end.
            let _ended: oneshot::Sender<()> = ended;
            let _ = end.await;
        };
        (Arc::new(Work::of_waiter(Handle::current(), request)), has_ended)
    }

    fn run(work: &Arc<Work>) -> impl Future<Output = ()> + use<> {
        let work = Arc::clone(work);
        poll_fn(move |cx| work.poll(cx))
    }

    #[tokio::test]
    async fn the_read_runs_it_to_its_end() {
        let (end, ends) = oneshot::channel();
        let (work, mut has_ended) = work(ends);
        let mut running = run(&work).boxed();
        assert!(futures::poll!(&mut running).is_pending());
        assert!(has_ended.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        end.send(()).expect("it waits");
        running.await;
        assert!(has_ended.try_recv() == Err(oneshot::error::TryRecvError::Closed));
    }

    #[tokio::test]
    async fn a_task_takes_over_and_the_read_is_woken() {
        let (end, ends) = oneshot::channel();
        let (work, has_ended) = work(ends);
        let waiting = tokio::spawn(run(&work));
        tokio::task::yield_now().await;
        work.hand_over();
        waiting.await.expect("it is ready as soon as a task runs the work");
        end.send(()).expect("the task waits");
        assert!(has_ended.await.is_err(), "the task ran it to its end");
    }

    #[tokio::test]
    async fn aborting_drops_it_whoever_runs_it() {
        for is_handed_over in [false, true] {
            let (_end, ends) = oneshot::channel();
            let (work, has_ended) = work(ends);
            let waiting = tokio::spawn(run(&work));
            tokio::task::yield_now().await;
            if is_handed_over {
                work.hand_over();
            }
            work.abort();
            waiting.await.expect("it is ready");
            assert!(has_ended.await.is_err());
        }
    }

    #[tokio::test]
    async fn it_may_abort_itself_or_hand_itself_over() {
        for aborts in [true, false] {
            let place: Arc<Mutex<Option<Arc<Work>>>> = Arc::default();
            let (own, (end, has_ended)) = (Arc::clone(&place), oneshot::channel::<()>());
            let request = async move {
                let _end = end;
                let work = own.lock().clone().expect("it was set");
                if aborts {
                    work.abort();
                } else {
                    work.hand_over();
                }
                std::future::pending::<()>().await;
            };
            let work = Arc::new(Work::of_waiter(Handle::current(), request));
            *place.lock() = Some(Arc::clone(&work));
            run(&work).await;
            work.abort();
            assert!(has_ended.await.is_err());
        }
    }
}
