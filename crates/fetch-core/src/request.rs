//! One GET: sent until it is answered, measured, counted.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{
    Attributes, Error, Extensions, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore, Result,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::body::Body;
use crate::budget::MemoryBudget;
use crate::concurrency::Concurrency;
use crate::config::FetchConfig;
use crate::error::{Throttled, is_transient};
use crate::estimate::LinkEstimate;
use crate::hedge::Hedging;
use crate::intent::Origin;
use crate::jitter::Jitter;
use crate::permits::{Permit, Permits};
use crate::resume::Resume;
use crate::retry::{RetryPolicy, Tries};
use crate::stats::Counters;

/// What all calls of one store share.
pub(crate) struct Core {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) config: FetchConfig,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) link: Arc<LinkEstimate>,
    pub(crate) counters: Counters,
    pub(crate) hedging: Mutex<Hedging>,
    pub(crate) concurrency: Mutex<Concurrency>,
    pub(crate) jitter: Jitter,
    pub(crate) started: Instant,
}

/// An answer, its body not yet read.
pub(crate) struct Answer {
    pub(crate) meta: ObjectMeta,
    pub(crate) range: Range<u64>,
    pub(crate) attributes: Attributes,
    pub(crate) extensions: Extensions,
    pub(crate) payload: Payload,
}

/// What an answer carries.
pub(crate) enum Payload {
    /// A local file, handed on untouched.
    File(GetResultPayload),
    /// A body on the wire.
    Body(Body),
}

impl Core {
    /// Time since the store was made.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The tries at something that begins now.
    pub(crate) fn tries(&self) -> Tries {
        let policy = RetryPolicy { retries: self.config.retries, timeout: self.config.retry_timeout };
        Tries::new(policy, self.now())
    }

    /// The pause before the next of `tries` after the transient `error`; `None` where there is none left, or no clock.
    pub(crate) fn pause_after(&self, tries: &mut Tries, error: &Error) -> Option<Duration> {
        // A disk says the same again, and the local store's errors do not tell what is worth a try.
        if Handle::try_current().is_err() || self.config.profile.is_local() {
            return None;
        }
        let retry_after = Throttled::find(error).and_then(|throttled| throttled.retry_after);
        let pause = tries.after_failure(self.now(), retry_after, self.jitter.next())?;
        self.counters.retry();
        Some(pause)
    }

    /// Waits for the next of `tries` where `error` is `worth` one.
    async fn pause_or_fail(&self, tries: &mut Tries, error: Error, worth: fn(&Error) -> bool) -> Result<()> {
        let pause = if worth(&error) { self.pause_after(tries, &error) } else { None };
        tokio::time::sleep(pause.ok_or(error)?).await;
        Ok(())
    }

    /// The properties of an object, tried again where that helps.
    pub(crate) async fn head(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let mut tries = self.tries();
        loop {
            self.counters.head();
            match self.inner.get_opts(path, options.clone()).await {
                Ok(result) => return Ok(result),
                Err(error) => self.pause_or_fail(&mut tries, error, is_transient).await?,
            }
        }
    }

    /// One GET, tried again on errors that are `worth` it, its body resumed where it breaks off. `permit` is held until the
    /// body ends or is dropped; bytes from the wire are counted on `origin`.
    pub(crate) async fn request(
        self: &Arc<Self>,
        path: &Path,
        options: GetOptions,
        mut permit: Option<Permit>,
        origin: &Origin,
        worth: fn(&Error) -> bool,
    ) -> Result<Answer> {
        let mut tries = self.tries();
        let (result, ttfb) = loop {
            match self.attempt(path, &options, &mut permit).await {
                Ok(answered) => break answered,
                Err(error) => self.pause_or_fail(&mut tries, error, worth).await?,
            }
        };
        let GetResult { payload, meta, range, attributes, extensions } = result;
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                let mut body = Body::new(self, stream, &range, origin);
                if self.config.retries > 0 {
                    body = body.resumable(Resume::new(self, path, options, &meta, range.start));
                }
                Payload::Body(body.answered(ttfb, permit, Origin::of(&extensions)))
            }
            file @ GetResultPayload::File(..) => Payload::File(file),
        };
        Ok(Answer { meta, range, attributes, extensions, payload })
    }
}

impl Answer {
    /// The body, read from the file where it is one.
    pub(crate) fn into_body(self, core: &Arc<Core>, origin: &Origin) -> Body {
        let Self { meta, range, attributes, extensions, payload } = self;
        match payload {
            Payload::Body(body) => body,
            Payload::File(payload) => {
                let file = GetResult { payload, meta, range: range.clone(), attributes, extensions };
                Body::new(core, file.into_stream(), &range, origin)
            }
        }
    }

    /// The answer as the caller gets it: one request, its body passed through.
    pub(crate) fn into_result(self) -> GetResult {
        let Self { meta, range, attributes, mut extensions, payload } = self;
        let payload = match payload {
            Payload::File(file) => file,
            Payload::Body(body) => {
                extensions.insert(body.origin().clone());
                GetResultPayload::Stream(body.pass_through())
            }
        };
        GetResult { payload, meta, range, attributes, extensions }
    }
}
