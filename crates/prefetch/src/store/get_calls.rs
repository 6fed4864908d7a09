//! Calls without a reader: `get_opts` of the store, for applications that only call `get_range`.
//!
//! Such a call keeps the promises of the raw store: one version per call, fresh as of the call except for bytes fetched
//! ahead within `max_age`. So bytes are served once, and an answer of another version drops all, as a write through the
//! wrapper does. A range to which calls keep returning, and what was read just before by calls that keep going back, is
//! served again for a second, within `max_age`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::internal::byte_range::is_open_ended;
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::internal::{
    ConfirmedAt, LocalFile, Origin, RangeOrigin, ask, exact_body, is_transient, may_be_the_range,
};
use headstart_fetch_core::{AccessHint, CacheHint, Intent, ObjectVersion, PinBy};
use object_store::path::Path;
use object_store::{Extensions, GetOptions, GetRange, GetResult, GetResultPayload, Result};
use tokio::time::Instant;

use crate::engine::store_shared::StoreShared;
use crate::engine::{KnownObject, ObjectEngine};
use crate::planner::messages::PlannerSettings;
use crate::reader::active_read::{ActiveRead, is_runtime_stopped};

/// Paths remembered at once. Each takes some hundred bytes while nothing is fetched ahead.
const MOST_PATHS: usize = 256;

/// How long a call waits for a request ahead that is being retried, before the error of this request becomes its own:
/// the longest pause between two tries of `FetchStore`.
const FAIR_TRIAL: Duration = Duration::from_secs(1);

/// The paths that are read by calls, the latest at the back.
#[derive(Debug)]
pub(crate) struct GetCalls {
    shared: Arc<StoreShared>,
    settings: PlannerSettings,
    pin: PinBy,
    engines: Mutex<Vec<Arc<ObjectEngine>>>,
}

impl GetCalls {
    pub(crate) fn new(shared: Arc<StoreShared>, settings: PlannerSettings, max_age: Duration) -> Self {
        let settings = PlannerSettings { serve_once_within: Some(max_age), ..settings };
        // With a pin by version, an overwritten object of a versioned bucket would be served for ever.
        let pin = if shared.pin == PinBy::Version { PinBy::ETag } else { shared.pin };
        Self { shared, settings, pin, engines: Mutex::default() }
    }

    /// Answers one call, from bytes fetched ahead where there are any.
    pub(crate) async fn get(&self, path: &Path, mut options: GetOptions) -> Result<GetResult> {
        let Some(range) = plain_range(&options) else {
            // The answer for an older version does not concern the present one.
            let engine = if options.version.is_none() { self.find(path) } else { None };
            return self.pass(engine.as_ref(), path, options).await;
        };
        let engine = self.engine(path);
        let asked_at = Instant::now();
        let past_end = engine.known().is_some_and(|known| range.end > known.version.size);
        let refuses_ours = self.shared.refusals.refuses_ours(engine.known().is_some());
        if past_end || refuses_ours || engine.is_unprovable() {
            return self.pass(Some(&engine), path, options).await;
        }
        if let Some(hint) = options.extensions.get::<AccessHint>() {
            engine.advise(None, hint);
        }
        let Ok(mut read) = engine.begin(None, &range) else {
            return self.pass(None, path, options).await;
        };
        if read.is_passed_through() {
            let answer = self.get_observed(Some(&engine), path, options).await?;
            if LocalFile::is_source_of(&answer) {
                engine.dispatch(|planner| planner.on_local());
            }
            return Ok(end_with_body(answer, read));
        }
        let was_known = engine.known().is_some();
        let mut refused = false;
        match read.answered().await {
            Ok(()) => {
                if let Some(known) = engine.known()
                    && range.end <= known.version.size
                    && (read.is_one_request() || self.shared.is_provable(&known.version))
                    && let Ok(first) = read.next().await
                {
                    return Ok(answer(&engine, known, read, first));
                }
            }
            // The request was retried for as long as this call waited. Starting again would take twice as long as the
            // raw store.
            Err(error) if is_transient(&error) && asked_at.elapsed() >= FAIR_TRIAL => return Err(error),
            Err(error) if read.is_as_asked() && may_be_the_range(&error) => return Err(error),
            Err(error) => refused = may_be_the_range(&error),
        }
        // A failure of read-ahead is not the caller's: the raw store answers.
        drop(read);
        self.forget(path);
        if refused {
            options.extensions.insert(RangeOrigin::Asked);
        }
        let answer = self.shared.inner.get_opts(path, options).await?;
        if refused {
            self.shared.refusals.refused_ours(was_known, answer.meta.size);
        }
        Ok(answer)
    }

    /// Drops the bytes fetched ahead of `path`: it was written, or may have been.
    pub(crate) fn forget(&self, path: &Path) {
        self.shared.objects.forget(path);
        let gone: Vec<_> = self.engines.lock().extract_if(.., |engine| engine.path == *path).collect();
        // Reads in progress go on with their parts.
        for engine in gone {
            engine.dispatch(|planner| planner.clear());
        }
    }

    /// The engine of `path`, which becomes the latest.
    pub(crate) fn engine(&self, path: &Path) -> Arc<ObjectEngine> {
        let mut engines = self.engines.lock();
        let found = engines.iter().rposition(|engine| engine.path == *path).map(|at| engines.remove(at));
        let (outdated, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|engine| engine.is_outdated());
        let engine = found.into_iter().next().unwrap_or_else(|| {
            ObjectEngine::new(Arc::clone(&self.shared), path.clone(), self.pin, self.settings.clone())
        });
        engines.push(Arc::clone(&engine));
        let oldest = (engines.len() > MOST_PATHS).then(|| engines.remove(0));
        drop(engines);
        drop((outdated, oldest));
        engine
    }

    fn find(&self, path: &Path) -> Option<Arc<ObjectEngine>> {
        self.engines.lock().iter().rfind(|engine| engine.path == *path && !engine.is_outdated()).cloned()
    }

    /// As [`GetCalls::get_observed`], for a read that no engine counts.
    async fn pass(&self, engine: Option<&Arc<ObjectEngine>>, path: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let answer = self.get_observed(engine, path, options).await?;
        if !is_head {
            self.shared.counters.passed(&answer.range);
        }
        Ok(answer)
    }

    /// Asks the raw store, and compares its answer with the version that `engine` knows. Another version drops all
    /// bytes fetched ahead. `engine` is that of the beginning of the call.
    async fn get_observed(
        &self,
        engine: Option<&Arc<ObjectEngine>>,
        path: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        let asked_at = Instant::now();
        let answer = self.shared.inner.get_opts(path, options).await;
        if let Some(engine) = engine {
            let same = match &answer {
                Ok(answer) => {
                    let fits = engine.learn_version(answer, asked_at).is_ok();
                    // A modification date may identify the version only after a while.
                    let is_provable = || self.shared.is_provable(&ObjectVersion::of(&answer.meta));
                    fits && !(engine.is_unprovable() && is_provable())
                }
                Err(object_store::Error::NotFound { .. }) => engine.known().is_none(),
                Err(_) => true,
            };
            if !same {
                self.forget(&engine.path);
            }
        }
        answer
    }
}

/// The range of a plain call: a range of the latest version, without conditions.
fn plain_range(options: &GetOptions) -> Option<Range<u64>> {
    let plain = options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
        && options.version.is_none()
        && !options.head
        && options.extensions.get::<CacheHint>().is_none()
        && Intent::of(&options.extensions) == Intent::Demand;
    match &options.range {
        Some(GetRange::Bounded(range)) if plain && range.start < range.end && !is_open_ended(range) => {
            Some(range.clone())
        }
        _ => None,
    }
}

/// `answer`, whose body keeps `read` in progress until it ends: waiting for the body is not think time.
fn end_with_body(answer: GetResult, read: ActiveRead) -> GetResult {
    let GetResultPayload::Stream(body) = answer.payload else { return answer };
    let body = stream::unfold((body, read), |(mut body, read)| async move {
        let Some(chunk) = body.next().await else {
            read.answered_elsewhere();
            return None;
        };
        Some((chunk, (body, read)))
    });
    // Fused, because collecting an empty body polls it once more.
    GetResult { payload: GetResultPayload::Stream(body.fuse().boxed()), ..answer }
}

/// The bytes `rest` of the version `known`, from the store below.
async fn rest_of(
    engine: &ObjectEngine,
    known: &KnownObject,
    rest: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let options = ask(rest.clone(), Intent::Demand);
    let answer = engine.shared.get_known(&engine.path, Some(known), engine.pin, options).await?;
    engine.shared.refusals.check(&known.version, &answer.meta)?;
    exact_body(&rest, answer)
}

/// The answer to a call, with the bytes of `read`.
fn answer(engine: &Arc<ObjectEngine>, known: &Arc<KnownObject>, read: ActiveRead, first: Option<Bytes>) -> GetResult {
    let range = read.range();
    let mut extensions = Extensions::new();
    let origin = Origin::default();
    extensions.insert(origin.clone());
    if let Some(confirmed_at) = read.confirmed_at() {
        extensions.insert(ConfirmedAt(confirmed_at));
    }
    let whole = (Arc::clone(engine), Arc::clone(known), range.clone(), read.into_stream(first).boxed());
    let body = stream::try_unfold(whole, move |(engine, known, mut rest, mut body)| async move {
        let mut chunk = body.next().await.transpose();
        if chunk.as_ref().is_err_and(is_runtime_stopped) {
            body = rest_of(&engine, &known, rest.clone()).await?;
            chunk = body.next().await.transpose();
        }
        let Some(chunk) = chunk? else { return Ok(None) };
        rest.start += chunk.len() as u64;
        Ok(Some((chunk, (engine, known, rest, body))))
    });
    let body = body.inspect_ok(move |chunk| origin.add_wire(chunk.len() as u64));
    GetResult {
        payload: GetResultPayload::Stream(body.boxed()),
        meta: known.meta.clone(),
        range,
        attributes: known.attributes.clone(),
        extensions,
    }
}
