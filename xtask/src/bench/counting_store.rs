//! A read-only client that counts its requests, for stores that have no log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

use headstart_bench::results::WireCounts;

/// Forwards and counts reads; refuses everything else.
#[derive(Debug)]
pub(crate) struct CountingStore {
    inner: Arc<dyn ObjectStore>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    gets: AtomicU64,
    heads: AtomicU64,
    bytes: AtomicU64,
}

impl CountingStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, counts: Arc::default() }
    }

    /// The requests so far. Bytes count when they arrive.
    pub(crate) fn wire(&self) -> WireCounts {
        let Counts { gets, heads, bytes } = &*self.counts;
        WireCounts { gets: gets.load(Relaxed), heads: heads.load(Relaxed), fetched_bytes: bytes.load(Relaxed) }
    }
}

impl fmt::Display for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountingStore({})", self.inner)
    }
}

fn refused(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "a bench that only reads".into() }
}

#[async_trait]
impl ObjectStore for CountingStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let requests = if options.head { &self.counts.heads } else { &self.counts.gets };
        requests.fetch_add(1, Relaxed);
        let mut answer = self.inner.get_opts(location, options).await?;
        answer.payload = match answer.payload {
            GetResultPayload::Stream(body) => {
                let counts = Arc::clone(&self.counts);
                let counted = body.inspect(move |piece| {
                    let arrived = piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
                    counts.bytes.fetch_add(arrived, Relaxed);
                });
                GetResultPayload::Stream(counted.boxed())
            }
            other => other,
        };
        Ok(answer)
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(refused("put"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(refused("put_multipart"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(refused("delete")) }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(refused("list")) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(refused("list"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("copy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn reads_are_counted_and_writes_refused() {
        let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a");
        inner.put(&path, "0123456789".into()).await.unwrap();
        let tally = CountingStore::new(Arc::clone(&inner));
        assert_eq!(tally.get_range(&path, 2..5).await.unwrap(), "234");
        assert_eq!(tally.get(&path).await.unwrap().bytes().await.unwrap().len(), 10);
        tally.head(&path).await.unwrap();
        assert_eq!(tally.wire(), WireCounts { gets: 2, heads: 1, fetched_bytes: 13 });
        assert!(tally.put(&path, "x".into()).await.is_err());
        assert!(tally.delete(&path).await.is_err());
        assert_eq!(inner.head(&path).await.unwrap().size, 10);
    }
}
