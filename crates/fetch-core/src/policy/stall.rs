//! How long a body may be silent before it counts as stalled, and which silences are usual for a store.

use std::time::Duration;

use crate::policy::link::Link;

/// The shortest stall timeout. A lost packet is no stall, and Linux waits at least 200 ms before it retransmits one
/// (`TCP_RTO_MIN`).
const MIN_STALL_TIMEOUT: Duration = Duration::from_millis(250);

/// A stall takes at least this many times the p95 of the time to the first byte: all but one answer in twenty begin
/// within a quarter of the timeout.
const TTFB_MULTIPLE: u32 = 4;

/// The stall timeout is this many times longer until the link is measured: the profile may describe another store.
const UNMEASURED_MULTIPLE: u32 = 4;

/// Bytes that may arrive in one burst, after a silence as long as the link takes to carry them.
const BURST_BYTES: f64 = 256.0 * 1024.0;

/// A longer silence is not remembered as usual: the reader may have been away, which looks the same, and HTTP clients
/// give up after this time themselves.
const LONGEST_USUAL_PAUSE: Duration = Duration::from_secs(30);

/// How long a body may be silent on `link` while `streams` bodies are open. A timeout that is too short costs a
/// request, not an error, and each stall of a body doubles its timeout.
pub(crate) fn stall_timeout(link: &Link, is_measured: bool, streams: usize) -> Duration {
    let share = link.stream_bytes_per_s.min(link.aggregate_bytes_per_s / streams.max(1) as f64);
    let burst = Duration::try_from_secs_f64(BURST_BYTES / share).unwrap_or(Duration::MAX);
    let timeout = MIN_STALL_TIMEOUT.max(link.ttfb_p95.saturating_mul(TTFB_MULTIPLE)).max(burst);
    timeout.saturating_mul(if is_measured { 1 } else { UNMEASURED_MULTIPLE })
}

/// The silences of bodies that continued by themselves. Some stores pause in every body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BodyPauses {
    longest: Duration,
}

impl BodyPauses {
    /// A body continued after a silence of `pause`, before a second request brought its bytes.
    pub(crate) fn on_continued(&mut self, pause: Duration) {
        self.longest = self.longest.max(pause.min(LONGEST_USUAL_PAUSE));
    }

    /// A second request brought the bytes first: the silence was a stall.
    pub(crate) fn on_stall(&mut self) {
        self.longest /= 2;
    }

    /// The shortest silence that counts as a stall: a quarter longer than the usual pauses of this store.
    pub(crate) fn stall_timeout(self) -> Duration {
        self.longest.saturating_add(self.longest / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[track_caller]
    fn check(ttfb_ms: u32, stream: f64, aggregate: f64, streams: usize, expected_ms: u128) {
        let link = Link::steady(ttfb_ms * MS, stream, aggregate);
        assert_eq!(stall_timeout(&link, true, streams).as_millis(), expected_ms);
        assert_eq!(stall_timeout(&link, false, streams), stall_timeout(&link, true, streams) * UNMEASURED_MULTIPLE);
    }

    #[test]
    fn usual_pauses_are_waited_for_until_one_is_a_stall() {
        let mut pauses = BodyPauses::default();
        assert_eq!(pauses.stall_timeout(), Duration::ZERO);
        pauses.on_continued(4000 * MS);
        pauses.on_continued(1000 * MS);
        assert_eq!(pauses.stall_timeout(), 5000 * MS);
        pauses.on_stall();
        assert_eq!(pauses.stall_timeout(), 2500 * MS);
    }

    #[test]
    fn the_timeout_follows_the_link() {
        check(30, 60e6, 1e9, 32, 250);
        check(100, 20e6, 200e6, 32, 400);
        check(30, 60e6, 1e6, 10, 2621);
        check(30, 1.0, 1.0, 0, 262_144_000);
    }
}
