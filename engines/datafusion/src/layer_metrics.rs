//! What the layers of a store did for a scan, as metrics of the scan.

use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricCategory, MetricType, Time,
};
use headstart_parquet::ParquetFiles;

/// The names of the counts; all but the first are bytes.
const NAMES: [&str; 6] = [
    "headstart_gets",
    "headstart_fetched_bytes",
    "headstart_wasted_bytes",
    "headstart_hit_bytes",
    "headstart_ahead_bytes",
    "headstart_mispredicted_bytes",
];

/// Counts of a store since it was opened, in the order of [`NAMES`].
type LayerCounts = [u64; NAMES.len()];

fn counts_of(files: &ParquetFiles) -> LayerCounts {
    let (parquet, stats) = (files.stats(), files.store().stats());
    let prefetch = stats.prefetch;
    let (gets, fetched_bytes, discarded_bytes) = match &stats.fetch {
        Some(fetch) => (fetch.gets(), fetch.fetched_bytes, fetch.wasted_bytes),
        // Without the fetch layer, read-ahead sends the requests.
        None => (prefetch.demand_requests + prefetch.speculative_requests, prefetch.fetched_bytes, 0),
    };
    let hit_bytes = stats.cache.map_or(0, |cache| cache.hit_bytes);
    let wasted_bytes = discarded_bytes + prefetch.wasted_bytes;
    [gets, fetched_bytes, wasted_bytes, hit_bytes, parquet.ahead_bytes, parquet.mispredicted_bytes]
}

/// Divides what a store does between the scans that read from it.
#[derive(Debug, Default)]
pub(crate) struct StoreMetrics {
    state: Mutex<Attributed>,
}

#[derive(Debug, Default)]
struct Attributed {
    /// What has been counted for scans, and what happened while there were none.
    counts: LayerCounts,
    /// Scans that read at the moment.
    readers: usize,
}

impl StoreMetrics {
    fn begin(&self, files: &ParquetFiles) {
        let mut state = self.lock();
        if state.readers == 0 {
            state.counts = counts_of(files);
        }
        state.readers += 1;
    }

    fn end(&self) {
        self.lock().readers -= 1;
    }

    /// What happened since the last call, for any scan.
    fn take(&self, files: &ParquetFiles) -> LayerCounts {
        let mut state = self.lock();
        let now = counts_of(files);
        let before = std::mem::replace(&mut state.counts, now);
        std::array::from_fn(|nth| now[nth].saturating_sub(before[nth]))
    }

    /// Each change is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, Attributed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics of one reader of a scan.
pub(crate) struct ReaderMetrics {
    counts: [Count; NAMES.len()],
    /// Time that reads waited.
    pub(crate) wait_time: Time,
}

impl ReaderMetrics {
    /// Metrics in `metrics`, of a reader that begins to read.
    pub(crate) fn begin(
        store: &StoreMetrics,
        files: &ParquetFiles,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Self {
        store.begin(files);
        let builder = || MetricBuilder::new(metrics).with_type(MetricType::Summary);
        let mut categories = [MetricCategory::Bytes; NAMES.len()];
        categories[0] = MetricCategory::Uncategorized;
        let count = |nth: usize| builder().with_category(categories[nth]).counter(NAMES[nth], partition);
        Self { counts: std::array::from_fn(count), wait_time: builder().subset_time("headstart_wait_time", partition) }
    }

    /// Counts what the store did since the last call for any of its scans.
    pub(crate) fn record(&self, store: &StoreMetrics, files: &ParquetFiles) {
        for (count, more) in self.counts.iter().zip(store.take(files)) {
            count.add(usize::try_from(more).unwrap_or(usize::MAX));
        }
    }

    /// The reader has ended.
    pub(crate) fn end(&self, store: &StoreMetrics, files: &ParquetFiles) {
        self.record(store, files);
        store.end();
    }
}
