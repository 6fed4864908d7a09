//! The position of a reader, with `AsyncRead`, `AsyncSeek` and `AsyncBufRead` on top of it.

use std::collections::VecDeque;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::internal::may_be_the_range;
use object_store::Result;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};
use tokio::task::coop;

use crate::reader::Reader;
use crate::reader::reader_shared::{FirstChunks, RangeRefusal, ReaderShared};

/// Bytes that `AsyncBufRead` requests at a time: its callers do not say how much they will use.
pub(crate) const BUFFER_BYTES: u64 = 64 * 1024;

/// Bytes that `AsyncRead` requests at least at the start of an object, because callers such as `read_to_end` begin with
/// buffers of 32 bytes. Such reads are continued more often than not, and 256 KiB take 4 ms at 60 MB/s. Elsewhere the
/// minimum is that of `AsyncBufRead`.
const LEAST_AT_START: u64 = 256 * 1024;

/// Factor on the minimum from one request to the next while reads are in order, and its limit in bytes: 3 MB take three
/// requests.
const GROWTH: u64 = 4;
const MOST_OF_LEAST: u64 = 2 * 1024 * 1024;

/// The position, the bytes available from there on, and the futures in progress. The locks make `Reader` `Sync`; they
/// are never contended, because the futures are polled through `&mut`.
#[derive(Default)]
pub(crate) struct ReadCursor {
    pub(crate) position: u64,
    ready: VecDeque<Bytes>,
    /// Bytes to request at least next, where reads are in order.
    least: Option<u64>,
    /// The store refuses to answer with the rest of the object.
    chunks_alone: bool,
    /// The rest of the object as one answer, where the store refuses ranges that the caller did not ask for.
    body: Mutex<Option<BoxStream<'static, Result<Bytes>>>>,
    reading: Mutex<Option<BoxFuture<'static, Result<CursorFill>>>>,
    seeking: Mutex<Option<(i64, BoxFuture<'static, Result<u64>>)>>,
}

/// The result of one request.
enum CursorFill {
    Chunks {
        chunks: Vec<Bytes>,
        /// Whether the store has refused to answer with the rest of the object.
        alone: bool,
    },
    Body(BoxStream<'static, Result<Bytes>>),
}

impl std::fmt::Debug for ReadCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadCursor").field("position", &self.position).finish_non_exhaustive()
    }
}

impl ReadCursor {
    /// Moves to `position`; keeps the available bytes from there on.
    pub(crate) fn seek(&mut self, position: u64) {
        let mut skip = position.checked_sub(self.position);
        while let (Some(bytes), Some(chunk)) = (skip, self.ready.front_mut()) {
            let step = usize::try_from(bytes).unwrap_or(usize::MAX).min(chunk.len());
            chunk.advance(step);
            if chunk.is_empty() {
                self.ready.pop_front();
            }
            skip = bytes.checked_sub(step as u64);
            if skip == Some(0) {
                break;
            }
        }
        if skip != Some(0) {
            self.ready.clear();
            self.least = None;
            *self.body.get_mut() = None;
        }
        if position != self.position {
            *self.reading.get_mut() = None;
        }
        self.position = position;
    }

    pub(crate) fn consume(&mut self, amount: usize) {
        self.seek(self.position + amount as u64);
    }
}

/// `offset` bytes from `base`, or the error that `std::io::Seek` requires.
pub(crate) fn offset_from(base: u64, offset: i64) -> io::Result<u64> {
    base.checked_add_signed(offset)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek to a position before byte 0 or beyond u64"))
}

impl Reader {
    /// Waits until bytes are available at the position or the end is known. Requests `wanted` bytes if none are.
    fn poll_ready(&mut self, cx: &mut Context<'_>, wanted: u64) -> Poll<io::Result<()>> {
        if let Err(error) = self.inner.check_open() {
            self.cursor.ready.clear();
            *self.cursor.body.get_mut() = None;
            return Poll::Ready(Err(error.into()));
        }
        while self.cursor.ready.is_empty() && wanted > 0 {
            let at = self.cursor.position;
            if let Some(body) = self.cursor.body.get_mut() {
                match ready!(body.poll_next_unpin(cx)) {
                    Some(Ok(chunk)) if chunk.is_empty() => {}
                    Some(Ok(chunk)) => self.cursor.ready.push_back(chunk),
                    end => {
                        // The next read sends a new request.
                        *self.cursor.body.get_mut() = None;
                        self.cursor.least = None;
                        return Poll::Ready(end.map_or(Ok(()), |end| end.map(drop).map_err(io::Error::from)));
                    }
                }
                continue;
            }
            let goes_on = self.cursor.least.is_some() && !self.cursor.chunks_alone;
            let least = self.cursor.least.unwrap_or(if at == 0 { LEAST_AT_START } else { BUFFER_BYTES });
            let inner = Arc::clone(&self.inner);
            let reading = self.cursor.reading.get_mut();
            let future =
                reading.get_or_insert_with(|| async move { inner.arrive(at, wanted, least, goes_on).await }.boxed());
            let arrived = ready!(future.poll_unpin(cx));
            *reading = None;
            match arrived.map_err(io::Error::from)? {
                CursorFill::Chunks { chunks, alone } => {
                    self.cursor.chunks_alone |= alone;
                    if !alone {
                        self.cursor.least = Some(least.saturating_mul(GROWTH).min(MOST_OF_LEAST));
                    }
                    self.cursor.ready = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
                    return Poll::Ready(Ok(()));
                }
                CursorFill::Body(body) => *self.cursor.body.get_mut() = Some(body),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl ReaderShared {
    /// The bytes from `at` on: the larger of `wanted` and `least`, or the rest of the object as one answer. `goes_on`
    /// tells whether the previous read ended at `at`.
    async fn arrive(self: &Arc<Self>, at: u64, wanted: u64, least: u64, goes_on: bool) -> Result<CursorFill> {
        let chunks = |chunks, alone| CursorFill::Chunks { chunks, alone };
        if goes_on && (self.is_one_answer_better() || self.refuses_ours()) {
            let refused = if self.refuses_ours() { RangeRefusal::Before } else { RangeRefusal::No };
            match self.body_from(at, refused).await {
                // Some servers do not support ranges without an end.
                Err(error) if may_be_the_range(&error) && !self.is_unprovable() => {
                    let bytes = if self.refuses_ours() { wanted } else { wanted.max(least) };
                    return self.chunks_at(at..at.saturating_add(bytes)).await.map(|got| chunks(got, true));
                }
                body => return body.map(CursorFill::Body),
            }
        }
        if self.refuses_ours() && at > 0 {
            return self.chunks_at(at..at.saturating_add(wanted)).await.map(|got| chunks(got, false));
        }
        match self.first_chunks(at, wanted.max(least)).await? {
            FirstChunks::Refused(refused) => self.body_from(at, refused).await.map(CursorFill::Body),
            // Further answers may be of another version, so one answer must have all bytes.
            FirstChunks::Chunks(got) if at == 0 && self.is_unprovable() && !self.is_all(&got) => {
                drop(got);
                self.body_from(at, RangeRefusal::No).await.map(CursorFill::Body)
            }
            FirstChunks::Chunks(got) => Ok(chunks(got, false)),
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Yields now and then, also where bytes are available.
        let turn = ready!(coop::poll_proceed(cx));
        ready!(this.poll_ready(cx, buf.remaining() as u64))?;
        turn.made_progress();
        while buf.remaining() > 0
            && let Some(chunk) = this.cursor.ready.front()
        {
            let step = chunk.len().min(buf.remaining());
            buf.put_slice(&chunk[..step]);
            this.cursor.consume(step);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Reader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        let turn = ready!(coop::poll_proceed(cx));
        ready!(this.poll_ready(cx, BUFFER_BYTES))?;
        turn.made_progress();
        Poll::Ready(Ok(this.cursor.ready.front().map_or(&[], |chunk| chunk)))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().cursor.consume(amount);
    }
}

impl AsyncSeek for Reader {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        *this.cursor.seeking.get_mut() = None;
        match to {
            SeekFrom::Start(position) => this.cursor.seek(position),
            SeekFrom::Current(offset) => {
                let position = offset_from(this.cursor.position, offset)?;
                this.cursor.seek(position);
            }
            SeekFrom::End(offset) => {
                let inner = Arc::clone(&this.inner);
                *this.cursor.seeking.get_mut() = Some((offset, async move { inner.size().await }.boxed()));
            }
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        let seeking = this.cursor.seeking.get_mut();
        if let Some((offset, size)) = seeking {
            let size = ready!(size.poll_unpin(cx));
            let offset = *offset;
            *seeking = None;
            let position = offset_from(size.map_err(io::Error::from)?, offset)?;
            this.cursor.seek(position);
        }
        Poll::Ready(Ok(this.cursor.position))
    }
}
