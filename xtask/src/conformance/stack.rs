//! The stacks of the suite.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use headstart::{BackendProfile, CacheConfig, FetchConfig, Freshness, Headstart, PrefetchConfig};
use headstart_cache::CacheStore;
use headstart_fetch_core::FetchStore;
use headstart_prefetch::PrefetchStore;

use super::{Bucket, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum StackKind {
    Bare,
    /// A `FetchStore`, as the facade builds it.
    Fetch,
    Cache,
    /// A `CacheStore` that revalidates at every read.
    CacheEveryRead,
    Prefetch,
    /// All layers in the facade's order.
    All,
    /// The facade with all layers disabled.
    #[value(name = "all-off")]
    Nothing,
    /// All layers in reverse order.
    Reversed,
}

impl StackKind {
    /// Wraps `bucket`. `large` objects have 15 MiB and more.
    pub(super) async fn over(self, bucket: &Bucket, large: bool) -> Result<Store> {
        let store = Arc::clone(&bucket.store);
        let pin = bucket.profile.pin;
        let fetch = splitting(bucket, large);
        let cache = CacheConfig { pin: Some(pin), ..CacheConfig::default() };
        let prefetch = PrefetchConfig { pin: Some(pin), start_after: 1, ..PrefetchConfig::default() };
        Ok(match self {
            Self::Bare => store,
            Self::Fetch => Arc::new(bucket.headstart().option("mode", "fetch").fetch(fetch).build().await?),
            Self::Cache => Arc::new(CacheStore::new(store, cache)?),
            Self::CacheEveryRead => {
                Arc::new(CacheStore::new(store, CacheConfig { freshness: Freshness::EveryRead, ..cache })?)
            }
            Self::Prefetch => Arc::new(PrefetchStore::new(store, prefetch)?),
            Self::All => Arc::new(bucket.headstart().fetch(fetch).cache(cache).prefetch(prefetch).build().await?),
            Self::Nothing => {
                Arc::new(Headstart::builder().environment([]).store(store).option("mode", "none").build().await?)
            }
            Self::Reversed => {
                let store = Arc::new(PrefetchStore::new(store, prefetch)?);
                Arc::new(FetchStore::new(Arc::new(CacheStore::new(store, cache)?), fetch)?)
            }
        })
    }
}

/// Settings that split nearly every read: small parts, larger ones for large objects and for servers that need
/// milliseconds a request. Files are not split, as by their adapter.
pub(super) fn splitting(bucket: &Bucket, large: bool) -> FetchConfig {
    if bucket.profile == BackendProfile::local() {
        return FetchConfig { profile: Some(bucket.profile.clone()), ..FetchConfig::default() };
    }
    let part_bytes = match (bucket.is_slow, large) {
        (false, false) => 4,
        (true, false) => 1024,
        (false, true) => 256 * 1024,
        (true, true) => 4 * 1024 * 1024,
    };
    let profile = BackendProfile {
        ttfb: Duration::from_millis(1),
        stream_bytes_per_s: 1e3,
        aggregate_bytes_per_s: 1e9,
        min_part_bytes: part_bytes,
        max_part_bytes: part_bytes,
        pin: bucket.profile.pin,
        ..BackendProfile::default()
    };
    FetchConfig { profile: Some(profile), ..FetchConfig::default() }
}

display_as_argument!(StackKind);
