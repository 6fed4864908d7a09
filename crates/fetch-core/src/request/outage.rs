//! One request finds out whether a store that refuses all requests of a read answers again; the others wait for it.
//!
//! The parts of a read are sent together. Over a store that is down, each would be tried as often as a single request, and the
//! store would be asked ten times for every part. As a circuit breaker does it, one part is tried, and what it finds counts for all.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::{Either, select};
use tokio::sync::{Mutex, MutexGuard, Notify};

/// What the requests of one read know of the store's state.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    answers: AtomicU64,
    answered: Notify,
    trying: Mutex<()>,
}

/// Held by the request that is tried.
pub(crate) type ProbeTurn<'a> = MutexGuard<'a, ()>;

impl Outage {
    /// A request was answered.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.answered.notify_waiters();
    }

    /// A request has failed: waits until it is the one to be tried, or until another one was answered (`None`).
    ///
    /// # Cancel safety
    /// Cancel safe. Dropping what this returns passes the turn on.
    pub(crate) async fn turn(&self) -> Option<ProbeTurn<'_>> {
        let before = self.answers.load(Ordering::Relaxed);
        // Made before the look at the number: it hears of whatever comes after.
        let answered = self.answered.notified();
        match select(pin!(self.trying.lock()), pin!(answered)).await {
            Either::Left((trying, _)) => (self.answers.load(Ordering::Relaxed) == before).then_some(trying),
            Either::Right(((), _)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_tries_and_the_others_go_on_once_it_is_answered() {
        let outage = Outage::default();
        let first = outage.turn().await.expect("nobody else tries");
        let mut others = [outage.turn().boxed(), outage.turn().boxed()];
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        outage.answered();
        drop(first);
        for other in others {
            assert!(other.await.is_none());
        }
    }

    #[tokio::test]
    async fn the_turn_passes_on_where_the_first_gives_up() {
        let outage = Outage::default();
        let first = outage.turn().await;
        let mut second = outage.turn().boxed();
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!(second.await.is_some());
    }
}
