//! How much each segment is used, by this process and by others.
//!
//! Every process counts its own uses of pages ([`UseCounts`]), and writes what this means for each segment to a small
//! file of its own every few seconds. The one that makes room adds up the files, and a process that starts recalls what
//! those before it have found. A shared mapping would be exact at once, but needs `unsafe`. The modification time of a
//! segment would tell when it was read last, but not how often, so a scan would look like use.

use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::atomic::Ordering::Relaxed;

use super::directory::DiskDirectory;
use super::policy::admission::UseCounts;
use super::policy::layout::{DiskFile, SegmentId};
use super::scan::some_entries;
use super::segments::SegmentSet;

/// Bytes of a record: a segment and its uses.
const RECORD_BYTES: usize = 16;

/// Pages of a segment that are looked at: one block of its table.
const SAMPLE: u32 = 128;

/// How often the pages of each segment are used, on average.
#[derive(Debug, Default)]
pub(crate) struct SegmentUses {
    uses: HashMap<SegmentId, f32>,
}

impl SegmentUses {
    /// The uses of all segments, as this process has counted them.
    pub(crate) fn measure(set: &SegmentSet, counts: &UseCounts) -> Self {
        let uses = set.all().into_iter().map(|segment| {
            let from = segment.pages.load(Relaxed).saturating_sub(SAMPLE) / 2;
            let sample = some_entries(set, &segment, from, SAMPLE);
            let fingerprints: Vec<u64> = sample.iter().map(|entry| entry.key.fingerprint()).collect();
            (segment.id, counts.mean(&fingerprints))
        });
        Self { uses: uses.collect() }
    }

    /// Counts what earlier processes have found, so that it is not lost with them.
    pub(crate) fn recall(&self, set: &SegmentSet, counts: &UseCounts) {
        for (id, uses) in &self.uses {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            let uses = uses.round().clamp(0.0, 255.0) as u8;
            if let (Some(segment), 1..) = (set.get(*id), uses) {
                for entry in some_entries(set, &segment, 0, segment.layout.slots) {
                    counts.recall(entry.key.fingerprint(), uses);
                }
            }
        }
    }

    /// The uses of a segment.
    pub(crate) fn of(&self, id: SegmentId) -> f32 {
        self.uses.get(&id).copied().unwrap_or_default()
    }

    /// Adds what another process has found.
    pub(crate) fn add(&mut self, other: &Self) {
        other.uses.iter().for_each(|(id, uses)| *self.uses.entry(*id).or_default() += uses);
    }

    /// Writes the file of `writer`.
    pub(crate) fn save(&self, directory: &DiskDirectory, writer: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(self.uses.len() * RECORD_BYTES + 4);
        for (id, uses) in &self.uses {
            bytes.extend_from_slice(&id.writer.to_le_bytes());
            bytes.extend_from_slice(&id.number.to_le_bytes());
            bytes.extend_from_slice(&uses.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let path = directory.file(DiskFile::Uses(writer));
        match directory.io.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = directory.io.create(&path)?;
        directory.io.write(&file, &mut [IoSlice::new(&bytes)], 0)
    }

    /// What another process has written; nothing where its file is missing, half written or damaged.
    pub(crate) fn load(directory: &DiskDirectory, writer: u64) -> Self {
        let bytes = std::fs::read(directory.file(DiskFile::Uses(writer))).unwrap_or_default();
        let Some((records, crc)) = bytes.split_last_chunk::<4>() else { return Self::default() };
        if crc32c::crc32c(records) != u32::from_le_bytes(*crc) {
            return Self::default();
        }
        let uses = records.as_chunks::<RECORD_BYTES>().0.iter().map(|record| {
            let word = |at: usize| [record[at], record[at + 1], record[at + 2], record[at + 3]];
            let mut writer = [0; 8];
            writer.copy_from_slice(&record[..8]);
            let id = SegmentId { writer: u64::from_le_bytes(writer), number: u32::from_le_bytes(word(8)) };
            (id, f32::from_le_bytes(word(12)))
        });
        // A damaged number that the checksum has missed must not make a segment immortal.
        Self { uses: uses.filter(|(_, uses)| uses.is_finite()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::io::SystemIo;
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_damage_is_noticed() {
        let path = tempfile::tempdir().expect("a directory");
        let directory = DiskDirectory::open(path.path(), Arc::new(SystemIo)).expect("made");
        let id = |number| SegmentId { writer: 3, number };
        let uses = SegmentUses { uses: HashMap::from([(id(1), 5.0), (id(2), 0.5)]) };
        (0..2).for_each(|_| uses.save(&directory, 9).expect("saved"));
        let loaded = SegmentUses::load(&directory, 9);
        let mut sum = SegmentUses::default();
        (0..2).for_each(|_| sum.add(&loaded));
        assert_eq!([1, 2, 3].map(|number| sum.of(id(number))), [10.0, 1.0, 0.0]);
        assert_eq!(SegmentUses::load(&directory, 8).uses.len(), 0, "missing");
        let file = directory.file(DiskFile::Uses(9));
        let mut bytes = std::fs::read(&file).expect("there");
        bytes[3] ^= 1;
        std::fs::write(&file, bytes).expect("written");
        assert_eq!(SegmentUses::load(&directory, 9).uses.len(), 0, "damaged");
    }
}
