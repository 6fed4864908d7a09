//! A circuit breaker for the requests of one read: while all fail, one of them probes the store and the others wait.
//!
//! The parts of a read are sent together. Without the breaker, a store that is down would get ten attempts for every
//! part.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::{Either, select};
use tokio::sync::{Mutex, MutexGuard, Notify};

/// What the requests of one read know about the availability of the store.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    answers: AtomicU64,
    answered: Notify,
    probing: Mutex<()>,
}

impl Outage {
    /// A request was answered.
    pub(crate) fn on_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.answered.notify_waiters();
    }

    /// A request has failed: waits until it may probe the store, or until another request is answered (`None`).
    ///
    /// # Cancel safety
    /// Cancel safe. Dropping the returned guard lets the next request probe.
    pub(crate) async fn wait_for_probe(&self) -> Option<MutexGuard<'_, ()>> {
        let before = self.answers.load(Ordering::Relaxed);
        // Created before the count is read, so that no later answer is missed.
        let answered = self.answered.notified();
        match select(pin!(self.probing.lock()), pin!(answered)).await {
            Either::Left((probe, _)) => (self.answers.load(Ordering::Relaxed) == before).then_some(probe),
            Either::Right(((), _)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_request_probes_and_the_others_continue_once_it_is_answered() {
        let outage = Outage::default();
        let first = outage.wait_for_probe().await.expect("no other request probes");
        let mut others = [outage.wait_for_probe().boxed(), outage.wait_for_probe().boxed()];
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        outage.on_answer();
        drop(first);
        for other in others {
            assert!(other.await.is_none());
        }
    }

    #[tokio::test]
    async fn the_next_request_probes_if_the_first_gives_up() {
        let outage = Outage::default();
        let first = outage.wait_for_probe().await;
        let mut second = outage.wait_for_probe().boxed();
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!(second.await.is_some());
    }
}
