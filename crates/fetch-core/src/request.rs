//! One GET: sent until it is answered, measured, counted.

pub(crate) mod attempt;
pub(crate) mod body;
pub(crate) mod jitter;
pub(crate) mod outage;
pub(crate) mod refusals;
pub(crate) mod resume;
pub(crate) mod retryable;
pub(crate) mod stall;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::path::Path;
use object_store::{
    Attributes, Error, Extensions, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore, Result,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::FetchConfig;
use crate::error::{ExplainsError, ObjectChanged, Throttled};
use crate::internal::mutation::Mutation;
use crate::internal::runtime::has_timer;
use crate::limits::budget::MemoryBudget;
use crate::limits::call_activity::CallActivity;
use crate::limits::permits::{Permit, Permits};
use crate::policy::concurrency::Concurrency;
use crate::policy::hedge::Hedging;
use crate::policy::retry::{RetryAttempts, RetryPolicy};
use crate::protocol::extensions::{CacheHint, Origin};
use crate::protocol::link_estimate::LinkEstimate;
use crate::protocol::version::ObjectVersion;
use crate::request::body::ResponseBody;
use crate::request::jitter::Jitter;
use crate::request::outage::Outage;
use crate::request::refusals::{Pinned, Refusals};
use crate::request::resume::Resume;
use crate::request::retryable::is_transient;
use crate::request::stall::BodyPauses;
use crate::stats::FetchCounters;

/// What all calls of one store share.
pub(crate) struct FetchCore {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) refusals: Refusals,
    pub(crate) config: FetchConfig,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) link: Arc<LinkEstimate>,
    pub(crate) counters: FetchCounters,
    pub(crate) hedging: Mutex<Hedging>,
    pub(crate) pauses: Mutex<BodyPauses>,
    pub(crate) concurrency: Mutex<Concurrency>,
    pub(crate) jitter: Jitter,
    pub(crate) started: Instant,
    /// The latest answer had nothing that identifies a version: reads are not split until one has.
    pub(crate) lacks_validators: AtomicBool,
}

/// An answer, its body not yet read.
pub(crate) struct FetchAnswer {
    pub(crate) meta: ObjectMeta,
    pub(crate) range: Range<u64>,
    pub(crate) attributes: Attributes,
    pub(crate) extensions: Extensions,
    pub(crate) payload: AnswerPayload,
}

/// What an answer carries.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(crate) enum AnswerPayload {
    /// A local file, handed on untouched.
    File(GetResultPayload),
    /// A body on the wire.
    Body(ResponseBody),
}

impl FetchCore {
    /// Time since the store was made.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The tries at something that begins now.
    pub(crate) fn tries(&self) -> RetryAttempts {
        let policy = RetryPolicy { retries: self.config.retries, timeout: self.config.retry_timeout };
        RetryAttempts::new(policy, self.now())
    }

    /// The pause before the next of `tries` after the transient `error`; `None` where there is none left, or no clock.
    pub(crate) fn pause_after(&self, tries: &mut RetryAttempts, error: &Error) -> Option<Duration> {
        // A disk says the same again, and the local store's errors do not tell what is worth a try.
        if !has_timer() || self.config.profile.is_local() {
            return None;
        }
        let retry_after = Throttled::find(error).and_then(|throttled| throttled.retry_after);
        let pause = tries.after_failure(self.now(), retry_after, self.jitter.next())?;
        self.counters.retry();
        Some(pause)
    }

    /// Waits for the `pause` before the next try after `error`. `permit` is given back meanwhile, so that requests to parts of the
    /// store that do answer go on, and waited for again.
    pub(crate) async fn pause(
        self: &Arc<Self>,
        pause: Duration,
        error: &Error,
        permit: Option<Permit>,
        options: &GetOptions,
        activity: &Arc<CallActivity>,
    ) -> Option<Permit> {
        if permit.is_none() || Mutation::HoldsPermitsInPauses.is_back() {
            tokio::time::sleep(pause).await;
            return permit;
        }
        // A refusal holds its permit for as long as an answer usually takes. Given back at once where refusals are quick, it would send the
        // next waiter into the same refusal.
        let is_refused = Throttled::find(error).is_some();
        let held = if is_refused { self.link.link().ttfb_p50.min(pause) } else { Duration::ZERO };
        tokio::time::sleep(held).await;
        drop(permit);
        tokio::time::sleep(pause - held).await;
        Some(self.permits.acquire_for(&options.extensions, activity).await)
    }

    /// Whether answers of `version` to several requests can be put together: something identifies the version, or the caller has said
    /// that objects never change.
    pub(crate) fn is_provable(&self, version: &ObjectVersion, options: &GetOptions) -> bool {
        version.has_validator() || self.is_immutable(options)
    }

    /// Whether the caller has said that the object never changes.
    fn is_immutable(&self, options: &GetOptions) -> bool {
        self.config.immutable || options.extensions.get() == Some(&CacheHint::Immutable)
    }

    /// Whether it is worth asking for parts: their answers can probably be put together.
    pub(crate) fn may_split(&self, options: &GetOptions) -> bool {
        let can_prove = !self.lacks_validators.load(Ordering::Relaxed) || self.is_immutable(options);
        can_prove && !self.refusals.refuses_ranges()
    }

    /// Remembers whether this store's answers identify versions. Returns whether this one's can be put together with others.
    pub(crate) fn note_version(&self, meta: &ObjectMeta, options: &GetOptions) -> bool {
        let lacks_validators = !ObjectVersion::of(meta).has_validator();
        if self.lacks_validators.load(Ordering::Relaxed) != lacks_validators {
            self.lacks_validators.store(lacks_validators, Ordering::Relaxed);
        }
        !lacks_validators || self.is_immutable(options)
    }

    /// Finds out whether the `error` of a request with `options` for bytes of `version` is because the object changed: see
    /// [`ObjectChanged::explain_or_ask`].
    pub(crate) async fn explain(
        &self,
        error: Error,
        pinned: bool,
        path: &Path,
        version: &ObjectVersion,
        options: &GetOptions,
    ) -> Error {
        if Mutation::TellsRangeErrors.is_back() {
            return if pinned { ObjectChanged::explain(error, path, version) } else { error };
        }
        // By us, or by a layer above.
        let pinned = pinned || options.extensions.get::<Pinned>().is_some();
        let request = GetOptions { range: None, ..options.clone() };
        ObjectChanged::explain_or_ask(error, pinned, &*self.inner, path, version, request).await
    }

    /// The properties of an object, tried again where that helps.
    pub(crate) async fn head(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let mut tries = self.tries();
        loop {
            self.counters.head();
            match self.inner.get_opts(path, options.clone()).await {
                Ok(result) => return Ok(result),
                Err(error) => {
                    let retry = is_transient(&error) && options.extensions.get::<ExplainsError>().is_none();
                    let pause = if retry { self.pause_after(&mut tries, &error) } else { None };
                    tokio::time::sleep(pause.ok_or(error)?).await;
                }
            }
        }
    }

    /// One GET, tried again while `retry_if` says so of the error; its body is resumed where it breaks off. `permit` is held until the body ends or is dropped; bytes from the wire are counted on `origin`.
    pub(crate) async fn request(
        self: &Arc<Self>,
        path: &Path,
        options: GetOptions,
        permit: Option<Permit>,
        origin: &Origin,
        retry_if: impl Fn(&Error) -> bool,
        activity: &Arc<CallActivity>,
    ) -> Result<FetchAnswer> {
        self.request_of(None, path, options, permit, origin, retry_if, activity).await
    }

    /// The same for one of several requests, which know of each other by `outage`.
    #[expect(clippy::too_many_arguments, reason = "two more callers than it would take to put them into a type")]
    pub(crate) async fn request_of(
        self: &Arc<Self>,
        outage: Option<&Outage>,
        path: &Path,
        options: GetOptions,
        mut permit: Option<Permit>,
        origin: &Origin,
        retry_if: impl Fn(&Error) -> bool,
        activity: &Arc<CallActivity>,
    ) -> Result<FetchAnswer> {
        let mut tries = self.tries();
        let mut turn = None;
        let (result, ttfb) = loop {
            match self.attempt(path, &options, &mut permit, activity).await {
                Ok(answered) => break answered,
                Err(error) => {
                    let retry = retry_if(&error);
                    let pause = if retry { self.pause_after(&mut tries, &error) } else { None };
                    let Some(pause) = pause else { return Err(error) };
                    if let (Some(outage), None) = (outage, &turn) {
                        let waiting_since = self.now();
                        let had_permit = permit.take().is_some();
                        turn = outage.turn().await;
                        if had_permit {
                            permit = Some(self.permits.acquire_for(&options.extensions, activity).await);
                        }
                        tries.waited(self.now().saturating_sub(waiting_since));
                    }
                    let paused_at = self.now();
                    permit = self.pause(pause, &error, permit, &options, activity).await;
                    tries.waited(self.now().saturating_sub(paused_at + pause));
                }
            }
        };
        if let Some(outage) = outage {
            outage.answered();
        }
        drop(turn);
        let GetResult { payload, meta, range, attributes, extensions } = result;
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                let mut body = ResponseBody::new(self, stream, &range, origin, activity);
                if self.config.retries > 0 {
                    body = body.resumable(Resume::new(self, path, options, &meta, range.start));
                }
                AnswerPayload::Body(body.answered(ttfb, permit, Origin::of(&extensions)))
            }
            file @ GetResultPayload::File(..) => AnswerPayload::File(file),
        };
        Ok(FetchAnswer { meta, range, attributes, extensions, payload })
    }
}

impl FetchAnswer {
    /// The body, read from the file where it is one.
    pub(crate) fn into_body(
        self,
        core: &Arc<FetchCore>,
        origin: &Origin,
        activity: &Arc<CallActivity>,
    ) -> ResponseBody {
        let Self { meta, range, attributes, extensions, payload } = self;
        match payload {
            AnswerPayload::Body(body) => body,
            AnswerPayload::File(payload) => {
                let file = GetResult { payload, meta, range: range.clone(), attributes, extensions };
                ResponseBody::new(core, file.into_stream(), &range, origin, activity)
            }
        }
    }

    /// The answer as the caller gets it: one request, its body passed through.
    pub(crate) fn into_result(self) -> GetResult {
        let Self { meta, range, attributes, mut extensions, payload } = self;
        let payload = match payload {
            AnswerPayload::File(file) => file,
            AnswerPayload::Body(body) => {
                extensions.insert(body.origin().clone());
                GetResultPayload::Stream(body.pass_through())
            }
        };
        GetResult { payload, meta, range, attributes, extensions }
    }
}
