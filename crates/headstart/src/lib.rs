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

mod builder;
mod config;
mod error;
mod levels;
mod schemes;
mod stack;

pub use builder::HeadstartBuilder;
pub use config::{Mode, options};
pub use error::Error;
pub use headstart_cache::{CacheConfig, CacheError, CacheStats, CacheStore, Freshness};
pub use headstart_fetch_core::{
    AccessHint, BackendProfile, CacheHint, ConfigError, FetchConfig, FetchError, FetchStats, FetchStore, Intent, Link,
    LinkEstimate, MemoryBudget, ObjectChanged, ObjectVersion, OptionSpec, PinBy, Prices,
};
#[cfg(feature = "gcp")]
pub use headstart_gcs_backend::GcsError;
pub use headstart_prefetch::{BlockingReader, PrefetchConfig, PrefetchStats, PrefetchStore, Reader};
#[cfg(feature = "aws")]
pub use headstart_s3_backend::S3Error;
pub use levels::{Setting, Source};
pub use object_store;
pub use stack::{BudgetStats, Headstart, Stats};

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
