//! A head start for reads from object storage: a URL, or any `ObjectStore`, becomes one that fetches in parallel,
//! reads ahead of you and (where asked) never fetches the same bytes twice.
//!
//! ```text
//!  get_range · get_opts · AsyncRead + AsyncSeek + AsyncBufRead · Stream
//!      │
//!  PrefetchStore / Reader   has the bytes there before they are asked for
//!  CacheStore               never fetches the same bytes twice (off until asked for)
//!  FetchStore               one range, fetched as well as the link allows
//!      │
//!  gs:// · s3:// · az:// · https:// · file:/// · memory:/// · any Arc<dyn ObjectStore>
//! ```
//!
//! Each layer is a crate that serves alone; this one opens URLs, reads options and stacks them.
//!
//! # Open a URL and read
//! ```
//! # use bytes::Bytes;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use object_store::ObjectStoreExt;
//! # headstart::Headstart::builder().url("memory:///").build().await?.put(&"greeting".into(), "hello, world".into()).await?;
//! let reader = headstart::open("memory:///greeting").await?;
//! assert_eq!(reader.read_at(7..12).await?, Bytes::from("world"));
//! # Ok(())
//! # }
//! ```
//!
//! # Give an existing store a head start
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use headstart::Headstart;
//! use object_store::{ObjectStoreExt, memory::InMemory};
//! use std::sync::Arc;
//!
//! let store = Headstart::builder().store(Arc::new(InMemory::new())).option("mode", "cached").build().await?;
//! store.put(&"key".into(), "value".into()).await?;
//! assert_eq!(store.get(&"key".into()).await?.bytes().await?, "value");
//! # Ok(())
//! # }
//! ```
//!
//! # URLs
//! | URL | feature | store |
//! |---|---|---|
//! | `gs://bucket/key#generation` | `gcp` | Google Cloud Storage ([`headstart-gcs-backend`](https://docs.rs/headstart-gcs-backend)) |
//! | `s3://bucket/key` | `aws` | S3, or what speaks its language (`s3.endpoint`) |
//! | `az://container/key`, `abfss://container@account.dfs.core.windows.net/key` | `azure` | Azure, by the client's `AZURE_*` variables |
//! | `https://host/path` | `http` | a web server that answers ranges |
//! | `file:///path` | | local files |
//! | `memory:///key` | | objects in memory, one set for the whole process |
//!
//! A URL carries no options: `?` and `#` belong to the key (but `#` before a generation). Percent-escapes are decoded. A `?` before
//! what signs a request (`sig`, `X-Amz-Signature`, …) is refused, so that no signature becomes part of a key.
//!
//! # Options
//! [`options`] lists them all. A call of the builder goes before the option string ([`HeadstartBuilder::options_str`]), that
//! before the environment (`HEADSTART_` and the key in capitals, `.` as `_`: `HEADSTART_FETCH_CONCURRENCY`), that before the
//! default; [`Headstart::effective_config`] says what came from where. `mode` chooses all layers in a word:
//!
//! | `mode` | fetch | prefetch | cache |
//! |---|---|---|---|
//! | `none` | | | |
//! | `fetch` | on | | |
//! | `adaptive` (default) | on | on | |
//! | `cached` | on | on | on |
//!
//! # Memory
//! `memory_bytes` (512 MiB) bounds what all layers hold: `cache.memory_bytes` for the cache, the rest for bytes on their way.
//! Bytes handed to the caller are the caller's.
//!
//! # Cancel safety
//! Dropping any future aborts the requests that only it waits for.
//!
//! # What it does not do
//! Writes pass through untouched. No zonal buckets over gRPC.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use headstart_cache::CacheStore;
use headstart_fetch_core::{ConfigError, FetchStore, MemoryBudget};
use headstart_prefetch::PrefetchStore;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions,
};
use serde::Serialize;

mod builder;
mod config;
mod schemes;

pub use builder::HeadstartBuilder;
pub use config::options;
pub use headstart_cache::{CacheConfig, CacheStats, Freshness};
pub use headstart_fetch_core::levels::{Setting, Source};
pub use headstart_fetch_core::{AccessHint, BackendProfile, FetchConfig, FetchStats, ObjectChanged};
pub use headstart_prefetch::{PrefetchConfig, PrefetchStats, Reader};

/// Opens the object that `url` names, with the process's environment and defaults for the rest.
///
/// Sends no request, but one HEAD where the URL names a generation: whether the object exists shows with the first read.
///
/// # Errors
/// [`Error`]: the URL or a variable cannot be used; the store's own for the HEAD.
///
/// # Cancel safety
/// Cancel safe: nothing outlives the future.
pub async fn open(url: &str) -> Result<Reader, Error> {
    Headstart::builder().url(url).build().await?.open().await
}

/// What keeps a stack from being built, or an object from being opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option, variable or URL cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The URL scheme is not supported.
    #[error("unsupported URL scheme '{scheme}:' (supported: gs, s3, az, https, file and memory)")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// The store is known, but not built in.
    #[error("'{scheme}:' needs the feature '{feature}' of the crate 'headstart'")]
    MissingFeature {
        /// The scheme.
        scheme: &'static str,
        /// The feature to enable.
        feature: &'static str,
    },
    /// A bucket of Google Cloud Storage cannot be opened.
    #[cfg(feature = "gcp")]
    #[error(transparent)]
    Gcs(#[from] headstart_gcs_backend::GcsError),
    /// A bucket of S3 cannot be opened.
    #[cfg(feature = "aws")]
    #[error(transparent)]
    S3(#[from] headstart_s3_backend::S3Error),
    /// The URL names a store, and no object in it.
    #[error("'{url}' names no object: expected a URL with a key, such as gs://bucket/key")]
    NoKey {
        /// The URL, without secrets.
        url: String,
    },
    /// The stack was built over a store, so no URL names an object.
    #[error("no URL was given that names an object: open one by its path, with Headstart::reader")]
    NoUrl,
    /// The store says no.
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

/// A store with a head start.
///
/// Clones share everything. As an `ObjectStore` it has the inner store's manners; a [`Reader`] has a file's.
#[derive(Clone)]
pub struct Headstart {
    store: Arc<dyn ObjectStore>,
    fetching: Option<Arc<FetchStore>>,
    caching: Option<Arc<CacheStore>>,
    prefetching: PrefetchStore,
    budget: Arc<MemoryBudget>,
    /// What it was opened by, without secrets.
    url: Option<String>,
    path: Path,
    generation: Option<String>,
    effective: Vec<Setting>,
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
    pub limit_bytes: usize,
    /// In use now.
    pub used_bytes: usize,
    /// The most in use at once.
    pub peak_bytes: usize,
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
                limit_bytes: budget.limit_bytes(),
                used_bytes: budget.used_bytes(),
                peak_bytes: budget.peak_bytes(),
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
