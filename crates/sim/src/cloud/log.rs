//! The log of requests to a simulated store.

use std::{ops::Range, time::Duration};

use headstart_fetch_core::Intent;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Reads an object.
    Get,
    /// Reads an object's metadata.
    Head,
    /// Writes an object.
    Put,
    /// Copies an object within the store.
    Copy,
    /// Deletes objects.
    Delete,
    /// Lists a page of objects.
    List,
    /// A step of a multipart upload.
    Multipart,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestEnd {
    /// It was answered to the last byte; the answer may be an error such as 404.
    Completed,
    /// A fault of the store or the link.
    Failed,
    /// The client aborted it.
    Aborted,
}

/// The log entry of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// When it arrived, since the start of the store.
    pub at: Duration,
    /// Its kind.
    pub kind: RequestKind,
    /// The object's key, or the prefix of a listing.
    pub key: String,
    /// The requested range, clamped to the object's size; `None` for the whole object.
    pub range: Option<Range<u64>>,
    /// The intent in its options; unknown over HTTP.
    #[serde(skip)]
    pub intent: Option<Intent>,
    /// Bytes of its body that the store sent.
    pub bytes_sent: u64,
    /// When it ended.
    pub ended_at: Option<Duration>,
    /// How it ended.
    pub end: Option<RequestEnd>,
    /// HTTP status of its answer; 0 before the answer.
    pub status: u16,
}

impl RequestRecord {
    /// An entry of a request that has just arrived.
    #[must_use]
    pub fn new(at: Duration, kind: RequestKind, key: impl Into<String>) -> Self {
        let key = key.into();
        Self { at, kind, key, range: None, intent: None, bytes_sent: 0, ended_at: None, end: None, status: 0 }
    }
}

/// Id of a request in a [`RequestLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(usize);

/// Totals of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestCounts {
    /// GETs.
    pub gets: u64,
    /// HEADs.
    pub heads: u64,
    /// Requests of any other kind.
    pub others: u64,
    /// Bytes of bodies that the store sent.
    pub bytes_sent: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that the client aborted.
    pub aborted: u64,
    /// GETs in progress: waiting for the first byte or sending the body.
    pub live: u64,
    /// The most GETs that were in progress at once.
    pub peak_live: u64,
}

/// The requests of a store in order of arrival.
#[derive(Debug, Default)]
pub struct RequestLog(Mutex<LogEntries>);

#[derive(Debug, Default)]
struct LogEntries {
    records: Vec<RequestRecord>,
    /// Requests before the last [`RequestLog::clear`]. Their ids are no longer valid.
    cleared: usize,
    live: u64,
    peak_live: u64,
}

impl RequestLog {
    /// Adds a request that has just arrived.
    pub fn begin(&self, record: RequestRecord) -> RequestId {
        let entries = &mut *self.0.lock();
        if record.kind == RequestKind::Get {
            entries.live += 1;
            entries.peak_live = entries.peak_live.max(entries.live);
        }
        entries.records.push(record);
        RequestId(entries.cleared + entries.records.len() - 1)
    }

    /// Changes the entry of a request.
    pub fn update(&self, id: RequestId, change: impl FnOnce(&mut RequestRecord)) {
        let entries = &mut *self.0.lock();
        if let Some(index) = id.0.checked_sub(entries.cleared) {
            change(&mut entries.records[index]);
        }
    }

    /// Records how a request ended and how many bytes of its body were sent. Later calls for a request do nothing.
    pub fn end(&self, id: RequestId, at: Duration, end: RequestEnd, bytes_sent: u64) {
        let entries = &mut *self.0.lock();
        if let Some(index) = id.0.checked_sub(entries.cleared) {
            let record = &mut entries.records[index];
            if record.end.is_none() {
                (record.ended_at, record.end, record.bytes_sent) = (Some(at), Some(end), bytes_sent);
                entries.live -= u64::from(record.kind == RequestKind::Get);
            }
        }
    }

    /// All requests in order of arrival.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RequestRecord> {
        self.0.lock().records.clone()
    }

    /// The totals.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        let entries = self.0.lock();
        let mut counts = RequestCounts { live: entries.live, peak_live: entries.peak_live, ..RequestCounts::default() };
        for record in &entries.records {
            *match record.kind {
                RequestKind::Get => &mut counts.gets,
                RequestKind::Head => &mut counts.heads,
                _ => &mut counts.others,
            } += 1;
            counts.bytes_sent += record.bytes_sent;
            counts.failed += u64::from(record.end == Some(RequestEnd::Failed));
            counts.aborted += u64::from(record.end == Some(RequestEnd::Aborted));
        }
        counts
    }

    /// Removes all requests, those in progress included.
    pub fn clear(&self) {
        let entries = &mut *self.0.lock();
        *entries = LogEntries { cleared: entries.cleared + entries.records.len(), ..LogEntries::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_the_entries() {
        let log = RequestLog::default();
        let begin = |kind| log.begin(RequestRecord::new(Duration::ZERO, kind, "a"));
        let (one, two, head) = (begin(RequestKind::Get), begin(RequestKind::Get), begin(RequestKind::Head));
        log.update(two, |record| record.bytes_sent = 3);
        log.end(one, Duration::from_secs(1), RequestEnd::Aborted, 5);
        log.end(one, Duration::from_secs(2), RequestEnd::Completed, 9);
        log.end(head, Duration::from_secs(1), RequestEnd::Completed, 0);
        let expected =
            RequestCounts { gets: 2, heads: 1, bytes_sent: 8, aborted: 1, live: 1, peak_live: 2, ..Default::default() };
        assert_eq!(log.counts(), expected);
        assert_eq!(log.snapshot()[0].ended_at, Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_request_may_end_after_the_log_was_cleared() {
        let log = RequestLog::default();
        let id = log.begin(RequestRecord::new(Duration::ZERO, RequestKind::Get, "a"));
        log.clear();
        log.begin(RequestRecord::new(Duration::ZERO, RequestKind::Put, "b"));
        log.end(id, Duration::ZERO, RequestEnd::Completed, 7);
        assert_eq!(log.counts(), RequestCounts { others: 1, ..Default::default() });
    }
}
