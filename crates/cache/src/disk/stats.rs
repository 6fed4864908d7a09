//! What the disk tier counts.

use serde::Serialize;

use super::policy::health::DiskState;
use crate::stats::Counter;

/// What a disk tier has done so far. Counts only grow; the fields from `held_bytes` on describe the present moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DiskStats {
    /// Pages read from disk.
    pub hits: u64,
    /// The hits that had to wait for the disk: their bytes were not in the page cache of the system.
    pub waited: u64,
    /// Bytes of the hits.
    pub hit_bytes: u64,
    /// Pages that were looked for on disk and had to be fetched.
    pub misses: u64,
    /// The misses that were on disk, but fetching was sooner.
    pub late: u64,
    /// Pages written.
    pub writes: u64,
    /// Bytes written, the table's and the headers' included.
    pub written_bytes: u64,
    /// Pages that were not written because too many waited, or because the disk is full and nothing may be deleted.
    pub dropped: u64,
    /// Pages that were not written to a full disk because they were not used often enough.
    pub not_admitted: u64,
    /// Segments that this process deleted to make room.
    pub deleted_segments: u64,
    /// Pages of these segments, as far as this process knew them.
    pub evictions: u64,
    /// Damaged segments found, and set aside.
    pub damaged: u64,
    /// Reads and writes that failed.
    pub failures: u64,
    /// Bytes in the directory, as of the last look.
    pub held_bytes: u64,
    /// Pages that this process knows to be there.
    pub held_pages: u64,
    /// Segments that this process knows.
    pub segments: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: u64,
    /// Memory of the index.
    pub index_bytes: u64,
    /// How well the disk works.
    pub state: DiskState,
}

/// The counters behind [`DiskStats`].
#[derive(Debug, Default)]
pub(crate) struct DiskCounters {
    pub(crate) hits: Counter,
    pub(crate) waited: Counter,
    pub(crate) hit_bytes: Counter,
    pub(crate) misses: Counter,
    pub(crate) late: Counter,
    pub(crate) writes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) dropped: Counter,
    pub(crate) not_admitted: Counter,
    pub(crate) failures: Counter,
}

impl DiskCounters {
    pub(crate) fn snapshot(&self) -> DiskStats {
        DiskStats {
            hits: self.hits.now(),
            waited: self.waited.now(),
            hit_bytes: self.hit_bytes.now(),
            misses: self.misses.now(),
            late: self.late.now(),
            writes: self.writes.now(),
            written_bytes: self.written_bytes.now(),
            dropped: self.dropped.now(),
            not_admitted: self.not_admitted.now(),
            failures: self.failures.now(),
            ..DiskStats::default()
        }
    }
}
