//! Counts of what readers of Parquet files did.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::ahead::AheadCounts;

/// What the readers of a [`ParquetFiles`](crate::ParquetFiles) have done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParquetStats {
    /// Files whose metadata was fetched.
    pub metadata_loads: u64,
    /// Reads that this took; one a file where the size of the metadata was guessed well.
    pub metadata_reads: u64,
    /// Files whose metadata was known.
    pub metadata_hits: u64,
    /// Bytes of column chunks that were asked for.
    pub demanded_bytes: u64,
    /// Bytes that were requested ahead.
    pub ahead_bytes: u64,
    /// Of those, bytes that were asked for later.
    pub used_bytes: u64,
    /// Of those, bytes that were not: their row group was pruned, or the reader ended. Fewer may have been fetched.
    pub mispredicted_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct ParquetCounters {
    metadata_loads: AtomicU64,
    metadata_reads: AtomicU64,
    metadata_hits: AtomicU64,
    demanded_bytes: AtomicU64,
    ahead_bytes: AtomicU64,
    used_bytes: AtomicU64,
    mispredicted_bytes: AtomicU64,
}

impl ParquetCounters {
    pub(crate) fn on_metadata_load(&self, reads: u64) {
        self.metadata_loads.fetch_add(1, Ordering::Relaxed);
        self.metadata_reads.fetch_add(reads, Ordering::Relaxed);
    }

    pub(crate) fn on_metadata_hit(&self) {
        self.metadata_hits.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of a reader went from `before` to `after`.
    pub(crate) fn on_ahead(&self, before: AheadCounts, after: AheadCounts) {
        let add = |counter: &AtomicU64, before: u64, after: u64| counter.fetch_add(after - before, Ordering::Relaxed);
        add(&self.demanded_bytes, before.demanded_bytes, after.demanded_bytes);
        add(&self.ahead_bytes, before.advised_bytes, after.advised_bytes);
        add(&self.used_bytes, before.used_bytes, after.used_bytes);
        add(&self.mispredicted_bytes, before.wasted_bytes, after.wasted_bytes);
    }

    pub(crate) fn snapshot(&self) -> ParquetStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ParquetStats {
            metadata_loads: load(&self.metadata_loads),
            metadata_reads: load(&self.metadata_reads),
            metadata_hits: load(&self.metadata_hits),
            demanded_bytes: load(&self.demanded_bytes),
            ahead_bytes: load(&self.ahead_bytes),
            used_bytes: load(&self.used_bytes),
            mispredicted_bytes: load(&self.mispredicted_bytes),
        }
    }
}
