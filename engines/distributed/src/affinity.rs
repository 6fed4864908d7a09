//! `CacheAffinity`: what the sessions of a coordinator know together.

use std::fmt;
use std::sync::MutexGuard;

use headstart_scan_affinity::headstart_affinity::FileKey;
use headstart_scan_affinity::{Holdings, ScanAffinity};
use url::Url;

/// Which worker holds which file. All sessions of a coordinator share one.
pub struct CacheAffinity {
    id_of: Box<dyn Fn(&Url) -> String + Send + Sync>,
    scans: ScanAffinity,
}

impl CacheAffinity {
    /// Nobody holds anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self { id_of: Box::new(Url::to_string), scans: ScanAffinity::new() }
    }

    /// How the worker of a URL is called. Which files a worker gets follows from its id, so the id should last longer
    /// than the process: a worker with a cache on disk then gets the same files again after a restart, wherever it
    /// runs. Default: its URL.
    #[must_use]
    pub fn with_worker_ids(mut self, id_of: impl Fn(&Url) -> String + Send + Sync + 'static) -> Self {
        self.id_of = Box::new(id_of);
        self
    }

    /// Divides Parquet files that are larger than this among workers, in blocks of this size. A block that contains the
    /// beginning of no row group is not read. 0: no file is divided. Default: 128 MiB.
    #[must_use]
    pub fn with_block_bytes(mut self, block_bytes: u64) -> Self {
        self.scans = self.scans.with_block_bytes(block_bytes);
        self
    }

    /// Remembers at most this many keys, and always the half of it that was used last. A key that is used again after
    /// it was forgotten goes to the same worker, unless workers have joined or left. Default: 1,000,000.
    #[must_use]
    pub fn with_most_keys(mut self, most_keys: usize) -> Self {
        self.scans = self.scans.with_most_keys(most_keys);
        self
    }

    /// The id of the worker that holds a file, or a block of it; `None` if no query has read it lately.
    #[must_use]
    pub fn worker(&self, key: FileKey<'_>) -> Option<String> {
        self.scans.worker(key)
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        self.scans.block_bytes()
    }

    /// The workers of these URLs live: their URLs in the order of [`Holdings::workers`]. Of two URLs with one id, the
    /// first is used.
    pub(crate) fn set_workers(&self, urls: Vec<Url>) -> (Vec<Url>, MutexGuard<'_, Holdings>) {
        let mut workers: Vec<(String, Url)> = urls.into_iter().map(|url| ((self.id_of)(&url), url)).collect();
        workers.sort_by(|one, other| one.0.cmp(&other.0));
        workers.dedup_by(|one, other| one.0 == other.0);
        let (ids, urls): (Vec<_>, Vec<_>) = workers.into_iter().unzip();
        (urls, self.scans.set_workers(&ids))
    }
}

impl Default for CacheAffinity {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CacheAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheAffinity").field("scans", &self.scans).finish_non_exhaustive()
    }
}
