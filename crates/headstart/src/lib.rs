//! Fast reads from object storage: a URL, or any [`ObjectStore`](object_store::ObjectStore), becomes a store that
//! fetches ranges in parallel, reads ahead and, if asked, caches.
//!
//! ```text
//!  get_range · get_opts · AsyncRead + AsyncSeek + AsyncBufRead · Stream
//!      │
//!  PrefetchStore / Reader   read-ahead: fetches the next bytes before they are read
//!  CacheStore               cache: keeps pages of object versions in memory (off by default)
//!  FetchStore               fetch: splits, parallelises, retries, resumes and hedges requests
//!      │
//!  gs:// · s3:// · az:// · https:// · file:/// · memory:/// · any Arc<dyn ObjectStore>
//! ```
//!
//! Each layer is a crate that works on its own. This crate opens URLs, reads options and stacks the layers.
//!
//! # Open a URL and read
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use headstart::object_store::ObjectStoreExt;
//! # let store = headstart::Headstart::builder().url("memory:///").build().await?;
//! # store.put(&"greeting".into(), "hello, world".into()).await?;
//! let reader = headstart::open("memory:///greeting").await?;
//! assert_eq!(&reader.read_at(7..12).await?[..], b"world");
//! # Ok(())
//! # }
//! ```
//!
//! # Wrap an existing store
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use headstart::object_store::{ObjectStoreExt, memory::InMemory};
//! use headstart::{Headstart, Mode};
//! use std::sync::Arc;
//!
//! let store = Headstart::builder().store(Arc::new(InMemory::new())).mode(Mode::Cached).build().await?;
//! store.put(&"key".into(), "value".into()).await?;
//! assert_eq!(store.get(&"key".into()).await?.bytes().await?, "value");
//! # Ok(())
//! # }
//! ```
//!
//! # Set options
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use headstart::{CacheConfig, Freshness, Headstart};
//!
//! let config = CacheConfig { freshness: Freshness::OnOpen, ..CacheConfig::default() };
//! let builder = Headstart::builder().url("memory:///").cache(config).option("cache.memory_bytes", "64MiB");
//! for setting in builder.build().await?.effective_config() {
//!     println!("{setting}"); // cache.freshness = on-open (Explicit)
//! }
//! # Ok(())
//! # }
//! ```
//! [`options`] lists all options. A builder call overrides the option string ([`HeadstartBuilder::options_str`]), which
//! overrides the environment (`HEADSTART_` and the key in capitals, `.` as `_`: `HEADSTART_FETCH_CONCURRENCY`), which
//! overrides a configuration file ([`HeadstartBuilder::file_options`]), which overrides the default.
//! [`Headstart::effective_config`] shows the value and source of each option.
//!
//! [`Mode`] switches the layers:
//!
//! | mode | fetch | read-ahead | cache |
//! |---|---|---|---|
//! | `none` | | | |
//! | `fetch` | on | | |
//! | `adaptive` (default) | on | on | |
//! | `cached` | on | on | on |
//!
//! # Stack layers by hand
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use headstart::object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
//! use headstart::{FetchConfig, FetchStore, PrefetchConfig, PrefetchStore};
//! use std::sync::Arc;
//!
//! let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
//! store.put(&"key".into(), "value".into()).await?;
//! let fetch = FetchStore::new(store, FetchConfig { concurrency: 64, ..FetchConfig::default() })?;
//! let read_ahead = PrefetchStore::new(Arc::new(fetch), PrefetchConfig::default())?;
//! assert_eq!(read_ahead.get_range(&"key".into(), 0..3).await?, "val");
//! # Ok(())
//! # }
//! ```
//!
//! # Read from threads without a runtime
//! ```
//! use std::io::Read;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use headstart::object_store::ObjectStoreExt;
//! let runtime = tokio::runtime::Runtime::new()?;
//! # let store = runtime.block_on(headstart::Headstart::builder().url("memory:///").build())?;
//! # runtime.block_on(store.put(&"lines".into(), "a\nb".into()))?;
//! let reader = runtime.block_on(headstart::open("memory:///lines"))?;
//! let mut text = String::new();
//! reader.blocking_on(runtime.handle().clone()).read_to_string(&mut text)?;
//! assert_eq!(text, "a\nb");
//! # Ok(())
//! # }
//! ```
//!
//! # Download to a file
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use headstart::object_store::ObjectStoreExt;
//! # let store = headstart::Headstart::builder().url("memory:///").build().await?;
//! # store.put(&"table.parquet".into(), vec![7; 100_000].into()).await?;
//! # let file = std::env::temp_dir().join(format!("headstart-{}.parquet", std::process::id()));
//! let done = store
//!     .download(&"table.parquet".into(), &file)
//!     .on_progress(|at| eprintln!("{} of {} bytes", at.written_bytes, at.total_bytes))
//!     .await?;
//! assert_eq!(done.version.size, 100_000);
//! # std::fs::remove_file(file)?;
//! # Ok(())
//! # }
//! ```
//!
//! # URLs
//! | URL | feature | store |
//! |---|---|---|
//! | `gs://bucket/key#generation` | `gcp` | Google Cloud Storage |
//! | `s3://bucket/key` | `aws` | S3 and compatible stores (`s3.endpoint`) |
//! | `az://container/key`, `abfss://…` | `azure` | Azure, configured by the client's `AZURE_*` variables |
//! | `https://host/path` | `http` | a web server that supports range requests |
//! | `file:///path` | | local files |
//! | `memory:///key` | | objects in memory, one set for the whole process |
//!
//! A URL contains no options: `?` and `#` belong to the key (except `#` before a generation). Percent-escapes are
//! decoded. A URL with a signature (`sig`, `X-Amz-Signature`, …) is an error, because the signature would become part
//! of the key.
//!
//! # Memory
//! `memory_bytes` (512 MiB) limits the memory of all layers: `cache.memory_bytes` for the cache, the rest for bytes in
//! flight and ahead of the reader. Bytes returned to the caller are not counted.
//!
//! # Metrics
//! With the feature `metrics`, [`Headstart::stats`] goes to Prometheus, OpenTelemetry and others through the recorder
//! of the `metrics` crate: `tokio::spawn(store.metrics_exporter([("store", "training")]).run(Duration::from_secs(5)))`.
//!
//! # Cancel safety
//! Dropping any future aborts the requests that no one else waits for.
//!
//! # What it does not do
//! Writes pass through unchanged. Zonal buckets over gRPC are not supported.

mod builder;
mod config;
mod error;
mod precedence;
mod schemes;
mod shared_links;
mod stack;

pub use builder::HeadstartBuilder;
pub use config::{Mode, options};
pub use error::Error;
pub use headstart_cache::{CacheConfig, CacheError, CacheStats, CacheStore, Freshness};
pub use headstart_cache::{CacheDirectory, DiskCheck, DiskCleared, DiskContents};
pub use headstart_cache::{DiskConfig, DiskState, DiskStats};
pub use headstart_fetch_core::{
    AccessHint, BackendProfile, CacheHint, ConfigError, FetchConfig, FetchError, FetchStats, FetchStore, Intent, Link,
    LinkEstimate, MemoryBudget, ObjectChanged, ObjectVersion, OptionSpec, OutcomeCounts, PinBy, Prices,
    RequestOutcomes, TimeBucket, TimeHistogram,
};
#[cfg(feature = "download")]
pub use headstart_fetch_core::{Download, DownloadError, DownloadProgress, Downloaded};
#[cfg(feature = "gcp")]
pub use headstart_gcs_backend::GcsError;
#[cfg(feature = "metrics")]
pub use headstart_metrics as metrics;
pub use headstart_prefetch::{
    BlockingReader, ObjectBodies, ObjectBody, ObjectError, Objects, PrefetchConfig, PrefetchStats, PrefetchStore,
    Reader,
};
#[cfg(feature = "aws")]
pub use headstart_s3_backend::S3Error;
pub use object_store;
pub use precedence::{Setting, Source};
pub use schemes::split_url;
pub use stack::{BudgetStats, Headstart, Stats};

/// Opens the object that `url` names, with options from the environment and defaults.
///
/// Sends no request, except one HEAD if the URL names a generation. A missing object is an error of the first read.
///
/// # Errors
/// [`Error`]: the URL or a variable is invalid; the store's own error for the HEAD.
///
/// # Cancel safety
/// Cancel safe: nothing outlives the future.
pub async fn open(url: &str) -> Result<Reader, Error> {
    Headstart::builder().url(url).build().await?.open().await
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
