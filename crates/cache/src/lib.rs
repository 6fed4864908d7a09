//! A page cache for any [`ObjectStore`](object_store::ObjectStore): the same bytes of the same version of an object are
//! never fetched twice, as long as they fit in memory, or on disk where there is a [`DiskConfig`].
//!
//! ```text
//!  get_opts · get_ranges · head
//!        │
//!    lookup         path → version: is it known, and still trusted?  (version, page) → bytes: is it in memory?
//!        │
//!    fetches        one task for each run of missing pages, however long; reads of the same pages share it
//!        │
//!   inner store     one GET for each run, pinned to the version
//! ```
//!
//! ```
//! # use std::sync::Arc;
//! use headstart_cache::{CacheConfig, CacheStore, Freshness};
//! use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
//! let config = CacheConfig { memory_bytes: 64 << 20, freshness: Freshness::EveryRead, ..CacheConfig::default() };
//! let store = CacheStore::new(inner, config)?;
//!
//! store.put(&"greeting".into(), "hello, world".into()).await?;
//! assert_eq!(store.get_range(&"greeting".into(), 7..12).await?, "world");
//! assert_eq!(store.get_range(&"greeting".into(), 0..5).await?, "hello");
//! assert_eq!(store.stats().fills, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - **One version in each answer.** Pages belong to a version of an object: its generation, strong entity tag or
//!   modification date, and its size. Where the object changes during a read, the read is retried, or, once bytes are
//!   handed out, fails with [`ObjectChanged`](headstart_fetch_core::ObjectChanged).
//! - **No older than allowed.** [`Freshness`] says how long a version is trusted after others may have overwritten the
//!   object. Answers to requests with an [`Intent`](headstart_fetch_core::Intent) say when their version was confirmed
//!   and until when it is trusted ([`ConfirmedAt`](headstart_fetch_core::internal::ConfirmedAt),
//!   [`FreshUntil`](headstart_fetch_core::internal::FreshUntil)). Caches above and below each other count from there,
//!   so that their windows do not add up. A read that begins after a write through the cache sees the write, even where
//!   the write failed or was dropped.
//! - **One fetch.** Readers of the same missing bytes share one request. A cold read is one GET and no HEAD, however
//!   long it is: the layer below streams it, and splits it if that pays. A read of a page that a long fetch brings only
//!   after the next 20 MiB sends its own request.
//!   `get_ranges` has at most 32 requests in flight. An error of the object or the store goes to all readers that
//!   wait, once, and is not kept; an error of a range goes to the readers that asked for that range.
//! - **The behaviour of the inner store.** Errors and preconditions are those of the inner store. Objects without any
//!   validator are passed through (unless declared [`Freshness::Immutable`]), and so are answers that are local files.
//!
//! # What a hit costs
//!
//! Medians of the benchmark `cache_hits` on a machine with 2 cores, 2026-11-24, through `dyn ObjectStore`:
//!
//! | | ns |
//! |---|---|
//! | one page of 64 KiB by `get_range` | 358, of which 227 are the call itself (a wrapper with a ready answer) |
//! | one range of 4 KiB of 32 by `get_ranges`, each in a page of its own | 55 |
//! | one page of 64 KiB of a stream of 1 MiB | 236: nothing is copied (a copy of 1 MiB takes 23,300) |
//! | bare `quick_cache`, `foyer`, `moka`: one look-up, without version and freshness | 22, 79, 145 |
//!
//! 64 tasks on two threads get 1.75 times as much done as one task.
//!
//! # What it is not
//!
//! It has no read-ahead: it fetches what is asked for, in whole pages. It does not cache listings or absence. It keeps
//! old versions only for calls that name a `version`.
//!
//! # Memory
//!
//! ```text
//! memory_bytes                     pages, each counted with 320 bytes of overhead
//! + 512 bytes × known objects      at most memory_bytes / 16 KiB objects: about 3 %; as many named versions
//! + 16 MiB × bodies being read     two windows of cached pages each; large bodies only
//! + 8 MiB × fetches in flight
//! + pages that callers hold        CacheStats::lent_bytes
//! ```
//!
//! A disk tier adds 16 MiB of pages that wait to be written, and 32 to 40 bytes for each page on disk: 15 to 23 for the
//! index, one for the filter of paths, 16 for the counts of uses.
//!
//! A longer fetch pauses while it holds 8 MiB that its reader has not taken. It reads on for another reader that waits
//! for a later page; the slow reader then finds its pages in memory, or they are fetched again.
//!
//! With a [`CacheConfig::budget`], bodies and fetches are charged to it until the reader takes the bytes. Where
//! nothing is free, a fetch reads on in lockstep with its readers: it holds at most 256 KiB, or one page, that no
//! reader has taken, and the layer below holds as much. So open bodies stay within the budget however small it is,
//! and no fetch waits for memory while it holds an open request.
//!
//! `quick_cache` decides what is evicted: pages that were used once go before pages that were used again, so a scan
//! evicts little. A page that is fetched ahead counts as used once, also if it was evicted a short time ago.
//! [`CacheConfig::edge_bytes`] reserves an eighth of the memory for the first and last pages of objects.
//!
//! Pages are copied out of the answers that brought them, so an evicted page frees its memory, and a page keeps no
//! other memory alive. Answers share memory with the pages: a caller that holds a slice holds its page.
//!
//! # The disk tier
//!
//! With [`CacheConfig::disk`], fetched pages of objects with a version or a strong entity tag are also written to a
//! directory, which outlives the process and which several processes may share. A page that is not in memory is read
//! from there: on the caller's thread if it lies in the page cache of the system, else on a blocking thread, for as
//! long as that is sooner than fetching. An object that is opened for the first time by this process and may be on
//! disk, costs one HEAD: pages are used for the version that the store names. [`CacheStore::close`] writes what waits.
//! Object bytes lie in the directory unencrypted.
//!
//! # Cancel safety
//!
//! Every fetch is a task of its own. Dropping a read takes nothing from other readers of the same bytes. When no
//! reader is left, the fetch is aborted; pages that have arrived stay. Fetches need a running tokio runtime; hits do
//! not. Where the runtime of a fetch has stopped, its readers on other runtimes send their own request. They do the
//! same after [`CacheConfig::stall_timeout`], if a fetch that another call began is silent and the runtime has time
//! enabled. Hits consume tokio's cooperative budget, so that a reader of cached bytes does not starve other tasks.
//!
//! # Tracing
//!
//! Events of the target `headstart::cache`, at DEBUG: fills, versions (stale, validated, changed), what becomes of the
//! disk tier and its segments; at TRACE: evictions.

mod config;
mod disk;
mod error;
mod fetches;
mod lookup;
mod policy;
mod reads;
mod stats;
mod store;
mod trace_events;

#[cfg(test)]
extern crate self as headstart_cache;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;

pub use config::{CacheConfig, Freshness};
pub use disk::{CacheDirectory, DiskCheck, DiskCleared, DiskContents};
pub use disk::{DiskConfig, DiskState, DiskStats};
pub use error::CacheError;
pub use stats::CacheStats;
pub use store::CacheStore;

/// For the tests of this workspace: the system calls of the disk tier, to be replaced.
#[doc(hidden)]
pub mod internal {
    pub use crate::disk::{DiskIo, SystemIo};
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
