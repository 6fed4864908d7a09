//! Entries: what the header of a segment, its table and its records say, as bytes.

use super::layout::{ENTRY_BYTES, ENTRY_LEN, FORMAT, SegmentId, SegmentLayout, record_bytes};

const MAGIC: [u8; 8] = *b"HEADSTRT";

/// An encoded entry or header.
pub(crate) type EntryBytes = [u8; ENTRY_LEN];

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: SegmentId,
    pub(crate) layout: SegmentLayout,
}

/// Identifies one page of one version of an object, across processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DiskKey {
    /// BLAKE3 of the store's name, the path, the version, the object's size and the size of pages.
    pub(crate) digest: [u8; 32],
    /// The page's number in its object.
    pub(crate) page: u32,
}

/// One page of a segment, as the table and the record say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageEntry {
    pub(crate) key: DiskKey,
    /// Hash of the store's name and the path: tells whether anything of an object may be here.
    pub(crate) path_tag: u32,
    /// Bytes of the page.
    pub(crate) bytes: u32,
    /// Where the record begins, in units of [`ENTRY_BYTES`].
    pub(crate) unit: u32,
    /// CRC32C of the page.
    pub(crate) crc: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> EntryBytes {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.id.writer.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.id.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.layout.bytes.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.layout.slots.to_le_bytes());
        seal(bytes)
    }

    /// The header in `bytes`; `None` where it is damaged or of another format.
    pub(crate) fn decode(bytes: &EntryBytes) -> Option<Self> {
        let is_ours = is_sealed(bytes) && bytes[..8] == MAGIC && u32_at(bytes, 8) == FORMAT;
        let id = SegmentId { writer: u64_at(bytes, 12), number: u32_at(bytes, 20) };
        let layout = SegmentLayout { bytes: u64_at(bytes, 24), slots: u32_at(bytes, 32) };
        (is_ours && layout.is_sound()).then_some(Self { id, layout })
    }
}

impl PageEntry {
    pub(crate) fn encode(&self) -> EntryBytes {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..32].copy_from_slice(&self.key.digest);
        bytes[32..36].copy_from_slice(&self.key.page.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.path_tag.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.unit.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.crc.to_le_bytes());
        seal(bytes)
    }

    /// The entry in `bytes`; `None` where none was written or it is damaged.
    pub(crate) fn decode(bytes: &EntryBytes) -> Option<Self> {
        if !is_sealed(bytes) {
            return None;
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[..32]);
        Some(Self {
            key: DiskKey { digest, page: u32_at(bytes, 32) },
            path_tag: u32_at(bytes, 36),
            bytes: u32_at(bytes, 40),
            unit: u32_at(bytes, 44),
            crc: u32_at(bytes, 48),
        })
    }

    /// Where the record begins.
    pub(crate) fn at(&self) -> u64 {
        u64::from(self.unit) * ENTRY_BYTES
    }

    /// Whether the record lies among those of a segment of this layout, and the whole page within a file of
    /// `file_bytes`.
    pub(crate) fn is_within(&self, layout: SegmentLayout, file_bytes: u64) -> bool {
        self.at() >= layout.records_start()
            && self.at() + ENTRY_BYTES + u64::from(self.bytes) <= file_bytes
            && self.at().saturating_add(record_bytes(u64::from(self.bytes))) <= layout.bytes
    }
}

impl DiskKey {
    /// 56 bits that tell pages apart, nearly always. The record has the whole key.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut low = [0; 8];
        low.copy_from_slice(&self.digest[..8]);
        // The multiplier of splitmix64: neighbouring pages of an object get unrelated fingerprints.
        let mixed = u64::from_le_bytes(low) ^ u64::from(self.page).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 8
    }
}

/// Writes the checksum of an entry to its last four bytes.
fn seal(mut bytes: EntryBytes) -> EntryBytes {
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn is_sealed(bytes: &EntryBytes) -> bool {
    crc32c::crc32c(&bytes[..60]) == u32_at(bytes, 60)
}

fn u32_at(bytes: &EntryBytes, at: usize) -> u32 {
    let mut part = [0; 4];
    part.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(part)
}

fn u64_at(bytes: &EntryBytes, at: usize) -> u64 {
    let mut part = [0; 8];
    part.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_never_written_is_no_entry() {
        assert_eq!(PageEntry::decode(&[0; 64]), None);
        assert_eq!(SegmentHeader::decode(&[0; 64]), None);
    }

    proptest! {
        #[test]
        fn entries_read_back_and_every_flipped_bit_is_noticed(
            digest: [u8; 32], page: u32, path_tag: u32, bytes: u32, unit: u32, crc: u32, bit in 0_usize..512,
        ) {
            let entry = PageEntry { key: DiskKey { digest, page }, path_tag, bytes, unit, crc };
            let mut encoded = entry.encode();
            prop_assert_eq!(PageEntry::decode(&encoded), Some(entry));
            encoded[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(PageEntry::decode(&encoded), None);
        }

        #[test]
        fn headers_read_back(writer: u64, number: u32, bit in 0_usize..512) {
            let layout = SegmentLayout::new(1 << 30, 64 << 10);
            let header = SegmentHeader { id: SegmentId { writer, number }, layout };
            let mut encoded = header.encode();
            prop_assert_eq!(SegmentHeader::decode(&encoded), Some(header));
            encoded[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SegmentHeader::decode(&encoded), None);
        }
    }
}
