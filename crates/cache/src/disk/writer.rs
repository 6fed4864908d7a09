//! Writes pages to the segment of this process: a record, then its entry in the table.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::directory::{DiskDirectory, HeldLock};
use super::object::DiskPage;
use super::policy::entry::{PageEntry, SegmentHeader};
use super::policy::layout::{ENTRY_BYTES, SegmentId, SegmentLayout, SegmentState, record_bytes};
use super::segments::{Segment, SegmentSet};

/// The writing side of one cache.
pub(crate) struct SegmentWriter {
    pub(crate) id: u64,
    directory: DiskDirectory,
    layout: SegmentLayout,
    next_number: u32,
    current: Option<OpenSegment>,
    /// Held as long as this writer lives.
    _lock: HeldLock,
}

/// The segment that is being written.
struct OpenSegment {
    segment: Arc<Segment>,
    file: Arc<File>,
    slot: u32,
    /// Where the next record begins.
    at: u64,
}

impl SegmentWriter {
    /// A new writer of `directory`.
    ///
    /// # Errors
    /// Those of the system: the directory cannot be written.
    pub(crate) fn new(directory: DiskDirectory, layout: SegmentLayout) -> io::Result<Self> {
        let (id, lock) = directory.new_writer()?;
        Ok(Self { id, directory, layout, next_number: 0, current: None, _lock: lock })
    }

    /// Whether the open segment has room for a page of `bytes`.
    pub(crate) fn has_room(&self, bytes: u32) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let has_slot = current.slot < self.layout.slots && !current.segment.is_gone();
            has_slot && current.at + record_bytes(u64::from(bytes)) <= self.layout.bytes
        })
    }

    /// Begins a segment.
    pub(crate) fn begin(&mut self, set: &SegmentSet) -> io::Result<()> {
        let id = SegmentId { writer: self.id, number: self.next_number };
        self.next_number += 1;
        let path = self.directory.segment(id, SegmentState::Open);
        let file = Arc::new(self.directory.io.create(&path)?);
        let header = SegmentHeader { id, layout: self.layout };
        let written = self.directory.io.write(&file, &mut [IoSlice::new(&header.encode())], 0);
        let segment = written.map(|()| set.add(&header, Some(&file), SegmentState::Open));
        match segment {
            Ok(Some(segment)) => {
                self.current = Some(OpenSegment { segment, file, slot: 0, at: self.layout.records_start() });
                Ok(())
            }
            other => {
                let _ = self.directory.io.remove(&path);
                Err(other.err().unwrap_or_else(|| ErrorKind::QuotaExceeded.into()))
            }
        }
    }

    /// Writes a page. There must be room for it.
    pub(crate) fn write(&mut self, set: &SegmentSet, page: &DiskPage, bytes: &Bytes) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(ErrorKind::NotFound.into()) };
        let unit = u32::try_from(current.at / ENTRY_BYTES).map_err(|_| ErrorKind::FileTooLarge)?;
        let crc = crc32c::crc32c(bytes);
        let entry = PageEntry { key: page.key, path_tag: page.path_tag, bytes: page.bytes, unit, crc };
        let encoded = entry.encode();
        let record = &mut [IoSlice::new(&encoded), IoSlice::new(bytes)];
        self.directory.io.write(&current.file, record, current.at)?;
        let entry_at = self.layout.entry_at(current.slot);
        // After the record: whoever sees the entry finds the page.
        self.directory.io.write(&current.file, &mut [IoSlice::new(&encoded)], entry_at)?;
        current.slot += 1;
        current.at += record_bytes(bytes.len() as u64);
        set.add_page(&current.segment, &entry);
        current.segment.next_slot.store(current.slot, Relaxed);
        Ok(())
    }

    /// Seals the open segment, if there is one: it never changes from now on. An empty one is removed, and one that was
    /// found to be damaged, or is deleted, is left to itself.
    pub(crate) fn seal(&mut self, set: &SegmentSet) -> io::Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        if current.segment.is_gone() {
            return Ok(());
        }
        let id = current.segment.id;
        let open = self.directory.segment(id, SegmentState::Open);
        if current.slot == 0 {
            set.forget(&current.segment);
            return self.directory.io.remove(&open);
        }
        let renamed = self.directory.io.rename(&open, &self.directory.segment(id, SegmentState::Sealed));
        match renamed {
            Ok(()) => current.segment.sealed(),
            // Another process has found a damaged page in it, or somebody has deleted it.
            Err(_) => drop(set.forget(&current.segment)),
        }
        renamed
    }
}
