//! Fetches ranges of an object store as fast as the link allows.
//!
//! [`FetchStore`] wraps any [`ObjectStore`](object_store::ObjectStore) and is one. It fetches large reads in parallel
//! parts, hands them on in order and in one version, retries what may pass, and hedges late answers.
//!
//! ```
//! use std::sync::Arc;
//!
//! use headstart_fetch_core::{FetchConfig, FetchStore};
//! use object_store::memory::InMemory;
//! use object_store::{ObjectStoreExt, path::Path};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> object_store::Result<()> {
//! let bucket = Arc::new(InMemory::new());
//! let store = FetchStore::new(bucket, FetchConfig::default())?;
//! let path = Path::from("greeting");
//! store.put(&path, "hello, world".into()).await?;
//!
//! assert_eq!(store.get_range(&path, 7..12).await?, "world");
//! assert_eq!(store.stats().gets(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # How a read is answered
//!
//! ```text
//!  get_opts · get_range · get_ranges                          ▲ Bytes, in order, as they arrive
//!       │                                                     │
//!   policy (pure)           which parts, how large          read: one task drains one body
//!       │                                                     ▲      into memory reserved before
//!   limits                  permits, memory budget            │
//!       │                                                     │
//!   request ── ranged GET, pinned ──▶ inner store ── answer: checked, measured, counted
//!    retry · hedge · resume                                   │
//!                                   LinkEstimate ◀────────────┘ time to first byte, bandwidth
//! ```
//!
//! A read of up to one and a half parts is one GET, and its body is passed through. A longer one is split, unless one
//! stream gets the whole bandwidth. The size of a part is what one stream carries in about three round trips, within
//! the bounds of the [`BackendProfile`]. An object of unknown size costs no extra request: the first part tells its
//! size. A local file is read in a few large steps.
//!
//! Every answer is compared with the first one, and requests sent after it are pinned to its version, so bytes of two
//! versions are never mixed. A change is [`ObjectChanged`], or a restart if nothing has been handed on yet.
//!
//! [`FetchStore::download`] reads into a file in this way: resumable, with a checksum, and never incomplete under its
//! final name.
//!
//! # What it does not do
//!
//! It does not cache (`headstart-cache` does) or read ahead (`headstart-prefetch` does). Writes and lists are
//! forwarded.
//!
//! # Errors and retries
//!
//! Reads are retried here, so the inner store should not retry (`max_retries: 0` for the clients of `object_store`).
//! Errors that may pass are retried with exponential backoff and jitter; `Retry-After` is honoured if the adapter of
//! the store reports it as [`Throttled`]. A body that breaks off or stalls is resumed at the missing byte, in the same
//! version. Final answers (not found, not allowed, no such range) are not retried.
//!
//! A demanded GET whose first byte is later than `max(p95, 2·p50, 5 ms)` of the latest ones is hedged: it is sent once
//! more, and the slower answer is dropped. Hedges are at most 5 % of the requests, and ten more in a burst; the delay
//! doubles as these are spent. After 32 in a row that were not faster, one request in 100 at most is hedged, at four
//! times the delay.
//!
//! # Priority
//!
//! At most `concurrency` GETs are in flight; fewer while the store throttles. Every read has at least one request in
//! flight, as through the bare client. Further parts and speculation ([`Intent`]) are only sent while fewer requests
//! are in flight than fill the link, which is measured. Demand is served first, and speculation leaves one in 32 free,
//! of these requests and of `concurrency`.
//!
//! # Memory
//!
//! A read in parts reserves the memory of each part in the [`MemoryBudget`] before it sends the request. On a link of
//! 30 ms and 1,000 MB/s, where 32 parts of 4 MiB fill the link, that is at most 200 MiB ahead of its reader, and at
//! most 256 MiB for a range whose parts are all sent at once. The budget is 512 MiB by default. A read that gets no
//! memory continues with one request at a time and holds 256 KiB. Bytes handed to the caller, and reads that are one
//! request, are not charged.
//!
//! # Cancel safety
//!
//! Dropping a read, its future or its body, at any point aborts its requests and releases its permits and memory. The
//! first error does the same to the other parts. No task is detached.
//!
//! # Runtime
//!
//! A read in parts needs a tokio runtime with time enabled, and fails with [`FetchError::NoRuntime`] without one. A
//! read that is one request needs none, but is neither retried nor hedged then.
//!
//! Tokio can only be asked whether a runtime has time enabled by creating a timer, which panics if not. The panic is
//! caught, and its message printed. A program built with `panic = "abort"` must enable time in the runtimes it reads
//! in.

mod config;
#[cfg(feature = "download")]
mod download;
mod error;
#[doc(hidden)]
pub mod internal;
mod limits;
pub mod options;
mod policy;
mod protocol;
mod read;
mod request;
mod stats;
mod store;
mod trace_events;

pub use config::FetchConfig;
#[cfg(feature = "download")]
pub use download::{Download, DownloadError, DownloadProgress, Downloaded};
pub use error::{FetchError, ObjectChanged, Throttled};
pub use limits::budget::{MemoryBudget, Reservation};
pub use options::{ConfigError, OptionSpec, Options};
pub use policy::link::Link;
pub use policy::profile::{BackendProfile, Prices};
pub use protocol::extensions::{AccessHint, CacheHint, Intent};
pub use protocol::link_estimate::LinkEstimate;
pub use protocol::version::{ObjectVersion, PinBy};
pub use request::retryable::ConnectionFault;
pub use stats::FetchStats;
pub use stats::outcomes::{OutcomeCounts, RequestOutcomes};
pub use stats::time_histogram::{TIME_BOUNDS_US, TimeBucket, TimeHistogram};
pub use store::FetchStore;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
