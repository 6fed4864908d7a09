//! The body of an answer, read piece by piece: pieces own their memory, and a body of the wrong length is an error.

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use headstart_fetch_core::{FetchError, internal::Origin};
use object_store::{GetResult, Result};

use crate::stats::CacheCounters;

/// A body that is being read.
pub(super) struct FillBody {
    stream: BoxStream<'static, Result<Bytes>>,
    /// The unread rest of the last chunk.
    chunk: Bytes,
    start: u64,
    /// The next byte to read.
    pub(super) at: u64,
    pub(super) end: u64,
    /// The origin of these bytes as the layer below tells it, and how many wire bytes of it are counted already.
    below: Option<(Origin, u64)>,
}

impl FillBody {
    pub(super) fn new(result: GetResult) -> Self {
        let below = Origin::of(&result.extensions).map(|origin| (origin, 0));
        let range = result.range.clone();
        let stream = result.into_stream();
        Self { stream, chunk: Bytes::new(), start: range.start, at: range.start, end: range.end, below }
    }

    /// The next `n` bytes. They own their memory (a slice would keep its chunk), unless one chunk is the whole answer.
    pub(super) async fn take(&mut self, n: usize, counters: &CacheCounters, origin: &Origin) -> Result<Bytes> {
        let mut taken = Vec::new();
        while taken.len() < n {
            if self.chunk.is_empty() {
                self.chunk = self.next_chunk(counters, origin).await?.ok_or(FetchError::ShortBody {
                    start: self.start,
                    end: self.end,
                    at: self.at + taken.len() as u64,
                })?;
                continue;
            }
            if self.chunk.len() == n && self.end - self.start == n as u64 {
                break;
            }
            taken.reserve_exact(n - taken.len());
            let part = self.chunk.len().min(n - taken.len());
            taken.extend_from_slice(&self.chunk.split_to(part));
        }
        self.at += n as u64;
        let taken = if taken.is_empty() { std::mem::take(&mut self.chunk) } else { taken.into() };
        if self.at == self.end {
            // The last piece is handed out only after the end of the body was seen: a longer body is an error.
            let mut has_more = !self.chunk.is_empty();
            while !has_more && let Some(chunk) = self.next_chunk(counters, origin).await? {
                has_more = !chunk.is_empty();
            }
            if has_more {
                return Err(FetchError::LongBody { start: self.start, end: self.end }.into());
            }
        }
        Ok(taken)
    }

    async fn next_chunk(&mut self, counters: &CacheCounters, origin: &Origin) -> Result<Option<Bytes>> {
        let chunk = self.stream.next().await.transpose()?;
        let bytes = chunk.as_ref().map_or(0, Bytes::len) as u64;
        counters.fetched_bytes.add(bytes);
        match &mut self.below {
            None => origin.add_wire(bytes),
            Some((below, counted)) => {
                let wire_bytes = below.wire_bytes();
                origin.add_wire(wire_bytes - *counted);
                *counted = wire_bytes;
            }
        }
        Ok(chunk)
    }
}
