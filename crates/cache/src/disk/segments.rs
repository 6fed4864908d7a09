//! The segments that this process knows: their files, the index of their pages, and reading a page.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use headstart_fetch_core::internal::locks::{Mutex, RwLock};

use super::buffers::PageBuffers;
use super::directory::DiskDirectory;
use super::index::{MAX_SEGMENTS, PageIndex, PagePlace};
use super::io::system;
use super::object::DiskPage;
use super::policy::entry::{EntryBytes, PageEntry, SegmentHeader};
use super::policy::layout::{ENTRY_BYTES, ENTRY_LEN, SegmentId, SegmentLayout, SegmentState};
use super::policy::path_filter::PathFilter;

/// Files of segments that stay open, at most: a reader of others opens the file anew.
const MAX_OPEN_FILES: usize = 384;

/// A part of the deleted segments may stay in the index, so that it is not searched for every one.
const INDEX_LAG: usize = 32;

/// A segment that this process knows.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) layout: SegmentLayout,
    pub(crate) number: u32,
    /// A reader that has the file open reads on when it is deleted.
    file: RwLock<Option<Arc<File>>>,
    is_sealed: AtomicBool,
    /// It was dropped: its number may be another segment's by now.
    is_gone: AtomicBool,
    /// The next entry of the table to take in.
    pub(crate) next_slot: AtomicU32,
    /// Its pages in the index.
    pub(crate) pages: AtomicU32,
    /// Reads since they were last collected.
    pub(crate) hits: AtomicU32,
}

/// What reading a page gave.
#[derive(Debug)]
pub(crate) enum PageRead {
    Page(Bytes),
    /// The page is not on disk, or not any more.
    Missing,
    /// It is not in the page cache, and the read may not wait.
    WouldWait,
    /// The disk failed.
    Failed(io::Error),
}

/// All segments that this process knows.
pub(crate) struct SegmentSet {
    pub(crate) directory: DiskDirectory,
    pub(crate) index: PageIndex,
    buffers: Arc<PageBuffers>,
    paths: RwLock<PathFilter>,
    list: RwLock<Vec<Option<Arc<Segment>>>>,
    known: Mutex<HashMap<SegmentId, Arc<Segment>>>,
    /// Numbers of segments that are gone, while the index still has their pages.
    gone: Mutex<Vec<u32>>,
    free: Mutex<Vec<u32>>,
    /// Segments with a damaged page: the disk thread sets them aside.
    damaged: Mutex<Vec<SegmentId>>,
    open_files: AtomicUsize,
    /// [`MAX_OPEN_FILES`], or a quarter of what the process may open.
    max_open_files: usize,
    /// Damaged pages found.
    pub(crate) damages: AtomicU64,
    /// Segments deleted to make room, and their pages.
    pub(crate) deleted: AtomicU64,
    pub(crate) evicted_pages: AtomicU64,
    /// Pages that the filter of paths is made for at least.
    pages_of_filter: u64,
}

impl Segment {
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed.load(Relaxed)
    }

    /// Whether the segment was dropped: it takes no more pages.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Relaxed)
    }

    pub(crate) fn sealed(&self) {
        self.is_sealed.store(true, Relaxed);
    }
}

impl SegmentSet {
    /// No segments yet, of a directory for about `pages` pages.
    pub(crate) fn new(directory: DiskDirectory, pages: u64, page_bytes: usize) -> Self {
        Self {
            directory,
            index: PageIndex::new(),
            buffers: PageBuffers::new(page_bytes),
            paths: RwLock::new(PathFilter::new(pages)),
            list: RwLock::default(),
            known: Mutex::default(),
            gone: Mutex::default(),
            free: Mutex::default(),
            damaged: Mutex::default(),
            open_files: AtomicUsize::new(0),
            max_open_files: system::file_limit().map_or(MAX_OPEN_FILES, |limit| MAX_OPEN_FILES.min(limit / 4)),
            damages: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
            evicted_pages: AtomicU64::new(0),
            pages_of_filter: pages,
        }
    }

    /// Whether a page may be on disk: something with its fingerprint is.
    pub(crate) fn has(&self, page: &DiskPage) -> bool {
        let (found, count) = self.index.find(page.key.fingerprint());
        count > 0 && {
            let list = self.list.read();
            found[..count].iter().flatten().any(|place| list.get(place.segment as usize).is_some_and(Option::is_some))
        }
    }

    pub(crate) fn may_have(&self, path_tag: u32) -> bool {
        self.paths.read().may_have(path_tag)
    }

    /// Reads a page, and checks it. Unless it may `wait`, only from the page cache.
    pub(crate) fn read(&self, page: &DiskPage, wait: bool) -> PageRead {
        let (found, count) = self.index.find(page.key.fingerprint());
        for place in found[..count].iter().flatten() {
            let Some(segment) = self.list.read().get(place.segment as usize).cloned().flatten() else { continue };
            match self.read_at(&segment, *place, page, wait) {
                PageRead::Missing => {}
                read => return read,
            }
        }
        PageRead::Missing
    }

    fn read_at(&self, segment: &Arc<Segment>, place: PagePlace, page: &DiskPage, wait: bool) -> PageRead {
        let file = match self.file(segment) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.forget(segment);
                return PageRead::Missing;
            }
            Err(error) => return PageRead::Failed(error),
        };
        let mut entry: EntryBytes = [0; ENTRY_LEN];
        let mut bytes = self.buffers.take(page.bytes as usize);
        let mut parts = [IoSliceMut::new(&mut entry), IoSliceMut::new(bytes.as_mut_slice())];
        let read = self.directory.io.read(&file, &mut parts, u64::from(place.unit) * ENTRY_BYTES, wait);
        match read {
            Ok(read) if read == entry.len() + page.bytes as usize => {}
            Ok(_) => return self.damaged(segment),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return PageRead::WouldWait,
            Err(error) => return PageRead::Failed(error),
        }
        match PageEntry::decode(&entry) {
            // Another page with the same fingerprint.
            Some(found) if found.key != page.key && found.key.fingerprint() == page.key.fingerprint() => {
                PageRead::Missing
            }
            Some(found)
                if found.key == page.key
                    && found.bytes == page.bytes
                    && found.crc == crc32c::crc32c(bytes.as_ref()) =>
            {
                segment.hits.fetch_add(1, Relaxed);
                PageRead::Page(bytes.freeze())
            }
            _ => self.damaged(segment),
        }
    }

    /// A page of the segment is damaged: nothing of it is read any more.
    fn damaged(&self, segment: &Arc<Segment>) -> PageRead {
        if self.forget(segment) {
            self.damages.fetch_add(1, Relaxed);
            self.damaged.lock().push(segment.id);
        }
        PageRead::Missing
    }

    /// The segments that were found to be damaged since the last call.
    pub(crate) fn take_damaged(&self) -> Vec<SegmentId> {
        std::mem::take(&mut self.damaged.lock())
    }

    /// The open file of a segment; `None` where it is gone.
    pub(crate) fn file(&self, segment: &Segment) -> io::Result<Option<Arc<File>>> {
        if let Some(file) = &*segment.file.read() {
            return Ok(Some(Arc::clone(file)));
        }
        let states =
            if segment.is_sealed() { &[SegmentState::Sealed][..] } else { &[SegmentState::Open, SegmentState::Sealed] };
        for state in states {
            match self.directory.io.open(&self.directory.segment(segment.id, *state)) {
                Ok(file) => {
                    let file = Arc::new(file);
                    if self.open_files.load(Relaxed) < self.max_open_files {
                        self.keep_open(segment, &file);
                    }
                    return Ok(Some(file));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn keep_open(&self, segment: &Segment, file: &Arc<File>) {
        if segment.file.write().replace(Arc::clone(file)).is_none() {
            self.open_files.fetch_add(1, Relaxed);
        }
    }

    /// Closes the file of `segment` again where more are open than are kept open.
    pub(crate) fn close_surplus(&self, segment: &Segment) {
        if self.open_files.load(Relaxed) > self.max_open_files && segment.file.write().take().is_some() {
            self.open_files.fetch_sub(1, Relaxed);
        }
    }

    /// Closes the files of segments that `is_idle` names, where many files are open.
    pub(crate) fn close_idle(&self, is_idle: impl Fn(&Segment) -> bool) {
        if self.open_files.load(Relaxed) < self.max_open_files {
            return;
        }
        for segment in self.all() {
            // Asked of every segment: the question begins the next time of idleness.
            if is_idle(&segment) && segment.file.write().take().is_some() {
                self.open_files.fetch_sub(1, Relaxed);
            }
        }
    }

    /// Adds a segment without its pages; `None` where the index cannot tell more segments apart.
    pub(crate) fn add(
        &self,
        header: &SegmentHeader,
        file: Option<&Arc<File>>,
        state: SegmentState,
    ) -> Option<Arc<Segment>> {
        let mut list = self.list.write();
        let reused = self.free.lock().pop();
        let number = reused.map_or(list.len(), |number| number as usize);
        if number >= MAX_SEGMENTS {
            return None;
        }
        let segment = Arc::new(Segment {
            id: header.id,
            layout: header.layout,
            number: u32::try_from(number).ok()?,
            file: RwLock::default(),
            is_sealed: AtomicBool::new(state == SegmentState::Sealed),
            is_gone: AtomicBool::new(false),
            next_slot: AtomicU32::new(0),
            pages: AtomicU32::new(0),
            hits: AtomicU32::new(0),
        });
        if let Some(file) = file {
            self.keep_open(&segment, file);
        }
        if number == list.len() {
            list.push(None);
        }
        list[number] = Some(Arc::clone(&segment));
        drop(list);
        self.known.lock().insert(segment.id, Arc::clone(&segment));
        Some(segment)
    }

    /// Adds a page of a segment to the index.
    pub(crate) fn add_page(&self, segment: &Segment, entry: &PageEntry) {
        self.paths.write().insert(entry.path_tag);
        let place = PagePlace { segment: segment.number, unit: entry.unit };
        self.index.insert(entry.key.fingerprint(), place);
        segment.pages.fetch_add(1, Relaxed);
    }

    /// Drops a segment: its file is gone or damaged. Returns false where another call was first.
    pub(crate) fn forget(&self, segment: &Arc<Segment>) -> bool {
        let is_first = {
            let mut list = self.list.write();
            let slot = &mut list[segment.number as usize];
            let is_first = slot.as_ref().is_some_and(|found| Arc::ptr_eq(found, segment));
            if is_first {
                *slot = None;
            }
            is_first
        };
        if is_first {
            // Before the number is given away.
            segment.is_gone.store(true, Relaxed);
            self.known.lock().remove(&segment.id);
            self.gone.lock().push(segment.number);
            if segment.file.write().take().is_some() {
                self.open_files.fetch_sub(1, Relaxed);
            }
        }
        is_first
    }

    /// Removes the pages of segments that are gone from the index, once there are many.
    pub(crate) fn clean_index(&self) {
        let gone = {
            let mut gone = self.gone.lock();
            if gone.is_empty() || gone.len() * INDEX_LAG < self.list.read().len() {
                return;
            }
            std::mem::take(&mut *gone)
        };
        self.index.retain(|segment| !gone.contains(&segment));
        self.free.lock().extend(gone);
    }

    /// Pages that the filter of paths is made for.
    pub(crate) fn filter_capacity(&self) -> u64 {
        self.paths.read().capacity()
    }

    /// Replaces the filter of paths by one with these tags.
    pub(crate) fn replace_paths(&self, tags: impl IntoIterator<Item = u32>) {
        let mut filter = PathFilter::new(self.pages_of_filter.max(2 * self.index.len() as u64));
        tags.into_iter().for_each(|tag| filter.insert(tag));
        *self.paths.write() = filter;
    }

    pub(crate) fn get(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.known.lock().get(&id).cloned()
    }

    /// All segments.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.known.lock().values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.known.lock().len()
    }
}
