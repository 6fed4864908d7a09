//! A bucket behind a link, and the requests of its clients, on tokio's clock.

pub(crate) mod body;
pub(crate) mod catalog;
mod condition;
pub(crate) mod generation;
pub(crate) mod log;
mod uploads;

use std::{ops::Range, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use self::catalog::{Catalog, CatalogError, CatalogResult, Versioning};
use self::generation::EPOCH;
use self::log::{RequestEnd, RequestId, RequestLog, RequestRecord};
use crate::policy::faults::{FaultPlan, Faults, ReadFault};
use crate::policy::link::{LinkModel, LinkStreamId, Pull};
use crate::policy::{connections::Connections, profile::LinkProfile, rng::SeededRng};

/// A bucket, the link to it, and the client's connections.
#[derive(Debug)]
pub(crate) struct SimCloud {
    pub(crate) profile: LinkProfile,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) log: Arc<RequestLog>,
    start: Instant,
    traffic: Mutex<Traffic>,
    /// Notified when a stream is aborted: the other streams become faster than predicted.
    freed: Notify,
}

/// The mutable state of the link and its client.
#[derive(Debug)]
struct Traffic {
    link: LinkModel,
    connections: Connections,
    rng: SeededRng,
    faults: Faults,
}

impl SimCloud {
    pub(crate) fn new(
        profile: LinkProfile,
        versioned: bool,
        faults: FaultPlan,
        warm_connections: usize,
        seed: u64,
    ) -> Arc<Self> {
        let traffic = Traffic {
            link: LinkModel::new(&profile),
            connections: Connections::warm(warm_connections),
            rng: SeededRng::new(seed),
            faults: Faults::new(faults),
        };
        Arc::new(Self {
            profile,
            catalog: Arc::new(Catalog::new(if versioned { Versioning::Kept } else { Versioning::Off })),
            log: Arc::default(),
            start: Instant::now(),
            traffic: Mutex::new(traffic),
            freed: Notify::new(),
        })
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The date of the store.
    pub(crate) fn date(&self) -> DateTime<Utc> {
        date(self.now())
    }

    pub(crate) fn connections(&self) -> Connections {
        self.traffic.lock().connections
    }

    /// Makes the changes of objects that are due, and returns the fault of the read that arrives now.
    pub(crate) fn next_fault(&self) -> ReadFault {
        let now = self.now();
        let fault = self.traffic.lock().faults.next(now);
        for (at, change) in &fault.changes {
            self.catalog.apply(change, date(*at));
        }
        fault
    }

    /// Begins a request that arrives now, over a pooled connection.
    pub(crate) fn request(self: &Arc<Self>, record: RequestRecord) -> SimRequest {
        let setup = if self.traffic.lock().connections.take() { self.profile.setup } else { Duration::ZERO };
        let connected_at = record.at + setup;
        let mut request = self.request_over(connected_at, record);
        request.pooled = true;
        request
    }

    /// Begins a request that arrives now, over a connection that the caller establishes at `connected_at`.
    pub(crate) fn request_over(self: &Arc<Self>, connected_at: Duration, record: RequestRecord) -> SimRequest {
        let ttfb = self.profile.first_byte(&mut self.traffic.lock().rng);
        let id = self.log.begin(record);
        SimRequest {
            cloud: Arc::clone(self),
            id,
            connected_at,
            ttfb,
            pooled: false,
            stream: None,
            sent_bytes: 0,
            ended: false,
        }
    }

    /// Performs a request other than a read, with a body of `body_bytes`: first the transfer, then `operation`.
    pub(crate) async fn call<T>(
        self: &Arc<Self>,
        record: RequestRecord,
        body_bytes: u64,
        operation: impl FnOnce(&Catalog, DateTime<Utc>) -> CatalogResult<T>,
    ) -> object_store::Result<T> {
        let mut request = self.request(record);
        request.upload(body_bytes).await;
        self.sleep_until(request.connected_at.max(self.now()) + request.ttfb).await;
        let result = operation(&self.catalog, self.date());
        request.set_status(result.as_ref().map_or_else(status_of, |_| 200));
        request.end(RequestEnd::Completed);
        Ok(result?)
    }

    /// Waits until `due`. Returns at once if it has passed, where tokio's timer would wait for its next millisecond.
    pub(crate) async fn sleep_until(&self, due: Duration) {
        if due > self.now() {
            tokio::time::sleep_until(self.start + due).await;
        }
    }
}

/// A request in progress: it holds a connection, a stream while a body is transferred, and an entry in the log.
/// Dropping it before its end aborts it.
#[derive(Debug)]
pub(crate) struct SimRequest {
    pub(crate) cloud: Arc<SimCloud>,
    id: RequestId,
    /// When its connection is established.
    pub(crate) connected_at: Duration,
    pub(crate) ttfb: Duration,
    /// Whether its connection comes from the client's pool.
    pooled: bool,
    stream: Option<LinkStreamId>,
    /// Bytes sent by its earlier streams.
    sent_bytes: u64,
    ended: bool,
}

impl SimRequest {
    /// Records the status of the answer.
    pub(crate) fn set_status(&self, status: u16) {
        self.cloud.log.update(self.id, |record| record.status = status);
    }

    /// Records the requested range.
    pub(crate) fn set_range(&self, range: Range<u64>) {
        self.cloud.log.update(self.id, |record| record.range = Some(range));
    }

    /// Opens a stream for the next `bytes` of the body and closes the one before.
    pub(crate) fn open_stream(&mut self, first_byte_at: Duration, bytes: u64) {
        let now = self.cloud.now();
        self.close_stream(now);
        self.stream = Some(self.cloud.traffic.lock().link.open(now, first_byte_at, bytes));
    }

    /// Waits for the next bytes of the stream, at most `max_bytes`, and returns their number; 0 at its end.
    ///
    /// # Cancel safety
    /// Dropping the future takes no bytes.
    pub(crate) async fn pull(&self, max_bytes: u64) -> u64 {
        let Some(stream) = self.stream else { return 0 };
        loop {
            // Created before the look at the link, so that no abort after the look is missed.
            let freed = self.cloud.freed.notified();
            let pull = self.cloud.traffic.lock().link.pull(self.cloud.now(), stream, max_bytes);
            match pull {
                Pull::Ready(bytes) => return bytes,
                Pull::End => return 0,
                Pull::NotBefore(due) => tokio::select! {
                    () = self.cloud.sleep_until(due) => {}
                    () = freed => {}
                },
            }
        }
    }

    /// Ends the request. Only a completed request returns its connection to the pool.
    pub(crate) fn end(&mut self, end: RequestEnd) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.cloud.now();
        self.close_stream(now);
        if end != RequestEnd::Completed {
            self.cloud.freed.notify_waiters();
        } else if self.pooled {
            self.cloud.traffic.lock().connections.give_back();
        }
        self.cloud.log.end(self.id, now, end, self.sent_bytes);
    }

    /// Transfers a request body of `bytes` to the store.
    pub(crate) async fn upload(&mut self, bytes: u64) {
        self.open_stream(self.connected_at, bytes);
        while self.pull(u64::MAX).await > 0 {}
        // The log counts bytes that the store sends, not those that it receives.
        self.close_stream(self.cloud.now());
        self.sent_bytes = 0;
    }

    fn close_stream(&mut self, now: Duration) {
        if let Some(stream) = self.stream.take() {
            self.sent_bytes += self.cloud.traffic.lock().link.close(now, stream);
        }
    }
}

impl Drop for SimRequest {
    fn drop(&mut self) {
        self.end(RequestEnd::Aborted);
    }
}

fn date(at: Duration) -> DateTime<Utc> {
    EPOCH + TimeDelta::from_std(at).unwrap_or(TimeDelta::MAX)
}

fn status_of(error: &CatalogError) -> u16 {
    match error {
        CatalogError::NotFound(_) | CatalogError::NoSuchUpload(_) => 404,
        CatalogError::AlreadyExists(_) | CatalogError::Precondition(_) => 412,
        CatalogError::NoSuchPart { .. } => 400,
    }
}
