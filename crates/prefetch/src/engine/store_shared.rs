//! What all objects of one store share: the store below, the link estimate, memory, learned runs and counters.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::internal::{MeasuredLink, Origin, Refusals};
use headstart_fetch_core::{BackendProfile, Intent, LinkEstimate, MemoryBudget, ObjectChanged, ObjectVersion, PinBy};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, Result};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::engine::KnownObject;
use crate::engine::blocks::BlockPool;
use crate::engine::open_objects::OpenObjects;
use crate::engine::run_history::RunHistory;
use crate::planner::messages::PlannerInputs;
use crate::policy::memory_shares::MemoryShares;
use crate::policy::speculation::RateCap;
use crate::policy::window::{idle_after, window};
use crate::store::stats::PrefetchCounters;
use crate::trace_events;

/// Quarters of the memory budget that are divided into shares. The rest is for reads in progress and for bytes behind
/// the readers. With four quarters the last reader found no memory: ten readers of 64 MiB got shares with a Jain index
/// of 0.93, and with three quarters of 0.998.
const SHARED_QUARTERS: u64 = 3;

pub(crate) struct StoreShared {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) refusals: Refusals,
    pub(crate) link: LinkSource,
    pub(crate) budget: Arc<MemoryBudget>,
    /// Memory for what is read ahead.
    pub(crate) blocks: Arc<BlockPool>,
    pub(crate) pin: PinBy,
    /// The greatest age of bytes that a reader may take over from another reader.
    pub(crate) max_age: Duration,
    /// Whether objects never change under their names.
    pub(crate) immutable: bool,
    pub(crate) counters: PrefetchCounters,
    /// The runtime in which the store was made: requests run there when their caller has none.
    pub(crate) runtime: Option<Handle>,
    pub(crate) objects: OpenObjects,
    pub(crate) runs: RunHistory,
    pub(crate) shares: Mutex<MemoryShares>,
    /// The cap on speculation in bytes per second, and its token bucket.
    pub(crate) rate_cap: Option<(u64, Mutex<RateCap>)>,
    pub(crate) started: Instant,
    /// Engines made so far; an engine's id is its number.
    pub(crate) engines: AtomicU64,
}

/// The link estimate: that of the layer below, or our own until an answer has brought it.
#[derive(Debug)]
pub(crate) struct LinkSource {
    /// Given by the configuration, or found in an answer.
    below: OnceLock<Arc<LinkEstimate>>,
    own: Arc<LinkEstimate>,
}

impl LinkSource {
    /// The estimate `given` by the configuration, or our own until an answer has one.
    pub(crate) fn new(given: Option<Arc<LinkEstimate>>) -> Self {
        let below = given.map_or_else(OnceLock::new, OnceLock::from);
        Self { below, own: LinkEstimate::new(&BackendProfile::default()) }
    }

    pub(crate) fn estimate(&self) -> &Arc<LinkEstimate> {
        self.below.get().unwrap_or(&self.own)
    }

    /// Our own estimate, if the body of `answer` counts for it: no layer below measures the link, and none is a cache.
    pub(crate) fn to_measure(&self, answer: &GetResult) -> Option<&Arc<LinkEstimate>> {
        (self.below.get().is_none() && Origin::of(&answer.extensions).is_none()).then_some(&self.own)
    }

    /// Uses the estimate in `answer` from now on, if it is the first one.
    fn adopt(&self, answer: &GetResult) {
        if self.below.get().is_none()
            && let Some(MeasuredLink(estimate)) = answer.extensions.get()
            && self.below.set(Arc::clone(estimate)).is_ok()
        {
            trace_events::link_estimate_found();
        }
    }
}

/// Shows the inner store by its `Display`, because the `Debug` of some clients prints credentials.
impl fmt::Debug for StoreShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("StoreShared");
        shown.field("inner", &format_args!("{}", self.inner)).field("pin", &self.pin).field("max_age", &self.max_age);
        shown.field("link", &self.link.estimate().link()).field("budget", &self.budget);
        shown.field("stats", &self.counters.snapshot()).finish_non_exhaustive()
    }
}

impl StoreShared {
    /// The runtime of the caller, or the one in which the store was made.
    pub(crate) fn current_runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.clone())
    }

    /// Asks the store below, without our version pin where the store refuses it.
    async fn get_below(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.refusals.get_opts(&*self.inner, path, options).await?;
        self.link.adopt(&answer);
        Ok(answer)
    }

    /// The same for bytes of the version `known`, pinned to it by `pin`. Explains an error: the object may have
    /// changed.
    pub(crate) async fn get_known(
        &self,
        path: &Path,
        known: Option<&KnownObject>,
        pin: PinBy,
        mut options: GetOptions,
    ) -> Result<GetResult> {
        let Some(known) = known else { return self.get_below(path, options).await };
        let is_pinned = known.version.pin(pin, &mut options);
        let (version, range) = (options.version.clone(), options.range.clone());
        match self.get_below(path, options).await {
            Err(error) => {
                let mut asked = GetOptions { version, range, ..GetOptions::new() };
                asked.extensions.insert(Intent::Demand);
                let explained =
                    ObjectChanged::explain_or_ask(error, is_pinned, &*self.inner, path, &known.version, asked);
                // Boxed, because it is rare and large.
                Err(explained.boxed().await)
            }
            answer => answer,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// `instant` as the time since the store was made.
    pub(crate) fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.started)
    }

    /// The present inputs of the planner of `engine`, whose object is under `prefix`.
    pub(crate) fn planner_inputs(&self, engine: u64, prefix: &str, part_bytes: (u64, u64)) -> PlannerInputs {
        let (now, budget) = (self.now(), &self.budget);
        let free_bytes = budget.free_bytes() as u64;
        let capped = self.rate_cap.as_ref().map(|(rate, cap)| cap.lock().available_bytes(now, *rate));
        let estimate = self.link.estimate();
        let link = estimate.link();
        let total_bytes = window(&link, f64::INFINITY, part_bytes).ahead_bytes;
        PlannerInputs {
            now,
            window_share: estimate.window_share(total_bytes, idle_after(&link, part_bytes)),
            link,
            share_bytes: self.share_bytes(engine),
            free_bytes: capped.map_or(free_bytes, |capped| free_bytes.min(capped)),
            runs: self.runs.of(prefix),
        }
    }

    /// The share of `engine` in the memory, in bytes.
    pub(crate) fn share_bytes(&self, engine: u64) -> u64 {
        self.shares.lock().level(engine, self.budget.limit_bytes() as u64 / 4 * SHARED_QUARTERS)
    }

    /// Whether several answers with `version` can be proven to be of one version.
    pub(crate) fn is_provable(&self, version: &ObjectVersion) -> bool {
        self.immutable || version.has_validator()
    }

    /// Charges `bytes` of a request ahead to the rate cap.
    pub(crate) fn spend_rate(&self, bytes: u64) {
        if let Some((_, cap)) = &self.rate_cap {
            cap.lock().spend(bytes);
        }
    }
}
