//! The layers of a stack that are exported, and a snapshot of their figures.

use std::sync::Arc;

use headstart_cache::{CacheStats, CacheStore, DiskState, DiskStats};
use headstart_fetch_core::{FetchStats, FetchStore, Link, MemoryBudget};
use headstart_prefetch::{PrefetchStats, PrefetchStore};

/// The layers of one stack. A layer that is `None` is not exported.
///
/// Holds the layers as a clone of the stack does: their memory is freed after the exporter is dropped.
#[derive(Debug, Clone, Default)]
pub struct ExportedLayers {
    /// Requests and bytes on the wire, and the estimate of the link.
    pub fetch: Option<FetchStore>,
    /// The cache.
    pub cache: Option<CacheStore>,
    /// Read-ahead.
    pub prefetch: Option<PrefetchStore>,
    /// Memory for bytes in flight and ahead of readers.
    pub budget: Option<Arc<MemoryBudget>>,
}

/// What the layers have counted, at one moment.
#[derive(Debug, Default)]
pub(crate) struct LayerFigures {
    pub(crate) fetch: Option<FetchStats>,
    pub(crate) link: Option<Link>,
    pub(crate) cache: Option<CacheStats>,
    pub(crate) prefetch: Option<PrefetchStats>,
    pub(crate) budget: Option<BudgetFigures>,
}

/// Bytes of a memory budget.
#[derive(Debug)]
pub(crate) struct BudgetFigures {
    pub(crate) limit_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) peak_bytes: u64,
}

impl ExportedLayers {
    /// The figures as they are now.
    pub(crate) fn figures(&self) -> LayerFigures {
        LayerFigures {
            fetch: self.fetch.as_ref().map(FetchStore::stats),
            link: self.fetch.as_ref().map(|fetch| fetch.link().link()),
            cache: self.cache.as_ref().map(CacheStore::stats),
            prefetch: self.prefetch.as_ref().map(PrefetchStore::stats),
            budget: self.budget.as_ref().map(|budget| BudgetFigures {
                limit_bytes: budget.limit_bytes() as u64,
                used_bytes: budget.used_bytes() as u64,
                peak_bytes: budget.peak_bytes() as u64,
            }),
        }
    }
}

impl LayerFigures {
    /// The disk tier of the cache.
    pub(crate) fn disk(&self) -> Option<&DiskStats> {
        self.cache.as_ref()?.disk.as_ref()
    }

    /// How well the disk works: 0 normal, 1 unstable, 2 down.
    pub(crate) fn disk_state(&self) -> Option<f64> {
        self.disk().map(|disk| match disk.state {
            DiskState::Normal => 0.0,
            DiskState::Unstable => 1.0,
            _ => 2.0,
        })
    }
}
