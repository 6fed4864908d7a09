//! All `tracing` events of the cache, with the target `headstart::cache`.
//!
//! | event | level | fields | when |
//! |---|---|---|---|
//! | `fill started` | DEBUG | `path`, `range` | a GET is sent |
//! | `fill finished` | DEBUG | `path`, `range`, `bytes` | all of its body has arrived |
//! | `fill unusable` | DEBUG | `path`, `range` | its answer cannot be cached: a local file, or an ignored range |
//! | `fill failed` | DEBUG | `path`, `range`, `error` | it failed, and all waiters get the error |
//! | `version stale` | DEBUG | `path`, `age_ms` | a read finds a known version that is too old to be served unchecked |
//! | `version validated` | DEBUG | `path`, `size` | a HEAD was answered with the present version |
//! | `version changed` | DEBUG | `path`, `old`, `new` | an answer shows another version than the known one |
//! | `page evicted` | TRACE | `version_id`, `page`, `bytes`, `unread` | a page makes room for others |
//! | `disk opened` | DEBUG | `directory`, `segments`, `pages` | the disk tier has found what is in its directory |
//! | `disk state` | DEBUG | `directory`, `state` | reads or writes begin to fail, or work again |
//! | `disk failed` | DEBUG | `directory`, `what`, `error` | a system call of the disk tier failed |
//! | `segment deleted` | DEBUG | `writer`, `number`, `bytes`, `uses` | a segment makes room for others |
//! | `segment set aside` | DEBUG | `file` | a page of it was damaged |
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
