//! The disk thread: writes what waits, finds what other processes write, and makes room.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::keeper::DiskKeeper;
use super::object::DiskPage;
use super::policy::layout::{ENTRY_BYTES, SegmentLayout};
use super::queue::DiskWork;
use super::scan::{SegmentScan, table};
use super::tier::{DiskShared, now};
use super::uses::SegmentUses;
use super::writer::SegmentWriter;
use crate::trace_events;

/// How often the directory is looked at while other processes use it: what they write is found so much later.
const SHARED_TICK: Duration = Duration::from_millis(25);

/// How often the directory is looked at otherwise.
const TICK: Duration = Duration::from_millis(250);

/// How often the uses of segments are written for other processes.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Bytes that a record has beyond its page, the entry in the table included.
const RECORD_OVERHEAD: u64 = 2 * ENTRY_BYTES;

/// The thread of one disk tier.
pub(super) struct DiskThread {
    shared: Arc<DiskShared>,
    keeper: DiskKeeper,
    layout: SegmentLayout,
    /// None while the directory cannot be written, and when the tier is closed.
    writer: Option<SegmentWriter>,
    scan: SegmentScan,
    next_tick: Instant,
    next_save: Instant,
    /// Reads and writes until the uses of segments were written last.
    saved_at: u64,
    /// Pages that were written when the filter of paths was made.
    filter_writes: u64,
}

/// However the thread ends: nobody waits for it any more.
impl Drop for DiskThread {
    fn drop(&mut self) {
        self.shared.queue.stop();
        loop {
            match self.shared.queue.next(Duration::ZERO) {
                DiskWork::Write(page, _) => self.shared.queue.done(&page),
                DiskWork::Close(callers) => drop(callers),
                DiskWork::Idle | DiskWork::Stop => break,
            }
        }
    }
}

impl DiskThread {
    /// Finds what is in the directory, and starts the thread.
    ///
    /// # Errors
    /// Those of the system: the directory cannot be read, or no thread can be started.
    pub(super) fn start(shared: Arc<DiskShared>, keeper: DiskKeeper, layout: SegmentLayout) -> io::Result<()> {
        let now = now();
        let mut thread = Self {
            shared,
            keeper,
            layout,
            writer: None,
            scan: SegmentScan::default(),
            next_tick: now,
            next_save: now,
            saved_at: 0,
            filter_writes: 0,
        };
        let mut left = SegmentUses::default();
        if let Ok(Some(_lock)) = thread.keeper.directory.lock_keeper() {
            left = thread.keeper.take_over_dead().unwrap_or_default();
        }
        thread.scan.update(&thread.shared.set, None)?;
        thread.renew_filter();
        left.recall(&thread.shared.set, &thread.shared.counts);
        if let Err(error) = thread.make_writer() {
            thread.write_failed(&error);
        }
        thread.look_at_usage();
        std::thread::Builder::new().name("headstart-disk".to_owned()).spawn(move || thread.run())?;
        Ok(())
    }

    fn run(mut self) {
        loop {
            let tick = if self.scan.has_others { SHARED_TICK } else { TICK };
            match self.shared.queue.next(tick) {
                DiskWork::Write(page, bytes) => {
                    self.write(&page, &bytes);
                    self.shared.queue.done(&page);
                }
                DiskWork::Idle => {}
                DiskWork::Close(callers) => {
                    self.close();
                    for caller in callers {
                        // Nobody waits any more.
                        let _ = caller.send(());
                    }
                }
                DiskWork::Stop => break,
            }
            let now = now();
            if now >= self.next_tick {
                self.next_tick = now + tick;
                self.tick(now);
            }
        }
        self.close();
    }

    /// Seals the segment, and ends as a writer.
    fn close(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let sealed = writer.seal(&self.shared.set);
        let closed = sealed.and_then(|()| self.uses().save(&self.keeper.directory, writer.id));
        if let Err(error) = closed {
            self.write_failed(&error);
        }
        self.look_at_usage();
    }

    fn tick(&mut self, now: Instant) {
        let set = &self.shared.set;
        let own = self.writer.as_ref().map(|writer| writer.id);
        if let Err(error) = self.scan.update(set, own) {
            trace_events::disk_failed(&set.directory.path, "list", &error);
        }
        set.close_idle(|segment| segment.hits.swap(0, Relaxed) == 0);
        if now >= self.next_save {
            self.next_save = now + SAVE_EVERY;
            let counters = &self.shared.counters;
            let done = counters.hits.now() + counters.writes.now();
            if let Some(own) = own
                && std::mem::replace(&mut self.saved_at, done) != done
                && let Err(error) = self.uses().save(&self.keeper.directory, own)
            {
                trace_events::disk_failed(&set.directory.path, "write", &error);
            }
            self.shrink();
            self.look_at_usage();
        }
        self.renew_filter();
    }

    /// Deletes what is too much, where nothing is written that would do so.
    fn shrink(&self) {
        let set = &self.shared.set;
        let shrunk = match self.keeper.usage_now() {
            Ok(usage) if usage.must_shrink() => self.keeper.make_room(set, || self.uses()).map(|_| set.clean_index()),
            usage => usage.map(|_| ()),
        };
        if let Err(error) = shrunk {
            trace_events::disk_failed(&set.directory.path, "shrink", &error);
        }
    }

    fn make_writer(&mut self) -> io::Result<()> {
        let writer = SegmentWriter::new(self.keeper.directory.clone(), self.layout)?;
        self.keeper.own = Some(writer.id);
        self.writer = Some(writer);
        Ok(())
    }

    /// Writes a page, unless it is there by now.
    fn write(&mut self, page: &DiskPage, bytes: &Bytes) {
        let shared = Arc::clone(&self.shared);
        if shared.set.has(page) {
            return;
        }
        if !shared.may_try(|health| &mut health.writes) {
            return shared.counters.dropped.add(1);
        }
        match self.try_write(page, bytes) {
            Ok(true) => {
                shared.counters.writes.add(1);
                shared.counters.written_bytes.add(bytes.len() as u64 + RECORD_OVERHEAD);
                shared.worked(|health| &mut health.writes);
            }
            Ok(false) => shared.counters.dropped.add(1),
            Err(error) => {
                shared.counters.dropped.add(1);
                self.write_failed(&error);
                // What is written stays. The next try begins a new segment.
                if let Some(writer) = &mut self.writer
                    && let Err(error) = writer.seal(&shared.set)
                {
                    trace_events::disk_failed(&shared.set.directory.path, "seal", &error);
                }
            }
        }
    }

    /// Writes a page. Returns false where there is no room for it.
    fn try_write(&mut self, page: &DiskPage, bytes: &Bytes) -> io::Result<bool> {
        if self.writer.is_none() {
            self.make_writer()?;
        }
        let shared = Arc::clone(&self.shared);
        if !self.writer.as_ref().is_some_and(|writer| writer.has_room(page.bytes)) {
            if let Some(writer) = &mut self.writer {
                writer.seal(&shared.set)?;
            }
            let usage = self.keeper.make_room(&shared.set, || self.uses())?;
            shared.set.clean_index();
            self.look_at_usage();
            if usage.excess() > 0 {
                return Ok(false);
            }
            if let Some(writer) = &mut self.writer {
                writer.begin(&shared.set)?;
            }
            shared.counters.written_bytes.add(ENTRY_BYTES);
        }
        let Some(writer) = &mut self.writer else { return Err(ErrorKind::NotFound.into()) };
        if !writer.has_room(page.bytes) {
            return Ok(false);
        }
        writer.write(&shared.set, page, bytes)?;
        Ok(true)
    }

    fn write_failed(&self, error: &io::Error) {
        trace_events::disk_failed(&self.shared.set.directory.path, "write", error);
        self.shared.counters.failures.add(1);
        self.shared.update_health(|health, now| health.writes.failed(now));
    }

    /// Finds out how full the directory is. A full one takes only pages that are used more often than those of the
    /// segment that goes next.
    fn look_at_usage(&self) {
        let (shared, keeper) = (&self.shared, &self.keeper);
        let Ok(usage) = keeper.usage_now() else { return };
        shared.used_bytes.store(usage.used_bytes, Relaxed);
        shared.is_full.store(usage.is_full(), Relaxed);
        if usage.is_full()
            && let Ok(Some(victim)) = keeper.next_victim(&self.uses())
            && let Some(segment) = shared.set.get(victim)
            && let Ok(entries) = table(&shared.set, &segment, 0, true)
        {
            shared.counts.compare_with(entries.iter().flatten().map(|entry| entry.key.fingerprint()));
        }
    }

    fn uses(&self) -> SegmentUses {
        SegmentUses::measure(&self.shared.set, &self.shared.counts)
    }

    /// Makes the filter of paths anew when as much has been written as it is made for, as it still has the paths of
    /// what was deleted; and larger where there are more pages than it is made for, as small objects have short ones.
    fn renew_filter(&mut self) {
        let (set, writes) = (&self.shared.set, self.shared.counters.writes.now());
        let capacity = set.filter_capacity();
        if writes - self.filter_writes < capacity && set.index.len() as u64 <= capacity {
            return;
        }
        self.filter_writes = writes;
        let tables = set.all().into_iter().filter_map(|segment| table(set, &segment, 0, true).ok());
        let tags: Vec<u32> = tables.flatten().flatten().map(|entry| entry.path_tag).collect();
        set.replace_paths(tags);
    }
}
