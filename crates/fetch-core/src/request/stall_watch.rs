//! Notices that a body has stalled: no byte arrives although somebody waits for one.

use std::task::{Context, Poll, ready};
use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep};

use crate::internal::runtime::has_timer;

/// Watches one body. Time in which nobody polls for bytes does not count.
///
/// The timer is set once and checked when it fires, so that a chunk costs no more than a look at the clock.
#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    /// Since when the next byte has been waited for.
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    stalls: u32,
}

impl StallWatch {
    /// A chunk or the end has arrived.
    pub(crate) fn on_arrival(&mut self) {
        self.waiting_since = None;
    }

    /// Whether the next byte has been waited for at least this long.
    pub(crate) fn is_waiting_for(&self, silence: Duration) -> bool {
        self.waiting_since.is_some_and(|since| since.elapsed() >= silence)
    }

    /// Called when no chunk is there. Ready with the time waited once that exceeds `timeout`, which doubles with each
    /// stall of this body. Never ready outside a runtime with a timer.
    pub(crate) fn poll_stalled(&mut self, cx: &mut Context<'_>, timeout: impl Fn() -> Duration) -> Poll<Duration> {
        if self.timer.is_none() && !has_timer() {
            return Poll::Pending;
        }
        let now = Instant::now();
        let since = *self.waiting_since.get_or_insert(now);
        let stalls = self.stalls.min(16);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout() * 2_u32.pow(stalls))));
        loop {
            ready!(timer.as_mut().poll(cx));
            let (waited, timeout) = (Instant::now().duration_since(since), timeout() * 2_u32.pow(stalls));
            if waited >= timeout {
                *self = Self { stalls: self.stalls + 1, ..Self::default() };
                return Poll::Ready(waited);
            }
            timer.as_mut().reset(since + timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const MS: Duration = Duration::from_millis(1);

    async fn stalled(watch: &mut StallWatch) -> u128 {
        poll_fn(|cx| watch.poll_stalled(cx, || 250 * MS)).await.as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn only_waiting_counts_and_every_stall_doubles_the_timeout() {
        let mut watch = StallWatch::default();
        assert!(futures::poll!(std::pin::pin!(stalled(&mut watch))).is_pending());
        tokio::time::sleep(200 * MS).await;
        watch.on_arrival();
        tokio::time::sleep(1000 * MS).await;
        assert_eq!(stalled(&mut watch).await, 250, "counted from the first poll");
        assert_eq!(stalled(&mut watch).await, 500);
        assert_eq!(stalled(&mut watch).await, 1000);
    }
}
