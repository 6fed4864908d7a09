//! `FetchCore`: what all reads of one store share, and the steps between two attempts at a request.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{sync::Arc, time::Duration};

use object_store::{Error, GetOptions, GetResult, ObjectMeta, ObjectStore, Result, path::Path};
use tokio::time::Instant;

use crate::config::FetchConfig;
use crate::error::{ExplainsError, ObjectChanged, Throttled};
use crate::internal::sync::Mutex;
use crate::internal::{mutation::Mutation, runtime::has_timer};
use crate::limits::permit_state::PermitKind;
use crate::limits::permits::{Permit, Permits};
use crate::limits::{budget::MemoryBudget, call_activity::CallActivity};
use crate::policy::fill::FULL_WEIGHT;
use crate::policy::retry::{RetryAttempts, RetryPolicy};
use crate::policy::{concurrency::Concurrency, hedge::Hedging, profile::BackendProfile, stall::BodyPauses};
use crate::protocol::{extensions::CacheHint, link_estimate::LinkEstimate, version::ObjectVersion};
use crate::request::refusals::{Pinned, Refusals};
use crate::request::retryable::is_transient;
use crate::stats::{FetchCounters, outcomes::RequestPurpose};
use crate::trace_events;

/// What all reads of one store share.
pub(crate) struct FetchCore {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) refusals: Refusals,
    pub(crate) config: FetchConfig,
    pub(crate) profile: BackendProfile,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) link: Arc<LinkEstimate>,
    pub(crate) counters: FetchCounters,
    pub(crate) hedging: Mutex<Hedging>,
    pub(crate) pauses: Mutex<BodyPauses>,
    pub(crate) concurrency: Mutex<Concurrency>,
    pub(crate) jitter: Jitter,
    /// Reads in parts so far.
    pub(crate) split_reads: AtomicU64,
    pub(crate) started: Instant,
    /// The latest answer had no validator: reads are not split until an answer has one.
    pub(crate) lacks_validators: AtomicBool,
}

impl FetchCore {
    /// Time since the store was made.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The attempts at a request that begins now.
    pub(crate) fn attempts(&self) -> RetryAttempts {
        let policy = RetryPolicy { retries: self.config.retries, timeout: self.config.retry_timeout };
        RetryAttempts::new(policy, self.now())
    }

    /// The pause before the next attempt after the transient `error`; `None` if no attempt is left, or there is no
    /// timer.
    pub(crate) fn pause_after(&self, attempts: &mut RetryAttempts, path: &Path, error: &Error) -> Option<Duration> {
        // A local disk fails the same way again, and the errors of local stores do not tell which ones may pass.
        if !has_timer() || self.profile.is_local() {
            return None;
        }
        let retry_after = Throttled::find(error).and_then(|throttled| throttled.retry_after);
        let pause = attempts.after_failure(self.now(), retry_after, self.jitter.next())?;
        self.counters.retries.add(1);
        trace_events::retry(path, error, attempts.number(), pause);
        Some(pause)
    }

    /// A request is given up before its answer has ended.
    pub(crate) fn on_cancel(&self) {
        self.counters.cancels.add(1);
        self.link.request_cancelled();
    }

    /// Waits for the `pause` before the next attempt after `error`. The permit is released meanwhile and acquired
    /// again, so that requests to parts of the store that do answer proceed.
    pub(crate) async fn pause(
        self: &Arc<Self>,
        pause: Duration,
        error: &Error,
        permit: Option<Permit>,
        options: &GetOptions,
        activity: &Arc<CallActivity>,
    ) -> Option<Permit> {
        if permit.is_none() || Mutation::HoldsPermitsInPauses.is_active() {
            tokio::time::sleep(pause).await;
            return permit;
        }
        // A throttled request keeps its permit for as long as an answer usually takes. If refusals are quick and the
        // permit were released at once, the next waiter would run into the same refusal.
        let is_throttled = Throttled::find(error).is_some();
        let held = if is_throttled { self.link.link().ttfb_p50.min(pause) } else { Duration::ZERO };
        tokio::time::sleep(held).await;
        drop(permit);
        tokio::time::sleep(pause - held).await;
        Some(self.permits.acquire_for(&options.extensions, PermitKind::Demand, FULL_WEIGHT, activity).await)
    }

    /// Whether answers of `version` to several requests may be combined: the version has a validator, or the caller has
    /// declared objects immutable.
    pub(crate) fn is_provable(&self, version: &ObjectVersion, options: &GetOptions) -> bool {
        version.has_validator() || self.is_immutable(options)
    }

    /// Whether the caller has declared the object immutable.
    pub(crate) fn is_immutable(&self, options: &GetOptions) -> bool {
        self.config.immutable || options.extensions.get() == Some(&CacheHint::Immutable)
    }

    /// Whether a read may be split: its answers can probably be combined, and the store accepts ranges of our choice.
    pub(crate) fn may_split(&self, options: &GetOptions) -> bool {
        let can_prove = !self.lacks_validators.load(Ordering::Relaxed) || self.is_immutable(options);
        can_prove && !self.refusals.refuses_ranges()
    }

    /// Remembers whether answers of this store have validators. Returns whether this one may be combined with others.
    pub(crate) fn note_version(&self, meta: &ObjectMeta, is_immutable: bool) -> bool {
        let lacks_validators = !ObjectVersion::has_validator_in(meta);
        if self.lacks_validators.load(Ordering::Relaxed) != lacks_validators {
            self.lacks_validators.store(lacks_validators, Ordering::Relaxed);
        }
        !lacks_validators || is_immutable
    }

    /// Finds out whether the `error` of a request for bytes of `version` has come about because the object changed; see
    /// [`ObjectChanged::explain_or_ask`]. `pinned`: the request with `options` was pinned to `version`.
    pub(crate) async fn explain(
        &self,
        error: Error,
        pinned: bool,
        path: &Path,
        version: &ObjectVersion,
        options: &GetOptions,
    ) -> Error {
        if Mutation::TellsRangeErrors.is_active() {
            return if pinned { ObjectChanged::explain(error, path, version) } else { error };
        }
        // A layer above may have pinned it, too.
        let pinned = pinned || options.extensions.get::<Pinned>().is_some();
        ObjectChanged::explain_or_ask(error, pinned, &*self.inner, path, version, options.clone()).await
    }

    /// Sends a HEAD, with retries.
    pub(crate) async fn head(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let mut attempts = self.attempts();
        loop {
            self.counters.heads.add(1);
            let sent = self.counters.outcomes.sent(RequestPurpose::Head);
            let answered = self.inner.get_opts(path, options.clone()).await;
            sent.ended(answered.as_ref().err());
            match answered {
                Ok(result) => return Ok(result),
                Err(error) => {
                    let retry = is_transient(&error) && options.extensions.get::<ExplainsError>().is_none();
                    let pause = if retry { self.pause_after(&mut attempts, path, &error) } else { None };
                    tokio::time::sleep(pause.ok_or(error)?).await;
                }
            }
        }
    }
}

/// The increment of `SplitMix64` (Steele, Lea and Flood 2014).
const SPLIT_MIX_INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Random numbers for retry pauses; many tasks share one generator.
#[derive(Debug)]
pub(crate) struct Jitter(AtomicU64);

impl Jitter {
    /// A generator seeded with `seed`, or by the operating system.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(AtomicU64::new(seed.unwrap_or_else(|| RandomState::new().hash_one(SPLIT_MIX_INCREMENT))))
    }

    /// The next number in `0.0..1.0`.
    pub(crate) fn next(&self) -> f64 {
        let mut z = self.0.fetch_add(SPLIT_MIX_INCREMENT, Ordering::Relaxed).wrapping_add(SPLIT_MIX_INCREMENT);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as f64 / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_uniform_and_follows_from_the_seed() {
        let jitter = Jitter::new(Some(7));
        let numbers: Vec<f64> = (0..10_000).map(|_| jitter.next()).collect();
        assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)));
        for tenth in 0..10 {
            let low = f64::from(tenth) / 10.0;
            let count = numbers.iter().filter(|n| (low..low + 0.1).contains(*n)).count();
            assert!((850..1150).contains(&count), "{count} of 10,000 in {low}..");
        }
        let again = Jitter::new(Some(7));
        assert!(numbers.iter().all(|n| again.next().to_bits() == n.to_bits()));
        assert_ne!(Jitter::new(None).next().to_bits(), Jitter::new(None).next().to_bits());
    }
}
