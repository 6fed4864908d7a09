//! Bodies that the simulated store sends: in chunks at its rate, complete or with a fault.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use headstart_sim::Content;
use object_store::Result;
use tokio::time::{Instant, sleep_until};

use super::{CloudSpec, FaultEffect, RequestFault, Version, cloud::injected, evidence};

/// A fault of a body, if any.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyEnding {
    /// The offset at which the fault happens.
    at: u64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    End,
    Error,
    More,
    Pause(Duration),
}

impl BodyEnding {
    /// The end of a body of `range` under `fault`, and its effect as the history records it.
    pub(super) fn of(fault: Option<RequestFault>, range: &Range<u64>) -> (Self, Option<FaultEffect>) {
        let len = range.end - range.start;
        let after = |percent: u64| range.start + len * percent.min(100) / 100;
        let (at, what) = match fault {
            Some(RequestFault::Cut { percent }) => (after(percent), What::Error),
            Some(RequestFault::Short { percent }) => (after(percent), What::End),
            Some(RequestFault::Long) => (range.end, What::More),
            Some(RequestFault::Stall { percent, ms }) => (after(percent), What::Pause(Duration::from_millis(ms))),
            _ => (range.end, What::End),
        };
        let record_fault = match what {
            What::End if at == range.end => None,
            What::End | What::Error | What::Pause(_) => Some(FaultEffect::Broken),
            What::More => Some(FaultEffect::TooLong),
        };
        (Self { at, what }, record_fault)
    }
}

/// Counts an open request until it is dropped.
pub(super) struct OpenRequest(Arc<AtomicUsize>);

impl OpenRequest {
    pub(super) fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A chunk's memory, counted until the last slice of it is dropped.
struct Chunk {
    bytes: Vec<u8>,
    live_bytes: Arc<AtomicUsize>,
}

impl Chunk {
    fn of(content: &Content, range: &Range<u64>, live_bytes: &Arc<AtomicUsize>) -> Bytes {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("a chunk fits memory")];
        content.fill(range.start, &mut bytes);
        live_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Self { bytes, live_bytes: Arc::clone(live_bytes) })
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.live_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

struct Sending {
    content: Content,
    at: u64,
    end: u64,
    ending: Option<BodyEnding>,
    chunk_bytes: u64,
    bytes_per_ms: u64,
    due: Instant,
    live_bytes: Arc<AtomicUsize>,
    _counted: OpenRequest,
}

pub(super) fn stream(
    spec: &CloudSpec,
    version: Version,
    range: Range<u64>,
    ending: BodyEnding,
    live_bytes: &Arc<AtomicUsize>,
    counted: OpenRequest,
) -> BoxStream<'static, Result<Bytes>> {
    let sending = Sending {
        content: evidence::content(&version),
        at: range.start,
        end: range.end,
        ending: Some(ending),
        chunk_bytes: spec.chunk_bytes as u64,
        bytes_per_ms: spec.bytes_per_ms,
        due: Instant::now(),
        live_bytes: Arc::clone(live_bytes),
        _counted: counted,
    };
    futures::stream::unfold(Some(sending), |sending| async {
        let mut sending = sending?;
        let chunk = sending.next().await?;
        let rest = chunk.is_ok().then_some(sending);
        Some((chunk, rest))
    })
    .fuse()
    .boxed()
}

impl Sending {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        if let Some(BodyEnding { what: What::Pause(pause), .. }) = self.ending.filter(|ending| ending.at == self.at) {
            self.ending = None;
            self.due = Instant::now() + pause;
            sleep_until(self.due).await;
        }
        let stop = self.ending.filter(|ending| ending.at < self.end || ending.what != What::End);
        let end = match stop {
            Some(BodyEnding { at, what: What::Error }) if at == self.at => {
                return Some(Err(injected("the body broke off")));
            }
            Some(BodyEnding { at, what: What::End }) if at == self.at => return None,
            // Sends one more chunk, beyond the requested range.
            Some(BodyEnding { at, what: What::More }) if at == self.at => {
                self.ending = None;
                self.end = self.at + self.chunk_bytes;
                self.end
            }
            Some(BodyEnding { at, .. }) => at,
            None => self.end,
        };
        if self.at >= end {
            return None;
        }
        let range = self.at..end.min(self.at + self.chunk_bytes);
        // The sender is at most one chunk ahead of the reader.
        let micros = (range.end - range.start) * 1000 / self.bytes_per_ms;
        self.due = (self.due + Duration::from_micros(micros)).max(Instant::now());
        sleep_until(self.due).await;
        self.at = range.end;
        Some(Ok(Chunk::of(&self.content, &range, &self.live_bytes)))
    }
}
