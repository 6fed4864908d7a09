//! A link that several streams share.
//!
//! Processor sharing: every active stream gets `min(stream rate, NIC rate ÷ active streams)`. All rates are equal at
//! any moment, so one number describes the whole link: `served`, the bytes that a stream active from the start would
//! have received. A stream receives what `served` grows by while the stream is active, and stops when `served` reaches
//! a mark known beforehand. So arrivals and ends happen at their exact times, however late the model is asked, and
//! delays of the caller do not accumulate.

use std::collections::{BTreeMap, BTreeSet};
use std::{cmp::Ordering, time::Duration};

use crate::policy::profile::LinkProfile;

/// The smallest piece that a stream yields, except at its end: about as much as one read of a socket.
pub const CHUNK_BYTES: u64 = 64 * 1024;

/// Id of a stream of a [`LinkModel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkStreamId(u64);

/// The result of [`LinkModel::pull`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// This many bytes are taken.
    Ready(u64),
    /// Nothing is ready before this time, unless another stream is closed.
    NotBefore(Duration),
    /// Every byte has been taken.
    End,
}

/// A link and the streams on it. Times are counted from an arbitrary start and never go back.
#[derive(Debug)]
pub struct LinkModel {
    stream_bytes_per_s: f64,
    nic_bytes_per_s: f64,
    window_bytes: u64,
    now_s: f64,
    served: f64,
    streams: BTreeMap<LinkStreamId, LinkStream>,
    /// Streams that wait for their first byte, ordered by its time in seconds.
    arrivals: BTreeSet<(Mark, LinkStreamId)>,
    /// Active streams, ordered by the value of `served` at which they stop.
    stops: BTreeSet<(Mark, LinkStreamId)>,
    opened: u64,
}

#[derive(Debug)]
struct LinkStream {
    len: u64,
    taken: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The first byte comes at this time in seconds.
    Waiting(f64),
    /// The stream is at byte `served - base` and stops at byte `stop`.
    Active { base: f64, stop: u64 },
    /// The stream has ended, or its receive window is full, at this byte.
    Stopped(u64),
}

/// A float with a total order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mark(f64);

impl LinkModel {
    /// An idle link.
    #[must_use]
    pub fn new(profile: &LinkProfile) -> Self {
        Self {
            stream_bytes_per_s: profile.stream_bytes_per_s,
            nic_bytes_per_s: profile.nic_bytes_per_s,
            window_bytes: profile.receive_window_bytes.max(1),
            now_s: 0.0,
            served: 0.0,
            streams: BTreeMap::new(),
            arrivals: BTreeSet::new(),
            stops: BTreeSet::new(),
            opened: 0,
        }
    }

    /// Opens a stream of `len` bytes whose first byte is sent at `first_byte_at`.
    pub fn open(&mut self, now: Duration, first_byte_at: Duration, len: u64) -> LinkStreamId {
        self.advance(now);
        let id = LinkStreamId(self.opened);
        self.opened += 1;
        let from = first_byte_at.max(now).as_secs_f64();
        self.streams.insert(id, LinkStream { len, taken: 0, phase: Phase::Waiting(from) });
        self.arrivals.insert((Mark(from), id));
        id
    }

    /// Takes the bytes that stream `id` has at `now`, at most `max_bytes`, once there is at least a chunk.
    ///
    /// # Panics
    /// Where `id` was closed.
    pub fn pull(&mut self, now: Duration, id: LinkStreamId, max_bytes: u64) -> Pull {
        self.advance(now);
        let stream = &self.streams[&id];
        let wanted = (stream.len - stream.taken).min(CHUNK_BYTES).min(self.window_bytes);
        if wanted == 0 {
            return Pull::End;
        }
        let ready = self.sent(stream) - stream.taken;
        if ready < wanted {
            // With a fraction of a byte missing, rounding may yield `now`.
            return Pull::NotBefore(self.due(stream, stream.taken + wanted).max(now + Duration::from_nanos(1)));
        }
        let bytes = ready.min(max_bytes.max(1));
        self.take(id, bytes);
        Pull::Ready(bytes)
    }

    /// Closes stream `id` and returns the bytes that were sent, taken or not. The other streams may become faster.
    ///
    /// # Panics
    /// Where `id` was closed before.
    pub fn close(&mut self, now: Duration, id: LinkStreamId) -> u64 {
        self.advance(now);
        let stream = self.streams.remove(&id).expect("a stream is closed once");
        let sent = self.sent(&stream);
        match stream.phase {
            Phase::Waiting(from) => self.arrivals.remove(&(Mark(from), id)),
            Phase::Active { base, stop } => self.stops.remove(&(mark(base, stop), id)),
            Phase::Stopped(_) => false,
        };
        sent
    }

    /// Number of open streams.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Rate of each of `active` streams in bytes per second.
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2⁵³ streams")]
    fn rate(&self, active: usize) -> f64 {
        self.stream_bytes_per_s.min(self.nic_bytes_per_s / active as f64)
    }

    /// Moves the model to `now`, through all arrivals and stops before it.
    fn advance(&mut self, now: Duration) {
        let now_s = now.as_secs_f64();
        loop {
            let rate = self.rate(self.stops.len());
            let stop = self.stops.first().map(|&(mark, id)| (self.now_s + (mark.0 - self.served) / rate, mark.0, id));
            let arrival = self.arrivals.first().map(|&(at, id)| (at.0.max(self.now_s), id));
            match (stop, arrival) {
                (Some((at, served, id)), _) if at <= now_s && arrival.is_none_or(|(first, _)| at <= first) => {
                    self.now_s = at;
                    self.served = served;
                    self.stop(id);
                }
                (_, Some((at, id))) if at <= now_s => {
                    if !self.stops.is_empty() {
                        self.served += rate * (at - self.now_s);
                    }
                    self.now_s = at;
                    self.arrivals.pop_first();
                    self.start(id, 0);
                }
                _ => {
                    if !self.stops.is_empty() && now_s > self.now_s {
                        self.served += rate * (now_s - self.now_s);
                    }
                    self.now_s = self.now_s.max(now_s);
                    return;
                }
            }
        }
    }

    /// Makes stream `id`, now at byte `sent`, active if it may send any byte.
    #[expect(clippy::cast_precision_loss, reason = "objects are shorter than 2⁵³ bytes")]
    fn start(&mut self, id: LinkStreamId, sent: u64) {
        let stream = self.streams.get_mut(&id).expect("an open stream");
        let stop = stream.len.min(stream.taken.saturating_add(self.window_bytes));
        stream.phase = if sent < stop {
            let base = self.served - sent as f64;
            self.stops.insert((mark(base, stop), id));
            Phase::Active { base, stop }
        } else {
            Phase::Stopped(sent)
        };
    }

    /// Stops the stream whose mark `served` has reached.
    fn stop(&mut self, id: LinkStreamId) {
        self.stops.pop_first();
        if self.stops.is_empty() {
            // Only differences of `served` matter. A reset on an idle link keeps them exact over a long run.
            self.served = 0.0;
        }
        let stream = self.streams.get_mut(&id).expect("an open stream");
        if let Phase::Active { stop, .. } = stream.phase {
            stream.phase = Phase::Stopped(stop);
        }
    }

    fn take(&mut self, id: LinkStreamId, bytes: u64) {
        let stream = self.streams.get_mut(&id).expect("an open stream");
        stream.taken += bytes;
        let (len, allowed) = (stream.len, stream.taken.saturating_add(self.window_bytes));
        match &mut stream.phase {
            Phase::Active { base, stop } if *stop < len.min(allowed) => {
                self.stops.remove(&(mark(*base, *stop), id));
                *stop = len.min(allowed);
                self.stops.insert((mark(*base, *stop), id));
            }
            Phase::Stopped(sent) if *sent < len => {
                let sent = *sent;
                self.start(id, sent);
            }
            _ => {}
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the length of the stream")]
    fn sent(&self, stream: &LinkStream) -> u64 {
        match stream.phase {
            Phase::Waiting(_) => 0,
            // Rounded to the nearest byte: times have nanoseconds, in which a fast link moves about a byte.
            Phase::Active { base, stop } => ((self.served - base).round() as u64).clamp(stream.taken, stop),
            Phase::Stopped(sent) => sent,
        }
    }

    /// When `stream` will reach byte `at` if no other stream starts before; otherwise it will be later.
    fn due(&self, stream: &LinkStream, at: u64) -> Duration {
        let due_s = match stream.phase {
            Phase::Waiting(from) => from,
            Phase::Stopped(_) => self.now_s,
            Phase::Active { base, .. } => {
                let target = mark(base, at);
                let (mut time, mut served, mut active) = (self.now_s, self.served, self.stops.len());
                for &(stop, _) in self.stops.iter().take_while(|(stop, _)| *stop < target) {
                    time += (stop.0 - served) / self.rate(active);
                    served = stop.0;
                    active -= 1;
                }
                time + (target.0 - served) / self.rate(active)
            }
        };
        ceil_to_nanos(due_s)
    }
}

/// The value of `served` at which a stream with this `base` is at byte `at`.
#[expect(clippy::cast_precision_loss, reason = "objects are shorter than 2⁵³ bytes")]
fn mark(base: f64, at: u64) -> Mark {
    Mark(base + at as f64)
}

/// Rounds up, since a chunk must not be due before it is ready. The tolerance of 0.1 ns absorbs floating-point errors,
/// which would cost a whole millisecond of tokio's timer.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and times are not negative")]
fn ceil_to_nanos(seconds: f64) -> Duration {
    Duration::from_nanos((seconds * 1e9 - 0.1).ceil() as u64)
}

impl Eq for Mark {}

impl Ord for Mark {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Mark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
