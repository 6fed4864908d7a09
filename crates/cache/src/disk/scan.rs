//! Finds the segments of a directory and the pages in them: all when it is opened, and then what other processes add.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::directory::ListedFile;
use super::io::DiskIo;
use super::policy::entry::{EntryBytes, PageEntry, SegmentHeader};
use super::policy::layout::{DiskFile, ENTRY_LEN, SegmentId, SegmentLayout, SegmentState};
use super::segments::{Segment, SegmentSet};

/// A directory that changed less than this before it was listed is listed again: its modification time may not tell
/// the next change from this one.
const TIME_STEP: Duration = Duration::from_millis(100);

/// Keeps a [`SegmentSet`] up to date with its directory.
#[derive(Default)]
pub(crate) struct SegmentScan {
    /// When the directory had changed last, when it was listed last.
    changed: Option<SystemTime>,
    /// Segments that are not taken in again: this process has found them damaged.
    set_aside: HashSet<SegmentId>,
    /// Whether caches beside this one have the directory open, or had.
    pub(crate) has_others: bool,
}

impl SegmentScan {
    /// Takes in what has changed since the last call. `own`: this process' writer, whose segments are known.
    pub(crate) fn update(&mut self, set: &SegmentSet, own: Option<u64>) -> io::Result<()> {
        self.set_aside_damaged(set);
        let changed = std::fs::metadata(&set.directory.path)?.modified()?;
        if self.changed == Some(changed) {
            // Nothing was added, renamed or removed. Open segments may have grown.
            for segment in set.all() {
                if !segment.is_sealed() && Some(segment.id.writer) != own {
                    read_table(set, &segment);
                }
            }
            return Ok(());
        }
        let files = set.directory.list()?;
        let is_settled = changed.elapsed().is_ok_and(|age| age > TIME_STEP);
        self.changed = is_settled.then_some(changed);
        self.take_in(set, own, &files);
        Ok(())
    }

    fn take_in(&mut self, set: &SegmentSet, own: Option<u64>, files: &[ListedFile]) {
        let is_other = |file: &ListedFile| matches!(file.file, DiskFile::WriterLock(writer) if Some(writer) != own);
        self.has_others = files.iter().any(is_other);
        let mut listed = HashSet::new();
        for file in files {
            let DiskFile::Segment(id, state) = file.file else { continue };
            if state == SegmentState::SetAside || self.set_aside.contains(&id) {
                continue;
            }
            listed.insert(id);
            match set.get(id) {
                Some(segment) if segment.is_sealed() => {}
                Some(segment) => {
                    if Some(id.writer) != own {
                        read_table(set, &segment);
                    }
                    if state == SegmentState::Sealed {
                        segment.sealed();
                        // What was written between the table's reading and the sealing.
                        read_table(set, &segment);
                    }
                }
                None => self.add(set, id, state),
            }
        }
        for segment in set.all() {
            if !listed.contains(&segment.id) && (segment.is_sealed() || Some(segment.id.writer) != own) {
                set.forget(&segment);
            }
        }
        set.clean_index();
    }

    fn add(&mut self, set: &SegmentSet, id: SegmentId, state: SegmentState) {
        let file = match set.directory.io.open(&set.directory.segment(id, state)) {
            Ok(file) => Arc::new(file),
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) {
                    // Such as too many open files: the directory is listed again, and the segment is tried again.
                    self.changed = None;
                }
                return;
            }
        };
        match header(&*set.directory.io, &file, id) {
            Ok(Some(header)) => {
                if let Some(segment) = set.add(&header, Some(&file), state) {
                    read_table(set, &segment);
                    set.close_surplus(&segment);
                }
            }
            // Its writer has not written the header yet.
            Ok(None) if state == SegmentState::Open => {}
            Ok(None) => self.set_aside(set, id),
            Err(_) => {}
        }
    }

    /// Sets the segments aside that were found to be damaged.
    fn set_aside_damaged(&mut self, set: &SegmentSet) {
        for id in set.take_damaged() {
            self.set_aside(set, id);
        }
    }

    /// Renames a segment, so that no process reads it. It is deleted when room is needed.
    fn set_aside(&mut self, set: &SegmentSet, id: SegmentId) {
        if self.set_aside.insert(id) {
            crate::trace_events::segment_set_aside(&set.directory.segment(id, SegmentState::Sealed));
        }
        let aside = set.directory.segment(id, SegmentState::SetAside);
        for state in [SegmentState::Open, SegmentState::Sealed] {
            // Another process may have been first.
            let _ = set.directory.io.rename(&set.directory.segment(id, state), &aside);
        }
    }
}

/// Takes in the entries of a segment's table that were written since the last call.
///
/// Entries of an open segment are written in order, so the first missing one is the end. In a sealed one, a damaged
/// entry is passed over.
pub(crate) fn read_table(set: &SegmentSet, segment: &Segment) {
    let from = segment.next_slot.load(Relaxed);
    let is_sealed = segment.is_sealed();
    let Ok(entries) = table(set, segment, from, is_sealed) else { return };
    let mut next = from;
    for entry in entries {
        match entry {
            Some(entry) => set.add_page(segment, &entry),
            None if is_sealed => {}
            None => break,
        }
        next += 1;
    }
    segment.next_slot.store(next, Relaxed);
}

/// The entries of a segment's table from number `from` on. Those of pages that lie beyond the end of the file are
/// missing.
pub(crate) fn table(set: &SegmentSet, segment: &Segment, from: u32, all: bool) -> io::Result<Vec<Option<PageEntry>>> {
    let Some(file) = set.file(segment)? else { return Ok(Vec::new()) };
    let length = file.metadata()?.len();
    let slots = segment.layout.slots.saturating_sub(from);
    // Of an open segment, usually nothing has been added.
    let mut wanted = if all || from == 0 { slots } else { slots.min(1) };
    let mut found = Vec::new();
    loop {
        let before = found.len();
        let next = from + u32::try_from(before).unwrap_or(u32::MAX);
        for entry in entries(&*set.directory.io, segment.layout, &file, next, wanted)? {
            let entry = entry.filter(|entry| entry.is_within(segment.layout, length));
            if entry.is_none() && !all {
                return Ok(found);
            }
            found.push(entry);
        }
        let left = slots - u32::try_from(found.len()).unwrap_or(slots);
        if left == 0 || found.len() == before {
            return Ok(found);
        }
        wanted = left;
    }
}

/// At most `count` pages of a segment, from entry number `from` on.
pub(crate) fn some_entries(set: &SegmentSet, segment: &Segment, from: u32, count: u32) -> Vec<PageEntry> {
    let count = count.min(segment.layout.slots.saturating_sub(from));
    let Ok(Some(file)) = set.file(segment) else { return Vec::new() };
    let found = entries(&*set.directory.io, segment.layout, &file, from, count);
    found.into_iter().flatten().flatten().collect()
}

/// The header of the segment `id` in its file; `None` where it is damaged, of another segment, or not written yet.
pub(crate) fn header(io: &dyn DiskIo, file: &File, id: SegmentId) -> io::Result<Option<SegmentHeader>> {
    let mut bytes: EntryBytes = [0; ENTRY_LEN];
    io.read(file, &mut [IoSliceMut::new(&mut bytes)], 0, true)?;
    Ok(SegmentHeader::decode(&bytes).filter(|header| header.id == id))
}

/// `count` entries of a table from number `from` on, or as many as the file has; `None` for one that was not written or
/// is damaged.
pub(crate) fn entries(
    io: &dyn DiskIo,
    layout: SegmentLayout,
    file: &File,
    from: u32,
    count: u32,
) -> io::Result<Vec<Option<PageEntry>>> {
    let mut bytes = vec![0; count as usize * ENTRY_LEN];
    let read = io.read(file, &mut [IoSliceMut::new(&mut bytes)], layout.entry_at(from), true)?;
    Ok(bytes[..read].as_chunks::<ENTRY_LEN>().0.iter().map(PageEntry::decode).collect())
}
