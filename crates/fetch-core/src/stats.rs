//! The statistics of a `FetchStore`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::policy::profile::Prices;
use crate::protocol::extensions::Intent;

/// What a [`crate::FetchStore`] has done so far. Writes and lists are forwarded uncounted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FetchStats {
    /// GETs sent for bytes that a reader waits for.
    pub demand_gets: u64,
    /// GETs sent for bytes that no reader waits for yet.
    pub speculative_gets: u64,
    /// HEADs sent.
    pub heads: u64,
    /// Bytes promised by the answers to all GETs.
    pub requested_bytes: u64,
    /// Bytes that arrived.
    pub fetched_bytes: u64,
    /// Bytes handed to callers.
    pub delivered_bytes: u64,
    /// Bytes that arrived and were discarded: the read was dropped or failed, or they lie between merged
    /// ranges.
    pub wasted_bytes: u64,
    /// GETs cancelled before their end.
    pub cancels: u64,
    /// Reads begun anew because the object changed before the first answer was handed on.
    pub restarts: u64,
    /// Hedges: second GETs sent because the first answer was late.
    pub hedges: u64,
    /// Hedges that were answered first.
    pub hedges_won: u64,
    /// Requests sent again after a failure, and bodies resumed.
    pub retries: u64,
    /// GETs in flight now.
    pub in_flight: u64,
    /// The most GETs in flight at once; never more than `concurrency`.
    pub peak_in_flight: u64,
    /// The current limit on GETs in flight: `concurrency`, or fewer while the store throttles or more GETs
    /// bring no more bandwidth.
    pub limit_in_flight: u64,
    /// What the requests and bytes cost at the profile's prices, in US dollars.
    pub cost_usd: f64,
}

impl FetchStats {
    /// All GETs sent.
    #[must_use]
    pub fn gets(&self) -> u64 {
        self.demand_gets + self.speculative_gets
    }
}

/// The counters behind [`FetchStats`], under the same names.
#[derive(Debug, Default)]
pub(crate) struct FetchCounters {
    demand_gets: EventCounter,
    speculative_gets: EventCounter,
    pub(crate) heads: EventCounter,
    pub(crate) requested_bytes: EventCounter,
    pub(crate) fetched_bytes: EventCounter,
    pub(crate) delivered_bytes: EventCounter,
    pub(crate) wasted_bytes: EventCounter,
    pub(crate) cancels: EventCounter,
    pub(crate) restarts: EventCounter,
    pub(crate) hedges: EventCounter,
    pub(crate) hedges_won: EventCounter,
    pub(crate) retries: EventCounter,
}

/// A number that many tasks increase.
#[derive(Debug, Default)]
pub(crate) struct EventCounter(AtomicU64);

impl EventCounter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl FetchCounters {
    /// The GETs sent with `intent`.
    pub(crate) fn gets(&self, intent: Intent) -> &EventCounter {
        match intent {
            Intent::Demand => &self.demand_gets,
            Intent::Speculative => &self.speculative_gets,
        }
    }

    /// Moves `bytes` from delivered to wasted. They must have been counted as delivered before: the counter must not go
    /// below zero.
    pub(crate) fn reclassify_as_wasted(&self, bytes: u64) {
        self.delivered_bytes.0.fetch_sub(bytes, Ordering::Relaxed);
        self.wasted_bytes.add(bytes);
    }

    pub(crate) fn snapshot(&self, prices: &Prices) -> FetchStats {
        let mut stats = FetchStats {
            demand_gets: self.demand_gets.count(),
            speculative_gets: self.speculative_gets.count(),
            heads: self.heads.count(),
            requested_bytes: self.requested_bytes.count(),
            fetched_bytes: self.fetched_bytes.count(),
            delivered_bytes: self.delivered_bytes.count(),
            wasted_bytes: self.wasted_bytes.count(),
            cancels: self.cancels.count(),
            restarts: self.restarts.count(),
            hedges: self.hedges.count(),
            hedges_won: self.hedges_won.count(),
            retries: self.retries.count(),
            ..FetchStats::default()
        };
        stats.cost_usd = prices.cost(stats.gets() + stats.heads, stats.fetched_bytes);
        stats
    }
}
