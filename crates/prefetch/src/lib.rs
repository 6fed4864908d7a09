//! Read-ahead for any [`object_store`]: fetches bytes before they are asked for.
//!
//! [`PrefetchStore`] wraps an `Arc<dyn ObjectStore>` and watches the reads. Reads that follow each other are a stream:
//! forward, backward, strided, or slightly out of order, and up to 16 interleaved streams per reader. Ahead of a stream
//! it keeps as much in flight as the link, or a slower reader, can use. Random reads are passed through.
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
//! let store = PrefetchStore::new(inner, PrefetchConfig::default())?;
//! let reader = store.reader(&Path::from("hello"))?;
//! assert_eq!(reader.read_at(7..100).await?, "world");
//! # Ok(())
//! # }
//! ```
//!
//! # Three interfaces
//!
//! * [`PrefetchStore::reader`] opens one object. A [`Reader`] is a snapshot of one version with the interfaces of
//!   a file: `AsyncRead + AsyncSeek + AsyncBufRead`, a stream, reads at any position, and [`Reader::blocking`] for
//!   threads without a runtime. Readers of one object share its requests: 64 readers at the same pace cost as
//!   much as one.
//! * As an `ObjectStore` it serves applications that only call `get_range(s)`. Such a call is as fresh as one of the
//!   inner store, except for bytes fetched ahead. These are served once, and only within [`PrefetchConfig::max_age`].
//!   What calls keep returning to between other reads is served again for a second, or for `max_age` if that is
//!   shorter: a few ranges, or what they read just before.
//! * [`PrefetchStore::objects`] fetches a list of whole objects ahead of the consumer, in the order of the list, with
//!   as many requests in flight as fill the link.
//!
//! # How it works
//!
//! ```text
//!  read ──► streams ──► window ──► limits ──► planner ──actions──► engine ──get_opts──► the store below
//!           which        how far   on waste   (pure)               (tokio)
//!           pattern      ahead        ▲          ▲                    │
//!                          ▲          │          └── what arrived ◄───┘
//!                     memory, link   earlier run lengths
//! ```
//!
//! Read-ahead starts at the second read in a row ([`PrefetchConfig::start_after`]), of strided reads at the fourth, and
//! of streams that are read by turns before their second read. From then on, the unread bytes ahead are at most three
//! times what the run has read. This factor is learned per prefix from the lengths of earlier runs: read-ahead goes to
//! the length that three quarters of the earlier runs of at least this length reached, and at least a sixteenth of the
//! run ahead. So runs of sixteen reads
//! are read ahead to the sixteenth read; where readers read whole objects, their first read starts read-ahead. The
//! streams of one reader share one window. Over the lives of an object's readers, wasted bytes and bytes ahead are at
//! most a tenth of the bytes read, plus two windows.
//! [`AccessHint::Sequential`](headstart_fetch_core::AccessHint::Sequential) gets a whole window from the first answer
//! on, `Random` gets no read-ahead, and `WillNeed` is fetched whatever the pattern.
//!
//! Without [`PrefetchConfig::link`], the store uses the link estimate of the layer below, which it finds in the first
//! answer ([`MeasuredLink`](headstart_fetch_core::internal::MeasuredLink)). Where no layer below has one, it measures
//! the link itself.
//!
//! # Non-goals
//!
//! * It does not split one large read; `headstart-fetch-core`'s `FetchStore` below does.
//! * It is not a cache: bytes behind a reader are dropped, except for 1 MiB, the last read of a run of at most three
//!   reads, as much as the reader went back before, and up to eight ranges to which it keeps returning. Put a
//!   `CacheStore` below.
//! * Local files ([`object_store::GetResultPayload::File`]) are left to the kernel's read-ahead.
//!
//! # Memory
//!
//! Ahead of one reader there are at most `part + 1.75 · min(reader's rate, link's rate) · (time to first byte + part /
//! stream's rate)` bytes: about 170 MiB for a reader that keeps up with 1 GB/s at 30 ms, and 8 MiB for one of 20 MB/s.
//! Readers that share a link divide this window, also those of several objects; each has one request of full size
//! at least. All open objects share three quarters of [`PrefetchConfig::budget`], max-min fairly; a read itself
//! never waits for memory. Behind a reader at least 1 MiB is kept, and more, at most 32 MiB, where reads overlap or
//! the reader has gone back, or it has read at most three times in a row (its last read); and up to 8 MiB of ranges to
//! which it keeps returning. What there is no memory for is dropped when its read ends. An object without reads
//! for a second gives its bytes back when others need memory, and after ten seconds as soon as
//! another object is read. An idle store holds some hundred bytes for each of the latest 256 paths, and a kibibyte
//! for each of 256 prefixes.
//!
//! A list of objects takes part in the same shares. It holds the requests that fill the link, and at most
//! `bandwidth × 4 × ttfb_p95` bytes of complete objects that wait for the consumer.
//!
//! # Observability
//!
//! [`PrefetchStore::stats`] is a snapshot of what read-ahead has done and has cost. `tracing` events have the target
//! `headstart::prefetch`: `debug` when an object is closed, `trace` when a stream is found.
//!
//! # Cancel safety
//!
//! Every future may be dropped at any await. Requests that only this future waited for are aborted; others continue.
//! Dropping a [`Reader`] aborts its requests. Errors reach only the reads that need the bytes that failed.

mod config;
mod engine;
mod objects;
mod planner;
mod policy;
mod reader;
mod store;
mod trace_events;

pub use config::PrefetchConfig;
pub use objects::{ObjectBodies, ObjectBody, ObjectError, Objects};
pub use reader::Reader;
pub use reader::blocking::BlockingReader;
pub use store::PrefetchStore;
pub use store::stats::PrefetchStats;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
