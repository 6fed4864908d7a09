//! Deletions through read-ahead: bytes ahead of a deleted object are not served, also where the deletion was reported
//! as an error or its stream was dropped.

use std::fmt;
use std::sync::Arc;

use crate::common::{KEY, MIB, settle};
use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use headstart_fetch_core::internal::mutation::Mutation;
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Semaphore;

/// A store that deletes a path once `gate` opens, and reports an error with the path, an error without it, or nothing.
#[derive(Debug)]
struct Deletes {
    inner: SimStore,
    gate: Arc<Semaphore>,
    reports: Reports,
}

#[derive(Debug, Clone, Copy)]
enum Reports {
    ItsError,
    AnError,
    Nothing,
}

impl fmt::Display for Deletes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deletes")
    }
}

#[async_trait]
impl ObjectStore for Deletes {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }
    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, gate, reports) = (self.inner.clone(), Arc::clone(&self.gate), self.reports);
        let delete = move |path: Result<Path>| {
            let (inner, gate) = (inner.clone(), Arc::clone(&gate));
            async move {
                let path = path?;
                gate.acquire().await.unwrap().forget();
                inner.delete(&path).await?;
                match reports {
                    Reports::ItsError => Err(Error::PermissionDenied { path: path.to_string(), source: "403".into() }),
                    Reports::AnError => Err(Error::Generic { store: "Deletes", source: "503".into() }),
                    Reports::Nothing => std::future::pending().await,
                }
            }
        };
        paths.then(delete).boxed()
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const ALL_REPORTS: [Reports; 3] = [Reports::ItsError, Reports::AnError, Reports::Nothing];

#[tokio::test(start_paused = true)]
async fn bytes_ahead_of_a_deleted_object_are_not_served() {
    for reports in ALL_REPORTS {
        assert!(!serves_what_was_deleted(reports).await, "{reports:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn put_back_only_what_was_reported_as_deleted_is_forgotten() {
    let _present = Mutation::ForgetsDeletedOnly.activate();
    for reports in ALL_REPORTS {
        assert!(serves_what_was_deleted(reports).await, "{reports:?}");
    }
}

/// Whether bytes that were fetched ahead during the deletion are served after it.
async fn serves_what_was_deleted(reports: Reports) -> bool {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).build();
    sim.catalog().add_synthetic(KEY, 64 * MIB);
    let gate = Arc::new(Semaphore::new(0));
    let double = Deletes { inner: sim.clone(), gate: Arc::clone(&gate), reports };
    let store = PrefetchStore::new(Arc::new(double), PrefetchConfig::default()).expect("valid settings");
    let path = Path::from(KEY);
    // The store has the path but has not deleted the object yet: what is read now is read ahead.
    let mut deleted = store.delete_stream(stream::iter([Ok(path.clone())]).boxed());
    assert!(deleted.next().now_or_never().is_none());
    for n in 0..16 {
        store.get_range(&path, n * MIB..(n + 1) * MIB).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    gate.add_permits(1);
    match reports {
        Reports::Nothing => {
            for _ in 0..100 {
                assert!(deleted.next().now_or_never().is_none());
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        _ => assert!(deleted.next().await.unwrap().is_err()),
    }
    assert!(sim.catalog().get(KEY, None).is_err(), "{reports:?}: it is gone");
    if matches!(reports, Reports::Nothing) {
        drop(deleted);
    }
    let read = store.get_range(&path, 16 * MIB..17 * MIB).await;
    settle().await;
    assert!(matches!(read, Ok(_) | Err(Error::NotFound { .. })), "{read:?}");
    read.is_ok()
}
