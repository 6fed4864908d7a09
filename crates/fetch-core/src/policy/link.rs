//! Estimates time to first byte and bandwidth from measurements. [`crate::LinkEstimate`] shares the estimate.
//!
//! Bandwidths are windowed maxima, as in BBR. Where too few streams are open to fill the link, what they carry can only
//! raise the estimate of its bandwidth. App-limited bodies do not count. Times to the first byte are quantiles of the
//! latest answers.

use std::cell::Cell;
use std::{collections::VecDeque, time::Duration};

use crate::policy::{byte_range, first_bytes::FirstByteTimes, profile::BackendProfile};

/// Two answers suffice if even the faster one took this many times as long as the profile says: the store is of
/// another kind.
const FAR_SLOWER: u32 = 8;
/// Bodies whose rate is remembered.
const STREAM_SAMPLES: usize = 64;
/// The estimate is the highest rate but so many: streams that share the link are slower than one alone, and bursts from
/// buffers are faster. With fewer bodies, the profile's rate holds.
const OUTLIERS: usize = 2;
/// The rate of a shorter body says nothing: it arrives from socket buffers at once.
const STREAM_MIN_BYTES: u64 = 256 * 1024;
/// The time over which arrivals of all streams are summed.
const BUCKET: Duration = Duration::from_millis(100);
/// Streams that carry this share of the estimated bandwidth have saturated the link.
const FULL: f64 = 0.8;
/// Streams that together carry this much more than the profile assumes show that the link is wider. Bursts from socket
/// buffers exceed the rate of a full link by a tenth; with 1.1 here they doubled the memory of one stream.
const EXCEEDED: f64 = 1.25;
/// A link that has carried more than the profile assumes, and has not shown its limit, is expected to carry this many
/// times what it has carried: reads look for its limit, as TCP does in slow start (RFC 5681, section 3.1).
const SEARCH: f64 = 2.0;
/// Streams at less than this share of the rate in the profile are slow: the store is another one than assumed, or other
/// processes use the link too. Then the profile's bandwidth says nothing, and the link is searched from what it has
/// carried.
const SLOW: f64 = 0.5;
/// A body that brought at most this share of the bytes that arrived meanwhile had company.
const COMPANY: f64 = 0.75;
/// A body is app-limited if its reader asked for no bytes during more than one part in this many of its time.
const APP_LIMITED_SHARE: u32 = 10;
/// Buckets remembered.
const BUCKETS: usize = 20;

/// What the link is estimated to carry now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// What an answer takes that does not wait for others: the median, or the 10th percentile where the median is more
    /// than twice as long, because most answers wait. Sizes follow from it, as BBR's window follows from the least
    /// round trip. From the median they would follow the queues that they make: a longer queue, larger requests, a
    /// longer queue.
    pub ttfb_unqueued: Duration,
    /// Half of all answers begin within this time.
    pub ttfb_p50: Duration,
    /// 95 % of all answers begin within this time.
    pub ttfb_p95: Duration,
    /// Rate of one stream in bytes per second.
    pub stream_bytes_per_s: f64,
    /// Rate of all streams together in bytes per second.
    pub aggregate_bytes_per_s: f64,
}

impl Link {
    /// A link on which every answer begins after `ttfb`.
    pub fn steady(ttfb: Duration, stream_bytes_per_s: f64, aggregate_bytes_per_s: f64) -> Self {
        Self { ttfb_unqueued: ttfb, ttfb_p50: ttfb, ttfb_p95: ttfb, stream_bytes_per_s, aggregate_bytes_per_s }
    }

    /// Bytes that one stream carries during a round trip: a hole of this size costs as much as a new request.
    #[must_use]
    pub fn round_trip_bytes(&self) -> u64 {
        byte_range::from_f64(self.ttfb_p50.as_secs_f64() * self.stream_bytes_per_s)
    }
}

/// A body that has ended or was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndedBody {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Time from the request to the first byte.
    pub ttfb: Duration,
    /// Time since the first byte.
    pub elapsed: Duration,
    /// Bytes that all streams carried in that time, including this one.
    pub all_bytes: u64,
    /// Time in which the reader could have taken bytes and did not ask for them. [`Duration::MAX`] where the rate says
    /// nothing for another reason.
    pub unread: Duration,
}

impl EndedBody {
    /// Whether the application read more slowly than bytes arrived, so that the rate says nothing about the link (as in
    /// BBR).
    fn is_app_limited(&self) -> bool {
        self.unread.saturating_mul(APP_LIMITED_SHARE) > self.elapsed
    }
}

/// The estimator behind [`crate::LinkEstimate`].
#[derive(Debug, Clone, Default)]
pub struct Estimator {
    prior: BackendProfile,
    ttfb: FirstByteTimes,
    /// Those of requests that opened no connection.
    ttfb_connected: FirstByteTimes,
    /// The shortest time to a first byte of all answers.
    fastest: Option<Duration>,
    stream: VecDeque<f64>,
    bucket_start: Duration,
    bucket_bytes: u64,
    bucket_min_streams: usize,
    streams: usize,
    all_bytes: u64,
    /// The rate of each past bucket, and whether the link limited it.
    buckets: VecDeque<(f64, bool)>,
    /// The rates of one stream and of all, as computed from `stream` and `buckets`. Every request asks for them several
    /// times, and they change ten times a second at most, or with a body of some length.
    rates: Cell<Option<(f64, f64)>>,
}

impl Estimator {
    /// Starts from the profile of the kind of store. Impossible values in it are replaced by the nearest possible ones.
    pub fn new(prior: BackendProfile) -> Self {
        Self { prior: prior.usable(), ..Self::default() }
    }

    /// An answer began `ttfb` after its request, which perhaps opened a connection before it was sent (`connects`).
    pub fn on_first_byte(&mut self, ttfb: Duration, connects: bool) {
        self.ttfb.push(ttfb);
        self.fastest = Some(self.fastest.map_or(ttfb, |fastest| fastest.min(ttfb)));
        if !connects {
            self.ttfb_connected.push(ttfb);
        }
    }

    /// Whether enough answers have been measured to replace the times of the profile.
    pub fn is_measured(&self) -> bool {
        self.ttfb.are_enough()
    }

    /// A body was opened. Returns the bytes that all streams have carried before.
    pub fn on_body_start(&mut self, now: Duration) -> u64 {
        self.roll(now);
        self.streams += 1;
        self.all_bytes
    }

    /// The bytes that all streams have carried.
    pub fn all_bytes(&self) -> u64 {
        self.all_bytes
    }

    /// `bytes` of a body have arrived.
    pub fn on_bytes(&mut self, now: Duration, bytes: u64) {
        self.roll(now);
        self.bucket_bytes += bytes;
        self.all_bytes += bytes;
    }

    /// A body has ended.
    ///
    /// Streams that saturate the link together have only a share of it each. Such a sample can raise the estimate of a
    /// stream's rate, and never lowers it below the rate of the whole link. Otherwise, parts would shrink because there
    /// are many of them.
    pub fn on_body_end(&mut self, now: Duration, body: EndedBody) {
        self.roll(now);
        self.streams = self.streams.saturating_sub(1);
        self.bucket_min_streams = self.bucket_min_streams.min(self.streams);
        if body.is_app_limited() || body.bytes < STREAM_MIN_BYTES || body.elapsed.is_zero() {
            return;
        }
        let seconds = body.elapsed.as_secs_f64();
        let believed = self.stream();
        let rate = (body.bytes as f64 / seconds).min(self.rate_without_burst(&body).max(believed));
        let has_company = body.bytes as f64 <= COMPANY * body.all_bytes as f64;
        let aggregate = self.aggregate(believed);
        let filled = has_company && body.all_bytes as f64 / seconds >= FULL * aggregate;
        push(&mut self.stream, if filled { rate.max(believed.min(aggregate)) } else { rate }, STREAM_SAMPLES);
        self.rates.take();
    }

    /// The rate of `body`, had its answer begun as early as the fastest one, and had it taken as long at least as a
    /// first byte does.
    ///
    /// Where the program computed while the answer came, the answer looks late, and its bytes arrive at once from
    /// socket buffers. A body that is shorter than the sender's window arrives at once, too. BBR also takes the longer
    /// of two times, of sending and of arriving.
    fn rate_without_burst(&self, body: &EndedBody) -> f64 {
        let known = if self.ttfb.are_enough() { Duration::MAX } else { self.prior.ttfb };
        let fastest = self.fastest.unwrap_or(Duration::MAX).min(known);
        let seconds = body.elapsed.saturating_add(body.ttfb.saturating_sub(fastest)).max(fastest).as_secs_f64();
        body.bytes as f64 / seconds
    }

    /// The current estimate, for requests over connections that are open: they fill the link most of the time.
    pub fn link(&self) -> Link {
        let connected = self.ttfb_connected.times(self.prior.ttfb);
        let rest = |times: [Duration; 3]| times.map(|ttfb| self.after_connecting(ttfb));
        self.link_of(connected.or_else(|| self.ttfb.times(self.prior.ttfb).map(rest)))
    }

    /// The current estimate, for requests of which some open a connection.
    pub fn link_with_connecting(&self) -> Link {
        self.link_of(self.ttfb.times(self.prior.ttfb))
    }

    /// The part of `ttfb` that passed after a connection was open. A handshake takes a round trip, and an answer one at
    /// least. A time that the profile explains is taken as it is.
    fn after_connecting(&self, ttfb: Duration) -> Duration {
        ttfb.min(self.prior.ttfb.max(ttfb / 2))
    }

    fn link_of(&self, times: Option<[Duration; 3]>) -> Link {
        let [ttfb_unqueued, ttfb_p50, ttfb_p95] = times.unwrap_or_else(|| {
            let is_far = |fastest: &Duration| *fastest > self.prior.ttfb.saturating_mul(FAR_SLOWER);
            [self.ttfb.fastest_of_several().filter(is_far).unwrap_or(self.prior.ttfb); 3]
        });
        let (stream, aggregate) = self.rates.get().unwrap_or_else(|| self.computed_rates());
        self.rates.set(Some((stream, aggregate)));
        Link { ttfb_unqueued, ttfb_p50, ttfb_p95, stream_bytes_per_s: stream, aggregate_bytes_per_s: aggregate }
    }

    fn computed_rates(&self) -> (f64, f64) {
        let stream = self.stream();
        let carried = self.aggregate(stream).max(stream);
        let prior = self.prior.aggregate_bytes_per_s.max(stream);
        let aggregate = if self.buckets.iter().any(|b| b.1) {
            carried
        } else if carried > prior * EXCEEDED {
            carried * SEARCH
        } else if self.is_slow(stream) {
            (carried * SEARCH).min(prior.max(carried))
        } else {
            carried
        };
        (stream, aggregate)
    }

    fn stream(&self) -> f64 {
        self.stream_with_faster(OUTLIERS)
    }

    /// The rate of a stream of which so many are faster; of the profile where fewer bodies have ended.
    fn stream_with_faster(&self, faster: usize) -> f64 {
        let mut sorted: Vec<_> = self.stream.iter().copied().collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let enough = sorted.len() > OUTLIERS;
        sorted.get(faster).copied().filter(|_| enough).unwrap_or(self.prior.stream_bytes_per_s)
    }

    /// Whether streams are slower than those that the profile assumes.
    fn is_slow(&self, stream: f64) -> bool {
        stream < SLOW * self.prior.stream_bytes_per_s
    }

    fn aggregate(&self, stream: f64) -> f64 {
        let prior = if self.is_slow(stream) { stream } else { self.prior.aggregate_bytes_per_s.max(stream) };
        let best =
            |link_limited: bool| self.buckets.iter().filter(|b| !link_limited || b.1).map(|b| b.0).fold(0.0, f64::max);
        let limited = best(true);
        if limited > 0.0 { limited } else { prior.max(best(false)) }
    }

    /// Closes the buckets that ended before `now`.
    fn roll(&mut self, now: Duration) {
        let open_for = now.saturating_sub(self.bucket_start);
        if open_for < BUCKET {
            return;
        }
        if self.bucket_bytes > 0 && open_for < 2 * BUCKET {
            let rate = self.bucket_bytes as f64 / open_for.as_secs_f64();
            // Streams differ: many of them carry many times what the average one does, and not the fastest.
            let could_carry = self.bucket_min_streams as f64 * self.stream_with_faster(self.stream.len() / 2);
            push(&mut self.buckets, (rate, could_carry > 1.25 * rate), BUCKETS);
            self.rates.take();
        }
        self.bucket_start = now;
        self.bucket_bytes = 0;
        self.bucket_min_streams = self.streams;
    }
}

fn push<T>(samples: &mut VecDeque<T>, sample: T, most: usize) {
    if samples.len() == most {
        samples.pop_front();
    }
    samples.push_back(sample);
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
