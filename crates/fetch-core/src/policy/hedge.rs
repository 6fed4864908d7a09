//! The hedge delay: when a late answer is requested a second time.
//!
//! "The Tail at Scale" (Dean and Barroso 2013): duplicating the few requests that are later than most cuts the tail
//! latency for a few per cent more requests. Three rules keep hedges few: a token bucket limits their share of all
//! requests; the delay grows as the bucket empties, which saves tokens for the latest answers; and hedging stops if
//! hedges are not faster.

use std::time::Duration;

use crate::policy::link::Link;

/// Tokens that each request adds to the bucket. A hedge takes one.
const SHARE: f64 = 0.05;

/// The size of the bucket.
const BURST: f64 = 10.0;

/// The shortest delay: timers tick in milliseconds, and a store this near has no tail worth a request.
const MIN_DELAY: Duration = Duration::from_millis(5);

/// Hedging stops after this many hedges in a row that were not faster. All requests are slow then, not single ones.
/// If one hedge in seven wins by chance, as beyond the 95th percentile of a lognormal time, such a row is one in a
/// hundred.
const LOSSES: u32 = 32;

/// While hedging is off, one request in this many may be hedged as a probe…
const PROBE_EVERY: u32 = 100;

/// …if it is later than this multiple of the delay. Most of these win, if any do.
const PROBE_DELAY: u32 = 4;

/// Decides which requests are hedged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hedging {
    tokens: f64,
    /// Hedges since the last one that was faster.
    losses: u32,
    /// Requests since the last hedge.
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

    /// How late an answer must be before [`Hedging::take`] is called: `max(p95, 2·p50)` with a full token
    /// bucket, growing to twice that as the bucket empties. The growth is quadratic, so a few spent tokens
    /// hardly change the delay.
    pub(crate) fn delay(&self, link: &Link) -> Duration {
        let base = link.ttfb_p95.max(link.ttfb_p50.saturating_mul(2)).max(MIN_DELAY);
        if self.is_off() {
            return base.saturating_mul(PROBE_DELAY);
        }
        base.saturating_add(base.mul_f64((1.0 - self.tokens / BURST).powi(2)))
    }

    /// Whether there is a token for a hedge: one is left, and hedging is on or a probe is due.
    pub(crate) fn has_token(&self) -> bool {
        self.tokens >= 1.0 && (!self.is_off() || self.requests >= PROBE_EVERY)
    }

    /// Takes a token for a hedge that is sent now. Returns false if there is none.
    pub(crate) fn take(&mut self) -> bool {
        if !self.has_token() {
            return false;
        }
        self.tokens -= 1.0;
        self.requests = 0;
        true
    }

    /// A hedge has ended. `won`: it was answered first.
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
        Link { ttfb_p95: p95_ms * MS, ..Link::steady(p50_ms * MS, 60e6, 1e9) }
    }

    #[test]
    fn the_delay_follows_the_link_and_the_token_bucket() {
        let mut hedging = Hedging::default();
        for (p50, p95, delay) in [(30, 30, 60), (30, 65, 65), (0, 1, 5)] {
            assert_eq!(hedging.delay(&link(p50, p95)), delay * MS);
        }
        (0..5).for_each(|_| assert!(hedging.take()));
        assert_eq!(hedging.delay(&link(30, 60)), 75 * MS, "half of the tokens are spent");
        (0..5).for_each(|_| assert!(hedging.take()));
        assert_eq!(hedging.delay(&link(30, 60)), 120 * MS, "the token bucket is empty");
    }

    /// Hedges every request for which [`Hedging`] has a token.
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
        assert_eq!(hedge_all(&mut hedging, 1001, true), 60, "five in a hundred, and a full bucket");
        hedge_all(&mut hedging, 640, false);
        assert!(hedging.is_off());
        assert_eq!(hedge_all(&mut hedging, 1000, false), 10, "one probe in a hundred requests");
        assert_eq!(hedging.delay(&link(30, 65)), 260 * MS);
        hedge_all(&mut hedging, 200, true);
        assert!(!hedging.is_off(), "a probe has won");
    }

    proptest! {
        /// Compared with a log of all events: never more hedges than tokens.
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
