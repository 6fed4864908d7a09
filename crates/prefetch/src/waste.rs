//! What speculation may cost: a ledger of bytes read, bytes bet on and bytes lost. Pure.
//!
//! Two bounds hold at any time. Of one run: what is fetched ahead and unread is at most ρ × what the run has read, where ρ is learned
//! (`learned.rs`). Over the readers' lives: wasted + outstanding ≤ 0.1 · demanded + 2 · window, where readers at different places
//! have each their window, what went with a reader is forgiven, and what hints have announced does not count.

/// One demanded byte in this many may be wasted in the long run.
const LIFETIME_SHARE: u64 = 10;

/// The books of one object's readers, in bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ledger {
    /// Bytes they asked for.
    pub(crate) demanded: u64,
    /// Bytes asked for ahead of them that nobody has read yet.
    pub(crate) outstanding: u64,
    /// Bytes fetched ahead and dropped unread.
    pub(crate) wasted: u64,
    /// Of these, what was dropped with the reader it was for.
    pub(crate) forgiven: u64,
}

impl Ledger {
    /// How many more bytes may be asked for ahead of a run that is worth a bet of `bet_bytes` and has `run_outstanding` unread ahead.
    ///
    /// Of what is outstanding, `announced_bytes` are no bets.
    #[must_use]
    pub(crate) fn allowance(
        &self,
        bet_bytes: u64,
        run_outstanding: u64,
        window_bytes: u64,
        announced_bytes: u64,
    ) -> u64 {
        let bets = self.outstanding.saturating_sub(announced_bytes);
        bet_bytes.saturating_sub(run_outstanding).min(self.most(window_bytes).saturating_sub(bets))
    }

    /// How many bytes may be unread ahead of all readers, whatever their runs are worth.
    #[must_use]
    pub(crate) fn most(&self, window_bytes: u64) -> u64 {
        let of_life = (self.demanded / LIFETIME_SHARE).saturating_add(window_bytes.saturating_mul(2));
        of_life.saturating_sub(self.wasted - self.forgiven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_pays_for_its_own_read_ahead() {
        let ledger = Ledger { demanded: 200, outstanding: 0, wasted: 0, forgiven: 0 };
        assert_eq!(ledger.allowance(600, 0, 10_000, 0), 600);
        assert_eq!(ledger.allowance(600, 500, 10_000, 0), 100);
        assert_eq!(ledger.allowance(600, 700, 10_000, 0), 0);
    }

    #[test]
    fn losses_end_speculation() {
        let ledger = Ledger { demanded: 1_000, outstanding: 0, wasted: 2_100, forgiven: 0 };
        assert_eq!(ledger.allowance(1_000, 0, 1_000, 0), 0);
    }
}
