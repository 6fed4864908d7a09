//! Observes writes for layers that keep something about objects: which paths they must forget, and when.

use std::fmt;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

/// Calls a function when it is dropped: at the end of a write, however the write ends. After an error or a
/// cancellation, the store may still have done the write.
#[derive(Debug)]
pub struct ForgetOnDrop<F: Fn()>(pub F);

impl<F: Fn()> Drop for ForgetOnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// An upload to `path` that calls `begin` when it begins to complete, and drops the returned guard when that ends.
#[doc(hidden)]
pub fn observe_upload<G: Send + 'static>(
    upload: Box<dyn MultipartUpload>,
    path: Path,
    begin: impl Fn(&Path) -> G + Send + Sync + 'static,
) -> Box<dyn MultipartUpload> {
    Box::new(ObservedUpload { upload, path, begin })
}

struct ObservedUpload<F> {
    upload: Box<dyn MultipartUpload>,
    path: Path,
    begin: F,
}

/// Omits the client's own upload, whose `Debug` may print credentials.
impl<F> fmt::Debug for ObservedUpload<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedUpload").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<G: Send, F: Fn(&Path) -> G + Send + Sync> MultipartUpload for ObservedUpload<F> {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let _guard = (self.begin)(&self.path);
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use std::sync::{Arc, atomic::AtomicU32, atomic::Ordering::SeqCst};

    #[tokio::test]
    async fn a_path_is_forgotten_when_its_upload_begins_and_ends_to_complete() {
        let (store, path, forgotten) = (InMemory::new(), Path::from("a"), Arc::new(AtomicU32::new(0)));
        let counter = Arc::clone(&forgotten);
        let upload = store.put_multipart(&path).await.expect("begins");
        let mut upload = observe_upload(upload, path.clone(), move |_| {
            counter.fetch_add(1, SeqCst);
            let counter = Arc::clone(&counter);
            ForgetOnDrop(move || _ = counter.fetch_add(1, SeqCst))
        });
        upload.put_part("b".into()).await.expect("in memory");
        assert_eq!(forgotten.load(SeqCst), 0, "nothing has changed yet");
        upload.complete().await.expect("in memory");
        assert_eq!(forgotten.load(SeqCst), 2);
    }
}
