//! What all objects of one store share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headstart_fetch_core::{LinkEstimate, MemoryBudget, ObjectVersion, PinBy, Refusals};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::engine::open_objects::OpenObjects;
use crate::engine::run_history::RunHistory;
use crate::planner::messages::PlannerInputs;
use crate::policy::memory_shares::MemoryShares;
use crate::policy::speculation::RateCap;
use crate::store::stats::PrefetchCounters;

/// Quarters of the budget that are divided into shares: the rest is for what is being read just now, and behind the readers. Were all of
/// it divided, whoever comes last would find nothing: ten readers of 64 MiB had shares of 0.93 by Jain's index then, and have 0.998 now.
const SHARED_QUARTERS: u64 = 3;

/// What all objects of one store share.
pub(crate) struct StoreShared {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) refusals: Refusals,
    pub(crate) link: Arc<LinkEstimate>,
    /// Whether `link` is ours to feed: nobody below measures.
    pub(crate) measures: bool,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) pin: PinBy,
    /// How old bytes may be that one reader gets of another one's requests.
    pub(crate) max_age: Duration,
    /// Whether objects never change under their names.
    pub(crate) immutable: bool,
    pub(crate) counters: PrefetchCounters,
    /// The runtime the store was made in: requests run there when a caller has none of its own.
    pub(crate) runtime: Option<Handle>,
    pub(crate) objects: OpenObjects,
    pub(crate) runs: RunHistory,
    pub(crate) shares: Mutex<MemoryShares>,
    /// The cap on speculation in bytes per second, and what has been spent of it.
    pub(crate) rate_cap: Option<(u64, Mutex<RateCap>)>,
    pub(crate) started: Instant,
    pub(crate) engines: AtomicU64,
}

/// The inner store shows by its `Display`: the `Debug` of some clients prints credentials.
impl fmt::Debug for StoreShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("StoreShared");
        shown.field("inner", &format_args!("{}", self.inner)).field("pin", &self.pin).field("max_age", &self.max_age);
        shown.field("link", &self.link.link()).field("budget", &self.budget).field("stats", &self.counters.snapshot());
        shown.finish_non_exhaustive()
    }
}

impl StoreShared {
    /// The caller's runtime, or the one the store was made in.
    pub(crate) fn current_runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.clone())
    }

    /// Asks the store below, without the pin of ours where that is refused.
    pub(crate) async fn get(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.refusals.get_opts(&*self.inner, path, options).await
    }

    /// Time since the store was made.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time that `instant` is on the same clock.
    pub(crate) fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.started)
    }

    /// A name for an engine.
    pub(crate) fn engine_id(&self) -> u64 {
        self.engines.fetch_add(1, Ordering::Relaxed)
    }

    /// What the planner of `engine`, whose object is under `prefix`, has to reckon with now.
    pub(crate) fn planner_inputs(&self, engine: u64, prefix: &str) -> PlannerInputs {
        let budget = &self.budget;
        let free = budget.free_bytes() as u64;
        let capped = self.rate_cap.as_ref().map(|(rate, cap)| cap.lock().available(self.now(), *rate));
        PlannerInputs {
            link: self.link.link(),
            share_bytes: self.shares.lock().level(engine, budget.limit_bytes() as u64 / 4 * SHARED_QUARTERS),
            free_bytes: capped.map_or(free, |capped| free.min(capped)),
            runs: self.runs.of(prefix),
        }
    }

    /// Whether answers of `version` to several requests can be put together.
    pub(crate) fn is_provable(&self, version: &ObjectVersion) -> bool {
        self.immutable || version.has_validator()
    }

    /// `bytes` are asked for ahead.
    pub(crate) fn spend(&self, bytes: u64) {
        if let Some((_, cap)) = &self.rate_cap {
            cap.lock().spend(bytes);
        }
    }
}
