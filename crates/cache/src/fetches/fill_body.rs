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

    /// The next `n` bytes, copied: a chunk may be a slice of a client's buffer, which is many times as long, and would
    /// be kept by it.
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
            taken.reserve_exact(n - taken.len());
            let part = self.chunk.len().min(n - taken.len());
            taken.extend_from_slice(&self.chunk.split_to(part));
        }
        self.at += n as u64;
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
        Ok(taken.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::{GetResultPayload, ObjectMeta, path::Path};

    /// Hyper hands on slices of its buffer, of 8 KiB at least: small objects would hold many times their size.
    #[tokio::test]
    async fn a_piece_does_not_keep_its_chunk() {
        let buffer = Bytes::from(vec![7; 8192]);
        let answer = GetResult {
            payload: GetResultPayload::Stream(futures::stream::iter([Ok(buffer.slice(..100))]).boxed()),
            meta: ObjectMeta {
                location: Path::from("small"),
                last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
                size: 100,
                e_tag: None,
                version: None,
            },
            range: 0..100,
            attributes: object_store::Attributes::new(),
            extensions: object_store::Extensions::new(),
        };
        let mut body = FillBody::new(answer);
        let piece = body.take(100, &CacheCounters::default(), &Origin::default()).await.expect("100 bytes");
        drop(body);
        assert_eq!(piece, [7; 100][..]);
        assert!(buffer.try_into_mut().is_ok(), "the piece keeps the buffer");
    }
}
