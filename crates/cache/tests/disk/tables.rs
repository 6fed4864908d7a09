//! The format of segments, read and written by the tests' own code: which pages a directory must have.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) const ENTRY: usize = 64;
pub(crate) const HEADER: u64 = 4096;

/// Bytes of an entry that name a page.
pub(crate) type Key = [u8; 36];

/// What a segment's file says.
pub(crate) struct Table {
    pub(crate) slots: u32,
    /// The whole entries: the name of the page and the place of its record.
    pub(crate) entries: Vec<(Key, u64)>,
}

/// Writes the checksum at the end of a header or entry.
pub(crate) fn seal(entry: &mut [u8; ENTRY]) {
    let crc = crc32c::crc32c(&entry[..60]);
    entry[60..].copy_from_slice(&crc.to_le_bytes());
}

fn is_sealed(entry: &[u8]) -> bool {
    crc32c::crc32c(&entry[..60]) == u32_at(entry, 60)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The table of a segment; `None` where the file has no header.
pub(crate) fn read(path: &Path) -> Option<Table> {
    let file = File::open(path).ok()?;
    let mut header = [0; ENTRY];
    file.read_exact_at(&mut header, 0).ok()?;
    if !is_sealed(&header) || header[..8] != *b"HEADSTRT" {
        return None;
    }
    let slots = u32_at(&header, 32);
    let mut table = vec![0; slots as usize * ENTRY];
    let read = file.read_at(&mut table, HEADER).ok()?;
    let entries = table[..read].chunks_exact(ENTRY).filter(|entry| is_sealed(entry));
    let entries = entries.map(|entry| (entry[..36].try_into().unwrap(), u64::from(u32_at(entry, 44)) * ENTRY as u64));
    Some(Table { slots, entries: entries.collect() })
}

/// The pages of the segments with this `extension`: their names, and how many there are with doubles.
pub(crate) fn pages(directory: &Path, extension: &str) -> (HashSet<Key>, usize) {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let of_segments = files.filter(|path| path.extension().is_some_and(|found| found == extension));
    let keys: Vec<Key> =
        of_segments.filter_map(|path| read(&path)).flat_map(|table| table.entries).map(|one| one.0).collect();
    (keys.iter().copied().collect(), keys.len())
}

/// Makes a full segment of pages that nobody knows, with holes in place of their bytes. Returns how many pages.
pub(crate) fn write_hollow(directory: &Path, number: u32, bytes: u64, page: u64) -> u64 {
    let (writer, slots) = (0xabc_u64, u32::try_from(2 * (bytes / page)).unwrap());
    let file = File::create(directory.join(format!("{writer:016x}-{number:08x}.segment"))).unwrap();
    file.set_len(bytes).unwrap();
    let mut header = [0; ENTRY];
    header[..8].copy_from_slice(b"HEADSTRT");
    header[8..12].copy_from_slice(&1_u32.to_le_bytes());
    header[12..20].copy_from_slice(&writer.to_le_bytes());
    header[20..24].copy_from_slice(&number.to_le_bytes());
    header[24..32].copy_from_slice(&bytes.to_le_bytes());
    header[32..36].copy_from_slice(&slots.to_le_bytes());
    seal(&mut header);
    file.write_all_at(&header, 0).unwrap();
    let start = (HEADER + u64::from(slots) * ENTRY as u64).next_multiple_of(HEADER);
    let pages = (bytes - start) / (page + ENTRY as u64);
    let mut table = Vec::new();
    for n in 0..pages {
        let mut entry = [0; ENTRY];
        // A hundred pages an object.
        let object = u64::from(number) * 1000 + n / 100;
        entry[..32].copy_from_slice(blake3::hash(&object.to_le_bytes()).as_bytes());
        entry[32..36].copy_from_slice(&u32::try_from(n).unwrap().to_le_bytes());
        entry[36..40].copy_from_slice(&u32::try_from(object).unwrap().wrapping_mul(2_654_435_761).to_le_bytes());
        entry[40..44].copy_from_slice(&u32::try_from(page).unwrap().to_le_bytes());
        let unit = (start + n * (page + ENTRY as u64)) / ENTRY as u64;
        entry[44..48].copy_from_slice(&u32::try_from(unit).unwrap().to_le_bytes());
        seal(&mut entry);
        table.extend_from_slice(&entry);
    }
    file.write_all_at(&table, HEADER).unwrap();
    pages
}
