//! The bytes of one part: filled by its request and read by any waiter.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{Either, select};
use headstart_fetch_core::FetchError;
use headstart_fetch_core::internal::byte_range::in_memory;
use headstart_fetch_core::internal::mutation::Mutation;
use headstart_fetch_core::internal::runtime::TaskRuntime;
use headstart_fetch_core::internal::share;
use object_store::Result;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::blocks::BlockWriter;

#[cfg(not(test))]
use headstart_fetch_core::internal::locks::Mutex;

#[cfg(test)]
use explored::ExploredMutex as Mutex;

#[cfg(test)]
#[path = "../../../fetch-core/src/internal/sync/explored.rs"]
mod explored;

/// The bytes of one part as they arrive. Bytes handed out stay valid after the buffer is dropped.
#[derive(Debug)]
pub(crate) struct PartBuffer {
    /// The runtime of the task that fills it.
    pub(crate) home: TaskRuntime,
    state: Mutex<BufferState>,
    changed: Notify,
}

#[derive(Debug)]
struct BufferState {
    /// Each chunk with the offset in the object of its first byte; without holes.
    chunks: Vec<(u64, Bytes)>,
    /// Gathers the chunks that arrive, if they are to be kept in memory of our own. Follows `chunks` without a hole.
    blocks: Option<BlockWriter>,
    /// Whether its chunks are reported to the planner as they arrive, or when the request ends.
    reports_chunks: bool,
    /// No more chunks are kept.
    is_discarded: bool,
    filled_to: u64,
    end: BufferEnd,
    /// When the version of the bytes was confirmed to be the present one.
    confirmed_at: Option<Instant>,
}

#[derive(Debug)]
enum BufferEnd {
    Open,
    /// No more bytes will come: the object ended, or the request was stopped.
    Complete,
    Failed(Arc<object_store::Error>),
}

impl BufferState {
    /// Moves what is gathered to `chunks`, where it can be read.
    fn end_block(&mut self) {
        let block = self.blocks.as_mut().and_then(BlockWriter::end_block);
        self.chunks.extend(block);
    }

    /// Ends it, unless it has ended.
    fn end_by(&mut self, end: BufferEnd) {
        if matches!(self.end, BufferEnd::Open) {
            self.end = end;
        }
    }
}

/// What a buffer has at an offset.
pub(crate) enum BufferedBytes {
    /// At least one byte from the offset on.
    Bytes(Bytes),
    /// The buffer ended before the offset, without an error.
    End,
}

impl PartBuffer {
    /// An empty buffer for the bytes from `start` on, filled by a task on the runtime `home`, or by the read that waits
    /// for all of it (`is_left_to_read`).
    pub(crate) fn new(start: u64, home: TaskRuntime, is_left_to_read: bool) -> Arc<Self> {
        let state = BufferState {
            chunks: Vec::new(),
            blocks: None,
            reports_chunks: !is_left_to_read,
            is_discarded: false,
            filled_to: start,
            end: BufferEnd::Open,
            confirmed_at: None,
        };
        Arc::new(Self { home, state: Mutex::new(state), changed: Notify::new() })
    }

    /// The request was answered, and the version was confirmed to be the present one at `confirmed_at`.
    pub(crate) fn confirm(&self, confirmed_at: Instant) {
        self.state.lock().confirmed_at = Some(confirmed_at);
    }

    /// When the version was confirmed to be the present one; `None` before the request was answered.
    pub(crate) fn confirmed_at(&self) -> Option<Instant> {
        self.state.lock().confirmed_at
    }

    /// Reports chunks as they arrive from now on. Returns the offset up to which the buffer is filled.
    pub(crate) fn report_chunks(&self) -> u64 {
        let mut state = self.state.lock();
        state.reports_chunks = true;
        state.filled_to
    }

    /// Appends bytes. Returns the offset up to which the buffer is filled, if this is to be reported.
    pub(crate) fn push(&self, bytes: Bytes) -> Option<u64> {
        let mut state = self.state.lock();
        let at = state.filled_to;
        if !bytes.is_empty() && !state.is_discarded {
            state.filled_to += bytes.len() as u64;
            let state = &mut *state;
            match &mut state.blocks {
                Some(blocks) => blocks.write(at, bytes, &mut state.chunks),
                None => state.chunks.push((at, bytes)),
            }
        }
        let reported = state.reports_chunks.then_some(state.filled_to);
        drop(state);
        self.changed.notify_waiters();
        reported
    }

    /// Copies what arrives from now on with `blocks`.
    pub(crate) fn gather(&self, blocks: BlockWriter) {
        self.state.lock().blocks = Some(blocks);
    }

    /// Ends the buffer. Returns how many bytes arrived.
    pub(crate) fn complete(&self) -> usize {
        let mut state = self.state.lock();
        state.end_by(BufferEnd::Complete);
        state.end_block();
        let bytes = state.chunks.iter().map(|(_, chunk)| chunk.len()).sum();
        drop(state);
        self.changed.notify_waiters();
        bytes
    }

    /// The offset up to which it is filled, if this was not reported.
    pub(crate) fn unreported(&self) -> Option<u64> {
        let state = self.state.lock();
        (!state.reports_chunks).then_some(state.filled_to)
    }

    /// Frees the bytes, which nobody reads any more. The task of the request may keep the buffer until its runtime
    /// drops the task, which never happens on a runtime that has stopped.
    pub(crate) fn discard(&self) {
        self.finish(BufferEnd::Complete);
        let _chunks = {
            let mut state = self.state.lock();
            (state.is_discarded, state.filled_to) = (true, 0);
            (std::mem::take(&mut state.chunks), state.blocks.take())
        };
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state.lock().end, BufferEnd::Open)
    }

    pub(crate) fn fail(&self, error: Arc<object_store::Error>) {
        self.finish(BufferEnd::Failed(error));
    }

    fn finish(&self, end: BufferEnd) {
        self.state.lock().end_by(end);
        self.changed.notify_waiters();
    }

    /// Waits for a byte at `range.start`; returns what there is of `range` from there without a copy.
    ///
    /// # Errors
    /// The error of the request, in its variant; [`FetchError::RuntimeStopped`] where its runtime has stopped.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken out.
    pub(crate) async fn at(&self, range: &Range<u64>) -> Result<BufferedBytes> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = self.poll_at(range) {
                return found;
            }
            if let Either::Right(_) = select(changed.as_mut(), pin!(self.home.stopped())).await
                && !Mutation::TrustsRuntimes.is_active()
            {
                // The task may never run again, so the waiter sends a request of its own.
                self.fail(Arc::new(FetchError::RuntimeStopped.into()));
            }
        }
    }

    /// What there is at `range.start`, if this is known already.
    pub(crate) fn poll_at(&self, range: &Range<u64>) -> Option<Result<BufferedBytes>> {
        let mut state = self.state.lock();
        if range.start < state.filled_to {
            if state.chunks.last().is_none_or(|(at, chunk)| range.start >= at + chunk.len() as u64) {
                state.end_block();
            }
            let index = state.chunks.partition_point(|(offset, _)| *offset <= range.start) - 1;
            let (offset, chunk) = &state.chunks[index];
            let from = in_memory(range.start - offset);
            let to = in_memory(range.end - offset).min(chunk.len());
            return Some(Ok(BufferedBytes::Bytes(chunk.slice(from..to))));
        }
        match &state.end {
            BufferEnd::Open => None,
            BufferEnd::Complete => Some(Ok(BufferedBytes::End)),
            BufferEnd::Failed(error) => Some(Err(share(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::explored::explore;
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn bytes_are_readable_as_they_arrive() {
        let buffer = PartBuffer::new(100, TaskRuntime::current().unwrap(), false);
        let wanted = 102..110;
        let mut waiting = buffer.at(&wanted).boxed();
        assert!((&mut waiting).now_or_never().is_none());
        buffer.push(Bytes::from_static(b"abcd"));
        assert!(matches!(waiting.await, Ok(BufferedBytes::Bytes(b)) if b == "cd"));
        buffer.push(Bytes::from_static(b"efgh"));
        buffer.complete();
        assert!(matches!(buffer.at(&(105..106)).await, Ok(BufferedBytes::Bytes(b)) if b == "f"));
        assert!(matches!(buffer.at(&(108..109)).await, Ok(BufferedBytes::End)));
    }

    #[tokio::test]
    async fn an_error_reaches_those_who_need_what_is_missing_only() {
        let buffer = PartBuffer::new(0, TaskRuntime::current().unwrap(), false);
        buffer.push(Bytes::from_static(b"ab"));
        buffer.fail(Arc::new(object_store::Error::NotFound { path: "x".into(), source: "gone".into() }));
        assert!(matches!(buffer.at(&(0..4)).await, Ok(BufferedBytes::Bytes(b)) if b == "ab"));
        assert!(matches!(buffer.at(&(2..4)).await, Err(object_store::Error::NotFound { .. })));
    }

    /// With random schedules: every waiter for bytes or for the end is woken.
    #[test]
    fn no_schedule_loses_a_wake_up() {
        explore(3000, || {
            // The constructor needs a runtime, which is never used: there is no timer in this test.
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let buffer = PartBuffer::new(0, TaskRuntime::of(runtime.handle()), false);
            let readers: Vec<_> = [0..2, 3..4, 4..9, 9..12]
                .into_iter()
                .map(|range: Range<u64>| {
                    let buffer = Arc::clone(&buffer);
                    shuttle::future::spawn(async move {
                        let mut at = range.start;
                        while at < range.end
                            && let BufferedBytes::Bytes(bytes) = buffer.at(&(at..range.end)).await.unwrap()
                        {
                            at += bytes.len() as u64;
                        }
                        at
                    })
                })
                .collect();
            let filler = Arc::clone(&buffer);
            let filling = shuttle::future::spawn(async move {
                for len in [1, 4, 5] {
                    filler.push(Bytes::from(vec![7; len]));
                }
                filler.complete();
            });
            shuttle::future::block_on(async {
                filling.await.unwrap();
                for (reader, end) in readers.into_iter().zip([2, 4, 9, 10]) {
                    assert_eq!(reader.await.unwrap(), end);
                }
            });
        });
    }
}
