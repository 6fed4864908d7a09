//! What the readers of a store's Parquet files share: the store, metadata, and what earlier files have taught.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headstart::object_store::{ObjectMeta, path::Path};
use headstart::{Headstart, ObjectVersion};
use parquet::file::metadata::ParquetMetaData;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::file_reader::FileReader;
use crate::metadata::chunk_range;
use crate::policy::prefix_history::PrefixHistory;
use crate::policy::runs::{MOST_HOLE_BYTES, runs};
use crate::stats::{ParquetCounters, ParquetStats};

/// The memory for parsed metadata.
const METADATA_BYTES: u64 = 64 << 20;
/// A guess of the size of an entry, for the first allocation of the cache's table.
const ENTRY_BYTES: u64 = 64 << 10;

/// The Parquet files of a store. Clones share everything.
#[derive(Clone)]
pub struct ParquetFiles {
    pub(crate) shared: Arc<ParquetShared>,
}

pub(crate) struct ParquetShared {
    pub(crate) store: Headstart,
    pub(crate) counters: ParquetCounters,
    history: Mutex<PrefixHistory>,
    /// By path, and by the options that the metadata was parsed with.
    metadata: Cache<(Path, String), KeptMetadata, MetadataWeight>,
}

/// Metadata of one version of a file.
#[derive(Clone)]
struct KeptMetadata {
    version: ObjectVersion,
    metadata: Arc<ParquetMetaData>,
}

#[derive(Clone)]
struct MetadataWeight;

impl Weighter<(Path, String), KeptMetadata> for MetadataWeight {
    fn weight(&self, (path, options): &(Path, String), kept: &KeptMetadata) -> u64 {
        (path.as_ref().len() + options.len() + kept.metadata.memory_size()) as u64
    }
}

impl ParquetFiles {
    /// The Parquet files of `store`.
    #[must_use]
    pub fn new(store: Headstart) -> Self {
        Self::with_metadata_cache(store, METADATA_BYTES)
    }

    /// The same with `bytes` of memory for parsed metadata; 0 keeps none. Default: 64 MiB.
    #[must_use]
    pub fn with_metadata_cache(store: Headstart, bytes: u64) -> Self {
        let items = usize::try_from(bytes / ENTRY_BYTES).unwrap_or(usize::MAX);
        let metadata = Cache::with_weighter(items, bytes, MetadataWeight);
        let (counters, history) = (ParquetCounters::default(), Mutex::default());
        Self { shared: Arc::new(ParquetShared { store, counters, history, metadata }) }
    }

    /// A reader of the file at `path`. Sends no request: the first answer tells size and version.
    #[must_use]
    pub fn reader(&self, path: Path) -> FileReader {
        FileReader::new(Arc::clone(&self.shared), path, None)
    }

    /// A reader of the file of `meta`, in this version. Sends no request, and none for metadata that is known.
    #[must_use]
    pub fn reader_with(&self, meta: ObjectMeta) -> FileReader {
        FileReader::new(Arc::clone(&self.shared), meta.location.clone(), Some(meta))
    }

    /// The ranges that a reader requests for `columns` (leaf columns) of a row group of a file with this `metadata`:
    /// joined where they adjoin, and where reading the hole between them costs less than another request. In the order
    /// of the file. Empty for a row group that does not exist; columns that do not exist have no bytes.
    #[must_use]
    pub fn requests_for(&self, metadata: &ParquetMetaData, row_group: usize, columns: &[usize]) -> Vec<Range<u64>> {
        let chunks = metadata.row_groups().get(row_group).map_or(&[][..], |row_group| row_group.columns());
        let ranges: Vec<_> = columns.iter().filter_map(|column| chunks.get(*column)).map(chunk_range).collect();
        runs(&ranges, self.shared.hole_bytes(), |_| false)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Headstart {
        &self.shared.store
    }

    /// What the readers have done so far.
    #[must_use]
    pub fn stats(&self) -> ParquetStats {
        self.shared.counters.snapshot()
    }
}

impl fmt::Debug for ParquetFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ParquetFiles");
        shown.field("store", &self.shared.store).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl ParquetShared {
    /// The largest hole between two ranges that one request bridges.
    pub(crate) fn hole_bytes(&self) -> u64 {
        self.store.link().link().round_trip_bytes().min(MOST_HOLE_BYTES)
    }

    /// What earlier files have taught. A panic of another reader does not matter: each record is complete.
    pub(crate) fn history(&self) -> MutexGuard<'_, PrefixHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metadata of this version of the file at `path`, parsed with `options`, if it is kept.
    pub(crate) fn kept(&self, path: &Path, options: &str, version: &ObjectVersion) -> Option<Arc<ParquetMetaData>> {
        let kept = self.metadata.get(&(path.clone(), options.to_owned()))?;
        kept.version.is_same(version).then_some(kept.metadata)
    }

    /// Keeps metadata for the next reader, if the version can be recognised.
    pub(crate) fn keep(&self, path: &Path, options: &str, version: ObjectVersion, metadata: Arc<ParquetMetaData>) {
        if version.has_validator() {
            self.metadata.insert((path.clone(), options.to_owned()), KeptMetadata { version, metadata });
        }
    }
}

/// The directory of `path`: files of one directory are often written alike.
pub(crate) fn directory(path: &Path) -> &str {
    path.as_ref().rsplit_once('/').map_or("", |(directory, _)| directory)
}
