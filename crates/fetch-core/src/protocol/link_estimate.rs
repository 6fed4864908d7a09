//! The link estimate as a shared handle: `FetchStore` writes it, every layer may read it.

use std::{sync::Arc, time::Duration};

use crate::internal::locks::Mutex;
use tokio::time::Instant;

use crate::policy::fill;
use crate::policy::link::{EndedBody, Estimator, Link};
use crate::policy::profile::BackendProfile;

/// What the link to a store can carry, measured while it is used.
#[derive(Debug)]
pub struct LinkEstimate {
    start: Instant,
    estimator: Mutex<Estimator>,
}

/// The estimate that [`crate::FetchStore`] keeps of its link, in answers to requests with an
/// [`Intent`](crate::Intent). A layer without an estimate of its own takes this one. A cache that answers from
/// memory adds the estimate it has found.
#[derive(Debug, Clone)]
pub struct MeasuredLink(pub Arc<LinkEstimate>);

impl LinkEstimate {
    /// Starts from `profile`. Impossible rates in it are replaced by the nearest possible ones.
    #[must_use]
    pub fn new(profile: &BackendProfile) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), estimator: Mutex::new(Estimator::new(profile.clone())) })
    }

    /// The current estimate.
    #[must_use]
    pub fn link(&self) -> Link {
        self.estimator.lock().link()
    }

    /// Whether enough answers have been measured to replace the times of the profile.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.estimator.lock().is_measured()
    }

    /// How many requests fill the link.
    pub(crate) fn fill(&self, profile: &BackendProfile) -> usize {
        fill::requests(&self.link(), (profile.min_part_bytes, profile.max_part_bytes))
    }

    /// An answer began `ttfb` after its request: one more stream is open.
    #[doc(hidden)]
    pub fn body_started(self: &Arc<Self>, ttfb: Duration) -> BodyMeter {
        let now = self.start.elapsed();
        let mut estimator = self.estimator.lock();
        estimator.on_first_byte(ttfb);
        let all_bytes_before = estimator.on_body_start(now);
        BodyMeter { estimate: Arc::clone(self), started: now, bytes: 0, all_bytes_before, app_limited: false }
    }
}

/// Measures one body. Dropping it ends the measurement.
#[derive(Debug)]
pub struct BodyMeter {
    estimate: Arc<LinkEstimate>,
    started: Duration,
    bytes: u64,
    all_bytes_before: u64,
    app_limited: bool,
}

impl BodyMeter {
    /// `bytes` arrived.
    pub fn arrived(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.estimate.estimator.lock().on_bytes(self.estimate.start.elapsed(), bytes);
    }

    /// The reader limits the rate of the body from now on, so the rate says nothing about the link.
    pub fn mark_app_limited(&mut self) {
        self.app_limited = true;
    }
}

impl Drop for BodyMeter {
    fn drop(&mut self) {
        let now = self.estimate.start.elapsed();
        let mut estimator = self.estimate.estimator.lock();
        let body = EndedBody {
            bytes: self.bytes,
            elapsed: now.saturating_sub(self.started),
            all_bytes: estimator.all_bytes() - self.all_bytes_before,
            app_limited: self.app_limited,
        };
        estimator.on_body_end(now, body);
    }
}
