//! The simulated store as an `ObjectStore`.

use std::{ops::Range, sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, path::Path,
};
use tokio::time::sleep;

use super::{
    BodyEnding, CaseTime, Cloud, History, RequestFault, WriteFault, WrittenVersion, body, cloud::injected, cloud::key,
    cloud::path,
};

impl Cloud {
    /// A write: it arrives, takes effect, and is answered.
    async fn write<T>(&self, done: impl FnOnce(&mut History, CaseTime) -> Result<T>) -> Result<T> {
        let _counted = self.counted();
        let nth = self.0.writes.fetch_add(1, Ordering::Relaxed);
        let fault = self.0.write_faults.get(&nth);
        self.half_way().await;
        if fault == Some(&WriteFault::Refused) {
            return Err(injected("connection reset before the write"));
        }
        let now = self.now();
        let outcome = self.history(|history| done(history, now));
        self.half_way().await;
        if fault == Some(&WriteFault::Done) { Err(injected("connection reset after the write")) } else { outcome }
    }

    async fn put(&self, location: &Path, extensions: &Extensions) -> Result<PutResult> {
        let WrittenVersion(version) = *extensions.get().expect("every layer hands on the extensions of a write");
        let key = key(location);
        self.write(|history, now| {
            history.store(key, now, Some(version));
            Ok(())
        })
        .await?;
        let meta = self.meta(key, &version);
        Ok(PutResult { e_tag: meta.e_tag, version: meta.version, extensions: Extensions::default() })
    }
}

#[async_trait]
impl ObjectStore for Cloud {
    async fn put_opts(&self, location: &Path, _: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.put(location, &options.extensions).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.half_way().await;
        Ok(Box::new(CloudUpload { cloud: self.clone(), location: location.clone(), extensions: opts.extensions }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let counted = self.counted();
        let nth = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let fault = self.0.faults.get(&nth).copied();
        let key = key(location);
        self.half_way().await;
        if let Some(refusal) = self.refusal(key, fault) {
            return Err(refusal);
        }
        if let Some(RequestFault::Late { ms }) = fault {
            sleep(Duration::from_millis(ms)).await;
        }
        let found = self.find(key, &options);
        self.half_way().await;
        let (version, range) = found?;
        let payload = if options.head {
            drop(counted);
            futures::stream::empty().boxed()
        } else {
            let (ending, record_fault) = BodyEnding::of(fault, &range);
            if let Some(record_fault) = record_fault {
                let now = self.now();
                self.history(|history| history.record_fault(key, now, record_fault));
            }
            body::stream(&self.0.spec, version, range.clone(), ending, &self.0.live_bytes, counted)
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta: self.meta(key, &version),
            range,
            attributes: Attributes::default(),
            extensions: Extensions::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // The trait's default panics if one of several ranges lies past the end.
        let get = |range: &Range<u64>| {
            let options = GetOptions::new().with_range(Some(range.clone()));
            async move { self.get_opts(location, options).await?.bytes().await }
        };
        futures::future::try_join_all(ranges.iter().map(get)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let cloud = self.clone();
        let deleted = locations.then(move |location| {
            let cloud = cloud.clone();
            async move {
                let location = location?;
                let key = key(&location);
                let delete = |history: &mut History, now| {
                    history.store(key, now, None);
                    Ok(())
                };
                cloud.write(delete).await?;
                Ok(location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let cloud = self.clone();
        let listed = async move {
            cloud.half_way().await;
            let listed = cloud.listed();
            cloud.half_way().await;
            futures::stream::iter(listed.into_iter().map(Ok))
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        self.half_way().await;
        Ok(ListResult { objects: self.listed(), common_prefixes: Vec::new(), extensions: Extensions::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        let (from, to) = (key(from), key(to));
        self.write(|history, now| {
            let not_found = || Error::NotFound { path: path(from).to_string(), source: "no such object".into() };
            let source = history.present(from).ok_or_else(not_found)?;
            let version = history.copied(source);
            history.store(to, now, Some(version));
            Ok(())
        })
        .await
    }
}

/// An upload in parts. Its completion stores the version; the parts' bytes do not matter.
#[derive(Debug)]
struct CloudUpload {
    cloud: Cloud,
    location: Path,
    extensions: Extensions,
}

#[async_trait]
impl MultipartUpload for CloudUpload {
    fn put_part(&mut self, _: PutPayload) -> UploadPart {
        let cloud = self.cloud.clone();
        Box::pin(async move {
            cloud.half_way().await;
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.cloud.put(&self.location, &self.extensions).await
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}
