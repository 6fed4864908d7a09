//! `SimStore`: an [`ObjectStore`] over a simulated link, on tokio's clock.

pub(crate) mod altered;
pub(crate) mod builder;
pub(crate) mod fault;
mod upload;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use headstart_fetch_core::Intent;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

use self::fault::{SimFault, status_of};
use self::{builder::SimStoreBuilder, upload::SimUpload};
use crate::cloud::catalog::{Catalog, CatalogError, CatalogResult, ListPage, ListQuery, WriteCondition};
use crate::cloud::log::{RequestEnd, RequestKind, RequestLog, RequestRecord};
use crate::cloud::{SimCloud, body::SimBody, generation::Generation};
use crate::policy::connections::Connections;
use crate::policy::faults::{ReadAnswer, ReadFault};

/// A bucket behind a simulated link.
///
/// Time is tokio's. Under the paused clock (`#[tokio::test(start_paused = true)]`) a run on one thread takes no wall
/// time and is reproducible to the byte and the millisecond. Clones share everything.
#[derive(Debug, Clone)]
pub struct SimStore {
    cloud: Arc<SimCloud>,
}

impl SimStore {
    /// A builder with the default settings.
    pub fn builder() -> SimStoreBuilder {
        SimStoreBuilder::default()
    }

    /// The objects of the bucket.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.cloud.catalog
    }

    /// The requests so far.
    #[must_use]
    pub fn log(&self) -> &Arc<RequestLog> {
        &self.cloud.log
    }

    /// The client's connections.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.cloud.connections()
    }

    /// Time since the store was built, as in the log.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.cloud.now()
    }

    /// Overwrites an object with a new synthetic generation; `None` keeps its size.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] where the object does not exist and `size` is `None`.
    pub fn overwrite(&self, key: &str, size: Option<u64>) -> CatalogResult {
        self.cloud.catalog.overwrite_synthetic(key, size, self.cloud.date())
    }

    fn record(&self, kind: RequestKind, key: impl Into<String>) -> RequestRecord {
        RequestRecord::new(self.cloud.now(), kind, key)
    }

    /// Performs a request other than a read, with a body of `body_bytes`.
    async fn call<T>(
        &self,
        kind: RequestKind,
        key: &str,
        body_bytes: u64,
        operation: impl FnOnce(&Catalog, DateTime<Utc>) -> CatalogResult<T>,
    ) -> Result<T> {
        self.cloud.call(self.record(kind, key), body_bytes, operation).await
    }

    /// The pages of a listing.
    fn pages(&self, query: ListQuery) -> impl Stream<Item = Result<ListPage>> + use<> {
        let store = self.clone();
        stream::try_unfold(Some(query), move |query| {
            let store = store.clone();
            async move {
                let Some(query) = query else { return Ok(None) };
                let page =
                    store.call(RequestKind::List, &query.prefix, 0, |catalog, _| Ok(catalog.list(&query))).await?;
                let next = page.next.clone().map(|next| ListQuery { start_after: Some(next), ..query });
                Ok(Some((page, next)))
            }
        })
    }

    fn list_from(&self, prefix: Option<&Path>, start_after: Option<String>) -> BoxStream<'static, Result<ObjectMeta>> {
        let query = ListQuery { prefix: folder(prefix), start_after, ..ListQuery::default() };
        self.pages(query)
            .map_ok(|page| stream::iter(page.objects.into_iter().map(|(key, object)| meta(&key, &object))))
            .try_flatten()
            .boxed()
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStore({})", self.cloud.profile)
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let condition = condition(options.mode)?;
        let bytes = Bytes::from(payload);
        let (key, body_bytes) = (location.as_ref(), bytes.len() as u64);
        let put = self.call(RequestKind::Put, key, body_bytes, |catalog, now| {
            catalog.put(key, bytes, options.attributes, &condition, now)
        });
        Ok(put_result(&*put.await?))
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let key = location.as_ref();
        let begin = |catalog: &Catalog, _| Ok(catalog.begin_upload(key, opts.attributes));
        let id = self.call(RequestKind::Multipart, key, 0, begin).await?;
        Ok(Box::new(SimUpload::new(self.clone(), location.clone(), id)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.cloud.next_fault();
        let kind = if options.head { RequestKind::Head } else { RequestKind::Get };
        let mut record = self.record(kind, location.as_ref());
        record.intent = options.extensions.get::<Intent>().copied();
        // A read sees the store at its arrival.
        let found = find(&self.cloud.catalog, location, &options, &fault);
        record.range = match (&options.range, &found) {
            (Some(_), Ok((_, range))) => Some(range.clone()),
            (Some(GetRange::Bounded(range)), Err(_)) => Some(range.clone()),
            _ => None,
        };
        let mut request = self.cloud.request(record);
        let first_byte_at = request.connected_at + request.ttfb + fault.late_by;
        let (generation, range) = match found {
            Ok(found) => found,
            Err(error) => {
                self.cloud.sleep_until(first_byte_at).await;
                request.set_status(status_of(&error));
                request.end(if SimFault::find(&error).is_some() { RequestEnd::Failed } else { RequestEnd::Completed });
                return Err(error);
            }
        };
        let (sent, answer) = if options.head { (0..0, ReadAnswer::Whole) } else { (range.clone(), fault.answer) };
        // Opens the stream before the wait, so that a late wake-up does not delay its bytes on the link.
        let mut body = SimBody::open(request, Arc::clone(&generation), sent, first_byte_at, answer);
        self.cloud.sleep_until(first_byte_at).await;
        body.on_headers(if options.range.is_some() { 206 } else { 200 });
        Ok(GetResult {
            payload: GetResultPayload::Stream(body.into_stream()),
            attributes: generation.attributes.clone(),
            meta: generation.meta(location.clone()),
            range,
            extensions: object_store::Extensions::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .and_then(move |location| {
                let store = store.clone();
                async move {
                    let key = location.as_ref();
                    store.call(RequestKind::Delete, key, 0, |catalog, _| Ok(catalog.delete(key))).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, Some(offset.to_string()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let delimiter = Some("/".to_owned());
        let query = ListQuery { prefix: folder(prefix), delimiter, ..ListQuery::default() };
        let pages: Vec<ListPage> = self.pages(query).try_collect().await?;
        let objects = pages.iter().flat_map(|page| &page.objects).map(|(key, object)| meta(key, object));
        let prefixes = pages.iter().flat_map(|page| &page.prefixes).map(Path::parse);
        let (objects, common_prefixes) = (objects.collect::<Result<_>>()?, prefixes.collect::<Result<_, _>>()?);
        Ok(ListResult { objects, common_prefixes, extensions: object_store::Extensions::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let condition = match options.mode {
            CopyMode::Overwrite => WriteCondition::Always,
            CopyMode::Create => WriteCondition::Absent,
        };
        let (from, to) = (from.as_ref(), to.as_ref());
        self.call(RequestKind::Copy, to, 0, |catalog, now| catalog.copy(from, to, &condition, now)).await.map(drop)
    }
}

/// Finds the generation and range that a read asks for, or the error of its fault.
fn find(
    catalog: &Catalog,
    location: &Path,
    options: &GetOptions,
    fault: &ReadFault,
) -> Result<(Arc<Generation>, std::ops::Range<u64>)> {
    match fault.answer {
        ReadAnswer::Unavailable => return Err(SimFault::UNAVAILABLE.into()),
        ReadAnswer::Throttled { retry_after } => return Err(SimFault::throttled(retry_after).into()),
        _ => {}
    }
    let version = options.version.as_deref().map(str::parse).transpose();
    let version = version.map_err(|_| CatalogError::NotFound(location.to_string()))?;
    let generation = catalog.get(location.as_ref(), version)?;
    options.check_preconditions(&generation.meta(location.clone()))?;
    let range = match &options.range {
        None => 0..generation.size,
        Some(range) => range
            .as_range(generation.size)
            .map_err(|source| object_store::Error::Generic { store: "SimStore", source: Box::new(source) })?,
    };
    Ok((generation, range))
}

fn condition(mode: PutMode) -> Result<WriteCondition> {
    match mode {
        PutMode::Overwrite => Ok(WriteCondition::Always),
        PutMode::Create => Ok(WriteCondition::Absent),
        PutMode::Update(known) => match (known.version.as_deref().map(str::parse), known.e_tag) {
            (Some(Ok(number)), _) => Ok(WriteCondition::Generation(number)),
            (None, Some(e_tag)) => Ok(WriteCondition::ETag(e_tag)),
            _ => Err(object_store::Error::Generic {
                store: "SimStore",
                source: "an update needs a generation or an entity tag of this store".into(),
            }),
        },
    }
}

pub(crate) fn put_result(made: &Generation) -> PutResult {
    PutResult {
        e_tag: Some(made.e_tag.clone()),
        version: Some(made.number.to_string()),
        extensions: object_store::Extensions::default(),
    }
}

/// The key prefix of the objects below `prefix`.
fn folder(prefix: Option<&Path>) -> String {
    prefix.filter(|path| !path.as_ref().is_empty()).map(|path| format!("{path}/")).unwrap_or_default()
}

fn meta(key: &str, object: &Generation) -> Result<ObjectMeta> {
    Ok(object.meta(Path::parse(key)?))
}
