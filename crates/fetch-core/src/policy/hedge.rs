//! When a late answer is asked for a second time. Pure.
//!
//! "The Tail at Scale" (Dean and Barroso 2013): a duplicate of the few requests that are later than most cuts the tail for a few
//! per cent more requests. Three things keep them few: a share of all requests that duplicates may be; a delay that grows as
//! that share is used up, so that what is left goes to those who are latest; and the end of all hedging where duplicates are no faster.

use std::time::Duration;

use crate::policy::link::Link;

/// Duplicates a request earns.
const SHARE: f64 = 0.05;

/// Duplicates that may be saved up.
const BURST: f64 = 10.0;

/// No duplicate sooner than this: timers tick in milliseconds, and what is that near has no tail worth a request.
const LEAST_DELAY: Duration = Duration::from_millis(5);

/// So many duplicates in a row that were no faster end hedging: slowness is no accident of single requests then. Where every
/// seventh wins by accident, as beyond the 95th percentile of a lognormal time, a row like that is one in a hundred.
const LOSSES: u32 = 32;

/// While hedging is off, one request in so many may be duplicated, to see whether it helps again…
const PROBE_EVERY: u32 = 100;

/// …once it is later than the delay times this: of those most win, if any do.
const PROBE_DELAY: u32 = 4;

/// Decides which requests are hedged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hedging {
    tokens: f64,
    /// Duplicates since the last one that was faster.
    losses: u32,
    /// Requests since the last duplicate.
    requests: u32,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { tokens: BURST, losses: 0, requests: 0 }
    }
}

impl Hedging {
    /// A request is sent.
    pub(crate) fn on_request(&mut self) {
        self.tokens = (self.tokens + SHARE).min(BURST);
        self.requests = self.requests.saturating_add(1);
    }

    /// How late an answer must be before [`Hedging::take`] is worth asking. With a full purse it is `max(p95, 2·p50)`, with an empty one twice that.
    /// A purse that is hardly touched hardly counts.
    pub(crate) fn delay(&self, link: &Link) -> Duration {
        let base = link.ttfb_p95.max(link.ttfb_p50.saturating_mul(2)).max(LEAST_DELAY);
        if self.is_off() {
            return base.saturating_mul(PROBE_DELAY);
        }
        base.saturating_add(base.mul_f64((1.0 - self.tokens / BURST).powi(2)))
    }

    /// Whether an answer that is late by now is asked for once more.
    pub(crate) fn take(&mut self) -> bool {
        if self.tokens < 1.0 || (self.is_off() && self.requests < PROBE_EVERY) {
            return false;
        }
        self.tokens -= 1.0;
        self.requests = 0;
        true
    }

    /// A duplicate has ended: it was answered first, or not.
    pub(crate) fn on_outcome(&mut self, won: bool) {
        self.losses = if won { 0 } else { self.losses.saturating_add(1) };
    }

    fn is_off(&self) -> bool {
        self.losses >= LOSSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(p50_ms: u32, p95_ms: u32) -> Link {
        Link { ttfb_p50: p50_ms * MS, ttfb_p95: p95_ms * MS, stream_bytes_per_s: 60e6, aggregate_bytes_per_s: 1e9 }
    }

    #[test]
    fn the_delay_follows_the_link_and_the_purse() {
        let mut hedging = Hedging::default();
        for (p50, p95, delay) in [(30, 30, 60), (30, 65, 65), (0, 1, 5)] {
            assert_eq!(hedging.delay(&link(p50, p95)), delay * MS);
        }
        (0..5).for_each(|_| assert!(hedging.take()));
        assert_eq!(hedging.delay(&link(30, 60)), 75 * MS, "half the purse is spent");
        (0..5).for_each(|_| assert!(hedging.take()));
        assert_eq!(hedging.delay(&link(30, 60)), 120 * MS, "all of it is spent");
    }

    /// Hedges every request that is as late as [`Hedging`] wants it to be.
    fn hedge_all(hedging: &mut Hedging, requests: u32, won: bool) -> u32 {
        let mut hedges = 0;
        for _ in 0..requests {
            hedging.on_request();
            if hedging.take() {
                hedges += 1;
                hedging.on_outcome(won);
            }
        }
        hedges
    }

    #[test]
    fn off_when_hedges_stop_winning_and_on_when_a_probe_wins() {
        let mut hedging = Hedging::default();
        assert_eq!(hedge_all(&mut hedging, 1001, true), 60, "five in a hundred and what was saved up");
        hedge_all(&mut hedging, 640, false);
        assert!(hedging.is_off());
        assert_eq!(hedge_all(&mut hedging, 1000, false), 10, "one probe in a hundred requests");
        assert_eq!(hedging.delay(&link(30, 65)), 260 * MS);
        hedge_all(&mut hedging, 200, true);
        assert!(!hedging.is_off(), "a probe has won");
    }

    proptest! {
        /// Against a list of everything that happened: never more than the share and what was saved up; none without a token.
        #[test]
        fn never_more_than_the_share(events in prop::collection::vec((0_u8..3, any::<bool>()), 1..600)) {
            let mut hedging = Hedging::default();
            let (mut tokens, mut losses, mut since) = (10.0_f64, 0_u32, 0_u32);
            let (mut requests, mut hedges) = (0, 0);
            for (kind, won) in events {
                if kind < 2 {
                    requests += 1;
                    since += 1;
                    tokens = (tokens + 0.05).min(10.0);
                    hedging.on_request();
                    let delay = hedging.delay(&link(30, 65));
                    prop_assert!(delay >= 65 * MS && delay <= 260 * MS);
                } else {
                    let expected = tokens >= 1.0 && (losses < 32 || since >= 100);
                    prop_assert_eq!(hedging.take(), expected);
                    if expected {
                        tokens -= 1.0;
                        hedges += 1;
                        since = 0;
                        losses = if won { 0 } else { losses + 1 };
                        hedging.on_outcome(won);
                    }
                }
                prop_assert!(f64::from(hedges) <= 10.0 + 0.05 * f64::from(requests) + 1e-6);
            }
        }
    }
}
