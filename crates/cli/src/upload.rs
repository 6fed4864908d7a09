//! Uploads: a stream of bytes becomes an object, in one request or in parts, or not at all.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt, TryStreamExt};
use headstart::object_store::path::Path;
use headstart::object_store::{Attributes, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::{Failure, FailureKind};
use crate::session::Site;

/// The least size of a part, and the most of an object that is written by one request.
const PART_BYTES: u64 = 8 << 20;

/// The size of a part of an object of unknown length.
const PART_OF_UNKNOWN_BYTES: u64 = 32 << 20;

/// The most parts that S3 and Google Cloud Storage take.
const MAX_PARTS: u64 = 10_000;

/// Memory of all parts in flight, in units of [`PART_BYTES`]: 256 MiB.
const MEMORY_PARTS: u32 = 32;

/// Parts of one object in flight.
const PARTS_IN_FLIGHT: usize = 8;

/// Bytes that are read from a file at once.
const READ_BYTES: usize = 1 << 20;

/// How long the store may take to forget the parts of an upload that is given up.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// An upload in parts. Its lock is held while a part is begun.
pub(crate) type SharedUpload = Arc<tokio::sync::Mutex<Box<dyn MultipartUpload>>>;

/// Uploads that are neither complete nor aborted, and the memory that all uploads share.
#[derive(Debug)]
pub(crate) struct PendingUploads {
    open: Mutex<BTreeMap<u64, SharedUpload>>,
    next: AtomicU64,
    memory: Arc<Semaphore>,
}

/// The most bytes of a part that [`PendingUploads::memory`] has room for.
pub(crate) const MOST_PART_BYTES: u64 = PART_BYTES * MEMORY_PARTS as u64;

impl Default for PendingUploads {
    fn default() -> Self {
        let memory = Arc::new(Semaphore::new(MEMORY_PARTS as usize));
        Self { open: Mutex::default(), next: AtomicU64::new(0), memory }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uploaded {
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
}

impl PendingUploads {
    /// Lets the stores forget the parts of all uploads that were not completed. Called after their tasks were dropped.
    pub(crate) async fn abort_all(&self) {
        let open = std::mem::take(&mut *self.open.lock());
        let aborts = open.into_values().map(|upload| async move {
            // What fails here is left to the bucket's lifecycle rules.
            let _ = upload.lock().await.abort().await;
        });
        let _ = tokio::time::timeout(ABORT_TIMEOUT, futures::future::join_all(aborts)).await;
    }

    /// Writes `body` to the object at `path`. The object appears with its last byte, or not at all. `size` is its
    /// length, where that is known, `attributes` are its content type and so on. Calls `progress` with the bytes that
    /// were sent.
    ///
    /// # Errors
    /// The first error of `body` or of the store. The parts that were sent are deleted.
    ///
    /// # Cancel safety
    /// Dropping the future leaves parts behind, until [`PendingUploads::abort_all`] is called.
    pub(crate) async fn upload(
        &self,
        site: &Site,
        path: &Path,
        body: BoxStream<'static, Result<Bytes, Failure>>,
        size: Option<u64>,
        attributes: Attributes,
        progress: impl Fn(u64) + Send + Sync,
    ) -> Result<Uploaded, Failure> {
        let part_bytes = part_bytes(size);
        let failed = |error| Failure::store(&site.url_of(path), &error);
        let mut parts = PartReader { body, left: Bytes::new(), crc32c: 0, bytes: 0 };
        let mut charged = self.memory(part_bytes).await;
        let (mut part, mut is_last) = parts.next(part_bytes).await?;
        if is_last {
            let options = PutOptions { attributes, ..PutOptions::default() };
            site.stack.put_opts(path, part.into_iter().collect(), options).await.map_err(failed)?;
            progress(parts.bytes);
            return Ok(parts.done());
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let upload = site.stack.put_multipart_opts(path, options).await.map_err(failed)?;
        let (number, upload) = self.add(upload);
        let sent = async {
            let mut in_flight = FuturesUnordered::new();
            let mut count = 0;
            loop {
                count += 1;
                if count > MAX_PARTS {
                    return Err(Failure::new(
                        FailureKind::Other,
                        format!(
                            "The input is longer than {MAX_PARTS} parts of {part_bytes} bytes. Upload it as a file."
                        ),
                    ));
                }
                let bytes: u64 = part.iter().map(|piece| piece.len() as u64).sum();
                let sending = upload.lock().await.put_part(part.into_iter().collect());
                let (holding, progress) = (charged.take(), &progress);
                let sending = async move {
                    let sent = sending.await;
                    drop(holding);
                    progress(bytes);
                    sent
                };
                in_flight.push(sending.boxed());
                if is_last {
                    break;
                }
                // A part in flight gives its memory back, so the wait ends.
                while in_flight.len() >= PARTS_IN_FLIGHT {
                    in_flight.try_next().await.map_err(failed)?;
                }
                let next = async {
                    charged = self.memory(part_bytes).await;
                    parts.next(part_bytes).await
                };
                (part, is_last) = with_parts(&mut in_flight, next, failed).await?;
            }
            while in_flight.try_next().await.map_err(failed)?.is_some() {}
            upload.lock().await.complete().await.map_err(failed)
        };
        let sent = sent.await;
        self.remove(number);
        if let Err(failure) = sent {
            let abort = async { upload.lock().await.abort().await };
            let _ = tokio::time::timeout(ABORT_TIMEOUT, abort).await;
            return Err(failure);
        }
        Ok(parts.done())
    }

    /// Remembers an upload until it is removed by its number.
    pub(crate) fn add(&self, upload: Box<dyn MultipartUpload>) -> (u64, SharedUpload) {
        let number = self.next.fetch_add(1, Relaxed);
        let upload = Arc::new(tokio::sync::Mutex::new(upload));
        self.open.lock().insert(number, Arc::clone(&upload));
        (number, upload)
    }

    /// Forgets an upload, which was completed or aborted.
    pub(crate) fn remove(&self, number: u64) {
        self.open.lock().remove(&number);
    }

    /// Waits for memory for a part, and takes it until the permit is dropped. Larger parts take more of it.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn memory(&self, part_bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(part_bytes.div_ceil(PART_BYTES)).unwrap_or(MEMORY_PARTS).clamp(1, MEMORY_PARTS);
        // The semaphore is never closed.
        Arc::clone(&self.memory).acquire_many_owned(units).await.ok()
    }
}

/// Waits for `next`, and meanwhile runs the parts in flight, whose errors become failures by `failed`.
async fn with_parts<T>(
    in_flight: &mut FuturesUnordered<impl Future<Output = headstart::object_store::Result<()>>>,
    next: impl Future<Output = Result<T, Failure>>,
    failed: impl Fn(headstart::object_store::Error) -> Failure,
) -> Result<T, Failure> {
    let mut next = std::pin::pin!(next);
    loop {
        tokio::select! {
            read = &mut next => return read,
            Some(sent) = in_flight.next() => sent.map_err(&failed)?,
        }
    }
}

/// The size of parts for an object of this length: all parts but the last have one size, which some stores demand.
fn part_bytes(size: Option<u64>) -> u64 {
    match size {
        Some(size) => size.div_ceil(MAX_PARTS).next_multiple_of(1 << 20).max(PART_BYTES),
        None => PART_OF_UNKNOWN_BYTES,
    }
}

/// Cuts a body into parts, and computes its checksum.
struct PartReader {
    body: BoxStream<'static, Result<Bytes, Failure>>,
    left: Bytes,
    crc32c: u32,
    bytes: u64,
}

impl PartReader {
    /// The next part, and whether it is the last one.
    async fn next(&mut self, part_bytes: u64) -> Result<(Vec<Bytes>, bool), Failure> {
        let (mut part, mut wanted) = (Vec::new(), part_bytes);
        loop {
            if self.left.is_empty() {
                match self.body.next().await {
                    Some(piece) => self.left = piece?,
                    None => return Ok((part, true)),
                }
                self.crc32c = crc32c::crc32c_append(self.crc32c, &self.left);
                self.bytes += self.left.len() as u64;
            }
            // A full part is handed on only once it is known whether it is the last.
            if wanted == 0 && !self.left.is_empty() {
                return Ok((part, false));
            }
            let take = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.left.len());
            part.push(self.left.split_to(take));
            wanted -= take as u64;
        }
    }

    fn done(&self) -> Uploaded {
        Uploaded { bytes: self.bytes, crc32c: self.crc32c }
    }
}

/// The bytes of a file or standard input.
pub(crate) fn read_all(
    name: &FilePath,
    input: impl AsyncRead + Unpin + Send + 'static,
) -> BoxStream<'static, Result<Bytes, Failure>> {
    let name = name.to_owned();
    let step = |(mut input, name): (_, std::path::PathBuf)| async move {
        let mut piece = bytes::BytesMut::with_capacity(READ_BYTES);
        while piece.len() < READ_BYTES {
            match AsyncReadExt::read_buf(&mut input, &mut piece).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(Failure::file("read", &name, &error)),
            }
        }
        Ok((!piece.is_empty()).then(|| (piece.freeze(), (input, name))))
    };
    futures::stream::try_unfold((input, name), step).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_for_the_object() {
        for (size, expected) in
            [(Some(0), 8 << 20), (Some(80 << 30), 9 << 20), (Some(1 << 40), 105 << 20), (None, 32 << 20)]
        {
            let part = part_bytes(size);
            assert_eq!(part, expected);
            assert!(size.is_none_or(|size| size.div_ceil(part) <= MAX_PARTS));
        }
    }

    #[tokio::test]
    async fn bodies_are_cut_into_whole_parts() {
        for (pieces, expected) in [
            (vec![0_usize], vec![0_usize]),
            (vec![10], vec![10]),
            (vec![4, 6], vec![10]),
            (vec![11], vec![10, 1]),
            (vec![25, 0, 5], vec![10, 10, 10]),
        ] {
            let body: Vec<_> = pieces.iter().map(|len| Ok(Bytes::from(vec![7; *len]))).collect();
            let mut reader =
                PartReader { body: futures::stream::iter(body).boxed(), left: Bytes::new(), crc32c: 0, bytes: 0 };
            let mut lengths = Vec::new();
            loop {
                let (part, is_last) = reader.next(10).await.expect("no error");
                lengths.push(part.iter().map(Bytes::len).sum::<usize>());
                if is_last {
                    break;
                }
            }
            let total: usize = pieces.iter().sum();
            assert_eq!((lengths, reader.bytes), (expected, total as u64), "{pieces:?}");
            assert_eq!(reader.crc32c, crc32c::crc32c(&vec![7; total]));
        }
    }
}
