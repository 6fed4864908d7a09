//! One read in progress: hands on the bytes of its pieces in order, as they arrive.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use headstart_fetch_core::FetchError;
use tokio::task::coop;
use tokio::time::Instant;

use crate::engine::ObjectEngine;
use crate::engine::part_buffer::{BufferedBytes, PartBuffer};
use crate::planner::messages::ReadPlan;
use crate::reader::close_signal::{CloseSignal, closed};
use crate::store::stats::add;

/// A longer range (1 TiB) is a way to say "to the end": it is not read in pieces before it is known where that is.
pub(crate) const OPEN_END_BYTES: u64 = 1 << 40;

/// A read in progress. Dropping it gives it up: requests that nobody else needs are aborted.
#[derive(Debug)]
pub(crate) struct ActiveRead {
    engine: Arc<ObjectEngine>,
    plan: ReadPlan,
    cells: Vec<Arc<PartBuffer>>,
    /// Closing it ends the read with an error; calls without a handle have none.
    gate: Option<Arc<CloseSignal>>,
    /// One request asks for just this read.
    as_asked: bool,
    /// The piece to read next, and the offset within the object.
    piece: usize,
    at: u64,
    began: Duration,
    ended: bool,
}

impl ActiveRead {
    pub(crate) fn new(
        engine: Arc<ObjectEngine>,
        gate: Option<Arc<CloseSignal>>,
        plan: ReadPlan,
        cells: Vec<Arc<PartBuffer>>,
    ) -> Self {
        let at = plan.pieces.first().map_or(0, |piece| piece.range.start);
        let began = engine.common.now();
        Self { engine, plan, cells, gate, as_asked: false, piece: 0, at, began, ended: false }
    }

    /// The same, where one request asks for just its range.
    pub(crate) fn with_own_request(mut self, as_asked: bool) -> Self {
        self.as_asked = as_asked;
        self
    }

    /// Whether one request asks for just its range: a refusal is the caller's own.
    pub(crate) fn is_as_asked(&self) -> bool {
        self.as_asked
    }

    /// The bytes it covers.
    pub(crate) fn range(&self) -> Range<u64> {
        let pieces = &self.plan.pieces;
        match (pieces.first(), pieces.last()) {
            (Some(first), Some(last)) => first.range.start..last.range.end,
            _ => 0..0,
        }
    }

    /// Whether all of it comes from one answer of the store.
    pub(crate) fn is_one_request(&self) -> bool {
        self.plan.pieces.len() <= 1
    }

    /// When the version of its bytes was confirmed to be the present one, once all pieces have been [`ActiveRead::answered`].
    pub(crate) fn confirmed_at(&self) -> Option<Instant> {
        self.cells.iter().filter_map(|cell| cell.confirmed_at()).min()
    }

    /// Waits for the first byte of every piece: from here on no answer can turn out to be of another version.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn answered(&self) -> object_store::Result<()> {
        for (cell, piece) in self.cells.iter().zip(&self.plan.pieces) {
            cell.at(&piece.range).await?;
        }
        Ok(())
    }

    /// The next bytes, without a copy; `None` at the end of the read or of the object.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes not returned are returned by the next call.
    pub(crate) async fn next(&mut self) -> object_store::Result<Option<Bytes>> {
        // A reader of bytes that are here leaves the thread to others now and then.
        coop::consume_budget().await;
        while let Some(piece) = self.plan.pieces.get(self.piece) {
            let wanted: Range<u64> = self.at.max(piece.range.start)..piece.range.end;
            if wanted.is_empty() {
                self.piece += 1;
                continue;
            }
            let cell = &self.cells[self.piece];
            let found = match (&self.gate, cell.poll_at(&wanted)) {
                (Some(gate), Some(_)) if gate.is_closed() => Err(closed(&self.engine.path)),
                (_, Some(found)) => found,
                (Some(gate), None) => gate.pass(&self.engine.path, cell.at(&wanted)).await,
                (None, None) => cell.at(&wanted).await,
            };
            match found {
                Ok(BufferedBytes::Bytes(bytes)) => {
                    self.at = wanted.start + bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(BufferedBytes::End) => break,
                Err(error) => {
                    // Gone already where the request itself failed; a lost task could not say so.
                    if self.gate.as_ref().is_none_or(|gate| !gate.is_closed()) {
                        self.engine.failed(piece.part);
                        if is_runtime_stopped(&error) {
                            self.engine.abandon(cell.home());
                        }
                    }
                    self.end(false);
                    return Err(error);
                }
            }
        }
        self.end(true);
        Ok(None)
    }

    /// All of it, without a copy.
    pub(crate) async fn chunks(mut self) -> object_store::Result<Vec<Bytes>> {
        let mut chunks = Vec::new();
        while let Some(bytes) = self.next().await? {
            chunks.push(bytes);
        }
        Ok(chunks)
    }

    /// The same as a stream that starts with `first`.
    pub(crate) fn into_stream(
        self,
        first: Option<Bytes>,
    ) -> impl Stream<Item = object_store::Result<Bytes>> + Send + 'static {
        let chunks = futures::stream::unfold((Some(self), first), |(read, first)| async move {
            let mut read = read?;
            if let Some(first) = first {
                return Some((Ok(first), (Some(read), None)));
            }
            match read.next().await {
                Ok(bytes) => bytes.map(|bytes| (Ok(bytes), (Some(read), None))),
                Err(error) => Some((Err(error), (None, None))),
            }
        });
        chunks.fuse()
    }

    /// The caller's own request has brought all of it.
    pub(crate) fn answered_elsewhere(mut self) {
        self.end(true);
    }

    fn end(&mut self, answered: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let stalled = self.engine.common.now().saturating_sub(self.began);
        add(&self.engine.common.counters.stalled_ns, u64::try_from(stalled.as_nanos()).unwrap_or(u64::MAX));
        self.engine.on_read_end(&self.plan, answered);
    }
}

/// Whether `error` says that the task of a request stands still because its runtime does: this read can do the work itself.
pub(crate) fn is_runtime_stopped(error: &object_store::Error) -> bool {
    FetchError::find(error) == Some(&FetchError::RuntimeStopped)
}

impl Drop for ActiveRead {
    fn drop(&mut self) {
        self.end(false);
    }
}
