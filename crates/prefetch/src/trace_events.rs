//! The `tracing` events of read-ahead, all with the target `headstart::prefetch`.
//!
//! | event | level | when | fields |
//! |---|---|---|---|
//! | `planner panicked` | error | a defect of the planner; a new one takes its place | `path` |
//! | `object closed` | debug | the last reader of an object was closed | `path`, `object.*`, `store.*` |
//! | `link estimate found` | debug | an answer of the store below had the estimate of its link | none |
//! | `stream found` | trace | reads follow a pattern, or another one than before | `path`, `shape` |
//!
//! `object.*` are figures of the object: `demanded_bytes`, `wasted_bytes`, `window_bytes`, and `window_wanted_bytes`,
//! the window without limits. `store.*` are sums of the whole store: `fetched_bytes`, `wasted_bytes`, `waited_us`,
//! `cancels`, `budget_waits`, `streams_forward`, `streams_backward` and `streams_strided`.
//!
//! An event without a subscriber costs one load of a static.

use object_store::path::Path;
use tracing::Level;

use crate::planner::Planner;
use crate::planner::streams::StreamShape;
use crate::store::stats::PrefetchCounters;

const TARGET: &str = "headstart::prefetch";

/// The planner of `path` panicked, and a new one takes its place.
pub(crate) fn planner_panicked(path: &Path) {
    tracing::error!(target: TARGET, %path, "planner panicked");
}

/// An answer of the store below had the estimate of its link; it is used from now on.
pub(crate) fn link_estimate_found() {
    tracing::debug!(target: TARGET, "link estimate found");
}

/// Reads of `path` were recognised as a stream, or a stream changed its shape.
pub(crate) fn stream_found(path: &Path, shape: StreamShape) {
    tracing::trace!(target: TARGET, %path, ?shape, "stream found");
}

/// The last reader of `path` was closed.
pub(crate) fn object_closed(path: &Path, planner: &Planner, counters: &PrefetchCounters) {
    if !tracing::enabled!(target: TARGET, Level::DEBUG) {
        return;
    }
    let (account, all) = (planner.account(), counters.snapshot());
    tracing::debug!(
        target: TARGET,
        %path,
        object.demanded_bytes = account.demanded_bytes,
        object.wasted_bytes = account.wasted_bytes,
        object.window_bytes = planner.window.ahead_bytes,
        object.window_wanted_bytes = planner.window_wanted.ahead_bytes,
        store.fetched_bytes = all.fetched_bytes,
        store.wasted_bytes = all.wasted_bytes,
        store.waited_us = all.waited_us,
        store.cancels = all.cancels,
        store.budget_waits = all.budget_waits,
        store.streams_forward = all.streams_forward,
        store.streams_backward = all.streams_backward,
        store.streams_strided = all.streams_strided,
        "object closed"
    );
}
