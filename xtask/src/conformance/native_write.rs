//! A store that is read by its client, and written by the server's own API where the dialect does not allow writes.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use headstart_fetch_core::internal::forward_object_store;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, path::Path,
};

use super::Store;
use crate::servers::RunningServer;

#[derive(Debug, Clone)]
pub(super) struct NativeWriteStore {
    client: Store,
    server: Arc<RunningServer>,
    bucket: String,
}

impl NativeWriteStore {
    pub(super) fn new(client: Store, server: Arc<RunningServer>, bucket: String) -> Self {
        Self { client, server, bucket }
    }

    async fn write(&self, path: &Path, bytes: Bytes) -> Result<PutResult> {
        self.server.write(&self.bucket, path.as_ref(), bytes).await.map_err(failed)?;
        let meta = self.client.head(path).await?;
        Ok(PutResult { e_tag: meta.e_tag, version: meta.version, extensions: Default::default() })
    }
}

fn failed(error: anyhow::Error) -> Error {
    Error::Generic { store: "NativeWriteStore", source: error.into() }
}

fn not_supported(what: &str) -> Error {
    Error::NotSupported { source: format!("the server's own means know no {what}").into() }
}

impl fmt::Display for NativeWriteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NativeWriteStore({})", self.client)
    }
}

#[async_trait]
impl ObjectStore for NativeWriteStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if opts.mode != PutMode::Overwrite {
            return Err(not_supported("conditional put"));
        }
        self.write(location, payload.into()).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(NativeUpload { store: self.clone(), path: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.client.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = locations.then(move |location| {
            let store = store.clone();
            async move {
                let location = location?;
                store.client.head(&location).await?;
                store.server.delete(&store.bucket, location.as_ref()).await.map_err(failed)?;
                Ok(location)
            }
        });
        deleted.boxed()
    }

    forward_object_store!(self => self.client; lists);

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let bytes = self.client.get(from).await?.bytes().await?;
        if options.mode == CopyMode::Create && self.client.head(to).await.is_ok() {
            return Err(Error::AlreadyExists { path: to.to_string(), source: "it is there".into() });
        }
        self.write(to, bytes).await.map(drop)
    }
}

/// An upload that keeps its parts in memory and writes them at once.
#[derive(Debug)]
struct NativeUpload {
    store: NativeWriteStore,
    path: Path,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for NativeUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.push(data.into());
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.write(&self.path, self.parts.concat().into()).await
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}
