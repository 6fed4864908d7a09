//! `CacheStore`: the cache as an `ObjectStore`.

#[cfg(test)]
mod race_tests;

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use headstart_fetch_core::internal::{forward_object_store, observe_deletes};
use headstart_fetch_core::{ConfigError, Options};
use object_store::{
    CopyOptions, GetOptions, GetResult, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, UploadPart, path::Path,
};

use crate::disk::{DiskNames, SegmentTier};
use crate::lookup::DiskBelow;
use crate::policy::{PageSize, SafetyRules};
use crate::{config::CacheConfig, fetches::Fetches, lookup::Lookup, reads::Reads, stats::CacheStats};

/// An [`ObjectStore`] that never fetches the same bytes of the same version twice, as long as they fit its memory.
///
/// Clones share everything. See the [crate's documentation](crate) for what is promised.
#[derive(Clone)]
pub struct CacheStore {
    inner: Arc<dyn ObjectStore>,
    config: Arc<CacheConfig>,
    rules: SafetyRules,
    reads: Reads,
}

impl CacheStore {
    /// Wraps `inner`.
    ///
    /// # Errors
    /// [`ConfigError`] where a setting makes no sense.
    pub fn new(inner: Arc<dyn ObjectStore>, config: CacheConfig) -> Result<Self, ConfigError> {
        Self::with_rules(inner, config, SafetyRules::ALL)
    }

    /// A cache that follows these rules; in tests, not all of them.
    fn with_rules(inner: Arc<dyn ObjectStore>, config: CacheConfig, rules: SafetyRules) -> Result<Self, ConfigError> {
        config.check()?;
        let pages = PageSize::new(config.page_bytes).ok_or_else(|| {
            ConfigError::bad("page_bytes", config.page_bytes, "expected a power of two from 16KiB to 4MiB")
        })?;
        let disk = open_disk(&config)?;
        let lookup = Arc::new(Lookup::new(&config, pages, rules, Arc::default(), disk));
        let fetches = Arc::new(Fetches::new(Arc::clone(&inner), Arc::clone(&lookup), &config, rules));
        let reads = Reads { lookup, fetches };
        Ok(Self { inner, config: Arc::new(config), rules, reads })
    }

    /// What the cache has done so far.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats { in_flight: self.reads.fetches.len(), ..self.reads.lookup.stats() }
    }

    /// Fetches the missing pages of `ranges`, for later reads to find in memory. Returns how many bytes this took.
    ///
    /// Ranges end where the object ends: `0..u64::MAX` is all of it. The requests are speculative, so reads go before
    /// them; eight of at most 8 MiB are in flight at once. Pages count as used twice, and so outlive a scan; ranges of
    /// more than [`CacheConfig::memory_bytes`] evict the pages that came first. Pages on disk are left there. Local
    /// files and objects without a validator (a version, a strong entity tag or a modification date) cannot be kept: of
    /// these, nothing is fetched beyond the answer that shows it.
    ///
    /// # Errors
    /// Those of the inner store; [`FetchError::PastEnd`](headstart_fetch_core::FetchError::PastEnd) where a range
    /// begins at or past the end. Pages that arrived before the error stay.
    ///
    /// # Cancel safety
    /// Dropping the future aborts its fetches, except those that other reads wait for. Pages that have arrived stay.
    pub async fn warm(&self, location: &Path, ranges: &[Range<u64>]) -> Result<u64> {
        self.reads.warm(location, ranges).await
    }

    /// Writes the pages that wait for the disk, and those in memory that it has not taken because too many waited. Then
    /// ends as a writer of its directory: a cache that is opened there later finds all that fit. Reads go on as before.
    /// Without a disk tier, this does nothing.
    ///
    /// A cache that is dropped instead does the same in a thread of its own, which a process that exits does not wait
    /// for.
    ///
    /// # Cancel safety
    /// Once it is polled, dropping the future ends only the wait.
    pub async fn close(&self) {
        if let Some(disk) = &self.reads.lookup.disk {
            self.reads.lookup.memory.offer_last();
            disk.tier.close().await;
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    /// A guard that drops what is known of `path` when a write to it ends.
    fn invalidate_after(&self, path: &Path) -> InvalidateOnDrop {
        let lookup = Arc::clone(&self.reads.lookup);
        if self.rules.invalidate_after_write {
            return InvalidateOnDrop { lookup, path: path.clone() };
        }
        lookup.versions.invalidate(path);
        InvalidateOnDrop { lookup, path: Path::ROOT }
    }
}

/// Opens the disk tier, if there is to be one.
fn open_disk(config: &CacheConfig) -> Result<Option<DiskBelow>, ConfigError> {
    let Some(tier) = SegmentTier::open(&config.disk, config.page_bytes)? else { return Ok(None) };
    let names = DiskNames::new(&config.disk.name, config.page_bytes as u64);
    Ok(Some(DiskBelow { tier: Arc::new(tier), names }))
}

/// Drops what is known of a path when a write to it ends, even by an error or cancellation: it may have been done.
struct InvalidateOnDrop {
    lookup: Arc<Lookup>,
    path: Path,
}

impl Drop for InvalidateOnDrop {
    fn drop(&mut self) {
        self.lookup.versions.invalidate(&self.path);
    }
}

impl fmt::Display for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheStore({})", self.inner)
    }
}

/// Shows the inner store by its `Display`, as the `Debug` of some clients prints credentials.
impl fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheStore")
            .field("inner", &format_args!("{}", self.inner))
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for CacheStore {
    forward_object_store!(self => self.inner; lists);

    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let _after = self.invalidate_after(location);
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(CacheUpload { upload, store: self.clone(), path: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        tokio::task::consume_budget().await;
        if let Some(hit) = self.reads.lookup.hit(location, &options) {
            return Ok(self.reads.lookup.answer_hit(hit, &options));
        }
        // Boxed, so that hits do not pay for the size of this future.
        Box::pin(self.reads.get(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        tokio::task::consume_budget().await;
        if let Some(parts) = self.reads.lookup.hits(location, ranges) {
            return Ok(parts);
        }
        Box::pin(self.reads.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let lookup = Arc::clone(&self.reads.lookup);
        observe_deletes(&*self.inner, locations, move |path| lookup.versions.invalidate(path))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let _after = self.invalidate_after(to);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let _after = (self.invalidate_after(from), self.invalidate_after(to));
        self.inner.rename_opts(from, to, options).await
    }
}

/// An upload that invalidates its path when it is complete.
struct CacheUpload {
    upload: Box<dyn MultipartUpload>,
    store: CacheStore,
    path: Path,
}

/// Does not show the client's own upload, whose `Debug` may print credentials.
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
