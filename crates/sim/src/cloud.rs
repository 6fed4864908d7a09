//! The requests of one client to a simulated cloud, on tokio's clock.

pub(crate) mod body;
pub(crate) mod catalog;
mod condition;
pub(crate) mod generation;
pub(crate) mod log;
mod uploads;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::catalog::{Catalog, CatalogError};
use self::generation::EPOCH;
use self::log::{End, RequestId, RequestLog, RequestRecord};
use crate::policy::connections::Connections;
use crate::policy::faults::{Fault, Faults};
use crate::policy::link::{LinkModel, Pull, StreamId};
use crate::policy::profile::LinkProfile;
use crate::policy::rng::Dice;

/// A bucket, the link to it, and a client's end of that link.
#[derive(Debug)]
pub(crate) struct SimCloud {
    pub(crate) profile: LinkProfile,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) log: Arc<RequestLog>,
    start: Instant,
    traffic: Mutex<Traffic>,
    /// Told when a stream is given up: the others become faster than they were told.
    freed: Notify,
}

#[derive(Debug)]
struct Traffic {
    link: LinkModel,
    connections: Connections,
    dice: Dice,
    faults: Faults,
}

impl SimCloud {
    pub(crate) fn new(
        profile: LinkProfile,
        catalog: Arc<Catalog>,
        faults: Faults,
        connections: Connections,
        dice: Dice,
    ) -> Arc<Self> {
        let traffic = Traffic { link: LinkModel::new(&profile), connections, dice, faults };
        Arc::new(Self {
            profile,
            catalog,
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

    /// The store's date.
    pub(crate) fn date(&self) -> DateTime<Utc> {
        date(self.now())
    }

    pub(crate) fn connections(&self) -> Connections {
        self.traffic.lock().connections
    }

    /// What goes wrong with the read that arrives now; what others did to the bucket has been done on return.
    pub(crate) fn next_fault(&self) -> Fault {
        let now = self.now();
        let fault = self.traffic.lock().faults.next(now);
        for (at, change) in &fault.changes {
            self.catalog.apply(change, date(*at));
        }
        fault
    }

    /// A request that arrives now, and takes a connection.
    pub(crate) fn request(self: &Arc<Self>, record: RequestRecord) -> SimRequest {
        let setup = if self.traffic.lock().connections.take() { self.profile.setup } else { Duration::ZERO };
        let connected_at = record.at + setup;
        let mut request = self.request_over(connected_at, record);
        request.pooled = true;
        request
    }

    /// A request that arrives now, over a connection of the caller's that is up at `connected_at`.
    pub(crate) fn request_over(self: &Arc<Self>, connected_at: Duration, record: RequestRecord) -> SimRequest {
        let ttfb = self.profile.first_byte(&mut self.traffic.lock().dice);
        let id = self.log.begin(record);
        SimRequest {
            cloud: Arc::clone(self),
            id,
            connected_at,
            ttfb,
            pooled: false,
            stream: None,
            sent: 0,
            ended: false,
        }
    }

    /// One request other than a read, with a body of `body_bytes`: the link, then `operation` on the catalog.
    pub(crate) async fn call<T>(
        self: Arc<Self>,
        record: RequestRecord,
        body_bytes: u64,
        operation: impl FnOnce(&Catalog, DateTime<Utc>) -> Result<T, CatalogError>,
    ) -> object_store::Result<T> {
        let mut request = self.request(record);
        request.upload(body_bytes).await;
        self.sleep_until(request.connected_at.max(self.now()) + request.ttfb).await;
        let result = operation(&self.catalog, self.date());
        request.status(result.as_ref().map_or_else(status_of, |_| 200));
        request.end(End::Completed);
        Ok(result?)
    }

    /// Waits until `due`; not at all where that is past, as tokio's timer would wait for its next millisecond.
    pub(crate) async fn sleep_until(&self, due: Duration) {
        if due > self.now() {
            tokio::time::sleep_until(self.start + due).await;
        }
    }
}

/// A request under way: it holds a connection, at times a stream, and an entry in the log. Dropped before its end it counts as aborted.
#[derive(Debug)]
pub(crate) struct SimRequest {
    pub(crate) cloud: Arc<SimCloud>,
    id: RequestId,
    /// When its connection is up.
    pub(crate) connected_at: Duration,
    pub(crate) ttfb: Duration,
    /// Whether it holds one of the client's connections.
    pooled: bool,
    stream: Option<StreamId>,
    /// Bytes of the streams before the present one.
    sent: u64,
    ended: bool,
}

impl SimRequest {
    pub(crate) fn status(&self, status: u16) {
        self.cloud.log.update(self.id, |record| record.status = status);
    }

    /// What it asked for, once that is known.
    pub(crate) fn asked_for(&self, range: Range<u64>) {
        self.cloud.log.update(self.id, |record| record.range = Some(range));
    }

    /// Opens the stream of the next `bytes` of the body, in place of the one before.
    pub(crate) fn open_stream(&mut self, first_byte_at: Duration, bytes: u64) {
        let now = self.cloud.now();
        self.close_stream(now);
        self.stream = Some(self.cloud.traffic.lock().link.open(now, first_byte_at, bytes));
    }

    /// Waits for the next bytes of the stream, at most `max_bytes`, and returns how many there are; 0 at its end.
    ///
    /// # Cancel safety
    /// Bytes are taken on return only.
    pub(crate) async fn pull(&self, max_bytes: u64) -> u64 {
        let Some(stream) = self.stream else { return 0 };
        loop {
            // Made before the look at the link: no stream given up after it is missed.
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

    /// The request has ended. Only a completed one leaves its connection to others.
    pub(crate) fn end(&mut self, end: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.cloud.now();
        self.close_stream(now);
        if end == End::Completed && self.pooled {
            self.cloud.traffic.lock().connections.give_back();
        }
        if end != End::Completed {
            self.cloud.freed.notify_waiters();
        }
        self.cloud.log.end(self.id, now, end, self.sent);
    }

    /// Waits until a request's body of `bytes` is with the store.
    pub(crate) async fn upload(&mut self, bytes: u64) {
        self.open_stream(self.connected_at, bytes);
        while self.pull(u64::MAX).await > 0 {}
        // Only bytes that the store sends are counted.
        self.close_stream(self.cloud.now());
        self.sent = 0;
    }

    fn close_stream(&mut self, now: Duration) {
        if let Some(stream) = self.stream.take() {
            self.sent += self.cloud.traffic.lock().link.close(now, stream);
        }
    }
}

impl Drop for SimRequest {
    fn drop(&mut self) {
        self.end(End::Aborted);
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
