//! `HeadstartReaderFactory`: makes the readers of a scan's Parquet files.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::error::{DataFusionError, Result};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use headstart_object_store_013::into_014;
use headstart_parquet::FileReader;

use crate::files_ahead::FilesAhead;
use crate::layer_metrics::ReaderMetrics;
use crate::stores::OpenStore;

/// Makes readers that fetch by [`headstart_parquet::FileReader`]: in parallel, row groups ahead, one version of a file.
///
/// Metadata comes from the factory that the scan had before, which for DataFusion's own tables keeps it in the cache of
/// the session. Without such a factory the reader fetches metadata itself.
pub struct HeadstartReaderFactory {
    store: Arc<OpenStore>,
    metadata: Option<Arc<dyn ParquetFileReaderFactory>>,
    files: Arc<FilesAhead>,
}

impl HeadstartReaderFactory {
    pub(crate) fn new(
        store: Arc<OpenStore>,
        files: Vec<FileGroup>,
        metadata: Option<Arc<dyn ParquetFileReaderFactory>>,
    ) -> Self {
        let files = Arc::new(FilesAhead::new(files, metadata.clone()));
        Self { store, metadata, files }
    }
}

impl fmt::Debug for HeadstartReaderFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadstartReaderFactory").field("store", self.store.files.store()).finish_non_exhaustive()
    }
}

impl ParquetFileReaderFactory for HeadstartReaderFactory {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let meta = into_014::object_meta(file.object_meta.clone());
        let meta = meta.map_err(|error| DataFusionError::External(error.into()))?;
        let file_bytes = usize::try_from(meta.size).unwrap_or(usize::MAX);
        // Of a file that is divided between partitions, each reads the row groups that begin in its part.
        let part = file.range.as_ref().map(|part| part.start.cast_unsigned()..part.end.cast_unsigned());
        let scan = ParquetFileMetrics::new(partition, file.object_meta.location.as_ref(), metrics);
        let metadata = match &self.metadata {
            Some(factory) => Some(factory.create_reader(partition, file, metadata_size_hint, metrics)?),
            None => None,
        };
        let layers = ReaderMetrics::begin(&self.store.metrics, &self.store.files, metrics, partition);
        let known = self.files.on_open(&meta.location);
        let reader = self.store.files.reader_with(meta);
        let reader = match part {
            Some(part) => reader.within(part),
            None => reader,
        };
        let reader = match known {
            Some(known) => reader.with_metadata(&known),
            None => reader,
        };
        let (store, files) = (Arc::clone(&self.store), Arc::clone(&self.files));
        Ok(Box::new(ScanReader { store, files, is_at_end: false, reader, metadata, file_bytes, scan, layers }))
    }
}

/// The reader of one file, or of one range of a file, in a scan.
struct ScanReader {
    store: Arc<OpenStore>,
    files: Arc<FilesAhead>,
    /// Whether the last row group was read.
    is_at_end: bool,
    reader: FileReader,
    metadata: Option<Box<dyn AsyncFileReader + Send>>,
    file_bytes: usize,
    scan: ParquetFileMetrics,
    layers: ReaderMetrics,
}

impl ScanReader {
    /// Counts what DataFusion expects a reader to count.
    fn on_ranges(&self, ranges: &[Range<u64>]) {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        self.scan.bytes_scanned.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Data was read, and not a filter or metadata.
    fn on_data(&mut self) {
        self.files.on_data(self.reader.path());
        if !self.is_at_end
            && let Some(columns) = self.reader.columns_at_end()
        {
            self.is_at_end = true;
            self.files.on_last_row_group(&self.store, &columns);
        }
    }

    fn on_read(&self) {
        self.layers.record(&self.store.metrics, &self.store.files);
    }
}

impl AsyncFileReader for ScanReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            self.on_ranges(std::slice::from_ref(&range));
            let wait_time = self.layers.wait_time.clone();
            let waiting = wait_time.timer();
            let read = self.reader.get_bytes(range).await;
            drop(waiting);
            self.on_read();
            read
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            self.on_ranges(&ranges);
            let wait_time = self.layers.wait_time.clone();
            let waiting = wait_time.timer();
            let read = self.reader.get_byte_ranges(ranges).await;
            drop(waiting);
            self.on_data();
            self.on_read();
            read
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let Some(source) = &mut self.metadata else { return self.reader.get_metadata(options).await };
            let metadata = source.get_metadata(options).await?;
            self.files.on_metadata(self.reader.path(), &metadata);
            // Nothing has been read yet, so a clone of the reader is the reader.
            self.reader = self.reader.clone().with_metadata(&metadata);
            Ok(metadata)
        }
        .boxed()
    }
}

impl Drop for ScanReader {
    fn drop(&mut self) {
        // Dropping the reader counts what it requested ahead and nobody read.
        let idle = self.reader.clone();
        drop(std::mem::replace(&mut self.reader, idle));
        self.layers.end(&self.store.metrics, &self.store.files);
        self.scan.scan_efficiency_ratio.add_part(self.scan.bytes_scanned.value());
        // The total is set and not added, because a file may have several readers.
        self.scan.scan_efficiency_ratio.set_total(self.file_bytes);
    }
}
