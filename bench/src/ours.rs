//! The systems that need no other program: the bare client in three ways, and our layers.

use std::io::SeekFrom;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use headstart::{CacheConfig, Headstart, HeadstartBuilder, Reader};
use headstart_fetch_core::internal::byte_range::in_memory;
use headstart_fetch_core::{FetchConfig, FetchStore};
use object_store::buffered::BufReader;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::source::{Handle, ReadSource};
use crate::system::System;

/// The clients of a store that the systems read through.
pub struct StoreClient {
    /// With the client's own retries.
    pub store: Arc<dyn ObjectStore>,
    /// Without retries, because our layers retry.
    pub for_fetch: Arc<dyn ObjectStore>,
    /// A builder of the facade over the store.
    pub facade: HeadstartBuilder,
}

/// The source of `system` over `client`.
///
/// # Errors
/// If `system` needs another program or has no source, or the facade cannot be built.
pub async fn source(system: System, client: StoreClient) -> Result<Arc<dyn ReadSource>> {
    let fetch = |store| Arc::new(FetchStore::new(store, FetchConfig::default()).expect("valid settings"));
    Ok(match system {
        System::Raw => Arc::new(Ranges(client.store)),
        System::Stream => Arc::new(Streams(client.store)),
        System::BufReader => Arc::new(Buffered(client.store)),
        System::Fetch => Arc::new(Ranges(fetch(client.for_fetch))),
        System::FetchStream => Arc::new(Streams(fetch(client.for_fetch))),
        System::Headstart => Arc::new(Facade(client.facade.build().await?)),
        System::HeadstartCache => Arc::new(Facade(client.facade.cache(CacheConfig::default()).build().await?)),
        _ => bail!("{system} is not among our ways of reading"),
    })
}

struct Ranges(Arc<dyn ObjectStore>);

#[async_trait]
impl ReadSource for Ranges {
    async fn open(&self, key: &str, _: u64) -> Result<Box<dyn Handle>> {
        Ok(Box::new(RangesOf { store: Arc::clone(&self.0), path: Path::parse(key)? }))
    }

    fn store(&self) -> Option<Arc<dyn ObjectStore>> {
        Some(Arc::clone(&self.0))
    }
}

struct RangesOf {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

#[async_trait]
impl Handle for RangesOf {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>> {
        Ok(vec![self.store.get_range(&self.path, range).await?])
    }
}

struct Streams(Arc<dyn ObjectStore>);

#[async_trait]
impl ReadSource for Streams {
    async fn open(&self, key: &str, _: u64) -> Result<Box<dyn Handle>> {
        let body = self.0.get(&Path::parse(key)?).await?.into_stream();
        Ok(Box::new(StreamOf { body, at: 0, held: Bytes::new() }))
    }
}

struct StreamOf {
    body: BoxStream<'static, object_store::Result<Bytes>>,
    at: u64,
    held: Bytes,
}

#[async_trait]
impl Handle for StreamOf {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>> {
        ensure!(range.start == self.at, "a stream cannot jump from {} to {}", self.at, range.start);
        let mut pieces = Vec::new();
        while self.at < range.end {
            if self.held.is_empty() {
                let piece = self.body.next().await.with_context(|| format!("the body ended before {}", range.end))?;
                self.held = piece?;
            }
            let piece = self.held.split_to(self.held.len().min(in_memory(range.end - self.at)));
            self.at += piece.len() as u64;
            pieces.push(piece);
        }
        Ok(pieces)
    }
}

struct Buffered(Arc<dyn ObjectStore>);

#[async_trait]
impl ReadSource for Buffered {
    async fn open(&self, key: &str, size: u64) -> Result<Box<dyn Handle>> {
        // `BufReader` needs the size. Its users have it from a listing or a HEAD, which is not counted here.
        let meta = ObjectMeta {
            location: Path::parse(key)?,
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size,
            e_tag: None,
            version: None,
        };
        Ok(Box::new(BufferOf { reader: BufReader::new(Arc::clone(&self.0), &meta), at: 0 }))
    }
}

struct BufferOf {
    reader: BufReader,
    at: u64,
}

#[async_trait]
impl Handle for BufferOf {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let mut buffer = vec![0; in_memory(range.end - range.start)];
        // A seek discards the buffer, even a seek to the current position.
        if range.start != self.at {
            self.reader.seek(SeekFrom::Start(range.start)).await?;
        }
        self.reader.read_exact(&mut buffer).await?;
        self.at = range.end;
        Ok(vec![buffer.into()])
    }
}

/// The facade: readers for open objects, the stack for calls of a store.
pub(crate) struct Facade(pub(crate) Headstart);

#[async_trait]
impl ReadSource for Facade {
    async fn open(&self, key: &str, _: u64) -> Result<Box<dyn Handle>> {
        Ok(Box::new(ReaderOf(self.0.reader(&Path::parse(key)?)?)))
    }

    fn store(&self) -> Option<Arc<dyn ObjectStore>> {
        Some(Arc::new(self.0.clone()))
    }
}

struct ReaderOf(Reader);

#[async_trait]
impl Handle for ReaderOf {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>> {
        Ok(self.0.chunks_at(range).await?)
    }
}
