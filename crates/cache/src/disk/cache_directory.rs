//! `CacheDirectory`: looks at a directory of the disk tier, checks its pages and deletes them, without a cache.

use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut};
use std::path::Path;
use std::sync::Arc;

use headstart_fetch_core::ConfigError;
use serde::Serialize;

use super::directory::{DiskDirectory, ListedFile};
use super::io::SystemIo;
use super::keeper::DiskKeeper;
use super::policy::entry::{EntryBytes, PageEntry, SegmentHeader};
use super::policy::layout::{DiskFile, ENTRY_LEN, SegmentId, SegmentState};
use super::scan;

/// A directory of the disk tier, to look at, to check and to clear. Caches may have it open meanwhile. All calls block.
#[derive(Debug)]
pub struct CacheDirectory {
    directory: DiskDirectory,
}

/// What is in a directory of the disk tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DiskContents {
    /// Pages. A page that two processes have written counts twice.
    pub pages: u64,
    /// Bytes of objects in these pages.
    pub page_bytes: u64,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Segments, those that are being written included.
    pub segments: u64,
    /// Segments that are being written, or whose writer was killed.
    pub open_segments: u64,
    /// Segments that caches have found damaged and read no more. They are deleted when room is needed.
    pub set_aside_segments: u64,
    /// Caches that have the directory open.
    pub open_caches: u64,
    /// Bytes that this user may still write to the file system.
    pub free_bytes: u64,
}

/// The result of checking every page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DiskCheck {
    /// Pages that were read.
    pub pages: u64,
    /// Bytes of objects in these pages.
    pub page_bytes: u64,
    /// Those of the pages that differ from their checksum or their entry in the table.
    pub damaged_pages: u64,
    /// Segments whose header cannot be read.
    pub damaged_segments: u64,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DiskCleared {
    /// Segments that were deleted.
    pub segments: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Segments that remain, because a cache is writing them.
    pub kept_segments: u64,
}

impl CacheDirectory {
    /// Opens the directory at `path`. Changes nothing in it.
    ///
    /// # Errors
    /// [`ConfigError`] where it is no directory of the disk tier, or others than this user can change it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        // `DiskDirectory::open` makes what is missing.
        let marker = path.join(DiskFile::Marker.name());
        if !marker.is_file() {
            let why = match path.is_dir() {
                true => "it is not the directory of a cache: it has no file headstart-cache",
                false => "there is no such directory",
            };
            return Err(ConfigError::bad("disk_directory", path.display(), why));
        }
        Ok(Self { directory: DiskDirectory::open(path, Arc::new(SystemIo))? })
    }

    /// Counts what is in the directory. Reads the tables of all segments, and no page.
    ///
    /// # Errors
    /// Those of the system.
    pub fn contents(&self) -> io::Result<DiskContents> {
        let files = self.directory.list()?;
        let mut contents =
            DiskContents { free_bytes: self.directory.io.free_bytes(&self.directory.path)?, ..Default::default() };
        for file in &files {
            contents.file_bytes += file.bytes;
            match file.file {
                DiskFile::Segment(_, SegmentState::SetAside) => contents.set_aside_segments += 1,
                DiskFile::Segment(id, state) => {
                    contents.segments += 1;
                    contents.open_segments += u64::from(state == SegmentState::Open);
                    let Some(segment) = self.read_segment(id, state)? else { continue };
                    contents.pages += segment.entries.len() as u64;
                    contents.page_bytes += segment.entries.iter().map(|entry| u64::from(entry.bytes)).sum::<u64>();
                }
                DiskFile::WriterLock(writer) if self.directory.lock_of_dead(writer).is_none() => {
                    contents.open_caches += 1;
                }
                _ => {}
            }
        }
        Ok(contents)
    }

    /// Reads every page and compares it with its checksum. Changes nothing: caches notice a damaged page when they read
    /// it, and fetch it again. Calls `progress` with the bytes of pages read so far and of all pages, after each
    /// segment.
    ///
    /// # Errors
    /// Those of the system.
    pub fn check(&self, mut progress: impl FnMut(u64, u64)) -> io::Result<DiskCheck> {
        let total = self.contents()?.page_bytes;
        let mut check = DiskCheck::default();
        let mut bytes = Vec::new();
        for ListedFile { file, .. } in self.directory.list()? {
            let DiskFile::Segment(id, state) = file else { continue };
            if state == SegmentState::SetAside {
                continue;
            }
            let Some(segment) = self.read_segment(id, state)? else { continue };
            check.damaged_segments += u64::from(segment.is_damaged);
            for entry in &segment.entries {
                check.pages += 1;
                check.page_bytes += u64::from(entry.bytes);
                check.damaged_pages += u64::from(!self.is_sound(&segment.file, entry, &mut bytes)?);
            }
            progress(check.page_bytes, total.max(check.page_bytes));
        }
        Ok(check)
    }

    /// Deletes all pages, but for the segments that caches are writing. Caches that have the directory open go on, and
    /// fetch what they read.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] while a cache makes room in the directory; those of the system.
    pub fn clear(&self) -> io::Result<DiskCleared> {
        let Some(_lock) = self.directory.lock_keeper()? else { return Err(ErrorKind::WouldBlock.into()) };
        let (directory, io) = (self.directory.clone(), &self.directory.io);
        DiskKeeper { directory, bytes: 0, floor_bytes: 0, segment_bytes: 0, own: None }.take_over_dead()?;
        let mut cleared = DiskCleared::default();
        for ListedFile { file, bytes } in self.directory.list()? {
            match file {
                DiskFile::Segment(_, SegmentState::Open) => cleared.kept_segments += 1,
                DiskFile::Segment(..) => {
                    match io.remove(&self.directory.file(file)) {
                        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                    cleared.segments += 1;
                    cleared.file_bytes += bytes;
                }
                _ => {}
            }
        }
        Ok(cleared)
    }

    /// A segment's table; `None` where the segment has been deleted meanwhile.
    fn read_segment(&self, id: SegmentId, state: SegmentState) -> io::Result<Option<ReadSegment>> {
        let file = match self.directory.io.open(&self.directory.segment(id, state)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (io, length) = (&*self.directory.io, file.metadata()?.len());
        let Some(SegmentHeader { layout, .. }) = scan::header(io, &file, id)? else {
            // Perhaps its writer has not written the header yet.
            return Ok(Some(ReadSegment { file, entries: Vec::new(), is_damaged: state != SegmentState::Open }));
        };
        let entries = scan::entries(io, layout, &file, 0, layout.slots)?.into_iter().flatten();
        let entries = entries.filter(|entry| entry.is_within(layout, length)).collect();
        Ok(Some(ReadSegment { file, entries, is_damaged: false }))
    }

    /// Whether the record of `entry` is what the table says.
    fn is_sound(&self, file: &File, entry: &PageEntry, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let mut found: EntryBytes = [0; ENTRY_LEN];
        bytes.resize(entry.bytes as usize, 0);
        let mut parts = [IoSliceMut::new(&mut found), IoSliceMut::new(bytes)];
        let read = self.directory.io.read(file, &mut parts, entry.at(), true)?;
        let is_whole = read == ENTRY_LEN + bytes.len();
        Ok(is_whole && PageEntry::decode(&found) == Some(*entry) && crc32c::crc32c(bytes) == entry.crc)
    }
}

/// A segment as it was read.
struct ReadSegment {
    file: File,
    /// Its pages. Entries that are damaged or missing are left out.
    entries: Vec<PageEntry>,
    /// The header is damaged.
    is_damaged: bool,
}
