//! The body of an answer: its bytes when they are due, and its faults.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use headstart_fetch_core::ConnectionFault;
use headstart_fetch_core::internal::byte_range::{self, in_memory};

use crate::cloud::{SimRequest, generation::Generation, log::RequestEnd};
use crate::{policy::faults::ReadAnswer, store::fault::SimFault};

/// The largest piece that a body yields. A slow reader gets its backlog in pieces that fit its CPU cache.
const MAX_CHUNK_BYTES: u64 = 256 * 1024;

/// A body in progress. Dropping it before its end aborts its request.
#[derive(Debug)]
pub(crate) struct SimBody {
    request: SimRequest,
    generation: Arc<Generation>,
    /// The range that the headers announce.
    range: Range<u64>,
    /// Offset of the next byte.
    offset: u64,
    /// Where the body really ends.
    end: u64,
    /// How the body ends at `end`.
    ending: BodyEnding,
    /// A pause, and the offset of the byte before which it happens.
    pause: Option<(u64, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyEnding {
    /// At the end of the range.
    Complete,
    /// With an error.
    Cut,
    /// At another byte than announced, without an error.
    WrongLength,
}

impl SimBody {
    /// Opens the body of `range`, whose first byte leaves at `first_byte_at`.
    pub(crate) fn open(
        mut request: SimRequest,
        generation: Arc<Generation>,
        range: Range<u64>,
        first_byte_at: Duration,
        answer: ReadAnswer,
    ) -> Self {
        let byte_after = |after: f64| range.start + share(byte_range::len(&range), after);
        let (end, ending, pause) = match answer {
            ReadAnswer::Cut { after } => (byte_after(after), BodyEnding::Cut, None),
            ReadAnswer::Short { after } => (byte_after(after), BodyEnding::WrongLength, None),
            ReadAnswer::Long { extra_bytes } => (range.end + extra_bytes, BodyEnding::WrongLength, None),
            ReadAnswer::Stalled { after, pause } => (range.end, BodyEnding::Complete, Some((byte_after(after), pause))),
            ReadAnswer::Whole | ReadAnswer::Unavailable | ReadAnswer::Throttled { .. } => {
                (range.end, BodyEnding::Complete, None)
            }
        };
        request.open_stream(first_byte_at, pause.map_or(end, |(at, _)| at) - range.start);
        Self { request, generation, offset: range.start, range, end, ending, pause }
    }

    /// Records that the head of the answer has arrived.
    pub(crate) fn on_headers(&mut self, status: u16) {
        self.request.set_status(status);
        self.end_if_complete();
    }

    /// The length that the answer announces. It hides only a cut.
    pub(crate) fn content_length(&self) -> u64 {
        let end = if self.ending == BodyEnding::Cut { self.range.end } else { self.end };
        end - self.range.start
    }

    /// The body as a stream for `GetResult`.
    pub(crate) fn into_stream(self) -> BoxStream<'static, object_store::Result<Bytes>> {
        // Unlike `unfold`, `try_unfold` may be polled again after its end, which `object_store` does for empty bodies.
        stream::try_unfold(self, |mut body| async { Ok(body.next().await?.map(|bytes| (bytes, body))) }).boxed()
    }

    async fn next(&mut self) -> object_store::Result<Option<Bytes>> {
        loop {
            // Ends a piece at the announced end: bytes beyond it are not the object's.
            let to_boundary = self.range.end.checked_sub(self.offset).filter(|n| *n > 0).unwrap_or(MAX_CHUNK_BYTES);
            let bytes = self.request.pull(to_boundary.min(MAX_CHUNK_BYTES)).await;
            if bytes > 0 {
                return Ok(Some(self.take(bytes)));
            }
            let Some((at, pause)) = self.pause.take() else { break };
            self.request.open_stream(self.request.cloud.now() + pause, self.end - at);
        }
        if self.ending != BodyEnding::Cut {
            return Ok(None);
        }
        self.request.end(RequestEnd::Failed);
        Err(SimFault::BodyCut { bytes: self.offset - self.range.start, fault: ConnectionFault }.into())
    }

    fn take(&mut self, bytes: u64) -> Bytes {
        let piece = self.offset..self.offset + bytes;
        self.offset = piece.end;
        self.end_if_complete();
        if piece.start < self.range.end { self.generation.bytes(piece) } else { vec![0; in_memory(bytes)].into() }
    }

    /// Ends the request with its last byte: clients know the length and need not poll for the end.
    fn end_if_complete(&mut self) {
        match self.ending {
            BodyEnding::Complete if self.offset == self.end => self.request.end(RequestEnd::Completed),
            BodyEnding::WrongLength if self.offset == self.end => self.request.end(RequestEnd::Failed),
            _ => {}
        }
    }
}

/// The first `after` of `len` bytes, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a length"
)]
fn share(len: u64, after: f64) -> u64 {
    ((len as f64 * after.clamp(0.0, 1.0)) as u64).min(len)
}
