//! Read-ahead for any [`object_store`]: have the bytes there when they are asked for.
//!
//! [`PrefetchStore`] wraps an `Arc<dyn ObjectStore>` and watches what is read. Reads that follow each other are a stream: upwards,
//! downwards, equally far apart, or slightly out of order, up to 16 of them by turns through one handle. Ahead of a stream it keeps as
//! much in flight as the link, or the reader if that is slower, can use. Reads that follow no order are handed on untouched.
//!
//! ```text
//!  read ──► streams ──► window ──► ledger ──► planner ──actions──► engine ──get_opts──► the store below
//!           who, which   how far    at what    (pure)              (tokio)
//!           way          ahead      risk          ▲                   │
//!                          ▲          ▲           └── what arrived ◄──┘
//!                     memory, link   how long runs have lasted here
//! ```
//!
//! # What is bet
//!
//! Two reads in a row start it ([`PrefetchConfig::start_after`]); three where they go down, four where they are equally far apart. From
//! then on at most three times what the run has read may be ahead of it unread, less or more as the store teaches: under each prefix it is
//! learned how long runs last, and as much is bet as three in four of those that came so far have gone on for. RunHistory of sixteen reads are
//! so read ahead of to the sixteenth; where readers go through whole objects, their first read starts it. Over the life of an
//! object's readers, what is wasted and what is ahead is at most a tenth of what was read, and two windows.
//! [`AccessHint::Sequential`](headstart_fetch_core::AccessHint::Sequential) has a whole window from the first answer on, `Random` nothing, `WillNeed` is fetched whatever the pattern.
//!
//! # Two ways in
//!
//! * [`PrefetchStore::reader`] opens one object: a [`Reader`] is a snapshot of one version with a file's manners,
//!   `AsyncRead + AsyncSeek + AsyncBufRead`, a stream, positioned reads, and [`Reader::blocking`] for plain threads. Readers of one
//!   object share its requests: 64 at the same pace cost what one does.
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
//! * Local files ([`object_store::GetResultPayload::File`]) are left to the kernel's own read-ahead.
//!
//! # Memory
//!
//! Ahead of one reader, at most: `part + 1.75 · min(reader's rate, link's rate) · (time to first byte + part / stream's rate)`,
//! about 170 MiB for a reader that keeps up with 1 GB/s at 30 ms, 8 MiB for one of 20 MB/s. All objects that are read share
//! three quarters of [`PrefetchConfig::budget`], max-min fairly; a read itself never waits for memory. Behind a reader: its last read (at least 1 MiB, at
//! most 32 MiB). OpenObjects that nobody has read for a second give all back when others need it, after ten seconds as soon as anybody reads
//! another one. An idle store of `n` known paths holds some hundred bytes for each of the latest 256, and a kibibyte for each of 256 prefixes.
//!
//! # Statistics
//!
//! [`PrefetchStore::stats`] is a snapshot of what read-ahead did and cost. The same figures are fields of a `tracing` event at level `debug` when an object is
//! read no longer; streams are told of at level `trace` when they are found.
//!
//! # Cancel safety
//!
//! Every future may be dropped at any await: requests that only it waited for are aborted, the others go on for those who do.
//! Dropping a [`Reader`] aborts all of its requests. Errors reach only the reads that need the bytes that failed.

mod config;
mod engine;
mod planner;
mod policy;
mod reader;
mod store;

pub use config::PrefetchConfig;
pub use reader::Reader;
pub use reader::blocking::BlockingReader;
pub use store::PrefetchStore;
pub use store::stats::PrefetchStats;
