//! The disk tier: pages in a directory that outlives the process and that all processes of the host may share.
//!
//! ```text
//! readers ──offer──▶ queue ──▶ disk thread: writer ──▶ segment of this process   scan ◀── segments of all processes
//!    │                              keeper: deletes segments under a lock          │
//!    └──────────read──▶ index: fingerprint → segment, place ◀──────────────────────┘
//! ```
//!
//! - A page is found by a hash of the store's name, the path, the version, the size and the page's number. What is read
//!   is checked against the whole hash and a CRC32C, so that a damaged or misplaced page is a miss.
//! - Readers take no lock that is held during a system call. What lies in the page cache is read on the caller's
//!   thread; the rest on a thread of tokio's blocking pool, with a bounded wait: then it is fetched.
//! - One thread a cache writes, finds the segments of other processes, and deletes segments where room is needed.

mod buffers;
mod cache_directory;
mod config;
mod directory;
mod index;
mod io;
mod keeper;
mod object;
mod policy;
mod queue;
mod scan;
mod segments;
mod stats;
mod thread;
mod tier;
mod uses;
mod writer;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use self::cache_directory::{CacheDirectory, DiskCheck, DiskCleared, DiskContents};
pub use self::config::DiskConfig;
pub use self::io::{DiskIo, SystemIo};
pub(crate) use self::object::{DiskNames, DiskObject, DiskPage};
pub use self::policy::health::DiskState;
pub use self::stats::DiskStats;
pub(crate) use self::tier::SegmentTier;

/// A second tier of pages, below the memory. All methods but `read` and `close` return at once.
pub(crate) trait DiskTier: fmt::Debug + Send + Sync {
    /// Whether the page is here, as far as is known without asking the disk, and reads may be tried now.
    fn has(&self, page: &DiskPage) -> bool;

    /// Whether to read now, asked just before it. While reads fail, one in a while is let through.
    fn may_read(&self) -> bool;

    /// Whether pages of any version of a path may be here, and may be read now.
    fn may_have(&self, path_tag: u32) -> bool;

    /// Reads a page if this needs no wait for the disk.
    fn read_now(&self, page: &DiskPage) -> DiskRead;

    /// Reads a page, and waits for the disk as long as that is sooner than fetching. Cancel safe.
    fn read(&self, page: DiskPage) -> BoxFuture<'static, DiskRead>;

    /// A page was fetched: it is written if there is room for it, or it is used often. Returns whether it is here or
    /// will be.
    fn offer_fetched(&self, page: &DiskPage, bytes: &Bytes) -> bool;

    /// A page was read from memory for the second time: it is written unless it is here.
    fn offer_used(&self, page: &DiskPage, bytes: &Bytes);

    /// The cache is closing, and the memory has a page that was not taken when it was offered: it is written if there
    /// is room for it, or it is used often.
    fn offer_last(&self, page: &DiskPage, bytes: &Bytes);

    /// The first byte of a fetch has taken so long.
    fn link_took(&self, time: Duration);

    fn stats(&self) -> DiskStats;

    /// Writes what waits, seals the segment, and takes no more pages. Cancel safe: goes on when it is dropped.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// What reading a page gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiskRead {
    Page(Bytes),
    /// The page is not here, or damaged.
    Missing,
    /// Fetching is sooner, or the disk fails: the pages that follow are fetched too.
    Late,
    /// The disk would have to be waited for.
    WouldWait,
}
