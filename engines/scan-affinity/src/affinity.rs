//! `ScanAffinity`: what the sessions of a coordinator know together.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headstart_affinity::FileKey;

use crate::policy::holdings::Holdings;

/// About a row group of files with large ones: `parquet.block.size` of Spark and Hadoop is 128 MiB.
const BLOCK_BYTES: u64 = 128 << 20;

/// More than the files of most clusters; a bound where versions of files come and go for months.
const MOST_KEYS: usize = 1_000_000;

/// Which worker holds which file. All sessions of a coordinator share one.
pub struct ScanAffinity {
    block_bytes: u64,
    holdings: Mutex<Holdings>,
}

impl ScanAffinity {
    /// Nobody holds anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self { block_bytes: BLOCK_BYTES, holdings: Mutex::new(Holdings::new(MOST_KEYS)) }
    }

    /// Divides Parquet files that are larger than this among workers, in blocks of this size. A block that contains the
    /// beginning of no row group is not read. 0: no file is divided. Default: 128 MiB.
    #[must_use]
    pub fn with_block_bytes(mut self, block_bytes: u64) -> Self {
        self.block_bytes = block_bytes;
        self
    }

    /// Remembers at most this many keys, and always the half of it that was used last. A key that is used again after
    /// it was forgotten goes to the same worker, unless workers have joined or left. Default: 1,000,000.
    #[must_use]
    pub fn with_most_keys(self, most_keys: usize) -> Self {
        self.lock().set_most_keys(most_keys);
        self
    }

    /// The id of the worker that holds a file, or a block of it; `None` if no query has read it lately.
    #[must_use]
    pub fn worker(&self, key: FileKey<'_>) -> Option<String> {
        self.lock().worker(key.hash()).map(str::to_owned)
    }

    /// The size of blocks in bytes; 0: no file is divided.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// These workers live: sorted ids, each once. Keys of others move.
    pub fn set_workers(&self, ids: &[String]) -> MutexGuard<'_, Holdings> {
        let mut holdings = self.lock();
        let moved = holdings.set_workers(ids);
        if moved > 0 {
            tracing::debug!(target: "headstart::affinity", workers = ids.len(), moved, "keys have other workers");
        }
        holdings
    }

    // A panic leaves keys without a worker at worst, which are placed again when they are used.
    fn lock(&self) -> MutexGuard<'_, Holdings> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ScanAffinity {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ScanAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = self.lock().workers().to_vec();
        f.debug_struct("ScanAffinity")
            .field("workers", &workers)
            .field("block_bytes", &self.block_bytes)
            .finish_non_exhaustive()
    }
}
