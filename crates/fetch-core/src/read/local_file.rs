//! Local files: read in a few large steps, and marked as local.

use std::io::{Read, Seek, SeekFrom};
use std::{fs::File, ops::Range, path::PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::{Error, GetResult, GetResultPayload, Result};
use tokio::runtime::Handle;

use crate::error::FetchError;
use crate::policy::byte_range;
use crate::read::positioned;

/// Up to this size a range is one read, so a caller that collects the body gets it without a copy. Larger buffers
/// consist of fresh kernel pages each time, which cost more than a copy.
const ONE_READ_BYTES: u64 = 16 * 1024 * 1024;

/// The size of one read of a longer range. A hop to a blocking thread takes some 20 µs, little beside half a
/// millisecond for the read.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// Up to this size the buffer is zeroed and read at once. `read_to_end` needs no zeroing, but begins with 8 KiB and
/// doubles.
const ZEROED_BYTES: usize = 1024 * 1024;

/// Marks an answer that comes from a local file. The kernel caches the file and reads ahead of it as well as we could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LocalFile;

impl LocalFile {
    /// Whether `answer` comes from a local file, as a file or as a [`FetchStore`](crate::FetchStore)'s stream.
    pub fn is_source_of(answer: &GetResult) -> bool {
        matches!(answer.payload, GetResultPayload::File(..)) || answer.extensions.get::<Self>().is_some()
    }
}

/// Turns a file into a stream of large reads. The stream of the store would hop to a blocking thread for each 8
/// KiB, and its `bytes` would zero the buffer before filling it.
pub(crate) fn in_large_steps(mut answer: GetResult) -> GetResult {
    if let GetResultPayload::File(file, path) = answer.payload {
        answer.extensions.insert(LocalFile);
        answer.payload = GetResultPayload::Stream(stream(file, path, answer.range.clone()));
    }
    answer
}

fn stream(file: File, path: PathBuf, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    let step = if byte_range::len(&range) <= ONE_READ_BYTES { ONE_READ_BYTES } else { STEP_BYTES };
    stream::try_unfold((file, path, range), move |(file, path, mut rest)| async move {
        if rest.is_empty() {
            return Ok(None);
        }
        blocking(move || {
            let here = rest.start..rest.end.min(rest.start.saturating_add(step));
            let bytes = read(&file, here.clone()).map_err(|source| {
                let source = Box::new(FileReadError { path: path.clone(), source });
                Error::Generic { store: "headstart", source }
            })?;
            if (bytes.len() as u64) < byte_range::len(&here) {
                let at = here.start + bytes.len() as u64;
                return Err(FetchError::ShortBody { start: rest.start, end: rest.end, at }.into());
            }
            rest.start = here.end;
            Ok(Some((bytes, (file, path, rest))))
        })
        .await
    })
    .boxed()
}

/// Reads `range`, or less if the file ends before.
fn read(mut file: &File, range: Range<u64>) -> std::io::Result<Bytes> {
    let length = byte_range::in_memory(byte_range::len(&range));
    let mut bytes = Vec::with_capacity(length);
    // One long read first: it tells the kernel how far to read ahead if nothing of the file is in memory.
    bytes.resize(length.min(ZEROED_BYTES), 0);
    let read = positioned::read_up_to(file, &mut bytes, range.start)?;
    if read < bytes.len() || read == length {
        bytes.truncate(read);
        return Ok(bytes.into());
    }
    file.seek(SeekFrom::Start(range.start + read as u64))?;
    file.take((length - read) as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Outside a runtime the calling thread reads, as in `object_store`'s own local store.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or_else(|_| Err(FetchError::TaskLost.into())),
        Err(_) => work(),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
struct FileReadError {
    path: PathBuf,
    source: std::io::Error,
}
