//! Shared by the integration tests.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "a module of tests")]

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchStore, MemoryBudget, ObjectChanged, PinBy};
pub use headstart_sim::Altered;
use headstart_sim::{Content, FaultPlan, LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, Result};

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;
pub const KEY: &str = "folder/object";

pub fn path() -> Path {
    Path::from(KEY)
}

/// A profile that splits objects of a few KiB: parts of 4 to 16 KiB on a link of 10 ms.
pub fn tiny_parts() -> BackendProfile {
    BackendProfile {
        ttfb: Duration::from_millis(10),
        stream_bytes_per_s: 200e3,
        aggregate_bytes_per_s: 2e6,
        min_part_bytes: 4 * KIB,
        max_part_bytes: 16 * KIB,
        ..BackendProfile::default()
    }
}

/// The link that [`tiny_parts`] expects.
pub fn slow_link() -> LinkProfile {
    LinkProfile {
        name: "slow".to_owned(),
        ttfb: Duration::from_millis(10),
        setup: Duration::ZERO,
        stream_bytes_per_s: 200e3,
        nic_bytes_per_s: 2e6,
        ..LinkProfile::gcs()
    }
}

/// A bucket with one object of `size` bytes behind `link`, and a store over it.
pub struct Bench {
    pub sim: SimStore,
    pub store: FetchStore,
    pub budget: Arc<MemoryBudget>,
    pub size: u64,
}

pub struct Setup {
    pub link: LinkProfile,
    pub faults: FaultPlan,
    pub versioned: bool,
    pub seed: u64,
    pub profile: BackendProfile,
    pub concurrency: usize,
    pub retries: usize,
    pub hedge: bool,
    pub warm_connections: usize,
    pub budget_bytes: usize,
    pub size: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            link: slow_link(),
            faults: FaultPlan::default(),
            versioned: false,
            seed: 0,
            profile: tiny_parts(),
            concurrency: 4,
            retries: 10,
            hedge: true,
            warm_connections: 64,
            budget_bytes: 512 << 20,
            size: 300 * KIB,
        }
    }
}

impl Setup {
    /// The config of the store, apart from the budget.
    pub fn config(&self) -> FetchConfig {
        FetchConfig {
            concurrency: self.concurrency,
            retries: self.retries,
            hedge: self.hedge,
            jitter_seed: Some(self.seed),
            profile: Some(self.profile.clone()),
            ..FetchConfig::default()
        }
    }

    pub fn build(self) -> Bench {
        let config = self.config();
        let sim = SimStore::builder()
            .profile(self.link)
            .faults(self.faults)
            .versioned(self.versioned)
            .seed(self.seed)
            .warm_connections(self.warm_connections)
            .build();
        sim.catalog().add_synthetic(KEY, self.size);
        let budget = MemoryBudget::new(self.budget_bytes);
        let config = FetchConfig { budget: Some(Arc::clone(&budget)), ..config };
        let store = FetchStore::new(Arc::new(sim.clone()), config).expect("valid settings");
        Bench { sim, store, budget, size: self.size }
    }
}

impl Bench {
    /// Reads to the end and checks that all bytes are of the version that the answer names. Returns their
    /// number.
    pub async fn read(&self, options: GetOptions) -> Result<u64> {
        check_body(self.store.get_opts(&path(), options).await?).await
    }

    /// A store over `inner` with the same budget.
    pub fn store_over(&self, inner: impl ObjectStore) -> FetchStore {
        let budget = Some(Arc::clone(&self.budget));
        let config = FetchConfig { concurrency: 4, profile: Some(tiny_parts()), budget, ..FetchConfig::default() };
        FetchStore::new(Arc::new(inner), config).expect("valid settings")
    }

    /// Checks that no request, permit or memory is left.
    #[track_caller]
    pub fn assert_nothing_left(&self, when: &str) {
        assert_eq!(self.sim.log().counts().live, 0, "live requests {when}");
        assert_eq!(self.store.stats().in_flight, 0, "permits {when}");
        assert_eq!(self.budget.used_bytes(), 0, "reserved bytes {when}");
    }
}

/// Reads `result` to its end and checks every byte against the version it names.
pub async fn check_body(result: GetResult) -> Result<u64> {
    let generation: u64 =
        result.meta.version.as_deref().expect("the simulated store names its versions").parse().unwrap();
    let content = Content::new(result.meta.location.as_ref(), generation);
    let range = result.range.clone();
    let mut at = range.start;
    let mut body = result.into_stream();
    while let Some(bytes) = body.next().await.transpose()? {
        content.check(at, &bytes).unwrap_or_else(|wrong| panic!("byte of another version or place: {wrong:?}"));
        at += bytes.len() as u64;
    }
    assert_eq!(at, range.end, "a body that ends too early must say so");
    assert!(body.try_next().await?.is_none());
    Ok(range.end - range.start)
}

/// Lets aborted tasks end.
pub async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

pub fn is_object_changed<T>(result: &Result<T>) -> bool {
    matches!(result, Err(error) if ObjectChanged::find(error).is_some())
}

pub const ALL_PINS: [PinBy; 3] = [PinBy::ETag, PinBy::Version, PinBy::Unpinned];
