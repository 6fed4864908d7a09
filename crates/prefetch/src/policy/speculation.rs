//! What speculation may cost: a ledger of bytes read, bytes bet on and bytes lost. Pure.
//!
//! Two bounds hold at any time. Of one run: what is fetched ahead and unread is at most ρ × what the run has read, where ρ is learned
//! (`learned.rs`). Over the readers' lives: wasted + outstanding ≤ 0.1 · demanded + 2 · window, where readers at different places
//! have each their window, what went with a reader is forgiven, and what hints have announced does not count.

use std::time::Duration;

use crate::policy::window::to_bytes;

/// One demanded byte in this many may be wasted in the long run.
const LIFETIME_SHARE: u64 = 10;

/// The books of one object's readers, in bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SpeculationAccount {
    /// Bytes they asked for.
    pub(crate) demanded: u64,
    /// Bytes asked for ahead of them that nobody has read yet.
    pub(crate) outstanding: u64,
    /// Bytes fetched ahead and dropped unread.
    pub(crate) wasted: u64,
    /// Of these, what was dropped with the reader it was for.
    pub(crate) forgiven: u64,
}

impl SpeculationAccount {
    /// How many more bytes may be asked for ahead of a run that is worth a bet of `speculation_limit_bytes` and has `run_outstanding` unread ahead.
    ///
    /// Of what is outstanding, `announced_bytes` are no bets.
    #[must_use]
    pub(crate) fn allowance(
        &self,
        speculation_limit_bytes: u64,
        run_outstanding: u64,
        window_bytes: u64,
        announced_bytes: u64,
    ) -> u64 {
        let bets = self.outstanding.saturating_sub(announced_bytes);
        speculation_limit_bytes.saturating_sub(run_outstanding).min(self.most(window_bytes).saturating_sub(bets))
    }

    /// How many bytes may be unread ahead of all readers, whatever their runs are worth.
    #[must_use]
    pub(crate) fn most(&self, window_bytes: u64) -> u64 {
        let of_life = (self.demanded / LIFETIME_SHARE).saturating_add(window_bytes.saturating_mul(2));
        of_life.saturating_sub(self.wasted - self.forgiven)
    }
}

/// As much as a request ahead usually asks for at most.
const ONE_REQUEST: u64 = 5 * 1024 * 1024;

/// A cap on the rate of speculation, as a bucket of tokens that holds a second's worth.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateCap {
    /// Bytes spent that the rate has not made good yet.
    debt_bytes: f64,
    at: Duration,
}

impl RateCap {
    /// How many bytes may be asked for `now` at `bytes_per_s`.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(crate) fn available(&mut self, now: Duration, bytes_per_s: u64) -> u64 {
        let rate = bytes_per_s as f64;
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.debt_bytes = (self.debt_bytes - elapsed * rate).max(0.0);
        // Whoever is out of debt may send one request, however low the rate.
        let least = if self.debt_bytes > 0.0 { 0 } else { ONE_REQUEST };
        bytes_per_s.saturating_sub(to_bytes(self.debt_bytes)).max(least)
    }

    /// `bytes` were asked for.
    #[expect(clippy::cast_precision_loss, reason = "a sum")]
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.debt_bytes += bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_pays_for_its_own_read_ahead() {
        let ledger = SpeculationAccount { demanded: 200, outstanding: 0, wasted: 0, forgiven: 0 };
        assert_eq!(ledger.allowance(600, 0, 10_000, 0), 600);
        assert_eq!(ledger.allowance(600, 500, 10_000, 0), 100);
        assert_eq!(ledger.allowance(600, 700, 10_000, 0), 0);
    }

    #[test]
    fn losses_end_speculation() {
        let ledger = SpeculationAccount { demanded: 1_000, outstanding: 0, wasted: 2_100, forgiven: 0 };
        assert_eq!(ledger.allowance(1_000, 0, 1_000, 0), 0);
    }

    #[test]
    fn a_rate_is_kept() {
        let mut cap = RateCap::default();
        let (second, rate) = (Duration::from_secs(1), 100_000_000);
        assert_eq!(cap.available(second, rate), rate);
        cap.spend(250_000_000);
        assert_eq!(cap.available(second, rate), 0);
        assert_eq!(cap.available(3 * second, rate), 50_000_000);
        assert_eq!(cap.available(60 * second, rate), rate, "no more than a second's worth is saved up");
        assert_eq!(RateCap::default().available(second, 10), ONE_REQUEST, "and no less than a request");
    }
}
