//! A store that records what it is asked, and answers as the test says.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::inner;
use inner::path::Path;
use inner::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Memory behind a record of calls.
#[derive(Default)]
pub(super) struct Recorder {
    memory: inner::memory::InMemory,
    /// Every call and its options, as their `Debug` shows them.
    pub(super) calls: Arc<Mutex<Vec<String>>>,
    /// The numbers that calls carried in their extensions.
    pub(super) extensions: Mutex<Vec<Option<u64>>>,
    /// The chunks of payloads, as they came.
    pub(super) chunks: Arc<Mutex<Vec<Bytes>>>,
    /// The body of the next read.
    pub(super) body: Mutex<Option<BoxStream<'static, Result<Bytes>>>>,
    /// The error of the next call.
    pub(super) error: Mutex<Option<inner::Error>>,
}

impl Recorder {
    fn record(&self, call: String, extensions: Option<&http::Extensions>) -> Result<()> {
        self.calls.lock().unwrap().push(call);
        self.extensions.lock().unwrap().push(extensions.and_then(|all| all.get::<u64>().copied()));
        self.error.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

#[async_trait]
impl ObjectStore for Recorder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.record(format!("put {location} {options:?}"), Some(&options.extensions))?;
        self.chunks.lock().unwrap().extend(payload.iter().cloned());
        self.memory.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.record(format!("put_multipart {location} {options:?}"), Some(&options.extensions))?;
        let (calls, chunks) = (Arc::clone(&self.calls), Arc::clone(&self.chunks));
        Ok(Box::new(RecordedUpload { inner: self.memory.put_multipart_opts(location, options).await?, calls, chunks }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.record(format!("get {location} {options:?}"), Some(&options.extensions))?;
        let mut result = self.memory.get_opts(location, GetOptions { head: options.head, ..GetOptions::new() }).await?;
        if let Some(body) = self.body.lock().unwrap().take() {
            result.payload = inner::GetResultPayload::Stream(body);
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.record(format!("get_ranges {location} {ranges:?}"), None)?;
        self.memory.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.record("delete_stream".into(), None).unwrap();
        self.memory.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.record(format!("list {prefix:?}"), None) {
            Ok(()) => self.memory.list(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.record(format!("list_with_offset {prefix:?} {offset}"), None).unwrap();
        self.memory.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.record(format!("list_with_delimiter {prefix:?}"), None)?;
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.record(format!("copy {from} {to} {options:?}"), Some(&options.extensions))?;
        self.memory.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.record(format!("rename {from} {to} {options:?}"), Some(&options.extensions))?;
        self.memory.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct RecordedUpload {
    inner: Box<dyn MultipartUpload>,
    calls: Arc<Mutex<Vec<String>>>,
    chunks: Arc<Mutex<Vec<Bytes>>>,
}

#[async_trait]
impl MultipartUpload for RecordedUpload {
    fn put_part(&mut self, data: PutPayload) -> BoxFuture<'static, Result<()>> {
        self.calls.lock().unwrap().push("put_part".into());
        self.chunks.lock().unwrap().extend(data.iter().cloned());
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.calls.lock().unwrap().push("complete".into());
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.calls.lock().unwrap().push("abort".into());
        self.inner.abort().await
    }
}
