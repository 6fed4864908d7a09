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

/// The counters behind [`FetchStats`].
#[derive(Debug, Default)]
pub(crate) struct FetchCounters {
    demand_gets: AtomicU64,
    speculative_gets: AtomicU64,
    heads: AtomicU64,
    requested: AtomicU64,
    fetched: AtomicU64,
    delivered: AtomicU64,
    wasted: AtomicU64,
    cancels: AtomicU64,
    restarts: AtomicU64,
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    retries: AtomicU64,
}

impl FetchCounters {
    pub(crate) fn get(&self, intent: Intent) {
        let gets = match intent {
            Intent::Demand => &self.demand_gets,
            Intent::Speculative => &self.speculative_gets,
        };
        add(gets, 1);
    }

    pub(crate) fn head(&self) {
        add(&self.heads, 1);
    }

    pub(crate) fn requested(&self, bytes: u64) {
        add(&self.requested, bytes);
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        add(&self.fetched, bytes);
    }

    pub(crate) fn delivered(&self, bytes: u64) {
        add(&self.delivered, bytes);
    }

    pub(crate) fn wasted(&self, bytes: u64) {
        add(&self.wasted, bytes);
    }

    /// Moves `bytes` from delivered to wasted. They must have been counted as delivered before: the counter
    /// must not go below zero.
    pub(crate) fn reclassify_as_wasted(&self, bytes: u64) {
        self.delivered.fetch_sub(bytes, Ordering::Relaxed);
        self.wasted(bytes);
    }

    pub(crate) fn cancel(&self) {
        add(&self.cancels, 1);
    }

    pub(crate) fn restart(&self) {
        add(&self.restarts, 1);
    }

    pub(crate) fn hedge(&self) {
        add(&self.hedges, 1);
    }

    pub(crate) fn hedge_won(&self) {
        add(&self.hedges_won, 1);
    }

    pub(crate) fn retry(&self) {
        add(&self.retries, 1);
    }

    pub(crate) fn snapshot(&self, prices: &Prices) -> FetchStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = FetchStats {
            demand_gets: read(&self.demand_gets),
            speculative_gets: read(&self.speculative_gets),
            heads: read(&self.heads),
            requested_bytes: read(&self.requested),
            fetched_bytes: read(&self.fetched),
            delivered_bytes: read(&self.delivered),
            wasted_bytes: read(&self.wasted),
            cancels: read(&self.cancels),
            restarts: read(&self.restarts),
            hedges: read(&self.hedges),
            hedges_won: read(&self.hedges_won),
            retries: read(&self.retries),
            ..FetchStats::default()
        };
        stats.cost_usd = prices.cost(stats.gets() + stats.heads, stats.fetched_bytes);
        stats
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
