//! A call in progress, and the record that is written of it.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::task::{Context, Poll};
use std::{ops::Range, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream::BoxStream};
use object_store::{Error, GetRange, path::Path};
use tokio::time::Instant;

use super::{RecorderShared, order::CallStart};
use crate::trace::{CallKind, DROPPED, TraceCall};

/// What the recorder keeps of a call. Small: it becomes a [`TraceCall`] only when it is written.
#[derive(Debug)]
pub(super) struct CallRecord {
    start: CallStart,
    key: u64,
    requested: RequestedBytes,
    is_conditional: bool,
    size: Option<u64>,
    bytes: u64,
    at: Duration,
    /// Time to the answer, or to the error in its place.
    first: Option<Duration>,
    took: Duration,
    busy: Duration,
    error: Option<&'static str>,
}

/// The bytes that a call asks for.
#[derive(Debug)]
pub(super) enum RequestedBytes {
    Head,
    Get(Option<GetRange>),
    Ranges(Box<[Range<u64>]>),
}

impl CallRecord {
    pub(super) fn to_call(&self) -> TraceCall {
        let kind = match self.requested {
            RequestedBytes::Head => CallKind::Head,
            RequestedBytes::Get(_) => CallKind::Get,
            RequestedBytes::Ranges(_) => CallKind::GetRanges,
        };
        let mut call = TraceCall {
            size: self.size,
            is_conditional: self.is_conditional,
            after: self.start.after,
            wait_us: micros(self.start.wait),
            busy_us: micros(self.busy),
            bytes: self.bytes,
            at_us: micros(self.at),
            first_us: micros(self.first.unwrap_or(self.took)),
            took_us: micros(self.took),
            error: self.error.map(str::to_owned),
            ..TraceCall::new(self.start.n, format!("{:016x}", self.key), kind)
        };
        match &self.requested {
            RequestedBytes::Head | RequestedBytes::Get(None) => {}
            RequestedBytes::Get(Some(GetRange::Bounded(range))) => call.ranges = vec![[range.start, range.end]],
            RequestedBytes::Get(Some(GetRange::Offset(offset))) => call.offset = Some(*offset),
            RequestedBytes::Get(Some(GetRange::Suffix(suffix))) => call.suffix = Some(*suffix),
            RequestedBytes::Ranges(ranges) => {
                call.ranges = ranges.iter().map(|range| [range.start, range.end]).collect();
            }
        }
        call
    }
}

/// A call in progress. It is recorded when it ends, at the latest when it is dropped.
pub(super) struct OpenCall {
    shared: Arc<RecorderShared>,
    began: Instant,
    /// Taken when the call ends.
    record: Option<CallRecord>,
}

impl OpenCall {
    pub(super) fn begin(
        shared: &Arc<RecorderShared>,
        path: &Path,
        requested: RequestedBytes,
        is_conditional: bool,
    ) -> Self {
        let began = Instant::now();
        let at = began - shared.started;
        let record = CallRecord {
            start: shared.writer.state.lock().order.begin(current_task(), at),
            key: shared.hash.hash_one(path),
            requested,
            is_conditional,
            size: None,
            bytes: 0,
            at,
            first: None,
            took: Duration::ZERO,
            busy: Duration::ZERO,
            error: None,
        };
        Self { shared: Arc::clone(shared), began, record: Some(record) }
    }

    /// Records that the answer has arrived; `size` is the length of the object.
    pub(super) fn on_answer(&mut self, now: Instant, size: Option<u64>) {
        let first = now - self.began;
        self.update(|record| (record.first, record.size) = (Some(first), size));
    }

    /// Records that the call failed.
    pub(super) fn on_error(&mut self, now: Instant, error: &Error) {
        self.update(|record| record.error = Some(variant_name(error)));
        self.end(now);
    }

    /// Records that the caller took `bytes`.
    pub(super) fn on_bytes(&mut self, bytes: u64) {
        self.update(|record| record.bytes += bytes);
    }

    fn update(&mut self, change: impl FnOnce(&mut CallRecord)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    /// Ends the call. Later calls of this method do nothing.
    ///
    /// The time is an argument since reading the clock takes a noticeable part of the recorder's time.
    pub(super) fn end(&mut self, now: Instant) {
        let Some(mut record) = self.record.take() else { return };
        record.took = now - self.began;
        let task = current_task();
        let state = &mut *self.shared.writer.state.lock();
        state.order.end(record.start.n, task, record.at + record.took);
        self.shared.writer.push(state, record);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let Some(record) = &mut self.record else { return };
        if record.first.is_none() && record.error.is_none() {
            record.error = Some(DROPPED);
        }
        self.end(Instant::now());
    }
}

/// The body of a recorded answer. Its call ends when it is read to its end or dropped.
pub(super) struct RecordedBody {
    inner: BoxStream<'static, object_store::Result<Bytes>>,
    call: OpenCall,
    /// When the caller got the answer or the last piece; `None` while the caller waits for a piece.
    handed_over: Option<Instant>,
}

impl RecordedBody {
    /// The body of an answer that the caller gets at `now`.
    pub(super) fn new(inner: BoxStream<'static, object_store::Result<Bytes>>, call: OpenCall, now: Instant) -> Self {
        Self { inner, call, handed_over: Some(now) }
    }
}

impl Stream for RecordedBody {
    type Item = object_store::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled_at = self.handed_over.take().map(|handed_over| {
            let now = Instant::now();
            self.call.update(|record| record.busy += now - handed_over);
            now
        });
        let polled = self.inner.as_mut().poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                self.call.on_bytes(piece.len() as u64);
                self.handed_over = Some(Instant::now());
            }
            Poll::Ready(Some(Err(error))) => self.call.update(|record| record.error = Some(variant_name(error))),
            // A body without a wait for its end ended at the time of this poll.
            Poll::Ready(None) => self.call.end(polled_at.unwrap_or_else(Instant::now)),
            Poll::Pending => {}
        }
        polled
    }
}

/// The current task as a hash, since ids of tasks are consecutive.
fn current_task() -> Option<u64> {
    tokio::task::try_id().map(|id| BuildHasherDefault::<DefaultHasher>::default().hash_one(id))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn variant_name(error: &Error) -> &'static str {
    match error {
        Error::Generic { .. } => "Generic",
        Error::NotFound { .. } => "NotFound",
        Error::InvalidPath { .. } => "InvalidPath",
        Error::JoinError { .. } => "JoinError",
        Error::NotSupported { .. } => "NotSupported",
        Error::AlreadyExists { .. } => "AlreadyExists",
        Error::Precondition { .. } => "Precondition",
        Error::NotModified { .. } => "NotModified",
        Error::NotImplemented { .. } => "NotImplemented",
        Error::PermissionDenied { .. } => "PermissionDenied",
        Error::Unauthenticated { .. } => "Unauthenticated",
        Error::UnknownConfigurationKey { .. } => "UnknownConfigurationKey",
        _ => "Other",
    }
}
