//! `CacheStore`: the cache as an `ObjectStore`.

#[cfg(test)]
mod race_tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use headstart_fetch_core::{ConfigError, Options, Refusals, observe_deletes};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use tokio::time::Instant;

use crate::config::CacheConfig;
use crate::engine::Engine;
use crate::fetches::registry::InFlight;
use crate::lookup::memory_tier::MemoryTier;
use crate::lookup::version_table::VersionTable;
#[cfg(test)]
use crate::mutants::Mutant;
use crate::policy::page::PageSize;
use crate::stats::{CacheCounters, CacheStats};

/// MemoryTier that one head is worth, when the room for heads is derived from that for pages: about 3 % of it go to heads.
const MEMORY_BYTES_A_HEAD: usize = 16 << 10;

/// An [`ObjectStore`] that never fetches the same bytes of the same version twice, as long as they fit its memory.
///
/// Clones share everything. See the [crate's documentation](crate) for what is promised.
#[derive(Clone)]
pub struct CacheStore {
    pub(crate) engine: Arc<Engine>,
}

impl CacheStore {
    /// Wraps `inner`.
    ///
    /// # Errors
    /// [`ConfigError`] where a setting makes no sense.
    pub fn new(inner: Arc<dyn ObjectStore>, config: CacheConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let pages = PageSize::new(config.page_bytes).ok_or_else(|| {
            ConfigError::bad("page_bytes", config.page_bytes, "expected a power of two from 16KiB to 4MiB")
        })?;
        let counters = Arc::new(CacheCounters::default());
        let objects = (config.memory_bytes / MEMORY_BYTES_A_HEAD).clamp(64, 1 << 16);
        let engine = Engine {
            inner,
            refusals: Refusals::default(),
            pages,
            table: VersionTable::new(objects),
            memory: MemoryTier::new(&config, pages, Arc::clone(&counters)),
            in_flight: InFlight::new(config.stall_timeout),
            counters,
            start: clock_zero(),
            #[cfg(test)]
            mutation: crate::mutants::Mutation::default(),
            config,
        };
        Ok(Self { engine: Arc::new(engine) })
    }

    /// What the cache has done so far.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            held_bytes: self.engine.memory.held_bytes(),
            held_pages: self.engine.memory.held_pages(),
            lent_bytes: self.engine.memory.lent_bytes(),
            in_flight: self.engine.in_flight.len() as u64,
            ..self.engine.counters.snapshot()
        }
    }

    /// Fetches what is missing of `ranges` of an object, so that reads find it here, and returns how many bytes that took.
    ///
    /// Ranges are cut by the end of the object: `0..u64::MAX` is all of it. The requests are speculative, so reads go before
    /// them; eight of at most 8 MiB are under way at once. Pages count as read once, and so outlive a scan; more than
    /// [`CacheConfig::memory_bytes`] drives out what came first. Where nothing can be kept, nothing is fetched beyond the answer
    /// that shows it: local files, objects without a validator (a version, a strong entity tag
    /// or a modification date); a cache that is off sends no request.
    ///
    /// # Errors
    /// Those of the inner store; [`FetchError::PastEnd`](headstart_fetch_core::FetchError::PastEnd) where a range begins at or
    /// past the end. What came before the error stays.
    ///
    /// # Cancel safety
    /// Dropping the future aborts its fetches, except those that somebody else waits for. Pages that had arrived stay.
    pub async fn warm(&self, location: &Path, ranges: &[Range<u64>]) -> Result<u64> {
        self.engine.warm(location, ranges).await
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &CacheConfig {
        &self.engine.config
    }

    fn invalidate_after(&self, path: &Path) -> InvalidateOnDrop {
        #[cfg(test)]
        if self.engine.mutation.is(Mutant::InvalidatesBefore) {
            self.engine.table.invalidate(path);
            return InvalidateOnDrop { engine: Arc::clone(&self.engine), path: Path::ROOT };
        }
        InvalidateOnDrop { engine: Arc::clone(&self.engine), path: path.clone() }
    }
}

/// A day ago. No answer of a layer below is trusted for as long as that after the cache was made.
fn clock_zero() -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(24 * 60 * 60)).unwrap_or(now)
}

/// Forgets what is known of a path when a write to it is over, however it ends: error and cancellation leave open
/// whether the store has done it.
struct InvalidateOnDrop {
    engine: Arc<Engine>,
    path: Path,
}

impl Drop for InvalidateOnDrop {
    fn drop(&mut self) {
        self.engine.table.invalidate(&self.path);
    }
}

impl fmt::Display for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheStore({})", self.engine.inner)
    }
}

/// The inner store shows by its `Display`: the `Debug` of some clients prints credentials.
impl fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheStore")
            .field("inner", &format_args!("{}", self.engine.inner))
            .field("config", &self.engine.config)
            .field("stats", &self.stats())
            .finish()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for CacheStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let _after = self.invalidate_after(location);
        self.engine.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.engine.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(CacheUpload { upload, store: self.clone(), path: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        tokio::task::consume_budget().await;
        #[cfg(test)]
        let _turn = self.engine.mutation.turn().await;
        if let Some(hit) = self.engine.hit(location, &options) {
            return Ok(self.engine.answer(hit, &options));
        }
        // In a box of its own, so that hits do not pay for its size.
        Box::pin(self.engine.get(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        tokio::task::consume_budget().await;
        #[cfg(test)]
        let _turn = self.engine.mutation.turn().await;
        if let Some(parts) = self.engine.hits(location, ranges) {
            return Ok(parts);
        }
        Box::pin(self.engine.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let engine = Arc::clone(&self.engine);
        observe_deletes(&*self.engine.inner, locations, move |path| engine.table.invalidate(path))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.engine.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.engine.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.engine.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let _after = self.invalidate_after(to);
        self.engine.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let _after = (self.invalidate_after(from), self.invalidate_after(to));
        self.engine.inner.rename_opts(from, to, options).await
    }
}

/// An upload that is seen by the cache when it is complete.
struct CacheUpload {
    upload: Box<dyn MultipartUpload>,
    store: CacheStore,
    path: Path,
}

/// Without the client's own upload, whose `Debug` may print credentials.
impl fmt::Debug for CacheUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheUpload").field("store", &format_args!("{}", self.store)).field("path", &self.path).finish()
    }
}

#[async_trait]
impl MultipartUpload for CacheUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let _after = self.store.invalidate_after(&self.path);
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
