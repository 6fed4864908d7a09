//! All spans and events of this crate. Their target is `headstart::fetch`.
//!
//! | event | level | when | fields |
//! |---|---|---|---|
//! | `get` | debug | span of a request until its answer; `attempt` begins at 1 | `path`, `range`, `intent`, `attempt` |
//! | `retry` | debug | a request or body is tried again after a pause | `path`, `attempt`, `pause_ms`, `error` |
//! | `throttled` | debug | the store has throttled a request | `path`, `status`, `retry_after_ms` |
//! | `hedge sent` | debug | an answer is late: a hedge is sent | `path`, `late_ms` |
//! | `hedge won` | debug | a hedge was answered first | `path`, `late_ms` |
//! | `stalled` | debug | no byte of a body has arrived for a time | `path`, `at_byte`, `silent_ms` |
//! | `resume` | debug | the missing bytes of a body are requested again | `path`, `from_byte`, `to_byte`, `error` |
//! | `concurrency limit` | debug | the limit on GETs in flight has changed | `limit_before`, `limit` |
//! | `fill limit` | debug | another number of requests is expected to fill the link | `limit_before`, `limit` |
//! | `version changed` | debug | the object has changed during a read, which begins anew | `path`, `error` |
//! | `pins refused` | debug | the store refuses pins: answers are compared instead | `path`, `error` |
//! | `entity tags ignored` | debug | tags differ between replicas: dates are compared instead | `path` |
//!
//! The macros check the level first: without a subscriber nothing is formatted or allocated.

use std::{ops::Range, time::Duration};

use object_store::{Error, GetRange, path::Path};
use tokio::time::Instant;
use tracing::{Span, debug, debug_span};

use crate::error::Throttled;
use crate::protocol::extensions::Intent;

const TARGET: &str = "headstart::fetch";

pub(crate) fn request_span(path: &Path, range: Option<&GetRange>, intent: Intent, attempt: usize) -> Span {
    debug_span!(target: TARGET, "get", %path, ?range, ?intent, attempt)
}

pub(crate) fn retry(path: &Path, error: &Error, attempt: usize, pause: Duration) {
    debug!(target: TARGET, %path, attempt, pause_ms = ms(pause), %error, "retry");
}

pub(crate) fn throttled(path: &Path, throttled: &Throttled) {
    debug!(target: TARGET, %path, throttled.status, retry_after_ms = throttled.retry_after.map(ms), "throttled");
}

pub(crate) fn hedge_sent(path: &Path, sent_at: Instant) {
    debug!(target: TARGET, %path, late_ms = ms(sent_at.elapsed()), "hedge sent");
}

pub(crate) fn hedge_won(path: &Path, sent_at: Instant) {
    debug!(target: TARGET, %path, late_ms = ms(sent_at.elapsed()), "hedge won");
}

pub(crate) fn stalled(path: &Path, at_byte: u64, silent: Duration) {
    debug!(target: TARGET, %path, at_byte, silent_ms = ms(silent), "stalled");
}

pub(crate) fn resume(path: &Path, missing: &Range<u64>, error: &Error) {
    debug!(target: TARGET, %path, from_byte = missing.start, to_byte = missing.end, %error, "resume");
}

pub(crate) fn concurrency_limit(limit_before: usize, limit: usize) {
    debug!(target: TARGET, limit_before, limit, "concurrency limit");
}

pub(crate) fn fill_limit(limit_before: usize, limit: usize) {
    debug!(target: TARGET, limit_before, limit, "fill limit");
}

pub(crate) fn version_changed(path: &Path, error: &Error) {
    debug!(target: TARGET, %path, %error, "version changed");
}

pub(crate) fn pins_refused(path: &Path, error: &Error) {
    debug!(target: TARGET, %path, %error, "pins refused");
}

pub(crate) fn entity_tags_ignored(path: &Path) {
    debug!(target: TARGET, %path, "entity tags ignored");
}

/// Whole milliseconds.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_lists_every_event() {
        let source = include_str!("trace_events.rs");
        let (table, code) = source.split_once("\nuse ").expect("the table precedes the code");
        let events: Vec<_> = code.lines().filter_map(|line| line.trim().strip_prefix("debug!(")).collect();
        assert_eq!(events.len(), 11);
        for event in events {
            let name = event.rsplit('"').nth(1).expect("the last argument is the name");
            assert!(table.contains(&format!("| `{name}` | ")), "{name}");
        }
    }
}
