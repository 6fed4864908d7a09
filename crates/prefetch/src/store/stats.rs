//! What read-ahead has done and what it has cost, counted over all objects of a store.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::planner::streams::StreamShape;

/// A snapshot of what a [`crate::PrefetchStore`] has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PrefetchStats {
    /// Reads answered, or passed through.
    pub reads: u64,
    /// Bytes those reads asked for; of a whole object, its size.
    pub demanded_bytes: u64,
    /// Of these, bytes that were held or in flight before they were asked for.
    pub ahead_bytes: u64,
    /// Bytes that arrived from the store below.
    pub fetched_bytes: u64,
    /// Bytes fetched ahead and dropped unread.
    pub wasted_bytes: u64,
    /// Requests sent for a waiting read.
    pub demand_requests: u64,
    /// Requests sent ahead.
    pub speculative_requests: u64,
    /// Requests aborted before their last byte.
    pub cancels: u64,
    /// Requests that failed because the object had changed.
    pub object_changes: u64,
    /// Requests ahead that were not sent because memory was short.
    pub budget_waits: u64,
    /// Microseconds that reads waited for bytes, summed over reads.
    pub waited_us: u64,
    /// Bytes requested ahead, in flight or held, that no read has asked for yet.
    pub outstanding_bytes: u64,
    /// The window of the latest read of a stream, in bytes.
    pub window_bytes: u64,
    /// The same window without the limits of memory and settings.
    pub window_wanted_bytes: u64,
    /// Forward streams found.
    pub streams_forward: u64,
    /// Backward streams found.
    pub streams_backward: u64,
    /// Strided streams found.
    pub streams_strided: u64,
}

/// Declares the counters of all figures that are published as they are.
macro_rules! counters {
    ($($figure:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct PrefetchCounters {
            $(pub(crate) $figure: AtomicU64,)+
            pub(crate) waited_ns: AtomicU64,
        }

        impl PrefetchCounters {
            pub(crate) fn snapshot(&self) -> PrefetchStats {
                let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
                PrefetchStats { $($figure: get(&self.$figure),)+ waited_us: get(&self.waited_ns) / 1000 }
            }
        }
    };
}

counters!(
    reads,
    demanded_bytes,
    ahead_bytes,
    fetched_bytes,
    wasted_bytes,
    demand_requests,
    speculative_requests,
    cancels,
    object_changes,
    budget_waits,
    outstanding_bytes,
    window_bytes,
    window_wanted_bytes,
    streams_forward,
    streams_backward,
    streams_strided,
);

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl PrefetchCounters {
    /// A read was passed through, and is answered with this range.
    pub(crate) fn passed(&self, range: &Range<u64>) {
        add(&self.reads, 1);
        add(&self.demanded_bytes, range.end - range.start);
    }

    /// A stream was found, or changed its shape.
    pub(crate) fn found(&self, shape: StreamShape) {
        let counter = match shape {
            StreamShape::Forward => &self.streams_forward,
            StreamShape::Backward => &self.streams_backward,
            StreamShape::Strided { .. } => &self.streams_strided,
        };
        add(counter, 1);
    }
}
