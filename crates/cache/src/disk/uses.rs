//! How much each segment is used, by this process and by others.
//!
//! Every process counts its own reads, and writes them to a small file of its own every few seconds; the one that makes
//! room adds up the files. A shared mapping would be exact at once, but needs `unsafe`. The modification time of a
//! segment would tell when it was read last, but not how often, so a scan would look like use.

use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::directory::DiskDirectory;
use super::policy::keep::SegmentUse;
use super::policy::layout::{DiskFile, SegmentId};
use super::segments::Segment;

/// Bytes of a record: a segment and its use.
const RECORD_BYTES: usize = 20;

/// Uses count half as much after so many rounds (see [`SegmentUse::rounds`]).
const ROUNDS_TO_FADE: f32 = 4.0;

/// How much this process uses each segment.
#[derive(Debug, Default)]
pub(crate) struct SegmentUses {
    uses: HashMap<SegmentId, SegmentUse>,
    rounds: f32,
    is_changed: bool,
}

impl SegmentUses {
    /// Takes in the reads since the last call.
    pub(crate) fn collect(&mut self, segments: &[Arc<Segment>]) {
        let hits: Vec<_> = segments.iter().map(|segment| segment.hits.swap(0, Relaxed)).collect();
        let total: u64 = hits.iter().map(|hits| u64::from(*hits)).sum();
        if total == 0 {
            return;
        }
        let pages: u64 = segments.iter().map(|segment| u64::from(segment.pages.load(Relaxed))).sum();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (rounds, hits) = (
            total as f32 / pages.max(1) as f32,
            hits.into_iter().map(|hits| hits as f32).collect::<Vec<_>>(),
        );
        for (segment, hits) in segments.iter().zip(hits) {
            self.uses.entry(segment.id).or_default().add(SegmentUse { hits, rounds });
        }
        self.rounds += rounds;
        if self.rounds >= ROUNDS_TO_FADE {
            self.rounds = 0.0;
            self.uses.values_mut().for_each(SegmentUse::fade);
        }
        self.is_changed = true;
    }

    /// The use of a segment by this process.
    pub(crate) fn of(&self, id: SegmentId) -> SegmentUse {
        self.uses.get(&id).copied().unwrap_or_default()
    }

    /// Adds what another process has seen.
    pub(crate) fn add(&mut self, other: &Self) {
        other.uses.iter().for_each(|(id, uses)| self.uses.entry(*id).or_default().add(*uses));
        self.is_changed |= !other.uses.is_empty();
    }

    /// Forgets segments that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(SegmentId) -> bool) {
        self.uses.retain(|id, _| is_there(*id));
    }

    /// Writes the file of `writer`, if something has changed.
    pub(crate) fn save(&mut self, directory: &DiskDirectory, writer: u64) -> io::Result<()> {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.uses.len() * RECORD_BYTES + 4);
        for (id, uses) in &self.uses {
            bytes.extend_from_slice(&id.writer.to_le_bytes());
            bytes.extend_from_slice(&id.number.to_le_bytes());
            bytes.extend_from_slice(&uses.hits.to_le_bytes());
            bytes.extend_from_slice(&uses.rounds.to_le_bytes());
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
            (id, SegmentUse { hits: f32::from_le_bytes(word(12)), rounds: f32::from_le_bytes(word(16)) })
        });
        // A damaged number that the checksum has missed must not make a segment immortal.
        let is_sound = |uses: &SegmentUse| uses.hits.is_finite() && uses.rounds.is_finite();
        Self { uses: uses.filter(|(_, uses)| is_sound(uses)).collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::io::SystemIo;
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_damage_is_noticed() {
        let path = tempfile::tempdir().expect("a directory");
        let directory = DiskDirectory::open(path.path(), Arc::new(SystemIo)).expect("made");
        let id = |number| SegmentId { writer: 3, number };
        let mut uses = SegmentUses { is_changed: true, ..SegmentUses::default() };
        uses.uses.insert(id(1), SegmentUse { hits: 5.0, rounds: 2.0 });
        uses.uses.insert(id(2), SegmentUse { hits: 0.5, rounds: 1.0 });
        uses.save(&directory, 9).expect("saved");
        uses.save(&directory, 9).expect("nothing to save");
        let loaded = SegmentUses::load(&directory, 9);
        assert_eq!(loaded.of(id(1)), SegmentUse { hits: 5.0, rounds: 2.0 });
        let mut sum = SegmentUses::default();
        (0..2).for_each(|_| sum.add(&loaded));
        assert_eq!(sum.of(id(2)).hits, 1.0);
        assert_eq!(SegmentUses::load(&directory, 8).uses.len(), 0, "missing");
        let file = directory.file(DiskFile::Uses(9));
        let mut bytes = std::fs::read(&file).expect("there");
        bytes[3] ^= 1;
        std::fs::write(&file, bytes).expect("written");
        assert_eq!(SegmentUses::load(&directory, 9).uses.len(), 0, "damaged");
    }
}
