//! The statistics of a `FetchStore`.

pub(crate) mod outcomes;
pub(crate) mod time_histogram;

use std::sync::atomic::{AtomicU64, Ordering};

use object_store::Result;
use serde::{Deserialize, Serialize};

use crate::error::ObjectChanged;
use crate::policy::profile::Prices;
use crate::protocol::extensions::Intent;
use outcomes::{OutcomeCounters, RequestOutcomes};
use time_histogram::{TimeHistogram, TimeRecorder};

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
    /// Reads that ended with [`crate::ObjectChanged`]; those that began anew count as `restarts`. Each request of a
    /// call for several ranges is a read.
    pub object_changes: u64,
    /// GETs that found no permit free and waited for one.
    pub permit_waits: u64,
    /// Microseconds that GETs waited for a permit until they got it, summed over GETs.
    pub permit_waited_us: u64,
    /// GETs that wait for a permit now.
    pub waiting: u64,
    /// GETs in flight now.
    pub in_flight: u64,
    /// The most GETs in flight at once; never more than `concurrency`.
    pub peak_in_flight: u64,
    /// The current limit on GETs in flight: `concurrency`, or fewer while the store throttles.
    pub limit_in_flight: u64,
    /// What the requests and bytes cost at the profile's prices, in US dollars.
    pub cost_usd: f64,
    /// How requests ended.
    pub outcomes: RequestOutcomes,
    /// Times from a GET to the first byte of its answer; for a hedged one, from the first GET. Answers of a cache below
    /// are not measured.
    pub first_byte: TimeHistogram,
    /// Times from the first byte of a body to its last, those included in which its reader was elsewhere. Bodies that
    /// were dropped or failed are not counted.
    pub body: TimeHistogram,
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
            $(pub(crate) $name: EventCounter,)+
            pub(crate) outcomes: OutcomeCounters,
            pub(crate) first_byte: TimeRecorder,
            pub(crate) body: TimeRecorder,
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
    retries,
    object_changes
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

    /// A read ends with this result.
    pub(crate) fn on_read_end<T>(&self, result: &Result<T>) {
        if result.as_ref().is_err_and(|error| ObjectChanged::find(error).is_some()) {
            self.object_changes.add(1);
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
        stats.outcomes = self.outcomes.snapshot();
        (stats.first_byte, stats.body) = (self.first_byte.snapshot(), self.body.snapshot());
        stats
    }
}
