//! `Headstart`: the stack as one `ObjectStore`, and what it can tell about itself.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use headstart_cache::{CacheStats, CacheStore};
use headstart_fetch_core::{FetchStats, FetchStore, MemoryBudget};
use headstart_prefetch::{PrefetchStats, PrefetchStore, Reader};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions,
};
use serde::Serialize;

use crate::levels::Setting;
use crate::{Error, HeadstartBuilder};

/// A store with a head start.
///
/// Clones share everything. As an `ObjectStore` it has the inner store's manners; a [`Reader`] has a file's.
#[derive(Clone)]
pub struct Headstart {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) fetching: Option<Arc<FetchStore>>,
    pub(crate) caching: Option<Arc<CacheStore>>,
    pub(crate) prefetching: PrefetchStore,
    pub(crate) budget: Arc<MemoryBudget>,
    /// What it was opened by, without secrets.
    pub(crate) url: Option<String>,
    pub(crate) path: Path,
    pub(crate) generation: Option<String>,
    pub(crate) effective: Vec<Setting>,
}

/// What the layers have done so far; `None` for one that is off.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Requests and bytes on the wire.
    pub fetch: Option<FetchStats>,
    /// Read-ahead.
    pub prefetch: PrefetchStats,
    /// The cache.
    pub cache: Option<CacheStats>,
    /// Memory for bytes on their way, in bytes: the most there is, in use now, in use at most so far.
    pub budget: BudgetStats,
}

/// The memory for bytes on their way, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BudgetStats {
    /// What there is.
    pub limit_bytes: u64,
    /// In use now.
    pub used_bytes: u64,
    /// The most in use at once.
    pub peak_bytes: u64,
}

impl Headstart {
    /// Starts from defaults: fetch and prefetch on, cache off.
    pub fn builder() -> HeadstartBuilder {
        HeadstartBuilder::default()
    }

    /// Opens the object at `path`. Sends no request: the first answer pins the version.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn reader(&self, path: &Path) -> Result<Reader, Error> {
        Ok(self.prefetching.reader(path)?)
    }

    /// Opens the object that the URL named; the generation, where it named one, at the cost of one HEAD.
    ///
    /// # Errors
    /// [`Error::NoKey`] and [`Error::NoUrl`] where no URL names an object; [`Error::Store`] for the HEAD.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn open(&self) -> Result<Reader, Error> {
        if self.path.is_root() {
            return Err(match self.url.clone() {
                Some(url) => Error::NoKey { url },
                None => Error::NoUrl,
            });
        }
        let Some(generation) = &self.generation else { return self.reader(&self.path) };
        let head = GetOptions::new().with_head(true).with_version(Some(generation));
        let meta = self.store.get_opts(&self.path, head).await?.meta;
        Ok(self.prefetching.reader_with(meta)?)
    }

    /// The object that the URL named; the root where it named none.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fetches what the cache lacks of `ranges` of an object, so that later reads find it, and returns how many bytes that took:
    /// see [`CacheStore::warm`](headstart_cache::CacheStore::warm). Without a cache (`mode=cached` has one) nothing is fetched.
    ///
    /// # Errors
    /// Those of the store, and for a range that begins at or past the end of the object.
    ///
    /// # Cancel safety
    /// Dropping the future aborts its fetches; pages that had arrived stay.
    pub async fn warm(&self, path: &Path, ranges: &[Range<u64>]) -> Result<u64, Error> {
        match &self.caching {
            Some(cache) => Ok(cache.warm(path, ranges).await?),
            None => Ok(0),
        }
    }

    /// Gives this handle up: what only it holds is aborted and freed. Dropping it does the same; a layer that has something
    /// to write down first (none today) does so here. Clones and readers go on.
    pub async fn close(self) {
        drop(self);
    }

    /// What the layers have done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let budget = &self.budget;
        Stats {
            fetch: self.fetching.as_ref().map(|store| store.stats()),
            prefetch: self.prefetching.stats(),
            cache: self.caching.as_ref().map(|store| store.stats()),
            budget: BudgetStats {
                limit_bytes: budget.limit_bytes() as u64,
                used_bytes: budget.used_bytes() as u64,
                peak_bytes: budget.peak_bytes() as u64,
            },
        }
    }

    /// Every option in force and where its value came from. Secrets are shown as `***`.
    #[must_use]
    pub fn effective_config(&self) -> &[Setting] {
        &self.effective
    }
}

impl fmt::Display for Headstart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Headstart({})", self.store)
    }
}

// The client's own `Debug` may print credentials.
impl fmt::Debug for Headstart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Headstart({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Headstart {
    async fn put_opts(&self, path: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        self.store.put_opts(path, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(path, opts).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.store.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.store.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> object_store::Result<()> {
        self.store.rename_opts(from, to, options).await
    }
}
