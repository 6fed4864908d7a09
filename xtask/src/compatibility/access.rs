//! The ways to read an object, by our layers and by the bare client.

use std::ops::Range;

use anyhow::Result;
use bytes::Bytes;
use clap::ValueEnum;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use headstart::Headstart;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};
use tokio::io::AsyncReadExt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Access {
    /// `get`
    Get,
    /// `get_range` of some bytes in the middle
    GetRange,
    /// `get_range` that ends past the object
    GetRangePastEnd,
    /// `get_opts` of the last bytes
    GetSuffix,
    /// `get_ranges` of three ranges
    GetRanges,
    /// `Reader::read_at` of ranges in a row; the bare client reads them by `get_range`
    ReadAt,
    /// `Reader::stream`; the bare client streams a `get`
    Stream,
    /// `AsyncReadExt::read_to_end`; the bare client collects a `get`
    ReadToEnd,
    /// `head`
    Head,
}

/// The pieces that a read returned, each with its offset.
pub(crate) type Pieces = Vec<(u64, Bytes)>;

impl Access {
    /// The ranges that the read is expected to return of an object of `size` bytes.
    pub(super) fn expected(self, size: u64) -> Vec<Range<u64>> {
        match self {
            Self::Get | Self::Stream | Self::ReadToEnd => vec![0..size],
            Self::GetRange => vec![size / 10..size / 5],
            Self::GetRangePastEnd => vec![size - size / 10..size],
            Self::GetSuffix => vec![size - 100..size],
            Self::GetRanges => vec![0..10, size / 2..size / 2 + 100, size - 50..size],
            Self::ReadAt => {
                let step = (size / 10).min(32 * 1024);
                (0..10).map(|n| n * step..(n + 1) * step).collect()
            }
            Self::Head => Vec::new(),
        }
    }

    /// Reads by the bare client.
    pub(super) async fn raw(self, store: &dyn ObjectStore, path: &Path, size: u64) -> Result<Pieces> {
        match self {
            Self::ReadAt => {
                let read = |range: Range<u64>| async move { Ok((range.start, store.get_range(path, range).await?)) };
                stream::iter(self.expected(size)).then(read).try_collect().await
            }
            Self::Stream | Self::ReadToEnd => Self::Get.by_store(store, path, size).await,
            _ => self.by_store(store, path, size).await,
        }
    }

    pub(super) async fn ours(self, headstart: &Headstart, path: &Path, size: u64) -> Result<Pieces> {
        match self {
            Self::ReadAt => {
                let reader = headstart.reader(path)?;
                let mut pieces = Vec::new();
                for range in self.expected(size) {
                    pieces.push((range.start, reader.read_at(range).await?));
                }
                Ok(pieces)
            }
            Self::Stream => collect(0, headstart.reader(path)?.stream()).await,
            Self::ReadToEnd => {
                let mut bytes = Vec::new();
                headstart.reader(path)?.read_to_end(&mut bytes).await?;
                Ok(vec![(0, bytes.into())])
            }
            _ => self.by_store(headstart, path, size).await,
        }
    }

    /// Reads by methods that every store has.
    async fn by_store(self, store: &dyn ObjectStore, path: &Path, size: u64) -> Result<Pieces> {
        match self {
            Self::GetRange => {
                let range = self.expected(size).remove(0);
                Ok(vec![(range.start, store.get_range(path, range).await?)])
            }
            Self::GetRangePastEnd => {
                let start = self.expected(size)[0].start;
                Ok(vec![(start, store.get_range(path, start..2 * size).await?)])
            }
            Self::GetSuffix => {
                let options = GetOptions::new().with_range(Some(GetRange::Suffix(100)));
                let answer = store.get_opts(path, options).await?;
                collect(answer.range.start, answer.into_stream()).await
            }
            Self::GetRanges => {
                let ranges = self.expected(size);
                let pieces = store.get_ranges(path, &ranges).await?;
                Ok(ranges.iter().map(|range| range.start).zip(pieces).collect())
            }
            Self::Head => {
                store.head(path).await?;
                Ok(Vec::new())
            }
            _ => collect(0, store.get(path).await?.into_stream()).await,
        }
    }
}

/// The chunks of a stream that starts at offset `at`.
pub(crate) async fn collect(mut at: u64, mut chunks: BoxStream<'_, object_store::Result<Bytes>>) -> Result<Pieces> {
    let mut pieces = Vec::new();
    while let Some(chunk) = chunks.try_next().await? {
        let start = at;
        at += chunk.len() as u64;
        pieces.push((start, chunk));
    }
    Ok(pieces)
}

display_as_argument!(Access);
