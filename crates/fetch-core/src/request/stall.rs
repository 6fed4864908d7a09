//! Notices a body of which no byte comes any more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::internal::runtime::has_timer;
use crate::policy::link::Link;
use crate::protocol::link_estimate::LinkEstimate;

/// A packet lost and sent again is no stall: Linux waits 200 ms at the least before it does so (`TCP_RTO_MIN`).
const LEAST_PATIENCE: Duration = Duration::from_millis(250);

/// What a stream that works is not late by: answers come within a quarter of it, all but one in twenty.
const FIRST_BYTES: u32 = 4;

/// While nothing has been measured, patience is this many times longer: the profile may be of another store.
const UNMEASURED: u32 = 4;

/// What may arrive at once, in bytes, after nothing has arrived for as long as it takes.
const GULP_BYTES: f64 = 256.0 * 1024.0;

/// How long a body may stand still now, beside `streams` in all.
pub(crate) fn patience_now(link: &LinkEstimate, streams: usize) -> Duration {
    patience(&link.link(), streams).saturating_mul(if link.is_measured() { 1 } else { UNMEASURED })
}

/// How long a body may stand still on `link` beside `streams` in all. Being wrong costs a request, not an error: each
/// stall of a body doubles its patience.
#[expect(clippy::cast_precision_loss, reason = "a number of streams")]
fn patience(link: &Link, streams: usize) -> Duration {
    let share = link.stream_bytes_per_s.min(link.aggregate_bytes_per_s / streams.max(1) as f64);
    let gulp = Duration::try_from_secs_f64(GULP_BYTES / share).unwrap_or(Duration::MAX);
    LEAST_PATIENCE.max(link.ttfb_p95.saturating_mul(FIRST_BYTES)).max(gulp)
}

/// No longer silence is taken for usual: it may be the reader's absence, which looks the same, and clients give up after it themselves.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The silences of bodies that went on by themselves: what looks like a stall is usual for some stores. Pure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BodyPauses {
    longest: Duration,
}

impl BodyPauses {
    /// A body went on after it had been silent for `pause`, sooner than another request brought its bytes.
    pub(crate) fn went_on(&mut self, pause: Duration) {
        self.longest = self.longest.max(pause.min(LONGEST_PAUSE));
    }

    /// Another request brought bytes sooner: the silence was a stall.
    pub(crate) fn was_stall(&mut self) {
        self.longest /= 2;
    }

    /// How long a silence has to be, at the least, to be a stall: a quarter more than those that were none.
    pub(crate) fn patience(self) -> Duration {
        self.longest.saturating_add(self.longest / 4)
    }
}

/// Watches one body. Time in which nobody asks for bytes does not count.
///
/// The timer is set once and looked at again when it fires, so that a chunk costs no more than a look at the clock.
#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    /// Since when the next byte has been waited for.
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    stalls: u32,
}

impl StallWatch {
    /// Something has come, or an end.
    pub(crate) fn arrived(&mut self) {
        self.waiting_since = None;
    }

    /// Whether the next byte has been waited for so long, or longer.
    pub(crate) fn is_waiting_for(&self, silence: Duration) -> bool {
        self.waiting_since.is_some_and(|since| since.elapsed() >= silence)
    }

    /// Nothing is there: ready with the time waited once that is too long, by `patience`. Never outside a runtime.
    pub(crate) fn poll_stalled(&mut self, cx: &mut Context<'_>, patience: impl Fn() -> Duration) -> Poll<Duration> {
        if self.timer.is_none() && !has_timer() {
            return Poll::Pending;
        }
        let now = Instant::now();
        let since = *self.waiting_since.get_or_insert(now);
        let stalls = self.stalls.min(16);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience() * 2_u32.pow(stalls))));
        loop {
            ready!(timer.as_mut().poll(cx));
            let (waited, patience) = (Instant::now().duration_since(since), patience() * 2_u32.pow(stalls));
            if waited >= patience {
                *self = Self { stalls: self.stalls + 1, ..Self::default() };
                return Poll::Ready(waited);
            }
            timer.as_mut().reset(since + patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const MS: Duration = Duration::from_millis(1);

    #[track_caller]
    fn check(ttfb_ms: u32, stream: f64, aggregate: f64, streams: usize, expected_ms: u128) {
        let ttfb = ttfb_ms * MS;
        let link =
            Link { ttfb_p50: ttfb, ttfb_p95: ttfb, stream_bytes_per_s: stream, aggregate_bytes_per_s: aggregate };
        assert_eq!(patience(&link, streams).as_millis(), expected_ms);
    }

    #[test]
    fn pauses_that_end_are_waited_for_until_one_does_not() {
        let mut pauses = BodyPauses::default();
        assert_eq!(pauses.patience(), Duration::ZERO);
        pauses.went_on(4000 * MS);
        pauses.went_on(1000 * MS);
        assert_eq!(pauses.patience(), 5000 * MS);
        pauses.was_stall();
        assert_eq!(pauses.patience(), 2500 * MS);
    }

    #[test]
    fn patience_follows_the_link() {
        check(30, 60e6, 1e9, 32, 250);
        check(100, 20e6, 200e6, 32, 400);
        check(30, 60e6, 1e6, 10, 2621);
        check(30, 1.0, 1.0, 0, 262_144_000);
    }

    async fn stalled(watch: &mut StallWatch) -> u128 {
        poll_fn(|cx| watch.poll_stalled(cx, || 250 * MS)).await.as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn only_waiting_counts_and_every_stall_doubles_the_patience() {
        let mut watch = StallWatch::default();
        assert!(futures::poll!(std::pin::pin!(stalled(&mut watch))).is_pending());
        tokio::time::sleep(200 * MS).await;
        watch.arrived();
        tokio::time::sleep(1000 * MS).await;
        assert_eq!(stalled(&mut watch).await, 250, "from the first look on");
        assert_eq!(stalled(&mut watch).await, 500);
        assert_eq!(stalled(&mut watch).await, 1000);
    }
}
