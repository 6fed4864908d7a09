//! One read in progress: hands on the bytes of its pieces in order, as they arrive.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use headstart_fetch_core::FetchError;
use object_store::Result;
use tokio::task::coop;
use tokio::time::Instant;

use crate::engine::ObjectEngine;
use crate::engine::part_buffer::{BufferedBytes, PartBuffer};
use crate::engine::work::Work;
use crate::planner::messages::Decision;
use crate::reader::close_signal::{CloseSignal, closed};
use crate::store::stats::add;

/// A read in progress. Dropping it aborts the requests that no other read needs.
#[derive(Debug)]
pub(crate) struct ActiveRead {
    engine: Arc<ObjectEngine>,
    decision: Decision,
    buffers: Vec<Arc<PartBuffer>>,
    /// The request of the read's one piece, while the read itself runs it.
    own_work: Option<Arc<Work>>,
    /// Ends the read with an error when its reader is closed; `None` for calls without a reader.
    signal: Option<Arc<CloseSignal>>,
    /// The index of the next piece, and the next offset within the object.
    piece: usize,
    at: u64,
    began: Duration,
    ended: bool,
}

impl ActiveRead {
    /// A read that is served from `buffers`, one for each piece of the plan.
    pub(crate) fn new(
        engine: Arc<ObjectEngine>,
        signal: Option<Arc<CloseSignal>>,
        decision: Decision,
        buffers: Vec<Arc<PartBuffer>>,
        own_work: Option<Arc<Work>>,
    ) -> Self {
        let at = decision.plan().pieces.first().map_or(0, |piece| piece.range.start);
        let began = engine.shared.now();
        Self { engine, decision, buffers, own_work, signal, piece: 0, at, began, ended: false }
    }

    /// Whether the caller has to send the request itself. The read then only measures how long the caller waits.
    pub(crate) fn is_passed_through(&self) -> bool {
        matches!(self.decision, Decision::PassThrough(_))
    }

    /// Whether one request asks for exactly its range: a refusal of the store then concerns the caller's own range.
    pub(crate) fn is_as_asked(&self) -> bool {
        self.decision.plan().is_as_asked
    }

    pub(crate) fn range(&self) -> Range<u64> {
        let pieces = &self.decision.plan().pieces;
        match (pieces.first(), pieces.last()) {
            (Some(first), Some(last)) => first.range.start..last.range.end,
            _ => 0..0,
        }
    }

    /// Whether all bytes come from one answer of the store.
    pub(crate) fn is_one_request(&self) -> bool {
        self.decision.plan().pieces.len() <= 1
    }

    /// When the version of the bytes was confirmed to be the present one, after [`ActiveRead::answered`].
    pub(crate) fn confirmed_at(&self) -> Option<Instant> {
        self.buffers.iter().filter_map(|buffer| buffer.confirmed_at()).min()
    }

    /// Waits for the first byte of every piece. After that no answer can turn out to be of another version.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn answered(&self) -> Result<()> {
        debug_assert!(self.own_work.is_none(), "only calls without a reader wait for answers");
        for (buffer, piece) in self.buffers.iter().zip(&self.decision.plan().pieces) {
            buffer.at(&piece.range).await?;
        }
        Ok(())
    }

    /// The next bytes, without a copy; `None` at the end of the read or of the object.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes not returned are returned by the next call.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        // Yields now and then, also where all bytes are there already.
        coop::consume_budget().await;
        while let Some(piece) = self.decision.plan().pieces.get(self.piece) {
            let wanted: Range<u64> = self.at.max(piece.range.start)..piece.range.end;
            if wanted.is_empty() {
                self.piece += 1;
                continue;
            }
            let buffer = &self.buffers[self.piece];
            let mut found = buffer.poll_at(&wanted);
            if found.is_none() && self.own_work.is_some() {
                found = poll_fn(|cx| self.poll_own_work(cx, || buffer.poll_at(&wanted))).await;
            }
            let buffer = &self.buffers[self.piece];
            let found = match (&self.signal, found) {
                (Some(signal), Some(_)) if signal.is_closed() => Err(closed(&self.engine.path)),
                (_, Some(found)) => found,
                (Some(signal), None) => signal.run_until_closed(&self.engine.path, buffer.at(&wanted)).await,
                (None, None) => buffer.at(&wanted).await,
            };
            match found {
                Ok(BufferedBytes::Bytes(bytes)) => {
                    self.at = wanted.start + bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(BufferedBytes::End) => break,
                Err(error) => {
                    // A failed request has removed its part already, but a lost task has not.
                    if self.signal.as_ref().is_none_or(|signal| !signal.is_closed()) {
                        self.engine.on_failed(piece.part);
                        if is_runtime_stopped(&error) {
                            self.engine.on_runtime_stopped(&buffer.home);
                        }
                    }
                    self.end(false);
                    return Err(error);
                }
            }
        }
        // The body has ended, or ends now.
        poll_fn(|cx| self.poll_own_work(cx, || None::<()>)).await;
        self.end(true);
        Ok(None)
    }

    /// Goes on with the request that the read runs itself, until it brings what `found` finds. `None` where there is no
    /// such request any more: it has ended, its part was dropped, or a task has taken it over.
    ///
    /// A read that has moved to another runtime leaves its request to a task of the first one, to whose timers and
    /// connections the request is bound. If that runtime has stopped, the read then notices.
    fn poll_own_work<T>(&self, cx: &mut Context<'_>, found: impl Fn() -> Option<T>) -> Poll<Option<T>> {
        let is_gone = self.own_work.as_ref().is_none_or(|work| {
            let is_here = self.buffers.first().is_some_and(|buffer| buffer.home.is_current());
            if !is_here {
                work.hand_over();
            }
            !is_here || work.poll(cx).is_ready()
        });
        match found() {
            None if !is_gone => Poll::Pending,
            found => Poll::Ready(found),
        }
    }

    pub(crate) async fn chunks(self) -> Result<Vec<Bytes>> {
        self.into_stream(None).try_collect().await
    }

    /// The bytes as a stream that starts with `first`.
    pub(crate) fn into_stream(self, first: Option<Bytes>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let rest = stream::try_unfold(self, async |mut read| Ok(read.next().await?.map(|bytes| (bytes, read))));
        stream::iter(first.map(Ok)).chain(rest)
    }

    /// The caller's own request has brought all bytes.
    pub(crate) fn answered_elsewhere(mut self) {
        self.end(true);
    }

    fn end(&mut self, answered: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let waited = self.engine.shared.now().saturating_sub(self.began);
        add(&self.engine.shared.counters.waited_ns, u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
        let plan = self.decision.plan();
        let own_work = self.own_work.take();
        if let (Some(_), [piece], [buffer]) = (&own_work, &*plan.pieces, &*self.buffers)
            && buffer.is_open()
        {
            self.engine.on_filled(piece.part, Some(buffer.report_chunks()), 0);
        }
        self.engine.on_read_end(plan, answered);
        // Where the part is kept, a task brings what is missing of it.
        if let Some(work) = own_work {
            work.hand_over();
        }
    }
}

/// Whether `error` says that the runtime of a request has stopped, so that the read has to send a new one.
pub(crate) fn is_runtime_stopped(error: &object_store::Error) -> bool {
    FetchError::find(error) == Some(&FetchError::RuntimeStopped)
}

impl Drop for ActiveRead {
    fn drop(&mut self) {
        self.end(false);
    }
}
