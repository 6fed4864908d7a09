//! `Headstart`: the stack as one `ObjectStore`, and what it can tell about itself.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use futures::Stream;
use headstart_cache::{CacheStats, CacheStore};
use headstart_fetch_core::internal::forward_object_store;
use headstart_fetch_core::{AccessHint, FetchStats, FetchStore, LinkEstimate, MemoryBudget};
use headstart_prefetch::{Objects, PrefetchStats, PrefetchStore, Reader};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore};
use serde::Serialize;

use crate::precedence::Setting;
use crate::{Error, HeadstartBuilder};

/// A stack of layers over a store, as one `ObjectStore`.
///
/// Clones share everything. As an `ObjectStore` it behaves as the inner store does; a [`Reader`] behaves as a file
/// does. Dropping the last clone and the last reader aborts what is in flight and frees all memory.
#[derive(Clone)]
pub struct Headstart {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// For downloads in every mode; a layer of `store` where `fetch_is_on`.
    pub(crate) fetching: FetchStore,
    pub(crate) fetch_is_on: bool,
    pub(crate) caching: Option<Arc<CacheStore>>,
    pub(crate) prefetching: PrefetchStore,
    pub(crate) budget: Arc<MemoryBudget>,
    /// The URL it was opened with, without secrets.
    pub(crate) url: Option<String>,
    pub(crate) path: Path,
    pub(crate) generation: Option<String>,
    pub(crate) effective: Vec<Setting>,
}

/// Counts of all layers since the stack was built; `None` for a layer that is off.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Requests and bytes on the wire.
    pub fetch: Option<FetchStats>,
    /// Read-ahead.
    pub prefetch: PrefetchStats,
    /// The cache.
    pub cache: Option<CacheStats>,
    /// Memory for bytes in flight and ahead of readers.
    pub budget: BudgetStats,
}

/// Memory for bytes in flight and ahead of readers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BudgetStats {
    /// The limit.
    pub limit_bytes: u64,
    /// In use at the moment.
    pub used_bytes: u64,
    /// The most in use at the same time since the stack was built.
    pub peak_bytes: u64,
}

impl Headstart {
    /// A builder with the defaults: fetch and read-ahead on, cache off.
    pub fn builder() -> HeadstartBuilder {
        HeadstartBuilder::default()
    }

    /// Opens the object at `path`. Sends no request: the first answer pins the version.
    ///
    /// # Errors
    /// None at present.
    pub fn reader(&self, path: &Path) -> Result<Reader, Error> {
        Ok(self.prefetching.reader(path)?)
    }

    /// Opens the object of `meta`, in its version and with its length. Sends no request.
    ///
    /// # Errors
    /// [`Error::Store`] with `Precondition` and [`ObjectChanged`](headstart_fetch_core::ObjectChanged), if other
    /// readers of the object read another version.
    pub fn reader_with(&self, meta: ObjectMeta) -> Result<Reader, Error> {
        Ok(self.prefetching.reader_with(meta)?)
    }

    /// Opens the object that the URL names. Sends no request, except one HEAD if the URL names a generation.
    ///
    /// # Errors
    /// [`Error::NoKey`] and [`Error::NoUrl`] if no URL names an object; [`Error::Store`] for the HEAD.
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

    /// The path of the object that the URL names; the root if it names none.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fetches the parts of `ranges` that the cache lacks and returns the number of fetched bytes. See
    /// [`CacheStore::warm`]. Without a cache ([`Mode::Cached`](crate::Mode::Cached) has one) this does nothing.
    ///
    /// # Errors
    /// Those of the store, and an error for a range that begins at or past the end of the object.
    ///
    /// # Cancel safety
    /// Dropping the future aborts its fetches; complete pages stay in the cache.
    pub async fn warm(&self, path: &Path, ranges: &[Range<u64>]) -> Result<u64, Error> {
        match &self.caching {
            Some(cache) => Ok(cache.warm(path, ranges).await?),
            None => Ok(0),
        }
    }

    /// Fetches whole objects ahead of the consumer: a stream of `(Path, Bytes)` in the order of `paths`. See
    /// [`PrefetchStore::objects`]. For an iterator of paths use `futures::stream::iter`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::{StreamExt, TryStreamExt, stream};
    /// # use headstart::object_store::{ObjectStore, ObjectStoreExt};
    /// # let store = headstart::Headstart::builder().url("memory:///").build().await?;
    /// # store.put(&"samples/1".into(), "one".into()).await?;
    /// # store.put(&"samples/2".into(), "two".into()).await?;
    ///
    /// let paths = vec!["samples/1".into(), "samples/2".into()];
    /// let mut objects = store.objects(stream::iter(paths));
    /// while let Some((path, bytes)) = objects.try_next().await? {
    ///     println!("{path}: {} bytes", bytes.len());
    /// }
    ///
    /// // Every object below a prefix, as they come; those that fail are reported, and the others go on.
    /// let listed = store.list(Some(&"samples".into())).try_collect::<Vec<_>>().await?;
    /// let paths = listed.into_iter().map(|meta| meta.location);
    /// let mut objects = store.objects(stream::iter(paths)).unordered().continue_after_errors();
    /// while let Some(object) = objects.next().await {
    ///     match object {
    ///         Ok((path, bytes)) => println!("{path}: {} bytes", bytes.len()),
    ///         Err(error) => eprintln!("{}: {}", error.path, error.source),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Each item is an object or its [`ObjectError`](crate::ObjectError). By default the stream ends after the first
    /// error.
    ///
    /// # Cancel safety
    /// Sends no request until it is polled. Dropping the stream aborts its requests.
    pub fn objects(&self, paths: impl Stream<Item = Path> + Send + 'static) -> Objects {
        self.prefetching.objects(paths)
    }

    /// Announces how `path` will be read by calls on this store: [`PrefetchStore::advise`]. Never waits.
    ///
    /// `AccessHint::WillNeed(vec![0..u64::MAX])` fetches all of the object ahead, as far as there is memory, for the
    /// next `get_range`s. A mode without read-ahead ignores it. A [`Reader`] has an `advise` of its own.
    pub fn advise(&self, path: &Path, hint: AccessHint) {
        self.prefetching.advise(path, hint);
    }

    /// Downloads the object at `path` to `file`, resumable and checked: see [`FetchStore::download`]. Bytes come from
    /// the store directly, in parallel requests in every mode, and not from the cache.
    ///
    /// # Errors
    /// [`DownloadError`](crate::DownloadError), when awaited.
    ///
    /// # Cancel safety
    /// Dropping the future keeps what has been written; the next download of the same version continues there.
    #[cfg(feature = "download")]
    pub fn download(&self, path: &Path, file: impl AsRef<std::path::Path>) -> crate::Download {
        self.fetching.download(path, file)
    }

    /// Writes what waits for the disk tier of the cache, for the next process that opens its directory: see
    /// [`CacheStore::close`]. Without a disk tier, this does nothing. Reads go on as before.
    ///
    /// # Cancel safety
    /// Once it is polled, dropping the future ends only the wait.
    pub async fn close(&self) {
        futures::future::OptionFuture::from(self.caching.as_ref().map(|cache| cache.close())).await;
    }

    /// The estimate of the link. Stacks of one process that open URLs of the same host share it, and divide one
    /// bandwidth × delay product among their readers. To share it with a stack over a store of your own, give it to
    /// [`FetchConfig::link`](crate::FetchConfig::link).
    #[must_use]
    pub fn link(&self) -> Arc<LinkEstimate> {
        self.fetching.link()
    }

    /// Counts of all layers since the stack was built.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let budget = &self.budget;
        Stats {
            fetch: self.fetch_is_on.then(|| self.fetching.stats()),
            prefetch: self.prefetching.stats(),
            cache: self.caching.as_ref().map(|store| store.stats()),
            budget: BudgetStats {
                limit_bytes: budget.limit_bytes() as u64,
                used_bytes: budget.used_bytes() as u64,
                peak_bytes: budget.peak_bytes() as u64,
            },
        }
    }

    /// An exporter of [`Headstart::stats`] and the estimate of the link to the `metrics` crate's current recorder; see
    /// [`metrics`](crate::metrics). All metrics get the `labels`, by which several stacks are told apart.
    ///
    /// The exporter keeps the stack in memory as a clone does.
    #[cfg(feature = "metrics")]
    pub fn metrics_exporter<K: Into<String>, V: Into<String>>(
        &self,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> crate::metrics::MetricsExporter {
        let layers = crate::metrics::ExportedLayers {
            fetch: self.fetch_is_on.then(|| self.fetching.clone()),
            cache: self.caching.as_deref().cloned(),
            prefetch: Some(self.prefetching.clone()),
            budget: Some(Arc::clone(&self.budget)),
        };
        crate::metrics::MetricsExporter::new(layers, labels)
    }

    /// Every option, its value and its source. Secrets are shown as `***`.
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

// By `Display`: the `Debug` of some clients prints credentials.
impl fmt::Debug for Headstart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Headstart({})", self.store)
    }
}

#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Headstart {
    forward_object_store!(self => self.store; reads, writes, lists);
}
