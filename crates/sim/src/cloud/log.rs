//! What was asked of a simulated store, and how it ended.

use std::ops::Range;
use std::time::Duration;

use headstart_fetch_core::Intent;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// An object's bytes.
    Get,
    /// An object's properties.
    Head,
    /// Writes an object.
    Put,
    /// Copies an object within the store.
    Copy,
    /// Deletes objects.
    Delete,
    /// A page of a listing.
    List,
    /// A step of an upload in parts.
    Multipart,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Answered to the last byte, if only with a 404.
    Completed,
    /// The store or the link failed it.
    Failed,
    /// The client gave it up.
    Aborted,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// When it arrived, counted from the start of the store.
    pub at: Duration,
    /// What it asked for.
    pub kind: RequestKind,
    /// The object's key, or the prefix of a listing.
    pub key: String,
    /// The bytes it asked for, as far as the object has them; `None` where it asked for all.
    pub range: Option<Range<u64>>,
    /// What it was meant for; unknown over HTTP.
    #[serde(skip)]
    pub intent: Option<Intent>,
    /// Bytes of its body that left the store.
    pub bytes_sent: u64,
    /// When it ended.
    pub ended_at: Option<Duration>,
    /// How it ended.
    pub end: Option<End>,
    /// The HTTP status of its answer; 0 before there is one.
    pub status: u16,
}

impl RequestRecord {
    /// A request that has just arrived.
    #[must_use]
    pub fn new(at: Duration, kind: RequestKind, key: impl Into<String>) -> Self {
        let key = key.into();
        Self { at, kind, key, range: None, intent: None, bytes_sent: 0, ended_at: None, end: None, status: 0 }
    }
}

/// A request in a [`RequestLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(usize);

/// Sums over a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestCounts {
    /// GETs.
    pub gets: u64,
    /// HEADs.
    pub heads: u64,
    /// Requests of any other kind.
    pub others: u64,
    /// Bytes of bodies that left the store.
    pub bytes_sent: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were given up.
    pub aborted: u64,
    /// GETs that are open now, waiting for their first byte or with their body under way.
    pub live: u64,
    /// The most GETs that were ever open at once.
    pub peak_live: u64,
}

/// Every request of a store, in the order of their arrival.
#[derive(Debug, Default)]
pub struct RequestLog(Mutex<LogEntries>);

#[derive(Debug, Default)]
struct LogEntries {
    records: Vec<RequestRecord>,
    /// Requests before the last [`RequestLog::clear`]: their ids mean nothing any more.
    forgotten: usize,
    live: u64,
    peak_live: u64,
}

impl RequestLog {
    /// Enters a request that has just arrived.
    pub fn begin(&self, record: RequestRecord) -> RequestId {
        let entries = &mut *self.0.lock();
        if record.kind == RequestKind::Get {
            entries.live += 1;
            entries.peak_live = entries.peak_live.max(entries.live);
        }
        entries.records.push(record);
        RequestId(entries.forgotten + entries.records.len() - 1)
    }

    /// Changes the entry of a request: its status, its bytes.
    pub fn update(&self, id: RequestId, change: impl FnOnce(&mut RequestRecord)) {
        let entries = &mut *self.0.lock();
        if let Some(index) = id.0.checked_sub(entries.forgotten) {
            change(&mut entries.records[index]);
        }
    }

    /// Says how a request ended, and how many bytes of its body had left the store. Only the first end counts.
    pub fn end(&self, id: RequestId, at: Duration, end: End, bytes_sent: u64) {
        let entries = &mut *self.0.lock();
        if let Some(index) = id.0.checked_sub(entries.forgotten) {
            let record = &mut entries.records[index];
            if record.end.is_none() {
                (record.ended_at, record.end, record.bytes_sent) = (Some(at), Some(end), bytes_sent);
                entries.live -= u64::from(record.kind == RequestKind::Get);
            }
        }
    }

    /// All requests, in the order of their arrival.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RequestRecord> {
        self.0.lock().records.clone()
    }

    /// The sums.
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
            counts.failed += u64::from(record.end == Some(End::Failed));
            counts.aborted += u64::from(record.end == Some(End::Aborted));
        }
        counts
    }

    /// Forgets every request, those under way included.
    pub fn clear(&self) {
        let entries = &mut *self.0.lock();
        *entries = LogEntries { forgotten: entries.forgotten + entries.records.len(), ..LogEntries::default() };
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
        log.end(one, Duration::from_secs(1), End::Aborted, 5);
        log.end(one, Duration::from_secs(2), End::Completed, 9);
        log.end(head, Duration::from_secs(1), End::Completed, 0);
        let expected =
            RequestCounts { gets: 2, heads: 1, bytes_sent: 8, aborted: 1, live: 1, peak_live: 2, ..Default::default() };
        assert_eq!(log.counts(), expected);
        assert_eq!(log.snapshot()[0].ended_at, Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_was_forgotten_can_still_end() {
        let log = RequestLog::default();
        let id = log.begin(RequestRecord::new(Duration::ZERO, RequestKind::Get, "a"));
        log.clear();
        log.begin(RequestRecord::new(Duration::ZERO, RequestKind::Put, "b"));
        log.end(id, Duration::ZERO, End::Completed, 7);
        assert_eq!(log.counts(), RequestCounts { others: 1, ..Default::default() });
    }
}
