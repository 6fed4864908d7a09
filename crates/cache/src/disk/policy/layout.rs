//! The layout of a segment, and the names of the files in a directory.
//!
//! ```text
//! header, 4 KiB │ table: one entry of 64 bytes a page │ record │ record │ …
//!                                                      record: the entry again, then the bytes of the page
//! ```
//!
//! The table stands in front, so that it can be read while the segment is written: by other processes, and after the
//! writer was killed. A record is written before its entry in the table.

/// Version of the format. A directory of another version is refused.
pub(crate) const FORMAT: u32 = 1;

/// Bytes of an entry; records begin at multiples of it.
pub(crate) const ENTRY_BYTES: u64 = ENTRY_LEN as u64;

/// The same, of an entry in memory.
pub(crate) const ENTRY_LEN: usize = 64;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: u64 = 4096;

/// The largest segment, so that the place of a record fits into 20 bits.
const MAX_SEGMENT_BYTES: u64 = 64 << 20;

/// The smallest segment, except for pages that are larger than a quarter of it.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;

/// A directory has at least so many segments, so that little is deleted at once.
const LEAST_SEGMENTS: u64 = 16;

/// The file that says what the directory is.
pub(crate) const MARKER: &str = "headstart-cache";

/// The lock of the process that makes room.
pub(crate) const KEEPER_LOCK: &str = "keeper.lock";

/// The size of segments and of their tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentLayout {
    /// The most bytes of a segment.
    pub(crate) bytes: u64,
    /// Entries of the table.
    pub(crate) slots: u32,
}

impl SegmentLayout {
    /// The layout for a directory of `disk_bytes` and pages of `page_bytes`.
    pub(crate) fn new(disk_bytes: u64, page_bytes: u64) -> Self {
        let least = MIN_SEGMENT_BYTES.max((4 * page_bytes + HEADER_BYTES).next_multiple_of(1 << 20));
        let bytes = (disk_bytes / LEAST_SEGMENTS).min(MAX_SEGMENT_BYTES).max(least) / HEADER_BYTES * HEADER_BYTES;
        // Twice the whole pages that fit: the last pages of objects are shorter.
        let slots = u32::try_from(2 * (bytes / page_bytes)).unwrap_or(u32::MAX);
        Self { bytes, slots }
    }

    /// Where the records begin.
    pub(crate) fn records_start(self) -> u64 {
        (HEADER_BYTES + u64::from(self.slots) * ENTRY_BYTES).next_multiple_of(HEADER_BYTES)
    }

    /// Where the table's entry number `slot` is.
    pub(crate) fn entry_at(self, slot: u32) -> u64 {
        HEADER_BYTES + u64::from(slot) * ENTRY_BYTES
    }

    /// Whether a segment of this layout is possible.
    pub(crate) fn is_sound(self) -> bool {
        self.bytes <= MAX_SEGMENT_BYTES && self.slots > 0 && self.records_start() < self.bytes
    }
}

/// Bytes of a record with a page of `page_bytes`.
pub(crate) fn record_bytes(page_bytes: u64) -> u64 {
    ENTRY_BYTES + page_bytes.next_multiple_of(ENTRY_BYTES)
}

/// Names a segment among all of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    /// The cache that wrote it.
    pub(crate) writer: u64,
    /// Its number among those of the writer.
    pub(crate) number: u32,
}

/// What has become of a segment, as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// It is being written, or its writer was killed.
    Open,
    /// It never changes.
    Sealed,
    /// A page of it was damaged.
    SetAside,
}

/// What a file of the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFile {
    Marker,
    KeeperLock,
    /// Locked as long as the writer lives.
    WriterLock(u64),
    /// How much a process uses each segment.
    Uses(u64),
    Segment(SegmentId, SegmentState),
}

impl SegmentState {
    fn extension(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sealed => "segment",
            Self::SetAside => "bad",
        }
    }
}

impl DiskFile {
    /// The name of the file.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Marker => MARKER.to_owned(),
            Self::KeeperLock => KEEPER_LOCK.to_owned(),
            Self::WriterLock(writer) => format!("{writer:016x}.lock"),
            Self::Uses(writer) => format!("{writer:016x}.uses"),
            Self::Segment(SegmentId { writer, number }, state) => {
                format!("{writer:016x}-{number:08x}.{}", state.extension())
            }
        }
    }

    /// The file called `name`; `None` for a foreign one.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let file = match name {
            MARKER => Self::Marker,
            KEEPER_LOCK => Self::KeeperLock,
            _ => {
                let (stem, extension) = name.rsplit_once('.')?;
                let hex = |text: &str| u64::from_str_radix(text, 16).ok();
                match (stem.split_once('-'), extension) {
                    (None, "lock") => Self::WriterLock(hex(stem)?),
                    (None, "uses") => Self::Uses(hex(stem)?),
                    (Some((writer, number)), _) => {
                        let states = [SegmentState::Open, SegmentState::Sealed, SegmentState::SetAside];
                        let state = states.into_iter().find(|state| state.extension() == extension)?;
                        let (writer, number) = (hex(writer)?, u32::try_from(hex(number)?).ok()?);
                        Self::Segment(SegmentId { writer, number }, state)
                    }
                    _ => return None,
                }
            }
        };
        // Other spellings of a number are not ours.
        (file.name() == name).then_some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let id = SegmentId { writer: 0xabc, number: 7 };
        for file in [
            DiskFile::Marker,
            DiskFile::KeeperLock,
            DiskFile::WriterLock(u64::MAX),
            DiskFile::Uses(1),
            DiskFile::Segment(id, SegmentState::Open),
            DiskFile::Segment(id, SegmentState::Sealed),
            DiskFile::Segment(id, SegmentState::SetAside),
        ] {
            assert_eq!(DiskFile::parse(&file.name()), Some(file));
        }
        for foreign in ["", "x", "data.bin", "abc.lock", "0000000000000ABC.lock", "+000000000000abc-00000007.open"] {
            assert_eq!(DiskFile::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn segments_are_a_sixteenth_of_the_disk_within_limits() {
        for (disk, page, bytes) in [
            (16 << 20, 64 << 10, 1 << 20),
            (160 << 20, 64 << 10, 10 << 20),
            (100 << 30, 64 << 10, 64 << 20),
            (64 << 20, 4 << 20, 17 << 20),
        ] {
            let layout = SegmentLayout::new(disk, page);
            assert_eq!(layout.bytes, bytes, "{disk}");
            assert!(layout.is_sound());
            assert!(layout.records_start() + 3 * record_bytes(page) <= layout.bytes);
            assert!(layout.records_start() * 50 <= layout.bytes * 2, "the table takes at most 4 %");
        }
    }
}
