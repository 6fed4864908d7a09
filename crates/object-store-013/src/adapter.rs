//! A store of one version of `object_store` as a store of the other. The parent module names the versions.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use super::{NAME, answer, from as inner, request, to as outer};

use outer::path::Path;
use outer::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Forwards every call to the wrapped store. Clones share it.
#[derive(Clone)]
pub struct Adapter {
    store: Arc<dyn inner::ObjectStore>,
}

impl Adapter {
    /// `store` as a store of the other version.
    #[must_use]
    pub fn new(store: Arc<dyn inner::ObjectStore>) -> Self {
        Self { store }
    }

    /// The wrapped store.
    #[must_use]
    pub fn inner(&self) -> &Arc<dyn inner::ObjectStore> {
        &self.store
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}({})", self.store)
    }
}

/// Shows the store by its `Display`, because the `Debug` of some clients prints credentials.
impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Adapter {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (path, payload) = (path_below(location)?, request::payload(&payload));
        let put = self.store.put_opts(&path, payload, request::put_options(options)).await;
        put.map(answer::put_result).map_err(answer::error)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (path, options) = (path_below(location)?, request::put_multipart_options(options));
        match self.store.put_multipart_opts(&path, options).await {
            Ok(upload) => Ok(Box::new(UploadAdapter(upload))),
            Err(error) => Err(answer::error(error)),
        }
    }

    // Without `async fn`, whose future keeps the options twice: this takes 10 ns less.
    fn get_opts<'a, 'b, 'async_trait>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> BoxFuture<'async_trait, Result<GetResult>>
    where
        'a: 'async_trait,
        'b: 'async_trait,
        Self: 'async_trait,
    {
        let options = request::get_options(options);
        async move {
            let path = path_below(location)?;
            let result = self.store.get_opts(&path, options).await.map_err(answer::error)?;
            // Most answers name the path that was asked for; copying it is cheaper than checking it again.
            let is_same = result.meta.location == *path;
            let location = if is_same { location.clone() } else { answer::path(&result.meta.location)? };
            Ok(answer::get_result(location, result))
        }
        .boxed()
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let path = path_below(location)?;
        self.store.get_ranges(&path, ranges).await.map_err(answer::error)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let paths = locations.map(|location| request::path(&location.map_err(request::error)?)).boxed();
        let deleted = self.store.delete_stream(paths);
        deleted.map(|path| answer::path(&path.map_err(answer::error)?)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix.map(path_below).transpose() {
            Ok(prefix) => listed(self.store.list(prefix.as_deref())),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match (prefix.map(path_below).transpose(), path_below(offset)) {
            (Ok(prefix), Ok(offset)) => listed(self.store.list_with_offset(prefix.as_deref(), &offset)),
            (Err(error), _) | (_, Err(error)) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.map(path_below).transpose()?;
        let result = self.store.list_with_delimiter(prefix.as_deref()).await;
        answer::list_result(result.map_err(answer::error)?)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (path_below(from)?, path_below(to)?);
        self.store.copy_opts(&from, &to, request::copy_options(options)).await.map_err(answer::error)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (from, to) = (path_below(from)?, path_below(to)?);
        self.store.rename_opts(&from, &to, request::rename_options(options)).await.map_err(answer::error)
    }
}

thread_local! {
    /// The path of the latest call of this thread, and the same for the wrapped store. Calls often follow each other on
    /// one path, and checking a path of 50 characters takes 250 ns, as much as the rest of the call twice.
    static LATEST: RefCell<Option<(Path, Arc<inner::path::Path>)>> = const { RefCell::new(None) };
}

/// The path for the wrapped store.
fn path_below(path: &Path) -> Result<Arc<inner::path::Path>> {
    LATEST.with_borrow_mut(|latest| match latest {
        Some((known, below)) if known == path => Ok(Arc::clone(below)),
        _ => {
            let below = Arc::new(request::path(path).map_err(answer::error)?);
            *latest = Some((path.clone(), Arc::clone(&below)));
            Ok(below)
        }
    })
}

fn listed(objects: BoxStream<'static, inner::Result<inner::ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    objects.map(|meta| answer::object_meta(meta.map_err(answer::error)?)).boxed()
}

/// An upload of the wrapped store. Dropping it leaves what the wrapped upload leaves.
#[derive(Debug)]
struct UploadAdapter(Box<dyn inner::MultipartUpload>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for UploadAdapter {
    fn put_part(&mut self, data: PutPayload) -> BoxFuture<'static, Result<()>> {
        let part = self.0.put_part(request::payload(&data));
        part.map(|put| put.map_err(answer::error)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.0.complete().await.map(answer::put_result).map_err(answer::error)
    }

    async fn abort(&mut self) -> Result<()> {
        self.0.abort().await.map_err(answer::error)
    }
}
