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
    /// Bytes that arrived and were discarded: the read was dropped or failed, or they lie between merged ranges.
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
    /// The current limit on GETs in flight: `concurrency`, or fewer while the store throttles.
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

/// Declares [`FetchCounters`], and copies them to the fields of [`FetchStats`] with the same names.
macro_rules! fetch_counters {
    ($($name:ident),+) => {
        /// The counters behind [`FetchStats`].
        #[derive(Debug, Default)]
        pub(crate) struct FetchCounters {
            $(pub(crate) $name: EventCounter),+
        }

        impl FetchCounters {
            fn counted(&self) -> FetchStats {
                FetchStats { $($name: self.$name.count(),)+ ..FetchStats::default() }
            }
        }
    };
}

fetch_counters!(
    demand_gets,
    speculative_gets,
    heads,
    requested_bytes,
    fetched_bytes,
    delivered_bytes,
    wasted_bytes,
    cancels,
    restarts,
    hedges,
    hedges_won,
    retries
);

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
        let mut stats = self.counted();
        stats.cost_usd = prices.cost(stats.gets() + stats.heads, stats.fetched_bytes);
        stats
    }
}
