//! An open object: reads by position, and the position-less `AsyncRead` family on top.

pub(crate) mod active_read;
pub(crate) mod blocking;
pub(crate) mod close_signal;
pub(crate) mod cursor;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::{
    AccessHint, Intent, ObjectVersion, RangeOrigin, ask, is_transient, may_be_past_end, may_be_the_range,
};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectMeta, Result};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

use crate::engine::part_request::{exact_body, explain};
use crate::engine::store_shared::StoreShared;
use crate::engine::{KnownObject, ObjectEngine};
use crate::planner::messages::PlannerSettings;
use crate::reader::active_read::{OPEN_END_BYTES, is_runtime_stopped};
use crate::reader::blocking::BlockingReader;
use crate::reader::close_signal::{CloseSignal, closed};
use crate::reader::cursor::ReadCursor;

/// After copying so many bytes, which takes 0.1 ms at 10 GB/s, others have a turn.
const COPY_STEP: usize = 1024 * 1024;
/// What [`Reader::stream`] reads at a time, in bytes.
const STREAM_STEP: u64 = 1024 * 1024;
/// How often a read begins, at most. It begins anew where it waited for a task of a stopped runtime, and where the object turns out to
/// end before the read does.
const CHUNKS_TRIES: usize = 3;
/// The length of an object that nobody has measured yet.
const UNKNOWN: u64 = u64::MAX;

/// An open object: a snapshot of one version, from the first answer to close.
///
/// It has a file's manners: past the end is empty, and an end beyond the object is clamped. Reads at any position
/// may run at once through a shared reference; `AsyncRead`, `AsyncSeek` and `AsyncBufRead` keep one position.
///
/// Opening sends no request; the first answer pins the version. An overwrite seen later is
/// [`headstart_fetch_core::ObjectChanged`], never a mixture. Dropping the reader aborts what is in flight.
///
/// Readers of one object share what they fetch. Whoever opens an object that others read joins them where its version was confirmed
/// by an answer within [`PrefetchConfig::max_age`](crate::PrefetchConfig::max_age) and the runtime is the same, and has a version of its
/// own otherwise.
pub struct Reader {
    inner: Arc<ReaderShared>,
    pub(crate) cursor: ReadCursor,
}

/// The store shows by its `Display` (the `Debug` of some clients prints credentials), and the object by its path.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = &self.inner.engine;
        let mut shown = f.debug_struct("Reader");
        shown.field("store", &format_args!("{}", engine.common.inner)).field("path", &engine.path);
        shown.field("version", &engine.known().map(|known| known.version.clone())).field("cursor", &self.cursor);
        shown.field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}

/// What the reader, its streams and its futures share.
pub(crate) struct ReaderShared {
    engine: Arc<ObjectEngine>,
    gate: Arc<CloseSignal>,
    size: AtomicU64,
    reads_ahead: bool,
}

/// What those who read on from a position get first.
pub(crate) enum FirstChunks {
    Chunks(Vec<Bytes>),
    /// Nothing: the store refuses the range.
    RangeRefusal(RangeRefusal),
}

/// Whether ranges that nobody asked for are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeRefusal {
    No,
    /// By requests before.
    Before,
    /// One up to this byte, just now.
    UpTo(u64),
}

impl Reader {
    pub(crate) fn new(
        common: &Arc<StoreShared>,
        path: Path,
        settings: PlannerSettings,
        meta: Option<ObjectMeta>,
    ) -> Result<Self> {
        let reads_ahead = settings.max_prefetch_bytes > 0;
        let (engine, gate) = ObjectEngine::open(common, path, settings, meta.as_ref());
        let inner = ReaderShared { engine, gate, size: AtomicU64::new(UNKNOWN), reads_ahead };
        if let Some(meta) = meta {
            inner.engine.is_told(&meta)?;
            inner.size.store(meta.size, Ordering::Relaxed);
        }
        Ok(Self { inner: Arc::new(inner), cursor: ReadCursor::default() })
    }

    /// The object's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.engine.path
    }

    /// Reads `range` into one buffer: without a copy where one answer holds all of it, with one copy otherwise
    /// (in steps of 1 MiB, so that the runtime is not held up).
    ///
    /// # Errors
    /// The store's own, in their variant; `Precondition` with [`headstart_fetch_core::ObjectChanged`] after an overwrite.
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

    /// Reads `range` as the chunks it arrived in, without any copy.
    ///
    /// # Errors
    /// As [`Reader::read_at`].
    ///
    /// # Cancel safety
    /// As [`Reader::read_at`].
    pub async fn chunks_at(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        self.inner.chunks_at(range).await
    }

    /// The object from the present position to its end, in order, without any copy. Announces [`AccessHint::Sequential`].
    ///
    /// The stream has a position of its own and outlives the reader.
    pub fn stream(&self) -> BoxStream<'static, Result<Bytes>> {
        self.advise(AccessHint::Sequential);
        if self.inner.reads_ahead {
            self.read_in_steps()
        } else {
            // Nothing is ahead of any step then: one request is as good as the store below can do.
            let (inner, at) = (Arc::clone(&self.inner), self.cursor.position());
            futures::stream::once(async move { inner.body_from(at, RangeRefusal::No).await }).try_flatten().boxed()
        }
    }

    fn read_in_steps(&self) -> BoxStream<'static, Result<Bytes>> {
        let (inner, start) = (Arc::clone(&self.inner), self.cursor.position());
        let first = async move {
            let chunks = match inner.first_chunks(start, STREAM_STEP).await? {
                FirstChunks::Chunks(chunks) => chunks,
                FirstChunks::RangeRefusal(refused) => return inner.body_from(start, refused).await,
            };
            if inner.engine.is_unprovable() {
                // Steps could be of different versions: it has to be one answer.
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

    /// Says what will be read, in the words of `posix_fadvise`. Never waits.
    pub fn advise(&self, hint: AccessHint) {
        self.inner.engine.advise(Some(&self.inner.gate), &hint);
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

    /// Bytes that are held for the readers of this object, or reserved for what is on its way to them. What was handed out is not
    /// among them.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.inner.engine.held_bytes()
    }

    /// Aborts what is in flight for this reader and frees what is held for it. Its reads that race with it fail; they never come up short.
    /// Closing twice, and dropping instead, are harmless.
    pub fn close(&self) {
        self.inner.close();
    }

    /// This reader for plain threads: `std::io::{Read, Seek, BufRead}`, driven by the runtime the store was made in.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::Unsupported`] on a thread that belongs to a runtime (blocking would stall it), and where the
    /// store was made outside of any, or in one that has a single thread. [`Reader::blocking_on`] is for those who know better, such as `spawn_blocking`.
    pub fn blocking(self) -> std::io::Result<BlockingReader> {
        let refuse = |why: &str| Err(std::io::Error::new(std::io::ErrorKind::Unsupported, why));
        if Handle::try_current().is_ok() {
            return refuse(
                "this thread belongs to a tokio runtime: use the async methods, or blocking_on from spawn_blocking",
            );
        }
        match self.inner.engine.common.runtime.clone() {
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
        BlockingReader::new(self, runtime)
    }

    pub(crate) fn inner(&self) -> &Arc<ReaderShared> {
        &self.inner
    }
}

impl Drop for ReaderShared {
    fn drop(&mut self) {
        self.close();
    }
}

impl ReaderShared {
    fn close(&self) {
        self.engine.close_reader(&self.gate);
    }

    /// The next chunks of a stream that has come to byte `at`; none at the end.
    async fn step(&self, at: u64) -> Result<Vec<Bytes>> {
        self.chunks_at(at..at.saturating_add(STREAM_STEP)).await
    }

    /// The first `bytes` of those who read on from byte `at` to the end, unless one answer with the rest of the object is to be asked for.
    pub(crate) async fn first_chunks(&self, at: u64, bytes: u64) -> Result<FirstChunks> {
        let range = at..at.saturating_add(bytes);
        if at > 0 {
            return self.chunks_at(range).await.map(FirstChunks::Chunks);
        }
        if self.refuses_ours() {
            return Ok(FirstChunks::RangeRefusal(RangeRefusal::Before));
        }
        self.remember_size();
        let range = at..range.end.min(self.size.load(Ordering::Relaxed));
        if range.is_empty() {
            return Ok(FirstChunks::Chunks(Vec::new()));
        }
        match self.chunks_of(range.clone()).await {
            Err(error) if is_runtime_stopped(&error) => self.chunks_at(range).await.map(FirstChunks::Chunks),
            Err(error) if may_be_the_range(&error) && !self.gate.is_closed() => {
                Ok(FirstChunks::RangeRefusal(RangeRefusal::UpTo(range.end)))
            }
            chunks => {
                self.remember_size();
                chunks.map(FirstChunks::Chunks)
            }
        }
    }

    /// Whether those who read on in order had better ask for the rest of the object at once: nothing reads ahead for them, or nothing
    /// proves that the answers to several requests are of one version.
    pub(crate) fn is_one_answer_better(&self) -> bool {
        !self.reads_ahead || self.is_unprovable()
    }

    /// Whether `chunks`, from byte 0 on, are all there is.
    pub(crate) fn is_all(&self, chunks: &[Bytes]) -> bool {
        chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>() >= self.size.load(Ordering::Relaxed)
    }

    /// Whether nothing proves that two answers are of one version.
    pub(crate) fn is_unprovable(&self) -> bool {
        self.engine.is_unprovable()
    }

    pub(crate) async fn chunks_at(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        // Others who read the object may know it.
        self.remember_size();
        let mut size = self.size.load(Ordering::Relaxed);
        if size == UNKNOWN && range.end.saturating_sub(range.start) > OPEN_END_BYTES {
            size = self.size().await?;
        }
        let mut range = range.start..range.end.min(size);
        let mut tries = CHUNKS_TRIES;
        while range.start < range.end {
            tries -= 1;
            match self.chunks_of(range.clone()).await {
                Ok(chunks) => {
                    self.remember_size();
                    return Ok(chunks);
                }
                Err(error) if tries == 0 => return Err(error),
                Err(error) if is_runtime_stopped(&error) => {}
                // Nobody knew the end when the read began: what it asked for beyond may have been refused.
                Err(error) => match self.end_if_refused(&error).await {
                    Some(size) if size < range.end => {
                        if range.start < size {
                            self.engine.common.refusals.refused_ours(false, size);
                        }
                        range.end = size;
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(Vec::new())
    }

    /// The bytes of `range`, where the object is not known to end before `range` does.
    async fn chunks_of(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let was_known = self.engine.known().is_some();
        let mut refused = false;
        if !self.engine.is_unprovable() && !self.refuses_ours() {
            let read = self.engine.begin(&self.gate, range.clone())?;
            let (is_one_request, is_as_asked) = (read.is_one_request(), read.is_as_asked());
            match read.chunks().await {
                Ok(chunks) if !self.engine.is_unprovable() => return Ok(chunks),
                Ok(chunks) => {
                    self.engine.dispatch(|planner, _, actions| planner.clear(actions));
                    if is_one_request {
                        return Ok(chunks);
                    }
                }
                Err(error) if !is_as_asked && may_be_the_range(&error) && !self.gate.is_closed() => refused = true,
                Err(error) => return Err(error),
            }
        }
        // Nothing proves that the answers to two requests are of one version, or the store refuses what we add: one request it is.
        let mut options = ask(range.clone(), Intent::Demand);
        if refused || self.refuses_ours() {
            options.extensions.insert(RangeOrigin::Asked);
        }
        let path = &self.engine.path;
        let read = async {
            let known = self.engine.known();
            let pinned = known.as_ref().is_some_and(|known| known.version.pin(self.engine.pin, &mut options));
            let version = options.version.clone();
            let asked_at = Instant::now();
            let answer = match self.engine.common.get(path, options).await {
                Ok(answer) => answer,
                Err(error) => {
                    let common = &self.engine.common;
                    return Err(explain(common, path, known.as_deref(), (pinned, version), error).await);
                }
            };
            self.engine.learn(&answer, asked_at)?;
            if refused {
                self.engine.common.refusals.refused_ours(was_known, answer.meta.size);
            }
            exact_body(&range, answer)?.try_collect().await
        };
        self.gate.pass(path, read).await
    }

    /// Fails once the reader is closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.gate.is_closed() { Err(closed(&self.engine.path)) } else { Ok(()) }
    }

    /// Whether the store refuses ranges that nobody asked for, of this object as far as it is known.
    pub(crate) fn refuses_ours(&self) -> bool {
        self.engine.common.refusals.refuses_ours(self.engine.known().is_some())
    }

    /// The store's own stream from `at` to the end, of the version this reader is pinned to; as one request, where ranges of ours have been
    /// `refused`.
    pub(crate) async fn body_from(&self, at: u64, refused: RangeRefusal) -> Result<BoxStream<'static, Result<Bytes>>> {
        let nothing = || Ok(futures::stream::empty().boxed());
        if at >= self.size.load(Ordering::Relaxed) {
            return nothing();
        }
        let common = &self.engine.common;
        let mut options = GetOptions::new().with_range((at > 0).then_some(GetRange::Offset(at)));
        options.extensions.insert(Intent::Demand);
        if refused != RangeRefusal::No {
            options.extensions.insert(RangeOrigin::Asked);
        }
        let asked_at = Instant::now();
        let known = self.engine.known();
        let pinned = known.as_ref().is_some_and(|known| known.version.pin(self.engine.pin, &mut options));
        let version = options.version.clone();
        match common.get(&self.engine.path, options).await {
            Ok(answer) => {
                self.engine.learn(&answer, asked_at)?;
                self.remember_size();
                if let RangeRefusal::UpTo(end) = refused {
                    common.refusals.refused_range(end, answer.meta.size);
                }
                exact_body(&(at..answer.meta.size), answer)
            }
            Err(error) if self.end_if_refused(&error).await.is_some_and(|end| at >= end) => nothing(),
            Err(error) => Err(explain(common, &self.engine.path, known.as_deref(), (pinned, version), error).await),
        }
    }

    /// The end of the object, where `error` may be a refusal of bytes past it: for a file these are no error.
    async fn end_if_refused(&self, error: &Error) -> Option<u64> {
        // An error that may go away by itself says nothing of the end, and has taken its time already.
        if may_be_past_end(error) && !self.gate.is_closed() { self.size().await.ok() } else { None }
    }

    pub(crate) async fn size(&self) -> Result<u64> {
        Ok(self.known().await?.version.size)
    }

    async fn known(&self) -> Result<Arc<KnownObject>> {
        if let Some(known) = self.engine.known() {
            self.remember_size();
            return Ok(known);
        }
        let mut head = GetOptions::new().with_head(true);
        head.extensions.insert(Intent::Demand);
        let asked_at = Instant::now();
        let common = &self.engine.common;
        let refused = match common.inner.get_opts(&self.engine.path, head.clone()).await {
            Ok(answer) => return self.learnt(&answer, asked_at),
            Err(error) if is_transient(&error) => return Err(error),
            Err(error) => error,
        };
        // Some servers have no HEAD; what a GET says before its body does as well.
        let get = GetOptions { head: false, ..head };
        match common.inner.get_opts(&self.engine.path, get).await {
            Ok(answer) => self.learnt(&answer, asked_at),
            Err(_) => Err(refused),
        }
    }

    fn learnt(&self, answer: &GetResult, asked_at: Instant) -> Result<Arc<KnownObject>> {
        self.engine.learn(answer, asked_at)?;
        self.remember_size();
        Ok(self.engine.known().expect("learnt above"))
    }

    fn remember_size(&self) {
        if self.size.load(Ordering::Relaxed) == UNKNOWN
            && let Some(known) = self.engine.known()
        {
            self.size.store(known.version.size, Ordering::Relaxed);
        }
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
        let store = PrefetchStore::new(inner, PrefetchConfig::default());
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
