//! `FetchStore`: reads through the engine, everything else forwarded.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::FetchConfig;
use crate::download::Download;
use crate::limits::budget::MemoryBudget;
use crate::limits::permits::Permits;
use crate::options::{ConfigError, Options};
use crate::policy::concurrency::Concurrency;
use crate::protocol::extensions::Intent;
use crate::protocol::link_estimate::{LinkEstimate, MeasuredLink};
use crate::read::local_file;
use crate::request::FetchCore;
use crate::request::jitter::Jitter;
use crate::request::refusals::Refusals;
use crate::stats::{FetchCounters, FetchStats};

/// The memory for parts in flight where the config shares none.
const OWN_BUDGET_BYTES: usize = 512 * 1024 * 1024;

/// An [`ObjectStore`] that fetches each range as well as the link allows.
///
/// Clones share everything. See the [crate's page](crate) for what it does and what it needs.
#[derive(Clone)]
pub struct FetchStore {
    core: Arc<FetchCore>,
}

impl FetchStore {
    /// Reads from `inner` with settings known to be good.
    ///
    /// # Panics
    /// Where [`FetchStore::try_new`] would return an error; [`FetchConfig::default`] and whatever
    /// [`Options::set`](crate::Options::set) lets through never do.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, config: FetchConfig) -> Self {
        Self::try_new(inner, config).expect("the config makes no sense; `FetchStore::try_new` returns this as an error")
    }

    /// Reads from `inner`.
    ///
    /// # Errors
    /// [`ConfigError`] where [`Options::check`](crate::Options::check) refuses `config`.
    pub fn try_new(inner: Arc<dyn ObjectStore>, config: FetchConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let concurrency = Concurrency::new(config.concurrency);
        let core = FetchCore {
            inner,
            refusals: Refusals::default(),
            budget: config.budget.clone().unwrap_or_else(|| MemoryBudget::new(OWN_BUDGET_BYTES)),
            permits: Permits::new(concurrency.limit()),
            link: LinkEstimate::new(&config.profile),
            counters: FetchCounters::default(),
            hedging: Mutex::default(),
            pauses: Mutex::default(),
            concurrency: Mutex::new(concurrency),
            jitter: Jitter::new(config.jitter_seed),
            started: Instant::now(),
            lacks_validators: AtomicBool::new(false),
            config,
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// Downloads the object at `path` to `file`: await what this returns, or say more about it before.
    ///
    /// The object is fetched as any read is, of one version, written as it arrives, and checked against its CRC32C where
    /// the store or the caller names one. Until the file is whole and synced it is called `NAME.headstart-part`; then it
    /// takes the place of whatever was called `NAME`. After an error, a dropped future or a killed process the next
    /// download of the same version to the same name goes on with what is there (one request more, to ask whether the object
    /// has changed); of another version, it begins anew. `NAME.headstart-journal` beside it says what is there; delete
    /// both to give up. Where `NAME` is a symbolic link to a file, the file it leads to is replaced; what is no regular file is refused.
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
    /// Beside what a read holds, up to 8 MiB that wait to be written, charged to the budget; where that has nothing free, one
    /// mebibyte.
    ///
    /// # Cancel safety
    /// Dropping the future keeps what has been written. Writes already under way on blocking threads end by themselves;
    /// another download to the same file waits for them.
    pub fn download(&self, path: &Path, file: impl AsRef<std::path::Path>) -> Download {
        Download::new(&self.core, path, file.as_ref().to_owned())
    }

    /// What the link can do, as far as it is known; other layers may read it.
    #[must_use]
    pub fn link(&self) -> Arc<LinkEstimate> {
        Arc::clone(&self.core.link)
    }

    /// What this store has done so far.
    #[must_use]
    pub fn stats(&self) -> FetchStats {
        let core = &self.core;
        let mut stats = core.counters.snapshot(&core.config.profile.prices);
        stats.in_flight = core.permits.in_flight() as u64;
        stats.peak_in_flight = core.permits.peak() as u64;
        stats.limit_in_flight = core.concurrency.lock().limit() as u64;
        stats
    }
}

impl fmt::Display for FetchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FetchStore({})", self.core.inner)
    }
}

/// The inner store shows by its `Display`: the `Debug` of some clients prints credentials.
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
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.core.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.core.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let asks_for_link = options.extensions.get::<Intent>().is_some();
        let answer = self.core.read(location, options).await?;
        if !self.core.config.enabled {
            return Ok(answer);
        }
        let mut answer = local_file::in_large_steps(answer);
        if asks_for_link {
            answer.extensions.insert(MeasuredLink(self.link()));
        }
        Ok(answer)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.core.read_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.core.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.core.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.core.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.core.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.core.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.core.inner.rename_opts(from, to, options).await
    }
}
