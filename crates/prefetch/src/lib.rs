//! Read-ahead for any [`object_store`]: have the bytes there when they are asked for.
//!
//! [`PrefetchStore`] wraps an `Arc<dyn ObjectStore>` and watches what is read. Reads that follow each other are a stream;
//! ahead of a stream it keeps as much in flight as the link, or the reader if that is slower, can use. Reads that
//! follow no order are handed on untouched.
//!
//! ```text
//!  read ──► streams ──► window ──► ledger ──► planner ──actions──► engine ──get_opts──► the store below
//!           who, which   how far    at what    (pure)              (tokio)
//!           way          ahead      risk          ▲                   │
//!                                                 └── what arrived ◄──┘
//! ```
//!
//! # Two ways in
//!
//! * [`PrefetchStore::reader`] opens one object: a [`Reader`] is a snapshot of one version with a file's manners,
//!   `AsyncRead + AsyncSeek + AsyncBufRead`, a stream, positioned reads, and [`Reader::blocking`] for plain threads.
//! * As an `ObjectStore` it serves engines that only call `get_range(s)`. Such a call is as fresh as the raw store's but for
//!   bytes fetched ahead of it, which are served once, and only within [`PrefetchConfig::max_age`].
//!
//! ```
//! # use std::sync::Arc;
//! # use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
//! # use headstart_prefetch::{PrefetchConfig, PrefetchStore};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> object_store::Result<()> {
//! let inner = Arc::new(InMemory::new());
//! inner.put(&Path::from("hello"), "hello, world".into()).await?;
//!
//! let store = PrefetchStore::new(inner, PrefetchConfig::default());
//! let reader = store.reader(&Path::from("hello"))?;
//! assert_eq!(reader.read_at(7..100).await?, "world");
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! * It does not split one large read: that is how, and belongs to `headstart-fetch-core`'s `FetchStore` below it.
//! * It keeps no cache: bytes behind a reader go, but for the last read and 1 MiB. Put a `CacheStore` below it.
//! * It does not (yet) read ahead of strided or backward streams; those cost what they cost raw.
//! * Local files ([`object_store::GetResultPayload::File`]) are left to the kernel's own read-ahead.
//!
//! # Memory
//!
//! Ahead of one reader, at most: `part + 1.75 · min(reader's rate, link's rate) · (time to first byte + part / stream's rate)`,
//! about 170 MiB for a reader that keeps up with 1 GB/s at 30 ms, 8 MiB for one of 20 MB/s. All readers share
//! [`PrefetchConfig::budget`]; each has at most an even share of it. Behind a reader: its last read (at least 1 MiB, at most 32 MiB). An idle
//! store of `n` known paths holds some hundred bytes for each of the latest 256.
//!
//! # Cancel safety
//!
//! Every future may be dropped at any await: requests that only it waited for are aborted, the others go on for those who do.
//! Dropping a [`Reader`] aborts all of its requests. Errors reach only the reads that need the bytes that failed.

mod blocking;
mod calls;
mod cell;
mod common;
mod config;
mod cursor;
mod engine;
mod fetch;
mod gate;
mod holdings;
mod learned;
mod objects;
mod parts;
mod plan;
mod planner;
mod ranges;
mod rate_cap;
mod read;
mod reader;
mod reading;
mod runs;
mod shares;
mod stats;
mod store;
mod stream;
mod streams;
mod waiting;
mod waste;
mod window;

pub use blocking::BlockingReader;
pub use config::PrefetchConfig;
pub use reader::Reader;
pub use stats::PrefetchStats;
pub use store::PrefetchStore;
