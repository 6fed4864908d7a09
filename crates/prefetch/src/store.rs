//! `PrefetchStore`: any object store with read-ahead in front of it.

pub(crate) mod get_calls;
pub(crate) mod stats;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::internal::{
    ForgetOnDrop, MergedRun, RANGES_AT_ONCE, Refusals, forward_object_store, merge_ranges, observe_deletes,
    observe_upload,
};
use headstart_fetch_core::{AccessHint, ConfigError, MemoryBudget, ObjectChanged, ObjectVersion, Options};
use object_store::path::Path;
use object_store::{
    CopyOptions, Extensions, GetOptions, GetResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::config::PrefetchConfig;
use crate::engine::open_objects::OpenObjects;
use crate::engine::run_history::RunHistory;
use crate::engine::store_shared::{LinkSource, StoreShared};
use crate::objects::Objects;
use crate::planner::messages::PlannerSettings;
use crate::reader::Reader;
use crate::store::get_calls::GetCalls;
use crate::store::stats::{PrefetchCounters, PrefetchStats};

/// The memory budget of a store that was given none.
const OWN_BUDGET_BYTES: usize = 512 << 20;

/// How often `get_ranges` starts at most, where the object changes meanwhile.
const RANGES_TRIES: usize = 3;

/// An object store with read-ahead in front of it.
///
/// [`PrefetchStore::reader`] opens one object as a snapshot with a position. As an [`ObjectStore`] it serves
/// applications that only call `get_range(s)`: reads of one path that follow each other are recognised as a stream too.
#[derive(Clone)]
pub struct PrefetchStore {
    shared: Arc<StoreShared>,
    settings: PlannerSettings,
    /// Calls without a reader; `None` where nothing may be fetched ahead of them.
    calls: Option<Arc<GetCalls>>,
}

impl PrefetchStore {
    /// Puts read-ahead in front of `inner`.
    ///
    /// # Errors
    /// On a `config` that [`Options::check`] refuses.
    pub fn new(inner: Arc<dyn ObjectStore>, config: PrefetchConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let settings = PlannerSettings {
            start_after: config.start_after,
            max_prefetch_bytes: config.max_prefetch_bytes,
            concurrency: config.concurrency,
            phase: 0,
            part_bytes: config.part_bytes(),
            serve_once_within: None,
        };
        let shared = Arc::new(StoreShared {
            inner,
            refusals: Refusals::default(),
            link: LinkSource::new(config.link),
            blocks: Arc::default(),
            budget: config.budget.unwrap_or_else(|| MemoryBudget::new(OWN_BUDGET_BYTES)),
            pin: config.pin.unwrap_or_default(),
            max_age: config.max_age,
            immutable: config.immutable,
            counters: PrefetchCounters::default(),
            runtime: Handle::try_current().ok(),
            objects: OpenObjects::default(),
            runs: RunHistory::default(),
            shares: Mutex::default(),
            rate_cap: config.max_bytes_per_s.map(|rate| (rate, Mutex::default())),
            started: Instant::now(),
            engines: AtomicU64::new(0),
        });
        let across_calls = !config.max_age.is_zero() && config.max_prefetch_bytes > 0;
        let calls =
            across_calls.then(|| Arc::new(GetCalls::new(Arc::clone(&shared), settings.clone(), config.max_age)));
        Ok(Self { shared, settings, calls })
    }

    /// Opens `path` without a request: the first answer pins the version.
    ///
    /// # Errors
    /// None at present.
    pub fn reader(&self, path: &Path) -> Result<Reader> {
        Reader::new(&self.shared, path.clone(), self.settings.clone(), None)
    }

    /// Opens the object of `meta` without a request, pinned to its version and with its length.
    ///
    /// # Errors
    /// `Precondition` with [`headstart_fetch_core::ObjectChanged`], if other readers of the object read another
    /// version.
    pub fn reader_with(&self, meta: ObjectMeta) -> Result<Reader> {
        let path = meta.location.clone();
        Reader::new(&self.shared, path, self.settings.clone(), Some(meta))
    }

    /// Announces what calls without a reader will read of `path`. Never waits.
    ///
    /// `AccessHint::WillNeed(vec![0..u64::MAX])` announces all of the object. Its bytes are fetched as far as there is
    /// memory, and serve the next `get_range`s within [`PrefetchConfig::max_age`]. For many objects that are read
    /// whole, use [`PrefetchStore::objects`].
    pub fn advise(&self, path: &Path, hint: AccessHint) {
        if let Some(calls) = &self.calls {
            calls.engine(path).advise(None, &hint);
        }
    }

    /// Fetches whole objects, each by its path, ahead of the consumer: a stream of `(Path, Bytes)` in the order of
    /// `paths`. For an iterator of paths use [`futures::stream::iter`].
    ///
    /// As many requests are in flight as fill the link: hundreds for small objects, few for large ones. Bytes that the
    /// consumer has not taken are charged to [`PrefetchConfig::budget`]. An object for which there is no memory is
    /// fetched when the consumer waits for it. Requests go to the store below with
    /// [`Intent::Demand`](headstart_fetch_core::Intent::Demand), past the bytes that calls have had fetched ahead.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use futures::{StreamExt, TryStreamExt, stream};
    /// # use headstart_prefetch::{PrefetchConfig, PrefetchStore};
    /// # use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let inner = Arc::new(InMemory::new());
    /// # inner.put(&"a".into(), "1".into()).await?;
    /// # inner.put(&"b".into(), "2".into()).await?;
    /// # let store = PrefetchStore::new(inner, PrefetchConfig::default())?;
    /// let mut objects = store.objects(stream::iter([Path::from("a"), Path::from("b")]));
    /// while let Some((path, bytes)) = objects.try_next().await? {
    ///     println!("{path}: {} bytes", bytes.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Each item is an object or its [`ObjectError`](crate::ObjectError); see [`Objects`].
    ///
    /// # Memory
    /// At most three quarters of the budget, shared with readers. A consumer that is slower than the link has up to
    /// `bandwidth × 4 × the 95th percentile of the time to the first byte` waiting for it: 120 MB on a link of 1,000
    /// MB/s and 30 ms. The object that the consumer waits for is not charged beyond its first bytes, since all of it is
    /// the consumer's: use [`Objects::bodies`] for objects that are larger than the memory.
    ///
    /// # Cancel safety
    /// Sends no request until it is polled. Dropping the stream aborts its requests.
    pub fn objects(&self, paths: impl Stream<Item = Path> + Send + 'static) -> Objects {
        Objects::new(&self.shared, paths.boxed())
    }

    /// What read-ahead has done so far.
    #[must_use]
    pub fn stats(&self) -> PrefetchStats {
        self.shared.counters.snapshot()
    }

    /// Reads `ranges` of one version of the object, in the given order.
    async fn merged_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let at_once = RANGES_AT_ONCE.min(self.settings.concurrency);
        let version = OnceLock::new();
        let read = |run: Range<u64>| async {
            let answer = self.get_opts(path, GetOptions::new().with_range(Some(run))).await?;
            let version = version.get_or_init(|| ObjectVersion::of(&answer.meta));
            self.shared.refusals.check(version, &answer.meta)?;
            MergedRun::collect(answer).await
        };
        let runs = merge_ranges(ranges, &self.shared.link.estimate().link(), at_once);
        let reads = runs.into_iter().map(read);
        let runs: Vec<MergedRun> = futures::stream::iter(reads).buffered(at_once).try_collect().await?;
        MergedRun::cut_all(&runs, ranges, read).await
    }

    fn forget(&self, path: &Path) {
        self.shared.objects.forget(path);
        if let Some(calls) = &self.calls {
            calls.forget(path);
        }
    }

    /// Drops the bytes fetched ahead of `paths` now, and again when the guard is dropped: a write is in progress.
    fn written<const N: usize>(&self, paths: [&Path; N]) -> impl Send + use<N> {
        let (store, paths) = (self.clone(), paths.map(Path::clone));
        let forget = move || paths.iter().for_each(|path| store.forget(path));
        forget();
        ForgetOnDrop(forget)
    }
}

impl fmt::Display for PrefetchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrefetchStore({})", self.shared.inner)
    }
}

/// Shows the inner store by its `Display`, because the `Debug` of some clients prints credentials.
impl fmt::Debug for PrefetchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PrefetchStore");
        shown.field("inner", &format_args!("{}", self.shared.inner)).field("settings", &self.settings);
        shown.field("max_age", &self.shared.max_age).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for PrefetchStore {
    forward_object_store!(self => self.shared.inner; lists);

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let _written = self.written([location]);
        self.shared.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.shared.inner.put_multipart_opts(location, options).await?;
        let store = self.clone();
        Ok(observe_upload(upload, location.clone(), move |path| store.written([path])))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match &self.calls {
            Some(calls) => calls.get(location, options).await,
            None => {
                let is_head = options.head;
                let answer = self.shared.inner.get_opts(location, options).await?;
                if !is_head {
                    self.shared.counters.passed(&answer.range);
                }
                Ok(answer)
            }
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.iter().any(Range::is_empty) {
            // Stores answer empty ranges differently (with an error or without bytes), so this one does.
            return self.shared.inner.get_ranges(location, ranges).await;
        }
        let mut tries = RANGES_TRIES;
        loop {
            tries -= 1;
            match self.merged_ranges(location, ranges).await {
                Err(error) if tries > 0 && ObjectChanged::find(&error).is_some() => {
                    self.forget(location);
                    let shared = &self.shared;
                    shared.refusals.look_at_tags(&*shared.inner, location, &error, &Extensions::new()).await;
                }
                answer => return answer,
            }
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        observe_deletes(&*self.shared.inner, locations, move |path| store.forget(path))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let _written = self.written([to]);
        self.shared.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let _written = self.written([from, to]);
        self.shared.inner.rename_opts(from, to, options).await
    }
}
