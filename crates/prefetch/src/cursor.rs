//! A reader's position, and `AsyncRead`, `AsyncSeek` and `AsyncBufRead` on top of it.

use std::collections::VecDeque;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::Result;
use parking_lot::Mutex;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};
use tokio::task::coop;

use crate::reader::Reader;

/// What `AsyncBufRead` asks for at a time, in bytes; nobody says how much it will use.
pub(crate) const BUFFER_BYTES: u64 = 64 * 1024;

/// A position, the bytes at hand from there on, and what is awaited. The futures sit in a lock so that a `Reader` is `Sync`;
/// it is never contended, since they are polled through `&mut`.
#[derive(Default)]
pub(crate) struct Cursor {
    position: u64,
    ready: VecDeque<Bytes>,
    reading: Mutex<Option<BoxFuture<'static, Result<Vec<Bytes>>>>>,
    seeking: Mutex<Option<(i64, BoxFuture<'static, Result<u64>>)>>,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Cursor {
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Moves to `position`; bytes at hand stay if they are from there on.
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

/// Where `offset` from `base` is, or the error that `std::io::Seek` asks for.
pub(crate) fn offset_from(base: u64, offset: i64) -> io::Result<u64> {
    base.checked_add_signed(offset)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek to a position before byte 0 or beyond u64"))
}

impl Reader {
    /// Waits until bytes are at hand at the position, or the end is known; `wanted` is what to ask for if none are.
    fn poll_ready(&mut self, cx: &mut Context<'_>, wanted: u64) -> Poll<io::Result<()>> {
        if !self.cursor.ready.is_empty() || wanted == 0 {
            return Poll::Ready(Ok(()));
        }
        let inner = Arc::clone(self.inner());
        let at = self.cursor.position;
        let reading = self.cursor.reading.get_mut();
        let future =
            reading.get_or_insert_with(|| async move { inner.chunks_at(at..at.saturating_add(wanted)).await }.boxed());
        let chunks = ready!(future.poll_unpin(cx));
        *reading = None;
        self.cursor.ready = chunks.map_err(io::Error::from)?.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A reader of bytes that are at hand leaves the thread to others now and then.
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
                let inner = Arc::clone(this.inner());
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
