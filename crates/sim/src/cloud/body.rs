//! The body of an answer: bytes when they are due, and what goes wrong with them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use headstart_fetch_core::ConnectionFault;
use headstart_fetch_core::byte_range::{self, in_memory};

use crate::cloud::SimRequest;
use crate::cloud::generation::Generation;
use crate::cloud::log::End;
use crate::policy::faults::Answer;
use crate::store::fault::SimFault;

/// The most that is handed on at once: what has gathered for a slow reader comes in pieces that stay in its cache.
const MAX_CHUNK_BYTES: u64 = 256 * 1024;

/// A body under way. Dropped before its end, its request counts as aborted.
#[derive(Debug)]
pub(crate) struct SimBody {
    request: SimRequest,
    generation: Arc<Generation>,
    /// What was promised.
    range: Range<u64>,
    /// The next byte.
    at: u64,
    /// Where the body ends in fact.
    end: u64,
    /// What comes of the body at `end` if not its proper end.
    ending: BodyEnding,
    /// A pause, and the byte after which it comes.
    pause: Option<(u64, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyEnding {
    Proper,
    Cut,
    /// It ends as if it were the proper end.
    Unsaid,
}

impl SimBody {
    /// Opens the body of `range`, whose first byte leaves at `first_byte_at`.
    pub(crate) fn open(
        mut request: SimRequest,
        generation: Arc<Generation>,
        range: Range<u64>,
        first_byte_at: Duration,
        answer: Answer,
    ) -> Self {
        let within = |after: f64| range.start + share(byte_range::len(&range), after);
        let (end, ending, pause) = match answer {
            Answer::Cut { after } => (within(after), BodyEnding::Cut, None),
            Answer::Short { after } => (within(after), BodyEnding::Unsaid, None),
            Answer::Long { extra_bytes } => (range.end + extra_bytes, BodyEnding::Unsaid, None),
            Answer::Stalled { after, pause } => (range.end, BodyEnding::Proper, Some((within(after), pause))),
            Answer::Whole | Answer::Unavailable | Answer::Throttled { .. } => (range.end, BodyEnding::Proper, None),
        };
        request.open_stream(first_byte_at, pause.map_or(end, |(at, _)| at) - range.start);
        Self { request, generation, at: range.start, range, end, ending, pause }
    }

    /// The head of the answer arrives.
    pub(crate) fn answered(&mut self, status: u16) {
        self.request.status(status);
        self.end_if_complete();
    }

    /// What the answer gives as its length: the truth, unless the body is to be cut.
    pub(crate) fn content_length(&self) -> u64 {
        let end = if self.ending == BodyEnding::Cut { self.range.end } else { self.end };
        end - self.range.start
    }

    /// The body as `object_store` wants it.
    pub(crate) fn into_stream(self) -> BoxStream<'static, object_store::Result<Bytes>> {
        stream::unfold(Some(self), |body| async {
            let mut body = body?;
            match body.next().await? {
                Ok(bytes) => Some((Ok(bytes), Some(body))),
                Err(error) => Some((Err(error), None)),
            }
        })
        // `object_store` asks an empty body twice.
        .fuse()
        .boxed()
    }

    async fn next(&mut self) -> Option<object_store::Result<Bytes>> {
        loop {
            // Bytes past the promised end come by themselves.
            let to_boundary = self.range.end.checked_sub(self.at).filter(|n| *n > 0).unwrap_or(MAX_CHUNK_BYTES);
            let bytes = self.request.pull(to_boundary.min(MAX_CHUNK_BYTES)).await;
            if bytes > 0 {
                return Some(Ok(self.take(bytes)));
            }
            if let Some((at, pause)) = self.pause.take() {
                self.request.open_stream(self.request.cloud.now() + pause, self.end - at);
                continue;
            }
            match self.ending {
                BodyEnding::Proper | BodyEnding::Unsaid => return None,
                BodyEnding::Cut => {
                    self.request.end(End::Failed);
                    return Some(Err(
                        SimFault::BodyCut { bytes: self.at - self.range.start, fault: ConnectionFault }.into()
                    ));
                }
            }
        }
    }

    fn take(&mut self, bytes: u64) -> Bytes {
        let piece = self.at..self.at + bytes;
        self.at = piece.end;
        self.end_if_complete();
        if piece.start < self.range.end { self.generation.bytes(piece) } else { vec![0; in_memory(bytes)].into() }
    }

    /// A client knows the length: with the last byte it is done, whether or not it asks for more.
    fn end_if_complete(&mut self) {
        if self.at == self.end && self.ending != BodyEnding::Cut {
            self.request.end(if self.ending == BodyEnding::Proper { End::Completed } else { End::Failed });
        }
    }
}

/// The first `after` of `len`, in whole bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a length"
)]
fn share(len: u64, after: f64) -> u64 {
    ((len as f64 * after.clamp(0.0, 1.0)) as u64).min(len)
}
