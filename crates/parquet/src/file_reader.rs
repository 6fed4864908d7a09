//! `FileReader`: the reads of a Parquet decoder, and row groups ahead of them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, join, try_join_all};
use headstart::object_store::{ObjectMeta, path::Path};
use headstart::{AccessHint, ObjectVersion, Reader};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;

use crate::files::{ParquetShared, directory};
use crate::metadata::{FileTail, external, fetch_suffix, headstart_error, layout, options_key};
use crate::policy::ahead::{AheadPlan, RowGroupsAhead};
use crate::policy::runs::{runs, window_bytes};

/// A Parquet file of one version, as the `parquet` crate and DataFusion read it.
///
/// All readers of one file share its bytes in flight and ahead. A clone reads the same part of the same version, with
/// its own place in the file: give each stream of a file a clone.
///
/// # Errors
/// Errors of the store are the source of a [`ParquetError::External`]. After an overwrite it is a `Precondition` with
/// [`ObjectChanged`](headstart::ObjectChanged).
pub struct FileReader {
    shared: Arc<ParquetShared>,
    path: Path,
    /// What is known of the file, once an answer has told.
    meta: Option<ObjectMeta>,
    reader: Option<Reader>,
    /// The part of the file that this reader reads, if not all of it.
    part: Option<Range<u64>>,
    /// Once the metadata is known.
    ahead: Option<RowGroupsAhead>,
}

impl FileReader {
    pub(crate) fn new(shared: Arc<ParquetShared>, path: Path, meta: Option<ObjectMeta>) -> Self {
        Self { shared, path, meta, reader: None, part: None, ahead: None }
    }

    /// This reader for a part of the file: row groups that begin outside of `part`, in bytes, are read by others, and
    /// are not fetched ahead. Call this before the metadata is known. Default: the whole file.
    #[must_use]
    pub fn within(mut self, part: Range<u64>) -> Self {
        self.part = Some(part);
        self
    }

    /// This reader with metadata of the file that the caller has. A decoder that is given the same metadata does not
    /// ask the reader for any, and then nothing could be fetched ahead.
    #[must_use]
    pub fn with_metadata(mut self, metadata: &ParquetMetaData) -> Self {
        self.set_layout(metadata);
        self
    }

    /// Announces that `columns` (leaf columns, as in the metadata) of `row_groups` will be read, in this order. They
    /// are requested now, as far as the window of the link allows, and then ahead of the reads. Never waits.
    ///
    /// # Errors
    /// [`ParquetError::General`], if the metadata is not known yet: call
    /// [`get_metadata`](AsyncFileReader::get_metadata) first.
    pub fn will_read(&mut self, row_groups: &[usize], columns: &[usize]) -> Result<()> {
        let window = self.window_bytes();
        let Some(ahead) = &mut self.ahead else {
            let path = &self.path;
            return Err(ParquetError::General(format!("the metadata of '{path}' is not known: get it first")));
        };
        let before = ahead.counts();
        let plan = ahead.announce(row_groups, columns, window);
        self.shared.counters.on_ahead(before, ahead.counts());
        act(self.open()?, plan);
        Ok(())
    }

    /// The columns that were asked for, once the last row group was and all before it were: a hint for what will be
    /// read of a file that is read next.
    #[must_use]
    pub fn columns_at_end(&self) -> Option<Vec<usize>> {
        self.ahead.as_ref()?.columns_at_end()
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(&mut self) -> Result<&Reader> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let store = &self.shared.store;
                let reader = match self.meta.clone() {
                    Some(meta) => store.reader_with(meta),
                    None => store.reader(&self.path),
                };
                let reader = reader.map_err(headstart_error)?;
                // What comes next is decided here.
                reader.advise(AccessHint::Random);
                reader
            }
        };
        Ok(self.reader.insert(reader))
    }

    /// What keeps the link busy, for requests as large as the chunks that are being read.
    fn window_bytes(&self) -> u64 {
        let request_bytes = self.ahead.as_ref().map_or(0, RowGroupsAhead::request_bytes);
        window_bytes(&self.shared.store.link().link(), request_bytes)
    }

    async fn read(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let window = self.window_bytes();
        let hole_bytes = self.shared.hole_bytes();
        let (plan, runs) = match &mut self.ahead {
            Some(ahead) => {
                // Before the plan: chunks that are read leave the record of those that were requested ahead.
                let runs = runs(ranges, hole_bytes, |range| ahead.is_advised(range));
                let before = ahead.counts();
                let plan = ahead.on_ranges(ranges, window);
                self.shared.counters.on_ahead(before, ahead.counts());
                (plan, runs)
            }
            None => (AheadPlan::default(), runs(ranges, hole_bytes, |_| false)),
        };
        let reader = self.open()?;
        let demand = try_join_all(runs.iter().map(|run| reader.chunks_at(run.clone())));
        // The demand is polled first, so that its requests go out first.
        let (read, ()) = join(demand, async { act(reader, plan) }).await;
        let read = read.map_err(external)?;
        ranges.iter().map(|range| cut(reader.path(), &runs, &read, range)).collect()
    }

    async fn load(&mut self, options: Option<&ArrowReaderOptions>) -> Result<Arc<ParquetMetaData>> {
        let key = options_key(options);
        if let Some(known) = self.kept(key.as_deref()) {
            return Ok(known);
        }
        let guess = self.shared.history().tail_bytes(directory(&self.path));
        let mut fetched = None;
        if self.meta.is_none() {
            let (meta, tail) = fetch_suffix(&self.shared.store, &self.path, guess).await?;
            if let Some(reader) = self.reader.take() {
                // Bytes were read before the metadata, and both must be of one version.
                let version = reader.version().await.map_err(external)?;
                version.check(&meta).map_err(external)?;
            }
            self.meta = Some(meta);
            fetched = tail;
            if let Some(known) = self.kept(key.as_deref()) {
                return Ok(known);
            }
        }
        let file_bytes = self.meta.as_ref().map_or(0, |meta| meta.size);
        let reader = self.open()?;
        let mut tail = match fetched {
            Some(bytes) => FileTail::new(reader, file_bytes, bytes, 1),
            None => FileTail::fetch(reader, file_bytes, guess).await?,
        };
        let metadata = Arc::new(tail.parse(options).await?);
        let (needed_bytes, reads) = (tail.needed_bytes(), tail.reads());
        self.shared.history().on_metadata(directory(&self.path), needed_bytes);
        self.shared.counters.on_metadata_load(reads);
        tracing::debug!(
            target: "headstart::parquet",
            path = %self.path, reads, needed_bytes, guess_bytes = guess, "metadata was fetched"
        );
        if let (Some(key), Some(meta)) = (key, &self.meta) {
            self.shared.keep(&self.path, &key, ObjectVersion::of(meta), Arc::clone(&metadata));
        }
        Ok(metadata)
    }

    /// Metadata of this version that an earlier reader has fetched.
    fn kept(&self, options: Option<&str>) -> Option<Arc<ParquetMetaData>> {
        let kept = self.shared.kept(&self.path, options?, &ObjectVersion::of(self.meta.as_ref()?))?;
        self.shared.counters.on_metadata_hit();
        Some(kept)
    }

    fn set_layout(&mut self, metadata: &ParquetMetaData) {
        if self.ahead.is_none() {
            let starts_at_once = self.shared.history().is_scanned(directory(&self.path));
            let ahead = RowGroupsAhead::new(layout(metadata), starts_at_once);
            self.ahead = Some(ahead.within(self.part.clone()).bridging(self.shared.hole_bytes()));
        }
    }
}

impl AsyncFileReader for FileReader {
    /// # Cancel safety
    /// Requests that only this call waits for are aborted.
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let mut read = self.read(std::slice::from_ref(&range)).await?;
            Ok(read.pop().unwrap_or_default())
        }
        .boxed()
    }

    /// Reads all ranges at once: neighbours in one request, and the others in parallel.
    ///
    /// # Cancel safety
    /// As [`FileReader::get_bytes`].
    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.read(&ranges).await }.boxed()
    }

    /// # Cancel safety
    /// As [`FileReader::get_bytes`].
    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let metadata = self.load(options).await?;
            self.set_layout(&metadata);
            Ok(metadata)
        }
        .boxed()
    }
}

impl Clone for FileReader {
    fn clone(&self) -> Self {
        let mut clone = Self::new(Arc::clone(&self.shared), self.path.clone(), self.meta.clone());
        clone.part.clone_from(&self.part);
        clone
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        if let Some(ahead) = &mut self.ahead {
            let before = ahead.counts();
            ahead.on_end();
            self.shared.counters.on_ahead(before, ahead.counts());
            if let Some(is_scan) = ahead.is_scan() {
                self.shared.history().on_reader_end(directory(&self.path), is_scan);
            }
        }
    }
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FileReader");
        shown.field("store", &self.shared.store).field("path", &self.path).field("meta", &self.meta);
        shown.field("ahead", &self.ahead.as_ref().map(RowGroupsAhead::counts)).finish_non_exhaustive()
    }
}

fn act(reader: &Reader, plan: AheadPlan) {
    let AheadPlan { advise, forget } = plan;
    // First, because what is given up makes room.
    if !forget.is_empty() {
        reader.advise(AccessHint::DontNeed(forget));
    }
    if !advise.is_empty() {
        reader.advise(AccessHint::WillNeed(advise));
    }
}

/// The bytes of `range` from the chunks that were `read` of the `runs`. Copies only where they lie in several chunks.
fn cut(path: &Path, runs: &[Range<u64>], read: &[Vec<Bytes>], range: &Range<u64>) -> Result<Bytes> {
    let Some(nth) = runs.iter().position(|run| run.start <= range.start && range.end <= run.end) else {
        return Ok(Bytes::new()); // It is empty, so nothing was requested for it.
    };
    let mut at = runs[nth].start;
    let mut pieces = Vec::new();
    for chunk in &read[nth] {
        let end = at + chunk.len() as u64;
        let (from, to) = (range.start.max(at), range.end.min(end));
        if from < to {
            let within = |offset: u64| usize::try_from(offset - at).map_err(|e| ParquetError::External(e.into()));
            pieces.push(chunk.slice(within(from)?..within(to)?));
        }
        at = end;
    }
    let got: usize = pieces.iter().map(Bytes::len).sum();
    if got as u64 != range.end - range.start {
        return Err(ParquetError::EOF(format!("'{path}' ends within {range:?}: got {got} bytes")));
    }
    if pieces.len() == 1 {
        return Ok(pieces.remove(0));
    }
    let mut joined = BytesMut::with_capacity(got);
    pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
    Ok(joined.freeze())
}
