//! All `tracing` events of the cache, with the target `headstart::cache`.
//!
//! | event | level | when | fields |
//! |---|---|---|---|
//! | `fill started` | debug | a GET is sent | `path`, `range` |
//! | `fill finished` | debug | all of a body has arrived | `path`, `range`, `bytes` |
//! | `fill unusable` | debug | an answer cannot be cached: a local file, or an ignored range | `path`, `range` |
//! | `fill failed` | debug | a GET failed, and all waiters get the error | `path`, `range`, `error` |
//! | `version stale` | debug | a read finds a known version that is too old to be served unchecked | `path`, `age_ms` |
//! | `version validated` | debug | a HEAD was answered with the present version | `path`, `size` |
//! | `version changed` | debug | an answer shows another version than the known one | `path`, `old`, `new` |
//! | `page evicted` | trace | a page makes room for others | `version_id`, `page`, `bytes`, `unread` |
//! | `disk opened` | debug | the disk tier has found what is in its directory | `directory`, `segments`, `pages` |
//! | `disk state` | debug | reads or writes begin to fail, or work again | `directory`, `state` |
//! | `disk failed` | debug | a system call of the disk tier failed | `directory`, `what`, `error` |
//! | `segment deleted` | debug | a segment makes room for others | `writer`, `number`, `bytes`, `uses` |
//! | `segment set aside` | debug | a page of a segment was damaged | `file` |
//!
//! Without a subscriber each event costs one relaxed load and a comparison. `range` is a range of bytes, or what a
//! request for an object of unknown size asks for.

use std::fmt::Debug;
use std::time::Duration;

use headstart_fetch_core::ObjectVersion;
use object_store::Error;
use object_store::path::Path;
use tracing::{debug, trace};

use crate::disk::DiskState;
use crate::lookup::PageKey;

const TARGET: &str = "headstart::cache";

pub(crate) fn fill_started(path: &Path, range: &impl Debug) {
    debug!(target: TARGET, %path, ?range, "fill started");
}

pub(crate) fn fill_finished(path: &Path, range: &impl Debug, bytes: u64) {
    debug!(target: TARGET, %path, ?range, bytes, "fill finished");
}

pub(crate) fn fill_unusable(path: &Path, range: &impl Debug) {
    debug!(target: TARGET, %path, ?range, "fill unusable");
}

pub(crate) fn fill_failed(path: &Path, range: &impl Debug, error: &Error) {
    debug!(target: TARGET, %path, ?range, %error, "fill failed");
}

pub(crate) fn version_stale(path: &Path, age: Duration) {
    debug!(target: TARGET, %path, age_ms = age.as_millis(), "version stale");
}

pub(crate) fn version_validated(path: &Path, size: u64) {
    debug!(target: TARGET, %path, size, "version validated");
}

pub(crate) fn version_changed(path: &Path, old: &ObjectVersion, new: &ObjectVersion) {
    debug!(target: TARGET, %path, ?old, ?new, "version changed");
}

/// Called under the lock of a shard of the memory tier.
pub(crate) fn page_evicted(key: PageKey, bytes: usize, unread: bool) {
    trace!(target: TARGET, version_id = key.version, page = key.page, bytes, unread, "page evicted");
}

pub(crate) fn disk_opened(directory: &std::path::Path, segments: usize, pages: usize) {
    debug!(target: TARGET, directory = %directory.display(), segments, pages, "disk opened");
}

pub(crate) fn disk_state(directory: &std::path::Path, state: DiskState) {
    debug!(target: TARGET, directory = %directory.display(), ?state, "disk state");
}

pub(crate) fn disk_failed(directory: &std::path::Path, what: &str, error: &std::io::Error) {
    debug!(target: TARGET, directory = %directory.display(), what, %error, "disk failed");
}

pub(crate) fn segment_deleted(writer: u64, number: u32, bytes: u64, uses: f32) {
    debug!(target: TARGET, writer, number, bytes, uses, "segment deleted");
}

pub(crate) fn segment_set_aside(file: &std::path::Path) {
    debug!(target: TARGET, file = %file.display(), "segment set aside");
}
