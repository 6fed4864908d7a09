//! `FetchStore`: an `ObjectStore` whose reads are split, retried and hedged. Other calls are forwarded.

use std::{
    fmt,
    ops::Range,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU64},
};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{GetOptions, GetResult, ObjectStore, Result, path::Path};
use tokio::time::Instant;

use crate::config::FetchConfig;
#[cfg(feature = "download")]
use crate::download::Download;
use crate::internal::forward_object_store;
use crate::internal::sync::Mutex;
use crate::limits::{budget::MemoryBudget, permits::Permits};
use crate::options::{ConfigError, Options};
use crate::policy::concurrency::Concurrency;
use crate::protocol::extensions::Intent;
use crate::protocol::link_estimate::{LinkEstimate, MeasuredLink};
use crate::read::local_file;
use crate::request::{core::FetchCore, core::Jitter, refusals::Refusals};
use crate::stats::{FetchCounters, FetchStats};

/// The budget for parts in flight if the config does not share one.
const OWN_BUDGET_BYTES: usize = 512 * 1024 * 1024;

/// An [`ObjectStore`] that fetches each range as fast as the link allows.
///
/// Clones share everything. The [front page of the crate](crate) describes what it does and needs.
#[derive(Clone)]
pub struct FetchStore {
    core: Arc<FetchCore>,
}

impl FetchStore {
    /// Wraps `inner`.
    ///
    /// # Errors
    /// [`ConfigError`] if [`Options::check`](crate::Options::check) refuses `config`.
    pub fn new(inner: Arc<dyn ObjectStore>, config: FetchConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let profile = config.profile.clone().unwrap_or_default();
        let concurrency = Concurrency::new(config.concurrency);
        let link = config.link.clone().unwrap_or_else(|| LinkEstimate::new(&profile));
        let core = FetchCore {
            inner,
            refusals: Refusals::default(),
            budget: config.budget.clone().unwrap_or_else(|| MemoryBudget::new(OWN_BUDGET_BYTES)),
            permits: Permits::new(concurrency.limit(), link.fill(&profile)),
            link,
            counters: FetchCounters::default(),
            hedging: Mutex::default(),
            pauses: Mutex::default(),
            concurrency: Mutex::new(concurrency),
            split_reads: AtomicU64::new(0),
            jitter: Jitter::new(config.jitter_seed),
            started: Instant::now(),
            lacks_validators: AtomicBool::new(false),
            profile,
            config,
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// Downloads the object at `path` to `file`. Await the result, or set options on it before.
    ///
    /// The object is fetched like any read, in one version, written as it arrives, and checked against its
    /// CRC32C if the store or the caller names one. The file is called `NAME.headstart-part` until it is
    /// complete and synced; then it replaces `NAME`. After an error, a dropped future or a killed process, the
    /// next download of the same version to the same name resumes (with one extra request that asks whether the
    /// object has changed). A download of another version starts anew. `NAME.headstart-journal` records what
    /// has been written; delete both files to discard the download. If `NAME` is a symbolic link to a file,
    /// that file is replaced. Anything that is no regular file is refused.
    ///
    /// ```no_run
    /// # async fn example(store: headstart_fetch_core::FetchStore) -> Result<(), headstart_fetch_core::DownloadError> {
    /// let path = "data/2026.parquet".into();
    /// let got = store
    ///     .download(&path, "/tmp/2026.parquet")
    ///     .on_progress(|at| eprintln!("{} of {} bytes", at.written_bytes, at.total_bytes))
    ///     .await?;
    /// assert_eq!(got.version.size, std::fs::metadata("/tmp/2026.parquet").unwrap().len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`DownloadError`](crate::DownloadError), when awaited.
    ///
    /// # Memory
    /// Besides what a read holds, up to 8 MiB that wait to be written, charged to the budget; 1 MiB if the
    /// budget has none free.
    ///
    /// # Cancel safety
    /// Dropping the future keeps what has been written. Writes in flight on blocking threads finish by
    /// themselves; another download to the same file waits for them.
    #[cfg(feature = "download")]
    pub fn download(&self, path: &Path, file: impl AsRef<std::path::Path>) -> Download {
        Download::new(&self.core, path, file.as_ref().to_owned())
    }

    /// The estimate of the link, shared with other layers.
    #[must_use]
    pub fn link(&self) -> Arc<LinkEstimate> {
        Arc::clone(&self.core.link)
    }

    /// What this store has done so far.
    #[must_use]
    pub fn stats(&self) -> FetchStats {
        let core = &self.core;
        let mut stats = core.counters.snapshot(&core.profile.prices);
        stats.in_flight = core.permits.in_flight() as u64;
        stats.peak_in_flight = core.permits.peak() as u64;
        let (waits, waited, waiting) = core.permits.waits();
        stats.permit_waits = waits;
        stats.permit_waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        stats.waiting = waiting as u64;
        stats.limit_in_flight = core.concurrency.lock().limit() as u64;
        stats
    }
}

impl fmt::Display for FetchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FetchStore({})", self.core.inner)
    }
}

/// Shows the inner store by its `Display`: the `Debug` of some clients prints credentials.
impl fmt::Debug for FetchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FetchStore");
        shown.field("inner", &format_args!("{}", self.core.inner));
        shown.field("config", &self.core.config).field("stats", &self.stats()).finish()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FetchStore {
    forward_object_store!(self => self.core.inner; writes, lists);

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let asks_for_link = options.extensions.get::<Intent>().is_some();
        let mut answer = local_file::in_large_steps(self.core.read(location, options).await?);
        if asks_for_link {
            answer.extensions.insert(MeasuredLink(self.link()));
        }
        Ok(answer)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.core.read_ranges(location, ranges).await
    }
}
