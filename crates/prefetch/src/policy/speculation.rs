//! Limits on speculation: the accounting of one object's readers, and a cap on the rate of all.
//!
//! Two limits hold at any time. For one run: the unread bytes ahead are at most ρ × the bytes that the run has read,
//! where ρ is learned ([`RunLengths`](crate::policy::run_lengths::RunLengths)). Over the lives of the readers: wasted +
//! outstanding ≤ 0.1 · demanded + 2 · window. Readers at different places have a window each, waste that went with a
//! closed reader is exempt, and bytes announced by hints do not count.

use std::time::Duration;

use crate::policy::window::to_f64;
use headstart_fetch_core::internal::byte_range::from_f64;

/// One demanded byte in this many may be wasted in the long run.
const WASTE_DIVISOR: u64 = 10;

/// The rate cap always allows one request of this size when nothing is owed: as large as most requests ahead.
const ONE_REQUEST_BYTES: u64 = 5 * 1024 * 1024;

/// The accounting of one object's readers, in bytes received from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SpeculationAccount {
    pub(crate) demanded_bytes: u64,
    /// Bytes requested ahead that no read has asked for yet.
    pub(crate) outstanding_bytes: u64,
    /// Bytes that arrived ahead and were dropped unread.
    pub(crate) wasted_bytes: u64,
    /// Of these, bytes dropped because their reader was closed; they count against no limit.
    pub(crate) exempt_bytes: u64,
}

impl SpeculationAccount {
    /// How many bytes may be unread ahead of all readers, whose windows add up to `windows_bytes`.
    pub(crate) fn outstanding_limit_bytes(&self, windows_bytes: u64) -> u64 {
        let lifetime_bytes = (self.demanded_bytes / WASTE_DIVISOR).saturating_add(windows_bytes.saturating_mul(2));
        lifetime_bytes.saturating_sub(self.wasted_bytes - self.exempt_bytes)
    }
}

/// The limits on speculation for one stream during one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpeculationLimits {
    /// Unread bytes ahead of this run; `u64::MAX` where the reader announced sequential reads.
    pub(crate) run_bytes: u64,
    /// Unread bytes ahead of all readers of the object.
    pub(crate) object_bytes: u64,
    /// Bytes that the memory budget and the rate cap allow now.
    pub(crate) free_bytes: u64,
}

impl SpeculationLimits {
    /// How many more bytes may be requested, where `run_unread_bytes` are ahead of the run and `outstanding_bytes`
    /// ahead of all readers.
    pub(crate) fn remaining_bytes(&self, run_unread_bytes: u64, outstanding_bytes: u64) -> u64 {
        let run_bytes = self.run_bytes.saturating_sub(run_unread_bytes);
        run_bytes.min(self.object_bytes.saturating_sub(outstanding_bytes)).min(self.free_bytes)
    }
}

/// A token bucket for the rate of speculation. It holds the bytes of one second.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateCap {
    /// Bytes requested that the rate has not paid for yet.
    debt_bytes: f64,
    at: Duration,
}

impl RateCap {
    /// How many bytes may be requested `now` at `bytes_per_s`.
    pub(crate) fn available_bytes(&mut self, now: Duration, bytes_per_s: u64) -> u64 {
        let rate = to_f64(bytes_per_s);
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.debt_bytes = (self.debt_bytes - elapsed * rate).max(0.0);
        // Without debt one request may go out, however low the rate.
        let least_bytes = if self.debt_bytes > 0.0 { 0 } else { ONE_REQUEST_BYTES };
        bytes_per_s.saturating_sub(from_f64(self.debt_bytes)).max(least_bytes)
    }

    pub(crate) fn spend(&mut self, bytes: u64) {
        self.debt_bytes += to_f64(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The remaining bytes of a run that may have `run_bytes` ahead and has `unread_bytes`.
    fn remaining(account: SpeculationAccount, run_bytes: u64, unread_bytes: u64, windows_bytes: u64) -> u64 {
        let object_bytes = account.outstanding_limit_bytes(windows_bytes);
        let limits = SpeculationLimits { run_bytes, object_bytes, free_bytes: u64::MAX };
        limits.remaining_bytes(unread_bytes, account.outstanding_bytes)
    }

    #[test]
    fn a_run_is_limited_by_what_it_has_read() {
        let account = SpeculationAccount { demanded_bytes: 200, ..SpeculationAccount::default() };
        assert_eq!(remaining(account, 600, 0, 10_000), 600);
        assert_eq!(remaining(account, 600, 500, 10_000), 100);
        assert_eq!(remaining(account, 600, 700, 10_000), 0);
    }

    #[test]
    fn waste_ends_speculation() {
        let account =
            SpeculationAccount { demanded_bytes: 1_000, wasted_bytes: 2_100, ..SpeculationAccount::default() };
        assert_eq!(remaining(account, 1_000, 0, 1_000), 0);
    }

    #[test]
    fn a_rate_is_kept() {
        let mut cap = RateCap::default();
        let (second, rate) = (Duration::from_secs(1), 100_000_000);
        assert_eq!(cap.available_bytes(second, rate), rate);
        cap.spend(250_000_000);
        assert_eq!(cap.available_bytes(second, rate), 0);
        assert_eq!(cap.available_bytes(3 * second, rate), 50_000_000);
        assert_eq!(cap.available_bytes(60 * second, rate), rate, "no more than the bytes of a second are saved up");
        assert_eq!(RateCap::default().available_bytes(second, 10), ONE_REQUEST_BYTES, "and no less than a request");
    }
}
