//! An open object: reads at any position. The position of the reader is in `cursor.rs`.

pub(crate) mod active_read;
pub(crate) mod blocking;
pub(crate) mod close_signal;
pub(crate) mod cursor;
pub(crate) mod reader_shared;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::{AccessHint, ObjectVersion};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, Result};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::engine::ObjectEngine;
use crate::engine::store_shared::StoreShared;
use crate::planner::messages::PlannerSettings;
use crate::reader::blocking::BlockingReader;
use crate::reader::cursor::ReadCursor;
use crate::reader::reader_shared::{FirstChunks, RangeRefusal, ReaderShared, STREAM_STEP};

/// Copying yields after so many bytes, which takes 0.1 ms at 10 GB/s.
const COPY_STEP: usize = 1024 * 1024;
/// An open object: a snapshot of one version, from the first answer to close.
///
/// Ranges behave as those of a file: past the end is empty, and an end beyond the object is clamped. Reads at any
/// position may run concurrently through a shared reference; `AsyncRead`, `AsyncSeek` and `AsyncBufRead` share one
/// position.
///
/// Opening sends no request; the first answer pins the version. A later overwrite is reported as
/// [`headstart_fetch_core::ObjectChanged`], never mixed in. Dropping the reader aborts its requests in flight.
///
/// Readers of one object share the bytes they fetch. A new reader joins the others where their version was confirmed by
/// an answer within [`PrefetchConfig::max_age`](crate::PrefetchConfig::max_age) and their runtime is the same.
/// Otherwise it has its own version.
pub struct Reader {
    pub(crate) inner: Arc<ReaderShared>,
    pub(crate) cursor: ReadCursor,
}

/// Shows the store by its `Display`, because the `Debug` of some clients prints credentials, and the object by its
/// path.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = &self.inner.engine;
        let mut shown = f.debug_struct("Reader");
        shown.field("store", &format_args!("{}", engine.shared.inner)).field("path", &engine.path);
        shown.field("version", &engine.known().map(|known| known.version.clone())).field("cursor", &self.cursor);
        shown.field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(
        shared: &Arc<StoreShared>,
        path: Path,
        settings: PlannerSettings,
        meta: Option<ObjectMeta>,
    ) -> Result<Self> {
        let reads_ahead = settings.max_prefetch_bytes > 0;
        let (engine, signal) = ObjectEngine::open(shared, path, settings, meta.as_ref());
        let inner = ReaderShared { engine, signal, reads_ahead };
        if let Some(meta) = meta {
            inner.engine.set_meta(&meta)?;
        }
        Ok(Self { inner: Arc::new(inner), cursor: ReadCursor::default() })
    }

    /// The object's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.engine.path
    }

    /// Reads `range` into one buffer: without a copy where one answer has all of it, otherwise with one copy that
    /// yields every MiB.
    ///
    /// # Errors
    /// The store's own, in their variant; `Precondition` with [`headstart_fetch_core::ObjectChanged`] after an
    /// overwrite; `Generic` once the reader is closed, and with [`headstart_fetch_core::FetchError::NoRuntime`] outside
    /// of a runtime of tokio.
    ///
    /// # Cancel safety
    /// Cancel safe: requests that only this call waits for are aborted.
    pub async fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        let mut chunks = self.chunks_at(range).await?;
        if chunks.len() <= 1 {
            return Ok(chunks.pop().unwrap_or_default());
        }
        Ok(concat(&chunks).await)
    }

    /// Reads `range` as the chunks it arrived in, without a copy.
    ///
    /// # Errors
    /// As [`Reader::read_at`].
    ///
    /// # Cancel safety
    /// As [`Reader::read_at`].
    pub async fn chunks_at(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        self.inner.chunks_at(range).await
    }

    /// The object from the present position to its end, in order, without a copy. Announces [`AccessHint::Sequential`].
    ///
    /// The stream has its own position and outlives the reader.
    pub fn stream(&self) -> BoxStream<'static, Result<Bytes>> {
        self.advise(AccessHint::Sequential);
        if self.inner.reads_ahead {
            self.read_in_steps()
        } else {
            // Without read-ahead, one request for the rest is the fastest.
            let (inner, at) = (Arc::clone(&self.inner), self.cursor.position);
            futures::stream::once(async move { inner.body_from(at, RangeRefusal::No).await }).try_flatten().boxed()
        }
    }

    fn read_in_steps(&self) -> BoxStream<'static, Result<Bytes>> {
        let (inner, start) = (Arc::clone(&self.inner), self.cursor.position);
        let first = async move {
            let chunks = match inner.first_chunks(start, STREAM_STEP).await? {
                FirstChunks::Chunks(chunks) => chunks,
                FirstChunks::Refused(refused) => return inner.body_from(start, refused).await,
            };
            if inner.engine.is_unprovable() {
                // Steps could be of different versions, so one answer must have all bytes.
                drop(chunks);
                return inner.body_from(start, RangeRefusal::No).await;
            }
            let next = start + chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
            let is_end = next == start;
            let rest = futures::stream::try_unfold((inner, next), move |(inner, at)| async move {
                let chunks = if is_end { Vec::new() } else { inner.step(at).await? };
                let len: usize = chunks.iter().map(Bytes::len).sum();
                let rest = (inner, at + len as u64);
                Ok::<_, Error>((len > 0).then(|| (futures::stream::iter(chunks.into_iter().map(Ok)), rest)))
            });
            Ok(futures::stream::iter(chunks.into_iter().map(Ok)).chain(rest.try_flatten()).boxed())
        };
        futures::stream::once(first).try_flatten().boxed()
    }

    /// Announces what will be read, as `posix_fadvise` does. Never waits.
    pub fn advise(&self, hint: AccessHint) {
        self.inner.engine.advise(Some(&self.inner.signal), &hint);
    }

    /// The version this reader is pinned to; asks the store (one HEAD) if nothing has answered yet.
    ///
    /// # Errors
    /// The store's own.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn version(&self) -> Result<ObjectVersion> {
        Ok(self.inner.known().await?.version.clone())
    }

    /// The object's length in bytes; asks the store (one HEAD) if nothing has answered yet.
    ///
    /// # Errors
    /// The store's own.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn size(&self) -> Result<u64> {
        self.inner.size().await
    }

    /// Bytes held for all readers of this object, or reserved for requests in flight; without bytes that were handed
    /// out.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.inner.engine.held_bytes()
    }

    /// Aborts the requests of this reader and frees its bytes. Reads in progress and later ones fail (`Generic`); they
    /// never return fewer bytes.
    /// Closing twice and dropping instead are both fine.
    pub fn close(&self) {
        self.inner.close();
    }

    /// This reader for threads without a runtime: `std::io::{Read, Seek, BufRead}`, driven by the runtime in which the
    /// store was made.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::Unsupported`] on a thread of a runtime, which must not block, and where the store was made
    /// outside a runtime or in one with a single thread. Use [`Reader::blocking_on`] where blocking is known to be
    /// fine, as in `spawn_blocking`.
    pub fn blocking(self) -> std::io::Result<BlockingReader> {
        let refuse = |why: &str| Err(std::io::Error::new(std::io::ErrorKind::Unsupported, why));
        if Handle::try_current().is_ok() {
            return refuse(
                "this thread belongs to a tokio runtime: use the async methods, or blocking_on from spawn_blocking",
            );
        }
        match self.inner.engine.shared.runtime.clone() {
            Some(runtime) if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread => refuse(
                "the store's runtime has one thread, and nothing drives it meanwhile: use a multi-thread runtime",
            ),
            Some(runtime) => Ok(self.blocking_on(runtime)),
            None => refuse("the store was made outside of a tokio runtime: use blocking_on with a runtime's handle"),
        }
    }

    /// This reader for a thread that may block, driven by `runtime`.
    #[must_use]
    pub fn blocking_on(self, runtime: Handle) -> BlockingReader {
        BlockingReader { reader: self, runtime }
    }
}

async fn concat(chunks: &[Bytes]) -> Bytes {
    let len: usize = chunks.iter().map(Bytes::len).sum();
    let mut all = BytesMut::with_capacity(len);
    let mut since_turn = 0;
    for piece in chunks.iter().flat_map(|chunk| chunk.chunks(COPY_STEP)) {
        if since_turn + piece.len() > COPY_STEP {
            tokio::task::yield_now().await;
            since_turn = 0;
        }
        all.extend_from_slice(piece);
        since_turn += piece.len();
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PrefetchConfig, PrefetchStore};
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn a_panic_in_the_planner_reaches_that_read_and_the_next_one_starts_clean() {
        let bytes: Vec<u8> = (0..4_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let inner = Arc::new(InMemory::new());
        inner.put(&Path::from("a"), bytes.clone().into()).await.unwrap();
        let store = PrefetchStore::new(inner, PrefetchConfig::default()).expect("valid settings");
        let reader = Arc::new(store.reader(&Path::from("a")).unwrap());
        let range = |n: usize| n as u64 * 1000..(n as u64 + 1) * 1000;
        for n in 0..10 {
            assert_eq!(reader.read_at(range(n)).await.unwrap(), bytes[n * 1000..][..1000]);
        }
        reader.inner.engine.panic_at_next_read();
        let other = Arc::clone(&reader);
        let read = tokio::spawn(async move { other.read_at(range(10)).await }).await;
        assert!(read.expect_err("it panicked").is_panic());
        for n in 10..100 {
            assert_eq!(reader.read_at(range(n)).await.unwrap(), bytes[n * 1000..][..1000]);
        }
        drop(reader);
        tokio::task::yield_now().await;
        assert_eq!(store.stats().outstanding_bytes, 0);
    }
}
