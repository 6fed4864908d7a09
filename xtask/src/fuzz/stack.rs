//! Builds the stack of a case, and reads its counters.

use std::{sync::Arc, time::Duration};

use headstart_cache::{CacheConfig, CacheStore, DiskConfig};
use headstart_fetch_core::{BackendProfile, ConfigError, FetchConfig, FetchStore, LinkEstimate, MemoryBudget};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use object_store::ObjectStore;
use serde_json::{Value, json};

#[cfg(test)]
use super::mistake::MistakenStore;
use super::{CacheSpec, Case, Cloud, FetchSpec, Layer, PrefetchSpec};

/// The stack of a case, with access to its layers.
#[derive(Debug)]
pub(crate) struct CaseStack {
    pub(crate) top: Arc<dyn ObjectStore>,
    pub(crate) fetch: Option<FetchStore>,
    pub(crate) cache: Option<CacheStore>,
    pub(crate) prefetch: Option<PrefetchStore>,
    pub(crate) budget: Arc<MemoryBudget>,
    /// The caches with a disk tier, and its directories, which go when the case ends.
    on_disk: Vec<(CacheStore, tempfile::TempDir)>,
}

/// One seed in so many has a disk tier below each cache. Chosen by the seed, so that the other cases stay as they were.
const SEEDS_WITH_DISK: u64 = 16;

#[allow(clippy::needless_update, reason = "settings are added from time to time")]
impl CaseStack {
    /// Wraps `cloud` in the layers of `case`.
    ///
    /// # Errors
    /// If a layer rejects its settings.
    pub(crate) fn build(case: &Case, cloud: &Cloud) -> Result<Self, ConfigError> {
        let budget = MemoryBudget::new(case.budget_bytes);
        let top: Arc<dyn ObjectStore> = Arc::new(cloud.clone());
        let mut stack = Self { top, fetch: None, cache: None, prefetch: None, budget, on_disk: Vec::new() };
        for layer in &case.layers {
            let inner = Arc::clone(&stack.top);
            let link = stack.fetch.as_ref().filter(|_| case.shares_link).map(FetchStore::link);
            stack.top = match layer {
                // Off, a layer is not in the stack.
                Layer::Fetch(spec) if !spec.enabled => inner,
                Layer::Fetch(spec) => {
                    let store = FetchStore::new(inner, stack.fetch_config(case, spec))?;
                    stack.fetch = Some(store.clone());
                    Arc::new(store)
                }
                Layer::Cache(spec) => {
                    let mut config = stack.cache_config(case, spec, link);
                    let has_disk = case.seed % SEEDS_WITH_DISK == 5;
                    let directory = has_disk.then(tempfile::tempdir).and_then(Result::ok);
                    if let Some(directory) = &directory {
                        let disk = DiskConfig::new(directory.path(), "cloud");
                        config.disk = DiskConfig { bytes: 64 << 20, floor_bytes: 0, ..disk };
                    }
                    let store = CacheStore::new(inner, config)?;
                    stack.on_disk.extend(directory.map(|directory| (store.clone(), directory)));
                    stack.cache = Some(store.clone());
                    Arc::new(store)
                }
                Layer::Prefetch(spec) => {
                    let store = PrefetchStore::new(inner, stack.prefetch_config(case, spec, link))?;
                    stack.prefetch = Some(store.clone());
                    Arc::new(store)
                }
            };
        }
        #[cfg(test)]
        if let Some(mistake) = case.mistake {
            stack.top = Arc::new(MistakenStore::new(Arc::clone(&stack.top), mistake));
        }
        Ok(stack)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn fetch_config(&self, case: &Case, spec: &FetchSpec) -> FetchConfig {
        let stream_bytes_per_s = (spec.stream_bytes_per_ms * 1000) as f64;
        let profile = BackendProfile {
            ttfb: Duration::from_millis(spec.ttfb_ms),
            stream_bytes_per_s,
            aggregate_bytes_per_s: stream_bytes_per_s * 16.0,
            min_part_bytes: spec.part_bytes.0,
            max_part_bytes: spec.part_bytes.1,
            pin: case.pin,
            ..BackendProfile::default()
        };
        FetchConfig {
            concurrency: spec.concurrency,
            retries: spec.retries,
            retry_timeout: Duration::from_secs(spec.retry_timeout_s),
            hedge: spec.hedge,
            jitter_seed: Some(case.seed),
            profile: Some(profile),
            budget: Some(Arc::clone(&self.budget)),
            ..FetchConfig::default()
        }
    }

    fn cache_config(&self, case: &Case, spec: &CacheSpec, link: Option<Arc<LinkEstimate>>) -> CacheConfig {
        CacheConfig {
            memory_bytes: spec.memory_bytes,
            page_bytes: spec.page_bytes,
            edge_bytes: spec.edge_bytes,
            freshness: spec.freshness,
            pin: Some(case.pin),
            stall_timeout: Duration::from_secs(spec.stall_timeout_s),
            link,
            budget: spec.has_budget.then(|| Arc::clone(&self.budget)),
            ..CacheConfig::default()
        }
    }

    fn prefetch_config(&self, case: &Case, spec: &PrefetchSpec, link: Option<Arc<LinkEstimate>>) -> PrefetchConfig {
        PrefetchConfig {
            start_after: spec.start_after,
            max_prefetch_bytes: if spec.enabled { spec.max_prefetch_bytes } else { 0 },
            concurrency: spec.concurrency,
            max_bytes_per_s: spec.max_bytes_per_s,
            max_age: Duration::from_millis(spec.max_age_ms),
            pin: Some(case.pin),
            min_part_bytes: Some(spec.part_bytes.0),
            max_part_bytes: Some(spec.part_bytes.1),
            link,
            budget: Some(Arc::clone(&self.budget)),
            ..PrefetchConfig::default()
        }
    }

    /// Ends the disk tiers: what waits to be written is held until then.
    pub(crate) async fn close(&self) {
        for (cache, _) in &self.on_disk {
            cache.close().await;
        }
    }

    /// A counter that has wrapped below zero, with its value.
    pub(crate) fn wrapped_counter(&self) -> Option<String> {
        let fetch = self.fetch.as_ref().map(|store| json!(store.stats()));
        let cache = self.cache.as_ref().map(|store| json!(store.stats()));
        let prefetch = self.prefetch.as_ref().map(|store| json!(store.stats()));
        [("fetch", fetch), ("cache", cache), ("prefetch", prefetch)].into_iter().find_map(|(layer, stats)| {
            let wrapped = |(_, value): &(&String, &Value)| value.as_u64().is_some_and(|n| n >= 1 << 60);
            let stats = stats?;
            let (name, value) = stats.as_object()?.iter().find(wrapped)?;
            Some(format!("{layer}: {name} is {value}"))
        })
    }

    /// Bytes that the cache holds, at most its limit. A page that consists of one chunk shares the chunk's memory.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.cache.as_ref().map_or(0, |cache| {
            let kept = usize::try_from(cache.stats().held_bytes).unwrap_or(usize::MAX);
            kept.min(cache.config().memory_bytes)
        })
    }

    /// Bytes of pages that wait to be written to disk.
    pub(crate) fn queued_bytes(&self) -> usize {
        let queued = |(cache, _): &(CacheStore, _)| cache.stats().disk.map_or(0, |disk| disk.queued_bytes);
        usize::try_from(self.on_disk.iter().map(queued).sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Bytes of evicted pages that callers or fetches in flight still reference.
    pub(crate) fn lent_bytes(&self) -> usize {
        let lent = self.cache.as_ref().map_or(0, |cache| cache.stats().lent_bytes);
        usize::try_from(lent).unwrap_or(usize::MAX)
    }
}
