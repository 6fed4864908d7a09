//! The system `foyer`: a simple page cache in foyer's memory over `object_store`.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use foyer_memory::{Cache, CacheBuilder, CacheProperties};
use futures::stream::{self, StreamExt, TryStreamExt};
use headstart_bench::source::{Handle, ReadSource};
use headstart_gcs_backend::{GcsBackend, GcsConfig};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// The default capacity of our cache.
const CAPACITY: usize = 256 << 20;

/// Length of a page.
const PAGE: u64 = 1 << 20;

/// Pages that a read fetches at once.
const AT_ONCE: usize = 8;

type Key = (Path, u64);

/// A bucket, read page by page.
pub(crate) struct Pages {
    store: Arc<dyn ObjectStore>,
    cache: Cache<Key, Bytes>,
}

impl Pages {
    pub(crate) fn new(endpoint: &str, bucket: &str) -> Result<Self> {
        let root = format!("gs://{bucket}").parse()?;
        let backend = GcsBackend::open(Some(&root), GcsConfig::resolve([("endpoint", endpoint)], |_| None)?)?;
        let cache = CacheBuilder::new(CAPACITY).with_weighter(|_: &Key, page: &Bytes| page.len());
        Ok(Self { store: backend.store(), cache: cache.build::<CacheProperties>() })
    }
}

#[async_trait]
impl ReadSource for Pages {
    async fn open(&self, key: &str, size: u64) -> Result<Box<dyn Handle>> {
        let (store, cache) = (Arc::clone(&self.store), self.cache.clone());
        Ok(Box::new(Open { store, cache, path: Path::parse(key)?, size }))
    }
}

struct Open {
    store: Arc<dyn ObjectStore>,
    cache: Cache<Key, Bytes>,
    path: Path,
    size: u64,
}

#[async_trait]
impl Handle for Open {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let pages = range.start / PAGE..range.end.div_ceil(PAGE);
        let fetch = |page: u64| {
            let (store, path) = (Arc::clone(&self.store), self.path.clone());
            let bytes = page * PAGE..self.size.min((page + 1) * PAGE);
            let wanted = range.start.max(bytes.start) - bytes.start..range.end.min(bytes.end) - bytes.start;
            let fetched = self
                .cache
                .get_or_fetch(&(path.clone(), page), move || async move { store.get_range(&path, bytes).await });
            async move {
                let page = fetched.await?;
                anyhow::Ok(page.value().slice(usize::try_from(wanted.start)?..usize::try_from(wanted.end)?))
            }
        };
        stream::iter(pages.map(fetch)).buffered(AT_ONCE).try_collect().await
    }
}
