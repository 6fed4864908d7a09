//! Keeps a directory within its size: deletes segments, and takes over what dead writers have left.
//!
//! Whoever needs room does this, under a lock. Nobody waits for the lock: while another process has it, room is made.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use super::directory::{DiskDirectory, ListedFile};
use super::policy::keep::{DiskUsage, SegmentToKeep, in_order_of_deletion};
use super::policy::layout::{DiskFile, ENTRY_BYTES, HEADER_BYTES, SegmentId, SegmentState};
use super::segments::SegmentSet;
use super::uses::SegmentUses;
use crate::trace_events;

/// Keeps the size of a directory.
#[derive(Debug, Clone)]
pub(crate) struct DiskKeeper {
    pub(crate) directory: DiskDirectory,
    pub(crate) bytes: u64,
    pub(crate) floor_bytes: u64,
    /// Bytes of the segment that is begun next.
    pub(crate) segment_bytes: u64,
    /// The writer of this process: what it uses is known without its file.
    pub(crate) own: Option<u64>,
}

impl DiskKeeper {
    /// The present size and limit: `bytes`, or less where the file system has too little free space.
    fn usage(&self, files: &[ListedFile]) -> io::Result<DiskUsage> {
        let in_state = |state| {
            let is_in_state = |file: &&ListedFile| matches!(file.file, DiskFile::Segment(_, found) if found == state);
            files.iter().filter(is_in_state).map(|file| file.bytes).sum()
        };
        Ok(DiskUsage {
            used_bytes: files.iter().map(|file| file.bytes).sum(),
            set_aside_bytes: in_state(SegmentState::SetAside),
            open_bytes: in_state(SegmentState::Open),
            free_bytes: self.directory.io.free_bytes(&self.directory.path)?,
            max_bytes: self.bytes,
            floor_bytes: self.floor_bytes,
            segment_bytes: self.segment_bytes,
        })
    }

    /// The present size and limit.
    pub(crate) fn usage_now(&self) -> io::Result<DiskUsage> {
        self.usage(&self.directory.list()?)
    }

    /// Makes room for a segment: deletes the least used ones until the directory is within its limit. Returns its size
    /// then; more than the limit if another process is at it, or nothing more can be deleted.
    ///
    /// Every cache begins a segment only when it has seen the directory within the limit, and has one open at most. So
    /// the directory exceeds the limit by at most one segment a cache, however many begin at once.
    pub(crate) fn make_room(&self, set: &SegmentSet, uses: impl FnOnce() -> SegmentUses) -> io::Result<DiskUsage> {
        let usage = self.usage(&self.directory.list()?)?;
        if usage.excess() == 0 {
            return Ok(usage);
        }
        let Some(_lock) = self.directory.lock_keeper()? else { return Ok(usage) };
        self.take_over_dead()?;
        let files = self.directory.list()?;
        let usage = self.usage(&files)?;
        let mut left_bytes = usage.excess();
        for victim in in_order_of_deletion(self.deletable(&files, &uses())) {
            if left_bytes == 0 {
                break;
            }
            let state = if victim.is_set_aside { SegmentState::SetAside } else { SegmentState::Sealed };
            if let Err(error) = self.directory.io.remove(&self.directory.segment(victim.id, state)) {
                trace_events::disk_failed(&self.directory.path, "remove", &error);
                continue;
            }
            set.deleted.fetch_add(1, Relaxed);
            if let Some(segment) = set.get(victim.id) {
                set.evicted_pages.fetch_add(segment.pages.load(Relaxed).into(), Relaxed);
                set.forget(&segment);
            }
            left_bytes = left_bytes.saturating_sub(victim.bytes);
            trace_events::segment_deleted(victim.id.writer, victim.id.number, victim.bytes, victim.uses);
        }
        self.usage(&self.directory.list()?)
    }

    /// The segment that would be deleted next.
    pub(crate) fn next_victim(&self, uses: &SegmentUses) -> io::Result<Option<SegmentId>> {
        let deletable = self.deletable(&self.directory.list()?, uses);
        let sound = in_order_of_deletion(deletable).into_iter().find(|victim| !victim.is_set_aside);
        Ok(sound.map(|victim| victim.id))
    }

    fn deletable(&self, files: &[ListedFile], uses: &SegmentUses) -> Vec<SegmentToKeep> {
        let mut others = SegmentUses::default();
        for file in files {
            if let DiskFile::Uses(writer) = file.file
                && Some(writer) != self.own
            {
                others.add(&SegmentUses::load(&self.directory, writer));
            }
        }
        let deletable = files.iter().filter_map(|file| match file.file {
            DiskFile::Segment(_, SegmentState::Open) => None,
            DiskFile::Segment(id, state) => {
                let is_set_aside = state == SegmentState::SetAside;
                let uses = uses.of(id) + others.of(id);
                Some(SegmentToKeep { id, bytes: file.bytes.max(ENTRY_BYTES), is_set_aside, uses })
            }
            _ => None,
        });
        deletable.collect()
    }

    /// Takes over what dead writers have left: their last segments are sealed as they are, their locks go. Returns how
    /// much they had used the segments. Called under the keeper's lock.
    pub(crate) fn take_over_dead(&self) -> io::Result<SegmentUses> {
        let mut left = SegmentUses::default();
        let files = self.directory.list()?;
        for file in &files {
            let writer = match file.file {
                DiskFile::Segment(id, SegmentState::Open) => id.writer,
                DiskFile::WriterLock(writer) | DiskFile::Uses(writer) => writer,
                _ => continue,
            };
            let _lock = self.directory.lock_of_dead(writer);
            if _lock.is_none() && self.directory.file(DiskFile::WriterLock(writer)).exists() {
                continue;
            }
            match file.file {
                DiskFile::Segment(id, state) => {
                    let open = self.directory.segment(id, state);
                    // It may have been sealed or set aside since the directory was listed.
                    let _ = if file.bytes <= HEADER_BYTES {
                        // Killed before the first page: perhaps even before the header was written.
                        self.directory.io.remove(&open)
                    } else {
                        self.directory.io.rename(&open, &self.directory.segment(id, SegmentState::Sealed))
                    };
                }
                DiskFile::Uses(writer) => {
                    left.add(&SegmentUses::load(&self.directory, writer));
                    let _ = self.directory.io.remove(&self.directory.file(file.file));
                }
                _ => {}
            }
        }
        // The locks last: as long as they are there, another process may find the rest.
        for file in &files {
            if let DiskFile::WriterLock(writer) = file.file
                && let Some(_lock) = self.directory.lock_of_dead(writer)
            {
                let _ = self.directory.io.remove(&self.directory.file(file.file));
            }
        }
        Ok(left)
    }
}
