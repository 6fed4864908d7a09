//! Resumes a body that broke off: requests the missing bytes in the same version.

use std::{ops::Range, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectMeta, Result, path::Path};

use crate::limits::{call_activity::CallActivity, permits::Permit};
use crate::policy::retry::RetryAttempts;
use crate::protocol::link_estimate::FirstByte;
use crate::protocol::version::ObjectVersion;
use crate::request::{core::FetchCore, retryable::is_transient};
use crate::trace_events;

/// After this many bytes the attempts of a body are counted anew. A body that breaks off more often is given up.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// What is needed to request the missing bytes of a body.
pub(crate) struct Resume {
    path: Path,
    options: GetOptions,
    version: ObjectVersion,
    /// Whether the request is pinned to the version that the body began with.
    pinned: bool,
    /// The first byte of the body. If nothing proves the version, a body can only be requested again before any byte of
    /// it has been handed on.
    start: u64,
    is_provable: bool,
    attempts: RetryAttempts,
    /// Where the body was when its attempts were last counted anew.
    counted_from: u64,
}

/// The answer to the request for the missing bytes. The permit is returned in any case.
pub(crate) struct ResumedAnswer {
    pub(crate) answered: Result<(GetResult, FirstByte)>,
    pub(crate) permit: Option<Permit>,
}

impl Resume {
    /// For a body that begins at byte `start` of the object `meta`, requested with `options`.
    pub(crate) fn new(core: &FetchCore, path: &Path, mut options: GetOptions, meta: &ObjectMeta, start: u64) -> Self {
        let version = ObjectVersion::of(meta);
        version.pin(core.profile.pin, &mut options);
        // Also a pin of the caller counts: the body has begun, so a refusal now means that the object changed.
        let pinned = options.if_match.is_some() || options.version.is_some();
        let is_provable = core.is_provable(&version, &options);
        // The first answer has met these conditions.
        options.if_none_match = None;
        options.if_modified_since = None;
        let attempts = core.attempts();
        Self { path: path.clone(), options, version, pinned, start, is_provable, attempts, counted_from: start }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a body that broke off at byte `at` may be resumed: old and new bytes are provably of one version.
    pub(crate) fn is_possible_at(&self, at: u64) -> bool {
        self.is_provable || at == self.start
    }

    /// Requests the bytes `missing` after `error` and a pause, which is returned too.
    ///
    /// # Errors
    /// `error` itself if it is not transient or no attempt is left.
    pub(crate) fn request(
        &mut self,
        core: &Arc<FetchCore>,
        missing: Range<u64>,
        error: Error,
        permit: Option<Permit>,
        activity: &Arc<CallActivity>,
    ) -> Result<(Duration, BoxFuture<'static, ResumedAnswer>)> {
        if !self.is_possible_at(missing.start) {
            return Err(error);
        }
        if missing.start - self.counted_from >= PROGRESS_BYTES {
            self.attempts.restart(core.now());
            self.counted_from = missing.start;
        }
        let pause = if is_transient(&error) { core.pause_after(&mut self.attempts, &self.path, &error) } else { None };
        let Some(pause) = pause else { return Err(error) };
        trace_events::resume(&self.path, &missing, &error);
        let (core, activity, number) = (Arc::clone(core), Arc::clone(activity), self.attempts.number());
        let (path, version, pinned) = (self.path.clone(), self.version.clone(), self.pinned);
        let options = self.options.clone().with_range(Some(GetRange::Bounded(missing)));
        let sent = async move {
            let mut permit = core.pause(pause, &error, permit, &options, &activity).await;
            let answered = match core.attempt(&path, &options, number, &mut permit, &activity).await {
                Ok((result, first_byte)) => core.refusals.check(&version, &result.meta).map(|()| (result, first_byte)),
                Err(error) => Err(core.explain(error, pinned, &path, &version, &options).await),
            };
            ResumedAnswer { answered, permit }
        };
        Ok((pause, sent.boxed()))
    }
}
