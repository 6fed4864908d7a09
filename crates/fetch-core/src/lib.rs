//! Fetches ranges of an object store as fast as the link allows.
//!
//! [`FetchStore`] wraps any [`ObjectStore`](object_store::ObjectStore) and is one. What is read through it
//! is fetched in parts, side by side, and handed on in order, from one version of the object.
//!
//! ```text
//!  get_opts · get_range · get_ranges                          ▲ Bytes, in order, as they arrive
//!       │                                                     │
//!   split, merge (pure)     which parts, how large          parts: one task drains one body
//!       │                                                     ▲      into memory reserved before
//!   permits                 demand before speculation         │
//!       │                                                     │
//!   request ── ranged GET, pinned ──▶ inner store ── answer: checked, measured, counted
//!    retry · hedge · resume (pure decisions)                  │
//!                                   LinkEstimate ◀────────────┘ first byte, rate of a stream, rate of all
//! ```
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
//! let store = FetchStore::new(bucket, FetchConfig::default());
//! let path = Path::from("greeting");
//! store.put(&path, "hello, world".into()).await?;
//!
//! assert_eq!(store.get_range(&path, 7..12).await?, "world");
//! assert_eq!(store.stats().gets(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What a read becomes
//!
//! A read of up to one and a half parts is one GET, its body passed through untouched. A longer one is
//! split, where one stream does not get the link by itself. The size of a part follows from the link:
//! what one stream carries in about three round trips, within the bounds of the [`BackendProfile`]. An
//! object of unknown size costs no extra request: the first part says how long it is.
//!
//! A local file is no remote object: it is read in a few large steps, and the answer is marked [`LocalFile`].
//!
//! Every answer is compared with the first one, and whatever is sent after it is pinned to its version,
//! so bytes of two versions are never mixed: a change is [`ObjectChanged`], or a new beginning where the
//! answer has not been handed on yet.
//!
//! [`FetchStore::download`] reads so into a file: resumable, checked, and never half under its name.
//!
//! # What it does not do
//!
//! It remembers nothing it has read (`headstart-cache` does), reads nothing ahead (`headstart-prefetch`
//! does), and does not touch writes and lists.
//!
//! # When something goes wrong
//!
//! Reads are tried again here, so the inner store should not do it (`max_retries: 0` for the clients of `object_store`): errors
//! that may go away, with exponential backoff and jitter, `Retry-After` honoured where the store's adapter reports it as
//! [`Throttled`]. A body that is cut short, or of which nothing comes for longer than this link explains, goes on at the missing
//! byte, in the same version. What the store has said for good (not found, not allowed, no such range) is not tried again.
//!
//! A GET that somebody waits for, and whose first byte is later than `max(p95, 2·p50)` of the latest ones, is sent once more; the
//! slower answer is dropped. Such hedges are at most 5 % of the requests, and none where they do not help: when
//! everything is slow, or after 32 in a row that were not faster.
//!
//! # Who goes first
//!
//! At most `concurrency` GETs are in flight: fewer while the store refuses many of them, and more than 64 only as long as more
//! carry more. Demand goes before speculation ([`Intent`]), which always leaves
//! one in 32 of them free; a [`Promotion`] makes a speculative read a demanded one while it waits.
//!
//! # Memory
//!
//! A read in parts holds at most `1.25 × concurrency × 1.25 × part` bytes ahead of its reader (one that is sent at once: `concurrency × 2 × part`), and less
//! where the [`MemoryBudget`] has less: with the defaults, and 4 MiB a part, 200 MiB (256 MiB) of the
//! budget's 512. Where nothing is free, a read goes on with one request at a time and 256 KiB. Bytes
//! handed to the caller, and reads that are one request, are not charged.
//!
//! # Cancel safety
//!
//! Dropping a read, its future or its body, at any point aborts what it has in flight and gives back its
//! permits and memory. The first error does the same to the other parts. Nothing is detached.
//!
//! # Runtime
//!
//! A read in parts needs a tokio runtime with time enabled, and is [`FetchError::NoRuntime`] without one;
//! a read that is one request needs none, but is neither tried again nor hedged then.
//!
//! Tokio can be asked whether a runtime has time only by making a timer, which panics if it has not. The panic is caught, and its
//! message printed; a program built with `panic = "abort"` has to enable time in the runtimes it reads in.

mod attempt;
mod attention;
mod body;
mod budget;
pub mod byte_range;
mod checksum;
#[cfg(feature = "client")]
pub mod client;
mod concurrency;
mod config;
mod deletes;
mod download;
mod error;
mod estimate;
mod hedge;
mod intent;
mod jitter;
mod key;
pub mod link;
mod local;
mod merge;
#[doc(hidden)]
pub mod mutation;
pub mod options;
mod outage;
mod part_file;
mod parts;
mod permits;
mod positioned;
mod profile;
mod ranges;
mod read;
mod refusals;
mod request;
mod resume;
mod retry;
mod retryable;
#[doc(hidden)]
pub mod runtime;
mod slots;
mod split;
mod spread;
mod stall;
mod stats;
mod store;
mod sync;
mod version;

pub use budget::{MemoryBudget, Reservation};
pub use checksum::Crc32c;
pub use config::FetchConfig;
#[doc(hidden)]
pub use deletes::observe_deletes;
pub use download::{Download, DownloadError, Downloaded, Progress};
pub use error::{FetchError, ObjectChanged, SharedError, Throttled, share};
#[doc(hidden)]
pub use error::{is_invalid_range, may_be_past_end};
pub use estimate::{BodyMeter, LinkEstimate, MeasuredLink};
pub use intent::{
    AccessHint, CacheHint, ConfirmedAt, FreshUntil, Intent, Origin, Promotion, RangeOrigin, Reserved, ask,
};
pub use key::path_of_url_key;
pub use link::Link;
pub use local::LocalFile;
pub use merge::merge_ranges;
pub use options::{ConfigError, OptionSpec, Options};
pub use profile::{BackendProfile, Prices};
pub use ranges::Run;
#[doc(hidden)]
pub use refusals::{Refusals, may_be_the_range};
pub use retryable::ConnectionFault;
#[doc(hidden)]
pub use retryable::{RETRY_RULES, RetryRule, depends_on_request, is_transient};
pub use spread::spread_bytes;
pub use stats::FetchStats;
pub use store::FetchStore;
pub use version::{ObjectVersion, PinBy, is_lasting_version};
