//! Writes a download to its part file: batches chunks, and keeps several writes in flight.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use object_store::{GetResult, path::Path};
use tokio::task::{JoinError, JoinSet};

use super::part_file::{ObjectId, PartFile, WrittenRange};
use super::{DownloadError, DownloadProgress, Result};
use crate::error::FetchError;
use crate::limits::budget::Reservation;
use crate::policy::{body_check::BodyCheck, byte_range};
use crate::protocol::version::ObjectVersion;
use crate::read::local_file;
use crate::request::core::FetchCore;

/// The size of one write: a hop to a blocking thread takes some 20 µs, little beside a write of this size.
const WRITE_BYTES: usize = 1024 * 1024;

/// Writes in flight at once. They keep a seeking disk or a network file system busy; a local one needs one or two.
const WRITES: usize = 8;

/// How many written ranges of an earlier download are read back at once. Dropping the download waits for no more
/// than these.
const READ_BACK_PIECES: usize = 64;

/// A file that another download holds is tried again this often, at this interval. A download that was just dropped
/// holds it until its writes in flight are done.
const BUSY_RETRIES: u32 = 100;
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// Writes what arrives to the part file.
pub(super) struct DownloadWriter {
    core: Arc<FetchCore>,
    file: Arc<PartFile>,
    /// Chunks that have arrived and are not being written yet. They belong at byte `at`.
    batch: Vec<Bytes>,
    batch_bytes: usize,
    at: u64,
    /// Writes that have not begun end with the download; writes in progress finish by themselves.
    writes: JoinSet<Result<WrittenRange>>,
    /// Ranges that have been written; in order after [`DownloadWriter::flush`].
    pub(super) held: Vec<WrittenRange>,
    pub(super) resumed_bytes: u64,
    written_bytes: u64,
    total_bytes: u64,
    progress: Box<dyn FnMut(DownloadProgress) + Send>,
}

impl DownloadWriter {
    pub(super) async fn open(
        core: &Arc<FetchCore>,
        target: PathBuf,
        progress: Box<dyn FnMut(DownloadProgress) + Send>,
    ) -> Result<Self> {
        for _ in 0..BUSY_RETRIES {
            let target = target.clone();
            if let Some(file) = joined(tokio::task::spawn_blocking(move || PartFile::open(&target)).await)? {
                return Ok(Self {
                    core: Arc::clone(core),
                    file: Arc::new(file),
                    batch: Vec::new(),
                    batch_bytes: 0,
                    at: 0,
                    writes: JoinSet::new(),
                    held: Vec::new(),
                    resumed_bytes: 0,
                    written_bytes: 0,
                    total_bytes: 0,
                    progress,
                });
            }
            tokio::time::sleep(BUSY_WAIT).await;
        }
        Err(DownloadError::Busy { path: target })
    }

    /// Runs a blocking operation on the file.
    pub(super) fn blocking<T, W>(&self, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&PartFile) -> Result<T> + Send + 'static,
    {
        let file = Arc::clone(&self.file);
        async move { joined(tokio::task::spawn_blocking(move || work(&file)).await) }
    }

    pub(super) async fn begin(&mut self, path: &Path, version: &ObjectVersion) -> Result<()> {
        self.report_progress(version.size);
        let (object, version) = (ObjectId::new(&self.core.inner, path), version.clone());
        self.blocking(move |file| file.begin(object, &version)).await
    }

    /// Keeps those of `pieces` that are really in the file.
    pub(super) async fn read_back(&mut self, size: u64, pieces: Vec<WrittenRange>) -> Result<()> {
        for pieces in pieces.chunks(READ_BACK_PIECES) {
            let pieces = pieces.to_vec();
            let there = self.blocking(move |file| {
                let if_held = |piece| Ok(file.holds(&piece)?.then_some(piece));
                pieces.into_iter().filter_map(|piece| if_held(piece).transpose()).collect::<Result<Vec<_>>>()
            });
            self.held.extend(there.await?);
        }
        self.resumed_bytes = self.held.iter().map(|piece| byte_range::len(&piece.range)).sum();
        self.written_bytes = self.resumed_bytes;
        self.report_progress(size);
        Ok(())
    }

    /// Writes the body of `answer` as it arrives. What arrived before an error is written too.
    pub(super) async fn take(&mut self, answer: GetResult) -> Result<()> {
        let mut check = BodyCheck::new(answer.range.clone());
        self.at = check.at();
        let mut body = local_file::in_large_steps(answer).into_stream();
        let mut fetched = Ok(());
        while let Some(chunk) = body.next().await {
            match chunk.and_then(|chunk| Ok(check.on_chunk(chunk.len()).map(|()| chunk)?)) {
                Ok(chunk) => self.push(chunk).await?,
                Err(error) => {
                    fetched = Err(error);
                    break;
                }
            }
        }
        drop(body);
        self.flush().await?;
        fetched?;
        Ok(check.on_end().map_err(object_store::Error::from)?)
    }

    async fn push(&mut self, chunk: Bytes) -> Result<()> {
        self.batch_bytes += chunk.len();
        self.batch.push(chunk);
        if self.batch_bytes >= WRITE_BYTES {
            self.write().await?;
        }
        while let Some(written) = self.writes.try_join_next() {
            self.written(written)?;
        }
        Ok(())
    }

    /// Begins to write the batch. Without memory for it, it is the only write in flight.
    async fn write(&mut self) -> Result<()> {
        let memory = loop {
            let memory = self.core.budget.try_reserve(self.batch_bytes);
            if self.writes.is_empty() || memory.is_some() && self.writes.len() < WRITES {
                break memory;
            }
            drop(memory);
            if let Some(written) = self.writes.join_next().await {
                self.written(written)?;
            }
        };
        let at = self.at;
        self.at += std::mem::take(&mut self.batch_bytes) as u64;
        let (file, batch) = (Arc::clone(&self.file), std::mem::take(&mut self.batch));
        self.writes.spawn_blocking(move || {
            let _charged: Option<Reservation> = memory;
            file.write(at, &batch)
        });
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.write().await?;
        }
        while let Some(written) = self.writes.join_next().await {
            self.written(written)?;
        }
        self.held.sort_unstable_by_key(|piece| piece.range.start);
        Ok(())
    }

    fn written(&mut self, written: Result<Result<WrittenRange>, JoinError>) -> Result<()> {
        let piece = joined(written)?;
        self.written_bytes += byte_range::len(&piece.range);
        self.held.push(piece);
        self.report_progress(self.total_bytes);
        Ok(())
    }

    fn report_progress(&mut self, total_bytes: u64) {
        self.total_bytes = total_bytes;
        (self.progress)(DownloadProgress { written_bytes: self.written_bytes, total_bytes });
    }

    /// The checksum of all written ranges.
    pub(super) fn crc32c(&self) -> u32 {
        self.held.iter().fold(0, |crc32c, piece| {
            crc32c::crc32c_combine(crc32c, piece.crc32c, byte_range::in_memory(byte_range::len(&piece.range)))
        })
    }
}

/// The result of a blocking task.
fn joined<T>(ended: Result<Result<T>, JoinError>) -> Result<T> {
    ended.unwrap_or_else(|lost| match lost.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(object_store::Error::from(FetchError::TaskLost).into()),
    })
}
