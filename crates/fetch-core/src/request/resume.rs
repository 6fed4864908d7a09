//! Goes on with a body that broke off, at the byte that is missing and in the same version.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectMeta, Result};

use crate::limits::call_activity::CallActivity;
use crate::limits::permits::Permit;
use crate::policy::retry::RetryAttempts;
use crate::protocol::version::ObjectVersion;
use crate::request::FetchCore;
use crate::request::retryable::is_transient;

/// So many bytes are progress: the tries of their body begin anew. A body that breaks off more often than that is given up.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// What it takes to ask for the rest of a body.
pub(crate) struct Resume {
    path: Path,
    options: GetOptions,
    version: ObjectVersion,
    /// The request for the rest is pinned to the version that the body began with.
    pinned: bool,
    /// Where the body begins; without anything to prove the version, only a body of which nothing has been handed on can be asked for
    /// again.
    start: u64,
    is_provable: bool,
    tries: RetryAttempts,
    /// Where the body was when its tries began.
    tried_at: u64,
}

/// What has come of it. The permit comes back in any case.
pub(crate) struct Resumed {
    pub(crate) answered: Result<(GetResult, Duration)>,
    pub(crate) permit: Option<Permit>,
}

impl Resume {
    /// A body of the object `meta` that `options` asked for, and that begins at byte `start`.
    pub(crate) fn new(core: &FetchCore, path: &Path, mut options: GetOptions, meta: &ObjectMeta, start: u64) -> Self {
        let version = ObjectVersion::of(meta);
        version.pin(core.config.profile.pin, &mut options);
        // By whomever: the body has begun, so a refusal now means that the object changed.
        let pinned = options.if_match.is_some() || options.version.is_some();
        let is_provable = core.is_provable(&version, &options);
        // The first answer has settled these.
        options.if_none_match = None;
        options.if_modified_since = None;
        Self { path: path.clone(), options, version, pinned, start, is_provable, tries: core.tries(), tried_at: start }
    }

    /// Whether a body that broke off at byte `at` can go on: what came and what is to come are of one version.
    pub(crate) fn is_possible_at(&self, at: u64) -> bool {
        self.is_provable || at == self.start
    }

    /// Asks for the bytes `missing` after `error`, and a pause, which is returned too.
    ///
    /// # Errors
    /// `error` itself where it is final.
    pub(crate) fn ask(
        &mut self,
        core: &Arc<FetchCore>,
        missing: Range<u64>,
        error: Error,
        permit: Option<Permit>,
        activity: &Arc<CallActivity>,
    ) -> Result<(Duration, BoxFuture<'static, Resumed>)> {
        if !self.is_possible_at(missing.start) {
            return Err(error);
        }
        if missing.start - self.tried_at >= PROGRESS_BYTES {
            self.tries.progressed(core.now());
            self.tried_at = missing.start;
        }
        let pause = if is_transient(&error) { core.pause_after(&mut self.tries, &error) } else { None };
        let Some(pause) = pause else { return Err(error) };
        let (core, activity) = (Arc::clone(core), Arc::clone(activity));
        let (path, version, pinned) = (self.path.clone(), self.version.clone(), self.pinned);
        let options = self.options.clone().with_range(Some(GetRange::Bounded(missing)));
        let ask = async move {
            let mut permit = core.pause(pause, &error, permit, &options, &activity).await;
            let answered = match core.attempt(&path, &options, &mut permit, &activity).await {
                Ok((result, ttfb)) => core.refusals.check(&version, &result.meta).map(|()| (result, ttfb)),
                Err(error) => Err(core.explain(error, pinned, &path, &version, &options).await),
            };
            Resumed { answered, permit }
        };
        Ok((pause, ask.boxed()))
    }
}
