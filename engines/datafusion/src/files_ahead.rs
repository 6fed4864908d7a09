//! What the readers of a scan know together: metadata, and the first row group of the next file, which is requested
//! while the last one of the file before is decoded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, ParquetFileReaderFactory};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use headstart::object_store::path::Path;
use headstart::{AccessHint, Reader};
use headstart_object_store_013::into_014;

use crate::stores::OpenStore;

/// How far from the next file in the queue one is looked for, and how long what was requested of a file is kept.
const MOST_FILES: usize = 64;

/// The files of a scan, in the order in which its partitions open them: they share one queue.
pub(crate) struct FilesAhead {
    files: Vec<FileGroup>,
    /// Where metadata may be known before a file is opened.
    metadata: Option<Arc<dyn ParquetFileReaderFactory>>,
    progress: Mutex<ScanProgress>,
}

#[derive(Default)]
struct ScanProgress {
    /// How many files, from the first one, were opened.
    opened: usize,
    /// How many were opened or announced.
    announced: usize,
    /// By path: the numbers of announced files, and readers that keep their requests alive.
    requested: BTreeMap<Path, (usize, Reader)>,
    /// By path: metadata of opened files that somebody still holds.
    known: BTreeMap<Path, Weak<ParquetMetaData>>,
}

impl FilesAhead {
    pub(crate) fn new(files: Vec<FileGroup>, metadata: Option<Arc<dyn ParquetFileReaderFactory>>) -> Self {
        Self { files, metadata, progress: Mutex::default() }
    }

    /// A partition opens the file at `path`. Returns its metadata, if it was opened before: a file with a filter gets a
    /// second reader, which nobody asks for metadata.
    pub(crate) fn on_open(&self, path: &Path) -> Option<Arc<ParquetMetaData>> {
        let mut progress = self.lock();
        let mut next = self.files().enumerate().skip(progress.opened).take(MOST_FILES);
        // It is not found if it was opened before.
        if let Some((nth, _)) = next.find(|(_, file)| file.object_meta.location.as_ref() == path.as_ref()) {
            progress.opened = nth + 1;
            progress.announced = progress.announced.max(progress.opened);
            progress.requested.retain(|_, (requested, _)| *requested + MOST_FILES > nth);
        }
        progress.known.get(path).and_then(Weak::upgrade)
    }

    /// The metadata of the file at `path` is known.
    pub(crate) fn on_metadata(&self, path: &Path, metadata: &Arc<ParquetMetaData>) {
        self.lock().known.insert(path.clone(), Arc::downgrade(metadata));
    }

    /// A reader of the file at `path` has read data: what was requested before is in its hands.
    pub(crate) fn on_data(&self, path: &Path) {
        let requested = self.lock().requested.remove(path);
        // Outside of the lock, because it may abort requests.
        drop(requested);
    }

    /// A partition decodes the last row group of a file, of which it has read `columns` of every row group. Requests
    /// these columns of the first row group of the next file, if its metadata is known.
    pub(crate) fn on_last_row_group(&self, store: &OpenStore, columns: &[usize]) {
        let nth = {
            let mut progress = self.lock();
            let nth = progress.announced;
            progress.announced += 1;
            nth
        };
        let Some(reader) = self.files().nth(nth).and_then(|file| self.request(store, file, columns)) else { return };
        let mut progress = self.lock();
        // Otherwise another partition was faster.
        if progress.opened <= nth {
            progress.requested.insert(reader.path().clone(), (nth, reader));
        }
    }

    fn request(&self, store: &OpenStore, file: &PartitionedFile, columns: &[usize]) -> Option<Reader> {
        // These metrics belong to no plan: the scan counts the file when it opens it.
        let unseen = ExecutionPlanMetricsSet::new();
        let mut source = self.metadata.as_ref()?.create_reader(0, file.clone(), None, &unseen).ok()?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        // Ready at once if the session has it in its cache. Otherwise the file is opened as it would be anyway.
        let metadata = source.get_metadata(Some(&options)).now_or_never()?.ok()?;
        let meta = into_014::object_meta(file.object_meta.clone()).ok()?;
        let reader = store.files.store().reader_with(meta).ok()?;
        reader.advise(AccessHint::Random);
        reader.advise(AccessHint::WillNeed(store.files.requests_for(&metadata, 0, columns)));
        Some(reader)
    }

    fn files(&self) -> impl Iterator<Item = &PartitionedFile> {
        self.files.iter().flat_map(FileGroup::iter)
    }

    // Each change is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, ScanProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
