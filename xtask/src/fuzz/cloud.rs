//! The store at the bottom of every case: versions with self-describing bytes, and whatever can go wrong, on tokio's clock.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{BoxStream, StreamExt};
use headstart_fetch_core::Throttled;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::body::{self, Counted, Ending};
use super::case::{Case, CloudSpec, Fault, Tokens, WriteFault};
use super::history::{At, History, Hit, Version};
use super::op::Change;

/// What injected errors say; the judge knows them by it.
pub(crate) const INJECTED: &str = "injected";

/// The version that a write through the stack brings, in the extensions of its options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written(pub(crate) Version);

/// The store. Clones share everything.
#[derive(Clone)]
pub(crate) struct Cloud(Arc<Shared>);

struct Shared {
    spec: CloudSpec,
    began: Instant,
    history: Mutex<History>,
    faults: BTreeMap<u64, Fault>,
    write_faults: BTreeMap<u64, WriteFault>,
    outages: Vec<std::ops::Range<u64>>,
    events: Mutex<VecDeque<(u64, Change)>>,
    requests: AtomicU64,
    writes: AtomicU64,
    open: Arc<AtomicUsize>,
    live_bytes: Arc<AtomicUsize>,
}

impl Cloud {
    /// The store of `case`, as of now.
    pub(crate) fn new(case: &Case) -> Self {
        let mut events = case.events.clone();
        events.sort_by_key(|(ms, _)| *ms);
        Self(Arc::new(Shared {
            spec: case.cloud.clone(),
            began: Instant::now(),
            history: Mutex::new(History::new(&case.objects)),
            faults: case.faults.iter().copied().collect(),
            write_faults: case.write_faults.iter().copied().collect(),
            outages: case.outages.clone(),
            events: Mutex::new(events.into()),
            requests: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            open: Arc::default(),
            live_bytes: Arc::default(),
        }))
    }

    /// Time since the case began.
    pub(crate) fn now(&self) -> At {
        self.0.began.elapsed()
    }

    /// Looks at what was stored when, or adds to it.
    pub(crate) fn history<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.0.history.lock())
    }

    /// Requests whose answer or body is not over.
    pub(crate) fn open_requests(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Bytes of chunks that somebody holds.
    pub(crate) fn live_bytes(&self) -> usize {
        self.0.live_bytes.load(Ordering::Relaxed)
    }

    /// GETs and HEADs so far.
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// The token that requests name in `If-Match`.
    pub(crate) fn e_tag(&self, version: &Version) -> Option<String> {
        match self.0.spec.tokens {
            Tokens::Strong | Tokens::Generation => Some(format!("\"{}\"", version.token)),
            Tokens::Weak | Tokens::WeakModified => Some(format!("W/\"{}\"", version.token / 2)),
            Tokens::Modified | Tokens::Nothing => None,
        }
    }

    /// What the store says of a version.
    pub(crate) fn meta(&self, key: usize, version: &Version) -> ObjectMeta {
        let epoch = DateTime::<Utc>::UNIX_EPOCH;
        let dated = !matches!(self.0.spec.tokens, Tokens::Nothing | Tokens::Weak);
        // Years ago and ten seconds apart: a date tells versions apart, and none is of now.
        let seconds = if dated { 1_500_000_000 + 10 * i64::try_from(version.token).expect("few") } else { 0 };
        ObjectMeta {
            location: path(key),
            last_modified: epoch + TimeDelta::seconds(seconds),
            size: version.size,
            e_tag: self.e_tag(version),
            version: (self.0.spec.tokens == Tokens::Generation).then(|| version.token.to_string()),
        }
    }

    /// A write that the stack does not see.
    pub(crate) fn change(&self, change: Change) {
        let now = self.now();
        self.history(|history| match change {
            Change::Put { key, size } => {
                let version = history.written(size);
                history.store(key, now, Some(version));
            }
            Change::Delete { key } => history.store(key, now, None),
        });
    }

    /// Makes the scripted changes when their time has come. Ends with the last.
    pub(crate) async fn make_changes(&self) {
        loop {
            let Some((ms, change)) = self.0.events.lock().front().copied() else { return };
            let due = Duration::from_millis(ms);
            let now = self.now();
            if now < due {
                sleep(due - now).await;
            } else if self.0.events.lock().pop_front().is_some() {
                self.change(change);
            }
        }
    }

    fn counted(&self) -> Counted {
        Counted::new(&self.0.open)
    }

    async fn half_way(&self) {
        sleep(Duration::from_millis(self.0.spec.ttfb_ms) / 2).await;
    }

    /// The error that a request for `key` gets, if `fault` is one, or the store is out of order.
    fn refusal(&self, key: usize, fault: Option<Fault>) -> Option<Error> {
        let now = self.now();
        let ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let out = self.0.outages.iter().any(|outage| outage.contains(&ms));
        let (error, retry_after) = match fault {
            Some(Fault::Throttled { retry_after_ms }) => {
                let retry_after = retry_after_ms.map(Duration::from_millis);
                (generic(Throttled { status: 503, retry_after }), retry_after.unwrap_or_default())
            }
            Some(Fault::Reset) => (injected("connection reset"), Duration::ZERO),
            _ if out => (injected("connection refused"), Duration::ZERO),
            _ => return None,
        };
        self.history(|history| history.hit(key, now, Hit::Transient { retry_after }));
        Some(error)
    }

    /// The version that a request reads, and which of its bytes.
    fn find(&self, key: usize, options: &GetOptions) -> Result<(Version, std::ops::Range<u64>)> {
        let present = self.history(|history| match &options.version {
            Some(named) if self.0.spec.tokens == Tokens::Generation => {
                let named = named.parse().ok().and_then(|token| history.with_token(key, token));
                named.filter(|named| self.0.spec.keeps_versions || history.present(key) == Some(*named))
            }
            _ => history.present(key),
        });
        let not_found = || Error::NotFound { path: path(key).to_string(), source: "no such object".into() };
        let version = present.ok_or_else(not_found)?;
        let mut conditions = options.clone();
        if !self.0.spec.honours_pins {
            (conditions.if_match, conditions.if_none_match) = (None, None);
        }
        conditions.check_preconditions(&self.meta(key, &version))?;
        let range = match &options.range {
            _ if options.head => 0..version.size,
            Some(range) => range.as_range(version.size).map_err(generic)?,
            None => 0..version.size,
        };
        Ok((version, range))
    }

    /// A write arrives, is done, and its answer goes back.
    async fn write<T>(&self, done: impl FnOnce(&mut History, At) -> Result<T>) -> Result<T> {
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
        let Written(version) = *extensions.get().expect("every layer hands on the extensions of a write");
        let key = key(location);
        self.write(|history, now| {
            history.store(key, now, Some(version));
            Ok(())
        })
        .await?;
        let meta = self.meta(key, &version);
        Ok(PutResult { e_tag: meta.e_tag, version: meta.version, extensions: Extensions::default() })
    }

    fn listed(&self) -> Vec<ObjectMeta> {
        self.history(|history| (0..history.len()).filter_map(|key| Some((key, history.present(key)?))).collect::<Vec<_>>())
            .into_iter()
            .map(|(key, version)| self.meta(key, &version))
            .collect()
    }
}

/// Where the object number `key` is.
pub(crate) fn path(key: usize) -> Path {
    Path::from(format!("k{key}"))
}

fn key(location: &Path) -> usize {
    let number = location.as_ref().strip_prefix('k').and_then(|number| number.parse().ok());
    number.expect("only paths of the case are used")
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: "Cloud", source: Box::new(source) }
}

pub(super) fn injected(what: &str) -> Error {
    Error::Generic { store: "Cloud", source: format!("{INJECTED}: {what}").into() }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud").field("spec", &self.0.spec).finish_non_exhaustive()
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

#[async_trait]
impl ObjectStore for Cloud {
    async fn put_opts(&self, location: &Path, _: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.put(location, &options.extensions).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.half_way().await;
        Ok(Box::new(Upload { cloud: self.clone(), location: location.clone(), extensions: options.extensions }))
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
        if let Some(Fault::Late { ms }) = fault {
            sleep(Duration::from_millis(ms)).await;
        }
        let found = self.find(key, &options);
        self.half_way().await;
        let (version, range) = found?;
        let payload = if options.head {
            drop(counted);
            futures::stream::empty().boxed()
        } else {
            let (ending, hit) = Ending::of(fault, &range);
            if let Some(hit) = hit {
                let now = self.now();
                self.history(|history| history.hit(key, now, hit));
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

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        // Not the trait's own: it panics where one of several ranges is past the end.
        let get = |range: &std::ops::Range<u64>| {
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

/// An upload in parts; what counts is its end.
struct Upload {
    cloud: Cloud,
    location: Path,
    extensions: Extensions,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("location", &self.location).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Upload {
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

/// The range of `object_store` that `span` is.
pub(crate) fn get_range(span: &super::op::Span) -> Option<GetRange> {
    use super::op::Span;
    match span {
        Span::Whole => None,
        Span::Bounded(range) => Some(GetRange::Bounded(range.clone())),
        Span::Offset(start) => Some(GetRange::Offset(*start)),
        Span::Suffix(n) => Some(GetRange::Suffix(*n)),
    }
}
