//! Bugs that stores may have, each of which the fuzzer must find.

use std::{collections::HashMap, fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use parking_lot::Mutex;

/// A bug of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    /// Answers a range by two requests, the second without a pin.
    Splices,
    /// Repeats the first answer to a range.
    ServesOld,
    /// Truncates long ranges.
    CutsShort,
    /// Never answers some ranges.
    Hangs,
    /// Returns errors without cause.
    Fails,
    /// Returns `NotFound` for objects that exist.
    Denies,
    /// Keeps all bytes in memory.
    Keeps,
    /// Leaks some bodies.
    Leaks,
    /// Panics sometimes.
    Panics,
}

impl Mistake {
    pub(super) const ALL: [Self; 9] = [
        Self::Splices,
        Self::ServesOld,
        Self::CutsShort,
        Self::Hangs,
        Self::Fails,
        Self::Denies,
        Self::Keeps,
        Self::Leaks,
        Self::Panics,
    ];

    /// The class of failure that finds the bug.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Splices => "torn",
            Self::ServesOld => "stale",
            Self::CutsShort => "wrong length",
            Self::Hangs => "hang",
            Self::Fails => "error without cause",
            Self::Denies => "NotFound without cause",
            Self::Keeps => "memory",
            Self::Leaks => "left",
            Self::Panics => "panic",
        }
    }
}

/// A store with one bug.
pub(super) struct MistakenStore {
    inner: Arc<dyn ObjectStore>,
    mistake: Mistake,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    gets: u64,
    answers: HashMap<(Path, Range<u64>), Bytes>,
    kept: Arc<Mutex<Vec<Bytes>>>,
}

impl MistakenStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, mistake: Mistake) -> Self {
        Self { inner, mistake, state: Mutex::default() }
    }

    /// The answer with a different body.
    fn answer(answer: GetResult, bytes: Bytes) -> GetResult {
        GetResult { payload: GetResultPayload::Stream(futures::stream::iter([Ok(bytes)]).boxed()), ..answer }
    }

    async fn get(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.inner.get_opts(location, options).await?;
        let nth = {
            let mut state = self.state.lock();
            state.gets += 1;
            state.gets
        };
        let range = answer.range.clone();
        match self.mistake {
            Mistake::Splices if range.end - range.start > 1 => {
                let middle = range.start.midpoint(range.end);
                let (meta, attributes, extensions) =
                    (answer.meta.clone(), answer.attributes.clone(), answer.extensions.clone());
                let first = answer.bytes().await?.slice(..usize::try_from(middle - range.start).unwrap_or(0));
                let second = self.inner.get_range(location, middle..range.end).await?;
                let payload = GetResultPayload::Stream(futures::stream::iter([Ok(first), Ok(second)]).boxed());
                Ok(GetResult { payload, meta, range, attributes, extensions })
            }
            Mistake::ServesOld => {
                let key = (location.clone(), range);
                let old = self.state.lock().answers.get(&key).cloned();
                if let Some(old) = old {
                    return Ok(Self::answer(answer, old));
                }
                let copy = GetResult {
                    payload: GetResultPayload::Stream(futures::stream::empty().boxed()),
                    meta: answer.meta.clone(),
                    range: answer.range.clone(),
                    attributes: answer.attributes.clone(),
                    extensions: answer.extensions.clone(),
                };
                let bytes = Bytes::copy_from_slice(&answer.bytes().await?);
                self.state.lock().answers.insert(key, bytes.clone());
                Ok(Self::answer(copy, bytes))
            }
            Mistake::Fails if nth.is_multiple_of(7) => {
                Err(Error::Generic { store: "MistakenStore", source: "for no reason".into() })
            }
            Mistake::Denies if nth.is_multiple_of(7) => {
                Err(Error::NotFound { path: location.to_string(), source: "for no reason".into() })
            }
            Mistake::Leaks if nth.is_multiple_of(7) => {
                std::mem::forget(answer.into_stream());
                self.inner.get_opts(location, GetOptions::new().with_range(Some(GetRange::Bounded(range)))).await
            }
            Mistake::Keeps => {
                let kept = Arc::clone(&self.state.lock().kept);
                let keep = move |chunk: &Result<Bytes>| kept.lock().extend(chunk.as_ref().ok().cloned());
                let (meta, attributes, extensions) =
                    (answer.meta.clone(), answer.attributes.clone(), answer.extensions.clone());
                let payload = GetResultPayload::Stream(answer.into_stream().inspect(keep).boxed());
                Ok(GetResult { payload, meta, range, attributes, extensions })
            }
            Mistake::Panics if nth.is_multiple_of(7) => panic!("for no reason"),
            _ => Ok(answer),
        }
    }
}

impl fmt::Debug for MistakenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MistakenStore({:?})", self.mistake)
    }
}

impl fmt::Display for MistakenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MistakenStore({:?})", self.mistake)
    }
}

#[async_trait]
impl ObjectStore for MistakenStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head || !matches!(options.range, Some(GetRange::Bounded(_))) {
            return self.inner.get_opts(location, options).await;
        }
        self.get(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut answers = self.inner.get_ranges(location, ranges).await?;
        self.state.lock().gets += 1;
        match self.mistake {
            Mistake::Hangs if answers.len() > 3 => std::future::pending().await,
            Mistake::CutsShort => answers.iter_mut().for_each(|bytes| bytes.truncate(100_000)),
            _ => {}
        }
        Ok(answers)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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
