//! The requests of a reader: reads of ranges, sequential reads, and the metadata of the object.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::Intent;
use headstart_fetch_core::internal::byte_range::is_open_ended;
use headstart_fetch_core::internal::{RangeOrigin, ask, exact_body, is_transient, may_be_past_end, may_be_the_range};
use object_store::{Error, GetOptions, GetRange, GetResult, Result};
use tokio::time::Instant;

use crate::engine::{KnownObject, ObjectEngine};
use crate::reader::active_read::is_runtime_stopped;
use crate::reader::close_signal::{CloseSignal, closed};

/// Bytes that [`Reader::stream`](crate::Reader::stream) reads at a time.
pub(super) const STREAM_STEP: u64 = 1024 * 1024;
/// How often a read starts at most. It starts again where it waited for a task of a stopped runtime, and where the
/// object turns out to end before the read.
const CHUNKS_TRIES: usize = 3;
/// Stands for an unknown length of the object.
const UNKNOWN: u64 = u64::MAX;

/// What a reader shares with its streams and futures.
pub(crate) struct ReaderShared {
    pub(super) engine: Arc<ObjectEngine>,
    pub(super) signal: Arc<CloseSignal>,
    pub(super) reads_ahead: bool,
}

/// The first bytes of a sequential read.
pub(crate) enum FirstChunks {
    Chunks(Vec<Bytes>),
    /// None: the store refuses the range.
    Refused(RangeRefusal),
}

/// Whether the store refuses ranges that the caller did not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeRefusal {
    No,
    /// It refused earlier requests.
    Before,
    /// It refused a request up to this byte just now.
    UpTo(u64),
}

impl Drop for ReaderShared {
    fn drop(&mut self) {
        self.close();
    }
}

impl ReaderShared {
    pub(super) fn close(&self) {
        self.engine.close_reader(&self.signal);
    }

    pub(super) async fn step(&self, at: u64) -> Result<Vec<Bytes>> {
        self.chunks_at(at..at.saturating_add(STREAM_STEP)).await
    }

    /// The first `bytes` of a sequential read from byte `at` on, unless one answer with the rest of the object is
    /// needed.
    pub(crate) async fn first_chunks(&self, at: u64, bytes: u64) -> Result<FirstChunks> {
        let range = at..at.saturating_add(bytes);
        if at > 0 {
            return self.chunks_at(range).await.map(FirstChunks::Chunks);
        }
        if self.refuses_ours() {
            return Ok(FirstChunks::Refused(RangeRefusal::Before));
        }
        let range = at..range.end.min(self.known_size());
        if range.is_empty() {
            return Ok(FirstChunks::Chunks(Vec::new()));
        }
        match self.chunks_of(range.clone()).await {
            Err(error) if is_runtime_stopped(&error) => self.chunks_at(range).await.map(FirstChunks::Chunks),
            Err(error) if may_be_the_range(&error) && !self.signal.is_closed() => {
                Ok(FirstChunks::Refused(RangeRefusal::UpTo(range.end)))
            }
            chunks => chunks.map(FirstChunks::Chunks),
        }
    }

    /// Whether a sequential read should request the rest of the object at once: there is no read-ahead, or nothing
    /// identifies the version.
    pub(crate) fn is_one_answer_better(&self) -> bool {
        !self.reads_ahead || self.is_unprovable()
    }

    /// Whether `chunks`, from byte 0 on, are the whole object.
    pub(crate) fn is_all(&self, chunks: &[Bytes]) -> bool {
        chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>() >= self.known_size()
    }

    pub(crate) fn is_unprovable(&self) -> bool {
        self.engine.is_unprovable()
    }

    pub(crate) async fn chunks_at(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let mut size = self.known_size();
        if size == UNKNOWN && is_open_ended(&range) {
            size = self.size().await?;
        }
        let mut range = range.start..range.end.min(size);
        let mut tries = CHUNKS_TRIES;
        while range.start < range.end {
            tries -= 1;
            match self.chunks_of(range.clone()).await {
                Ok(chunks) => return Ok(chunks),
                Err(error) if tries == 0 => return Err(error),
                Err(error) if is_runtime_stopped(&error) => {}
                // The end was unknown when the read began: the store may have refused bytes beyond it.
                Err(error) => match self.end_if_refused(&error).await {
                    Some(size) if size < range.end => {
                        if range.start < size {
                            self.engine.shared.refusals.refused_ours(false, size);
                        }
                        range.end = size;
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(Vec::new())
    }

    /// The bytes of `range`, where the object is not known to end before its end.
    async fn chunks_of(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let was_known = self.engine.known().is_some();
        let mut refused = false;
        if !self.engine.is_unprovable() && !self.refuses_ours() {
            let read = self.engine.begin(Some(&self.signal), &range)?;
            let (is_one_request, is_as_asked) = (read.is_one_request(), read.is_as_asked());
            match read.chunks().await {
                Ok(chunks) if !self.engine.is_unprovable() => return Ok(chunks),
                Ok(chunks) => {
                    self.engine.dispatch(|planner| planner.clear());
                    if is_one_request {
                        return Ok(chunks);
                    }
                }
                Err(error) if !is_as_asked && may_be_the_range(&error) && !self.signal.is_closed() => refused = true,
                Err(error) => return Err(error),
            }
        }
        // Several answers cannot be proven to be of one version, or the store refuses our ranges: sends exactly one
        // request.
        let mut options = ask(range.clone(), Intent::Demand);
        if refused || self.refuses_ours() {
            options.extensions.insert(RangeOrigin::Asked);
        }
        let read = async {
            let answer = self.get_known(options).await?;
            if refused {
                self.engine.shared.refusals.refused_ours(was_known, answer.meta.size);
            }
            exact_body(&range, answer)?.try_collect().await
        };
        self.signal.run_until_closed(&self.engine.path, read).await
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.signal.is_closed() { Err(closed(&self.engine.path)) } else { Ok(()) }
    }

    /// Whether the store refuses ranges that the caller did not ask for.
    pub(crate) fn refuses_ours(&self) -> bool {
        self.engine.shared.refusals.refuses_ours(self.engine.known().is_some())
    }

    /// The body from `at` to the end, of the pinned version. `refused` tells whether the store refuses ranges that the
    /// caller did not ask for.
    pub(crate) async fn body_from(
        self: &Arc<Self>,
        at: u64,
        refused: RangeRefusal,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let nothing = || Ok(futures::stream::empty().boxed());
        if at >= self.known_size() {
            return nothing();
        }
        let mut options = GetOptions::new().with_range((at > 0).then_some(GetRange::Offset(at)));
        options.extensions.insert(Intent::Demand);
        if refused != RangeRefusal::No {
            options.extensions.insert(RangeOrigin::Asked);
        }
        match self.signal.run_until_closed(&self.engine.path, self.get_known(options)).await {
            Ok(answer) => {
                if let RangeRefusal::UpTo(end) = refused {
                    self.engine.shared.refusals.refused_range(end, answer.meta.size);
                }
                let body = exact_body(&(at..answer.meta.size), answer)?;
                // The body keeps the reader open that it is read by.
                let state = (body, Arc::clone(self));
                let until_closed = futures::stream::try_unfold(state, |(mut body, inner)| async move {
                    let chunk = inner.signal.run_until_closed(&inner.engine.path, body.try_next()).await?;
                    Ok(chunk.map(|chunk| (chunk, (body, inner))))
                });
                Ok(until_closed.boxed())
            }
            Err(error) if self.end_if_refused(&error).await.is_some_and(|end| at >= end) => nothing(),
            Err(error) => Err(error),
        }
    }

    /// Asks the store below for bytes of the known version, and learns the version where none is known.
    async fn get_known(&self, options: GetOptions) -> Result<GetResult> {
        let ObjectEngine { shared, path, pin, .. } = &*self.engine;
        let known = self.engine.known();
        let asked_at = Instant::now();
        let answer = shared.get_known(path, known.map(|known| &**known), *pin, options).await?;
        self.engine.learn_version(&answer, asked_at)?;
        Ok(answer)
    }

    /// The end of the object, where `error` may be the refusal of bytes past it, which a file would not report.
    async fn end_if_refused(&self, error: &Error) -> Option<u64> {
        // A transient error says nothing about the end, and has taken its time already.
        if may_be_past_end(error) && !self.signal.is_closed() { self.size().await.ok() } else { None }
    }

    pub(crate) async fn size(&self) -> Result<u64> {
        Ok(self.known().await?.version.size)
    }

    pub(super) async fn known(&self) -> Result<Arc<KnownObject>> {
        if let Some(known) = self.engine.known() {
            return Ok(Arc::clone(known));
        }
        let mut head = GetOptions::new().with_head(true);
        head.extensions.insert(Intent::Demand);
        let asked_at = Instant::now();
        let shared = &self.engine.shared;
        let refused = match shared.inner.get_opts(&self.engine.path, head.clone()).await {
            Ok(answer) => return self.learnt(&answer, asked_at),
            Err(error) if is_transient(&error) => return Err(error),
            Err(error) => error,
        };
        // Some servers have no HEAD. The header of a GET has the same metadata.
        let get = GetOptions { head: false, ..head };
        match shared.inner.get_opts(&self.engine.path, get).await {
            Ok(answer) => self.learnt(&answer, asked_at),
            Err(_) => Err(refused),
        }
    }

    fn learnt(&self, answer: &GetResult, asked_at: Instant) -> Result<Arc<KnownObject>> {
        self.engine.learn_version(answer, asked_at)?;
        Ok(Arc::clone(self.engine.known().expect("learnt above")))
    }

    /// The length of the object; [`UNKNOWN`] before any answer.
    fn known_size(&self) -> u64 {
        self.engine.known().map_or(UNKNOWN, |known| known.version.size)
    }
}
