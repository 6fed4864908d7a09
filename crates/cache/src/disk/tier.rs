//! `SegmentTier`: the disk tier over a directory of segments.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::{ConfigError, internal::runtime::has_timer};

use super::config::DiskConfig;
use super::directory::DiskDirectory;
use super::io::SystemIo;
use super::keeper::DiskKeeper;
use super::object::DiskPage;
use super::policy::{admission::UseCounts, health::DiskHealth, health::FaultGate, pace::DiskPace};
use super::queue::{Refused, WriteQueue};
use super::segments::{PageRead, SegmentSet};
use super::stats::{DiskCounters, DiskStats};
use super::thread::DiskThread;
use super::{DiskRead, DiskTier};
use crate::trace_events;

/// Bytes that may wait to be written, at least four pages: what a disk writes in a few hundredths of a second.
const QUEUE_BYTES: usize = 16 << 20;

/// Reads that wait for the disk at once. More would not make a disk faster, and each takes a thread.
const MAX_WAITING: usize = 64;

/// A disk tier over a directory of segments.
pub(crate) struct SegmentTier {
    shared: Arc<DiskShared>,
}

/// What readers and the disk thread share.
pub(crate) struct DiskShared {
    pub(crate) set: SegmentSet,
    pub(crate) queue: WriteQueue,
    pub(crate) counts: UseCounts,
    pub(crate) counters: DiskCounters,
    pub(crate) health: Mutex<DiskHealth>,
    /// Whether anything has failed since the last success: spares readers the lock of `health`.
    pub(crate) has_faults: AtomicBool,
    pace: Mutex<DiskPace>,
    /// To begin another segment, one has to be deleted.
    pub(crate) is_full: AtomicBool,
    pub(crate) used_bytes: AtomicU64,
    waiting: AtomicUsize,
    start: std::time::Instant,
}

impl SegmentTier {
    /// Opens the directory of `config`; `None` where it names none.
    ///
    /// # Errors
    /// [`ConfigError`] where the directory cannot be used.
    pub(crate) fn open(config: &DiskConfig, page_bytes: usize) -> Result<Option<Self>, ConfigError> {
        let Some(path) = &config.directory else { return Ok(None) };
        if config.name.is_empty() {
            let allowed = "expected a name of the store, for example its URL, as there is a disk_directory";
            return Err(ConfigError::bad("disk_name", "", allowed));
        }
        let io = config.io.clone().unwrap_or_else(|| Arc::new(SystemIo));
        let directory = DiskDirectory::open(path, io)?;
        let layout = config.layout(page_bytes);
        let keeper = DiskKeeper {
            directory: directory.clone(),
            bytes: config.bytes,
            floor_bytes: config.floor_bytes,
            segment_bytes: layout.bytes,
            own: None,
        };
        let pages = config.bytes / page_bytes as u64;
        let shared = Arc::new(DiskShared {
            set: SegmentSet::new(directory, pages, page_bytes),
            queue: WriteQueue::new(QUEUE_BYTES.max(4 * page_bytes)),
            counts: UseCounts::new(pages),
            counters: DiskCounters::default(),
            health: Mutex::default(),
            has_faults: AtomicBool::new(false),
            pace: Mutex::default(),
            is_full: AtomicBool::new(false),
            used_bytes: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            start: now(),
        });
        DiskThread::start(Arc::clone(&shared), keeper, layout).map_err(|error| failed(path, &error))?;
        trace_events::disk_opened(path, shared.set.len(), shared.set.index.len());
        Ok(Some(Self { shared }))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError::bad("disk_directory", path.display(), format!("cannot use it: {error}"))
}

/// Disks are real, also where tokio's clock is paused.
#[expect(clippy::disallowed_methods, reason = "the time that a disk takes is real time")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

impl DiskShared {
    /// Time since the tier was opened.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Changes the health of the disk, and tells when its state changes.
    pub(crate) fn update_health<T>(&self, change: impl FnOnce(&mut DiskHealth, Duration) -> T) -> T {
        let mut health = self.health.lock();
        let before = health.state();
        let changed = change(&mut health, self.now());
        let after = health.state();
        self.has_faults.store(health.has_faults(), Relaxed);
        drop(health);
        if before != after {
            trace_events::disk_state(&self.set.directory.path, after);
        }
        changed
    }

    /// Whether a read may be tried now, for a caller that does not make it.
    fn could_read(&self) -> bool {
        !self.has_faults.load(Relaxed) || self.health.lock().reads.could_try(self.now())
    }

    /// Whether to try now, as the gate says that `pick` names. Open where nothing has failed.
    pub(crate) fn may_try(&self, pick: impl FnOnce(&mut DiskHealth) -> &mut FaultGate) -> bool {
        !self.has_faults.load(Relaxed) || self.update_health(|health, now| pick(health).may_try(now))
    }

    /// A try has succeeded at the gate that `pick` names.
    pub(crate) fn worked(&self, pick: impl FnOnce(&mut DiskHealth) -> &mut FaultGate) {
        if self.has_faults.load(Relaxed) {
            self.update_health(|health, _| pick(health).worked());
        }
    }

    /// Whether a page with so many uses is written: to a full disk, not every page is.
    fn admits(&self, uses: u8) -> bool {
        !self.is_full.load(Relaxed) || self.counts.admits(uses)
    }

    /// Takes in how a read went; `waited` is how long it took, where it had to wait.
    fn finish(&self, page: &DiskPage, read: PageRead, waited: bool) -> DiskRead {
        match read {
            PageRead::Page(bytes) => {
                self.worked(|health| &mut health.reads);
                self.counts.add(page.key.fingerprint());
                self.counters.hits.add(1);
                self.counters.waited.add(u64::from(waited));
                self.counters.hit_bytes.add(bytes.len() as u64);
                DiskRead::Page(bytes)
            }
            PageRead::Missing => {
                self.counters.misses.add(1);
                DiskRead::Missing
            }
            PageRead::Failed(error) => {
                trace_events::disk_failed(&self.set.directory.path, "read", &error);
                self.counters.failures.add(1);
                self.counters.misses.add(1);
                self.update_health(|health, now| health.reads.failed(now));
                DiskRead::Late
            }
            PageRead::WouldWait => {
                if self.may_try(|health| &mut health.waits) {
                    DiskRead::WouldWait
                } else {
                    self.late()
                }
            }
        }
    }

    /// Fetching is sooner than the disk.
    fn late(&self) -> DiskRead {
        self.counters.late.add(1);
        self.counters.misses.add(1);
        DiskRead::Late
    }

    /// Reads a page on a thread that may wait, as long as that is sooner than fetching.
    async fn read(self: Arc<Self>, page: DiskPage) -> DiskRead {
        if self.waiting.fetch_add(1, Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Relaxed);
            return self.late();
        }
        let patience = self.pace.lock().patience();
        let shared = Arc::clone(&self);
        // The thread goes on where nobody waits any more: how long it takes is worth knowing.
        let reading = tokio::task::spawn_blocking(move || {
            let begun = shared.now();
            let read = shared.set.read(&page, true);
            shared.pace.lock().disk_took(shared.now().saturating_sub(begun));
            shared.waiting.fetch_sub(1, Relaxed);
            read
        });
        let read = if has_timer() { tokio::time::timeout(patience, reading).await } else { Ok(reading.await) };
        match read {
            Ok(Ok(read)) => {
                self.worked(|health| &mut health.waits);
                self.finish(&page, read, true)
            }
            // The runtime is shutting down.
            Ok(Err(_)) => DiskRead::Late,
            Err(_) => {
                self.update_health(|health, now| health.waits.failed(now));
                self.late()
            }
        }
    }

    /// Puts a page into the queue. Returns whether it is there.
    fn push(&self, page: &DiskPage, bytes: &Bytes) -> bool {
        match self.queue.push(*page, bytes.clone()) {
            Ok(()) | Err(Refused::Queued) => true,
            Err(Refused::Full) => {
                self.counters.dropped.add(1);
                false
            }
            Err(Refused::Closed) => false,
        }
    }
}

impl DiskTier for SegmentTier {
    fn has(&self, page: &DiskPage) -> bool {
        self.shared.set.has(page) && self.shared.could_read()
    }

    fn may_read(&self) -> bool {
        self.shared.may_try(|health| &mut health.reads)
    }

    fn may_have(&self, path_tag: u32) -> bool {
        self.shared.set.may_have(path_tag)
            && !(self.shared.has_faults.load(Relaxed) && self.shared.health.lock().reads.is_closed())
    }

    fn read_now(&self, page: &DiskPage) -> DiskRead {
        self.shared.finish(page, self.shared.set.read(page, false), false)
    }

    fn read(&self, page: DiskPage) -> BoxFuture<'static, DiskRead> {
        Arc::clone(&self.shared).read(page).boxed()
    }

    fn offer_fetched(&self, page: &DiskPage, bytes: &Bytes) -> bool {
        let shared = &self.shared;
        let uses = shared.counts.add(page.key.fingerprint());
        if shared.set.has(page) {
            return true;
        }
        if !shared.admits(uses) {
            shared.counters.not_admitted.add(1);
            return false;
        }
        shared.push(page, bytes)
    }

    fn offer_used(&self, page: &DiskPage, bytes: &Bytes) {
        if !self.shared.set.has(page) {
            self.shared.push(page, bytes);
        }
    }

    fn offer_last(&self, page: &DiskPage, bytes: &Bytes) {
        let shared = &self.shared;
        if shared.admits(shared.counts.of(page.key.fingerprint())) && !shared.set.has(page) {
            // A closed queue has taken all before.
            let _ = shared.queue.push_held(*page, bytes.clone());
        }
    }

    fn link_took(&self, time: Duration) {
        self.shared.pace.lock().link_took(time);
    }

    fn stats(&self) -> DiskStats {
        let shared = &self.shared;
        DiskStats {
            damaged: shared.set.damages.load(Relaxed),
            deleted_segments: shared.set.deleted.load(Relaxed),
            evictions: shared.set.evicted_pages.load(Relaxed),
            held_bytes: shared.used_bytes.load(Relaxed),
            held_pages: shared.set.index.len() as u64,
            segments: shared.set.len() as u64,
            queued_bytes: shared.queue.bytes() as u64,
            index_bytes: shared.set.index.memory_bytes() as u64,
            state: shared.health.lock().state(),
            ..shared.counters.snapshot()
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let closed = self.shared.queue.close();
        async move {
            // An error: the thread has ended, and has written everything.
            let _ = closed.await;
        }
        .boxed()
    }
}

impl Drop for SegmentTier {
    fn drop(&mut self) {
        self.shared.queue.stop();
    }
}

impl fmt::Debug for SegmentTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentTier").field("directory", &self.shared.set.directory.path).finish()
    }
}
