//! Fetches and parses the metadata of a file, from as few requests as possible.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use headstart::object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, path::Path};
use headstart::{Headstart, Reader};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::MetadataFetch;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};

use crate::policy::layout::RowGroupLayout;

/// The bytes of an empty file's frame: shorter files are no Parquet files.
const LEAST_FILE_BYTES: u64 = 12;

/// The end of a file that has been fetched, and where to fetch more.
pub(crate) struct FileTail<'a> {
    reader: &'a Reader,
    file_bytes: u64,
    start: u64,
    bytes: Bytes,
    /// The first byte that the parser has asked for.
    needed_from: u64,
    reads: u64,
}

impl<'a> FileTail<'a> {
    /// The last bytes of a file of `file_bytes`, which took `reads` requests.
    pub(crate) fn new(reader: &'a Reader, file_bytes: u64, bytes: Bytes, reads: u64) -> Self {
        let start = file_bytes - bytes.len() as u64;
        Self { reader, file_bytes, start, bytes, needed_from: file_bytes, reads }
    }

    /// Fetches the last `bytes` of the file.
    pub(crate) async fn fetch(reader: &'a Reader, file_bytes: u64, bytes: u64) -> Result<Self> {
        let tail = read(reader, file_bytes.saturating_sub(bytes)..file_bytes).await?;
        Ok(Self::new(reader, file_bytes, tail, 1))
    }

    /// Parses the metadata, with the page index that `options` ask for. Fetches what is missing.
    pub(crate) async fn parse(&mut self, options: Option<&ArrowReaderOptions>) -> Result<ParquetMetaData> {
        if self.file_bytes < LEAST_FILE_BYTES {
            let path = self.reader.path();
            return Err(ParquetError::General(format!(
                "'{path}' is no Parquet file: it has {} bytes, and the shortest has {LEAST_FILE_BYTES}",
                self.file_bytes
            )));
        }
        let parser = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        let file_bytes = self.file_bytes;
        parser.load_and_finish(&mut *self, file_bytes).await
    }

    /// How much of the end of the file the metadata takes.
    pub(crate) fn needed_bytes(&self) -> u64 {
        self.file_bytes - self.needed_from
    }

    /// The requests that it took.
    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }

    async fn get(&mut self, range: Range<u64>) -> Result<Bytes> {
        self.needed_from = self.needed_from.min(range.start);
        if range.start < self.start {
            let missing = read(self.reader, range.start..range.end.min(self.start)).await?;
            self.reads += 1;
            if range.end < self.start {
                return Ok(missing);
            }
            let mut joined = BytesMut::with_capacity(missing.len() + self.bytes.len());
            joined.extend_from_slice(&missing);
            joined.extend_from_slice(&self.bytes);
            (self.start, self.bytes) = (range.start, joined.freeze());
        }
        let at =
            |offset: u64| usize::try_from(offset - self.start).map_err(|error| ParquetError::External(error.into()));
        let (start, end) = (at(range.start)?, at(range.end)?);
        if end > self.bytes.len() || start > end {
            return Err(ParquetError::EOF(format!("'{}' ends within its metadata", self.reader.path())));
        }
        Ok(self.bytes.slice(start..end))
    }
}

impl MetadataFetch for &mut FileTail<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.get(range).boxed()
    }
}

/// The last `bytes` of the object at `path`, or all of a shorter one, and what the answer tells of the object. One
/// request, or two where the store has no suffix ranges.
pub(crate) async fn fetch_suffix(store: &Headstart, path: &Path, bytes: u64) -> Result<(ObjectMeta, Option<Bytes>)> {
    let suffix = GetOptions::new().with_range(Some(GetRange::Suffix(bytes)));
    match store.get_opts(path, suffix).await {
        Ok(answer) => {
            let (meta, end) = (answer.meta.clone(), answer.range.end);
            let tail = answer.bytes().await.map_err(external)?;
            // A server may answer with another range.
            Ok((meta.clone(), (end == meta.size).then_some(tail)))
        }
        Err(Error::NotSupported { .. } | Error::NotImplemented { .. }) => {
            let head = GetOptions::new().with_head(true);
            Ok((store.get_opts(path, head).await.map_err(external)?.meta, None))
        }
        Err(error) => Err(external(error)),
    }
}

/// All of `range`.
pub(crate) async fn read(reader: &Reader, range: Range<u64>) -> Result<Bytes> {
    let bytes = reader.read_at(range.clone()).await.map_err(external)?;
    if bytes.len() as u64 == range.end - range.start {
        Ok(bytes)
    } else {
        let (path, got) = (reader.path(), bytes.len());
        Err(ParquetError::EOF(format!("'{path}' ends within {range:?}: got {got} bytes")))
    }
}

/// Where the column chunks lie.
pub(crate) fn layout(metadata: &ParquetMetaData) -> RowGroupLayout {
    let row_groups = metadata.row_groups().iter();
    RowGroupLayout::new(row_groups.map(|row_group| row_group.columns().iter().map(chunk_range).collect()).collect())
}

/// The bytes of a column chunk. One that claims to have a negative length has none here.
pub(crate) fn chunk_range(column: &ColumnChunkMetaData) -> Range<u64> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let (start, len) = (u64::try_from(start).unwrap_or(0), u64::try_from(column.compressed_size()).unwrap_or(0));
    start..start.saturating_add(len)
}

/// The options on which parsed metadata depends; `None` for metadata that is decrypted, which is not kept.
pub(crate) fn options_key(options: Option<&ArrowReaderOptions>) -> Option<String> {
    let default = ArrowReaderOptions::default();
    let options = options.unwrap_or(&default);
    // The field exists only where a dependent crate has switched on the feature `encryption` of parquet.
    if format!("{options:?}").contains("file_decryption_properties: Some") {
        return None;
    }
    let policies = (options.column_index_policy(), options.offset_index_policy());
    Some(format!("{policies:?} {:?}", options.metadata_options()))
}

/// An error of the store, as the source of one of parquet.
pub(crate) fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// An error of headstart, likewise.
pub(crate) fn headstart_error(error: headstart::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
