//! Caps the rate at which bytes are asked for ahead. Pure.

use std::time::Duration;

use crate::window::to_bytes;

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
