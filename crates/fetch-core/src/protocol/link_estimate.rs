//! The link estimate as a shared handle: `FetchStore` writes it, every layer may read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::internal::sync::Mutex;
use crate::policy::fill;
use crate::policy::link::{EndedBody, Estimator, Link};
use crate::policy::profile::BackendProfile;
use crate::policy::window_shares::{WindowDemand, WindowShare, WindowShares};

/// What the link to a store can carry, measured while it is used.
#[derive(Debug)]
pub struct LinkEstimate {
    start: Instant,
    estimator: Mutex<Estimator>,
    /// Connections that are probably open.
    connections: AtomicUsize,
    shares: Mutex<WindowShares>,
    /// The streams of `shares`, as the share was computed last. Zero while nothing has a window: then no lock is taken.
    sharing: AtomicU64,
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
        let estimator = Mutex::new(Estimator::new(profile.clone()));
        Arc::new(Self {
            start: Instant::now(),
            estimator,
            connections: AtomicUsize::new(0),
            shares: Mutex::default(),
            sharing: AtomicU64::new(0),
        })
    }

    /// The current estimate.
    #[must_use]
    pub fn link(&self) -> Link {
        self.estimator.lock().link()
    }

    /// A request is sent, and `in_flight` requests are in flight then. Returns whether it probably opens a connection:
    /// no idle one can be left where more requests are in flight than ever before.
    pub(crate) fn request_sent(&self, in_flight: usize) -> bool {
        in_flight > self.connections.fetch_max(in_flight, Ordering::Relaxed)
    }

    /// A request was given up before its answer had ended. HTTP/1.1 clients close its connection.
    pub(crate) fn request_cancelled(&self) {
        let one_less = |open: usize| Some(open.saturating_sub(1));
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok();
    }

    /// Whether enough answers have been measured to replace the times of the profile.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.estimator.lock().is_measured()
    }

    /// The current estimate, for requests of which some open a connection first, and whether enough answers have been
    /// measured to replace the times of the profile.
    pub(crate) fn measured_with_connecting(&self) -> (Link, bool) {
        let estimator = self.estimator.lock();
        (estimator.link_with_connecting(), estimator.is_measured())
    }

    /// How many requests fill the link.
    pub(crate) fn fill(&self, profile: &BackendProfile) -> usize {
        fill::requests(&self.link(), (profile.min_part_bytes, profile.max_part_bytes))
    }

    /// How much of the link a request of `bytes` fills. Requests of a single stream count in full: they are needed in
    /// order, and more of them at once would delay the first ones.
    pub(crate) fn weight(&self, profile: &BackendProfile, bytes: u64) -> u64 {
        if self.sharing.load(Ordering::Relaxed) <= 1 {
            return fill::FULL_WEIGHT;
        }
        fill::weight(&self.link(), (profile.min_part_bytes, profile.max_part_bytes), bytes)
    }

    /// What one stream of the link may have ahead of its reader, of `total_bytes` for all streams. Objects that were
    /// not read for `idle_after` do not count.
    #[doc(hidden)]
    pub fn window_share(&self, total_bytes: u64, idle_after: Duration) -> WindowShare {
        if self.sharing.load(Ordering::Relaxed) == 0 {
            return WindowShare { most_bytes: total_bytes, streams: 1 };
        }
        let mut shares = self.shares.lock();
        let share = shares.share(self.start.elapsed(), total_bytes, idle_after);
        self.note_sharing(&shares);
        share
    }

    fn note_sharing(&self, shares: &WindowShares) {
        self.sharing.store(shares.streams(), Ordering::Relaxed);
    }

    /// An answer began `ttfb` after its request: one more stream is open.
    #[doc(hidden)]
    pub fn body_started(self: &Arc<Self>, ttfb: Duration) -> BodyMeter {
        self.body_started_after(FirstByte { ttfb, connects: false })
    }

    /// As [`LinkEstimate::body_started`], where it is known whether the request opened a connection.
    pub(crate) fn body_started_after(self: &Arc<Self>, first_byte: FirstByte) -> BodyMeter {
        let now = self.start.elapsed();
        let mut estimator = self.estimator.lock();
        estimator.on_first_byte(first_byte.ttfb, first_byte.connects);
        let all_bytes_before = estimator.on_body_start(now);
        let (estimate, ttfb) = (Arc::clone(self), first_byte.ttfb);
        BodyMeter { estimate, ttfb, started: now, bytes: 0, all_bytes_before, unread: Duration::ZERO }
    }
}

/// One object among those that are read over a link. Dropping it ends its demand.
#[derive(Debug)]
pub struct WindowMember {
    link: Arc<LinkEstimate>,
    id: u64,
}

impl WindowMember {
    /// An object without demand.
    pub fn new(link: &Arc<LinkEstimate>) -> Self {
        Self { link: Arc::clone(link), id: link.shares.lock().next_id() }
    }

    /// Whether the object is read over `link`.
    pub fn is_of(&self, link: &Arc<LinkEstimate>) -> bool {
        Arc::ptr_eq(&self.link, link)
    }

    /// Its streams want this from now on.
    pub fn set(&self, demand: WindowDemand) {
        let mut shares = self.link.shares.lock();
        shares.set(self.id, demand, self.link.start.elapsed());
        self.link.note_sharing(&shares);
    }
}

impl Drop for WindowMember {
    fn drop(&mut self) {
        self.set(WindowDemand::default());
    }
}

/// How long a request waited for the first byte of its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstByte {
    pub(crate) ttfb: Duration,
    /// Whether the request probably opened a connection in this time.
    pub(crate) connects: bool,
}

/// Measures one body. Dropping it ends the measurement.
#[derive(Debug)]
pub struct BodyMeter {
    estimate: Arc<LinkEstimate>,
    ttfb: Duration,
    started: Duration,
    bytes: u64,
    all_bytes_before: u64,
    unread: Duration,
}

impl BodyMeter {
    /// `bytes` arrived.
    pub fn arrived(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.estimate.estimator.lock().on_bytes(self.estimate.start.elapsed(), bytes);
    }

    /// The time since the first byte.
    pub(crate) fn elapsed(&self) -> Duration {
        self.estimate.start.elapsed().saturating_sub(self.started)
    }

    /// The reader could have taken bytes for this time, and did not ask for them. If it is much of the body's time, the
    /// rate says nothing about the link.
    pub fn add_unread(&mut self, time: Duration) {
        self.unread = self.unread.saturating_add(time);
    }

    /// Excludes the rate of the body from the estimate.
    pub fn exclude(&mut self) {
        self.unread = Duration::MAX;
    }
}

impl Drop for BodyMeter {
    fn drop(&mut self) {
        let now = self.estimate.start.elapsed();
        let mut estimator = self.estimate.estimator.lock();
        let body = EndedBody {
            bytes: self.bytes,
            ttfb: self.ttfb,
            elapsed: now.saturating_sub(self.started),
            all_bytes: estimator.all_bytes() - self.all_bytes_before,
            unread: self.unread,
        };
        estimator.on_body_end(now, body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_opens_a_connection_where_none_is_idle() {
        let link = LinkEstimate::new(&BackendProfile::default());
        assert!((1..=16).all(|in_flight| link.request_sent(in_flight)));
        assert!((1..=16).all(|in_flight| !link.request_sent(in_flight)));
        link.request_cancelled();
        assert!(!link.request_sent(15));
        assert!(link.request_sent(16), "one connection was closed");
        (0..20).for_each(|_| link.request_cancelled());
        assert!(link.request_sent(1));
    }
}
