//! A page cache for any [`ObjectStore`](object_store::ObjectStore): the same bytes of the same version of an object are
//! never fetched twice, as long as they fit in memory.
//!
//! ```text
//!  get_opts · get_ranges · head
//!        │
//!   version table   path → version, size, when it was asked for     is it known, and still to be trusted?
//!        │
//!      pages        (version, page number) → bytes                  what is here: a slice, no copy
//!        │
//!     in_flight       one task a run of missing pages                 what somebody fetches already: wait with them
//!        │
//!   inner store     one GET a run, pinned to the version
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
//! - **One version an answer.** Pages belong to a version of an object, identified by its generation, its strong entity tag or
//!   its modification date, and by its size. An answer is never spliced from two versions: where the object changes under a read, the read begins anew, or,
//!   once bytes are handed out, fails with [`ObjectChanged`](headstart_fetch_core::ObjectChanged).
//! - **No older than allowed.** [`Freshness`] says how long a version is taken for the present one after others overwrite
//!   the object. Answers to requests with an [`Intent`](headstart_fetch_core::Intent) say when their version
//!   was confirmed and until when it is trusted ([`ConfirmedAt`](headstart_fetch_core::ConfirmedAt),
//!   [`FreshUntil`](headstart_fetch_core::FreshUntil)). Layers above count from there, and so does this cache with what layers below
//!   tell: windows do not add up. A write through the cache is seen by every read that begins after it, also where the write failed or was
//!   dropped half-way.
//! - **One fetch.** Readers of the same missing bytes share one request. A cold read of any form is one GET and no HEAD; a
//!   page-aligned one where it is bounded, as asked where it is not; `get_ranges` sends at most 32 at once. Errors of the object or the
//!   store go to everybody who waits, once, and are not kept; errors of a range go to those who asked for it.
//! - **The inner store's manners.** Errors and preconditions are as the inner store's. Objects without any
//!   validator are passed through (unless declared [`Freshness::Immutable`]), and so are answers that are local files.
//!
//! # What a hit costs
//!
//! `cargo bench -p headstart-peers --bench cache_hits`, medians on one machine of 2 cores, 2026-11-24, through `dyn ObjectStore`:
//!
//! | | ns |
//! |---|---|
//! | one page of 64 KiB by `get_range` | 358, of which 227 are the call itself (a wrapper that returns a ready answer) |
//! | one range of 4 KiB of 32 by `get_ranges`, each in a page of its own | 55 |
//! | one page of 64 KiB of a stream of 1 MiB | 236: nothing is copied (a copy of the 1 MiB takes 23,300, the stream of its 16 pages 3,780) |
//! | bare `quick_cache`, `foyer`, `moka`: one look-up, which says nothing of versions or freshness | 22, 79, 145 |
//!
//! 64 tasks on two threads get 1.75 times as much done as one task.
//!
//! # What it is not
//!
//! No read-ahead: it fetches what is asked for, in whole pages. No cache of listings or of absence. No disk tier yet.
//! It keeps no older versions of its own accord: a call that names a `version` gets that one, from pages where it was read by that
//! name before.
//!
//! # MemoryTier
//!
//! ```text
//! memory_bytes                                   pages, each counted with 320 bytes of overhead
//! + 512 bytes × objects known                    at most memory_bytes / 16 KiB objects: about 3 %; as many named versions
//! + 16 MiB × bodies being read                   two windows each; large bodies only
//! + 8 MiB × other fetches in fetch
//! + what callers keep                            CacheStats::lent_bytes
//! ```
//!
//! With a [`CacheConfig::budget`] the two lines in the middle are charged to it until the reader takes the bytes. Where it has nothing
//! free, a fetch goes on in lockstep with its readers: at most 256 KiB, or one page, are here that nobody has taken, and as much in
//! the layer below. So bodies that are left open keep to the budget, and any budget will do: nothing waits for memory while it holds an
//! open request.
//!
//! What is evicted first is `quick_cache`'s choice: pages that were used once go before those that were used again, so a scan
//! drives out little. Pages that are fetched ahead come in as used once, also those that were driven out not long ago.
//! [`CacheConfig::edge_bytes`] sets an eighth of the memory apart for the first and last pages of objects.
//!
//! Pages are copied out of the answers that brought them, so an evicted page frees its memory, and a kept one holds no
//! other. What is handed out shares memory with the pages: a caller that keeps a slice keeps its page.
//!
//! # Cancel safety
//!
//! Every fetch is a task of its own. Dropping a read takes nothing from other readers of the same bytes; when nobody is
//! left who wants a fetch, it is aborted, and pages that had arrived stay. The fetches need a running tokio runtime; hits do
//! not. A fetch whose runtime has stopped is taken over by readers on others, and one that another reader has begun and that is
//! silent is left after [`CacheConfig::stall_timeout`], where the runtime has time enabled. Hits use up tokio's cooperative budget, so that a reader of cached bytes does not starve
//! its neighbours.

mod config;
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
pub use error::CacheError;
pub use stats::CacheStats;
pub use store::CacheStore;
