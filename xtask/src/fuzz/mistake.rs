//! Bugs that stores may have, each of which the fuzzer must find.

use std::{collections::HashMap, fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use clap::ValueEnum;
use futures::stream::{self, Stream, StreamExt};
use headstart_fetch_core::internal::forward_object_store;
use object_store::{
    Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt, Result, path::Path,
};
use parking_lot::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

#[derive(Debug)]
pub(super) struct MistakenStore {
    inner: Arc<dyn ObjectStore>,
    mistake: Mistake,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    gets: u64,
    answers: HashMap<(Path, Range<u64>), Bytes>,
    kept: Arc<Mutex<Vec<Bytes>>>,
}

impl MistakenStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, mistake: Mistake) -> Self {
        Self { inner, mistake, state: Mutex::default() }
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
                let copy = with_body(&answer, stream::empty());
                let first = answer.bytes().await?.slice(..usize::try_from(middle - range.start).unwrap_or(0));
                let second = self.inner.get_range(location, middle..range.end).await?;
                Ok(with_body(&copy, stream::iter([Ok(first), Ok(second)])))
            }
            Mistake::ServesOld => {
                let key = (location.clone(), range);
                let old = self.state.lock().answers.get(&key).cloned();
                if let Some(old) = old {
                    return Ok(with_body(&answer, stream::iter([Ok(old)])));
                }
                let copy = with_body(&answer, stream::empty());
                let bytes = Bytes::copy_from_slice(&answer.bytes().await?);
                self.state.lock().answers.insert(key, bytes.clone());
                Ok(with_body(&copy, stream::iter([Ok(bytes)])))
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
                let copy = with_body(&answer, stream::empty());
                Ok(with_body(&copy, answer.into_stream().inspect(keep)))
            }
            Mistake::Panics if nth.is_multiple_of(7) => panic!("for no reason"),
            _ => Ok(answer),
        }
    }
}

/// `answer` with a different body.
fn with_body(answer: &GetResult, body: impl Stream<Item = Result<Bytes>> + Send + 'static) -> GetResult {
    let GetResult { meta, range, attributes, extensions, .. } = answer;
    let (meta, range, attributes, extensions) = (meta.clone(), range.clone(), attributes.clone(), extensions.clone());
    GetResult { payload: GetResultPayload::Stream(body.boxed()), meta, range, attributes, extensions }
}

impl fmt::Display for MistakenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MistakenStore({:?})", self.mistake)
    }
}

#[async_trait]
impl ObjectStore for MistakenStore {
    forward_object_store!(self => self.inner; writes, lists);

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
}
