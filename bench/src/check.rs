//! Checks the bytes that reads return.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use headstart_sim::{Content, FIRST_GENERATION};

/// Bytes compared at a time. The buffer is small, so that the check does not add to a run's peak memory.
const BLOCK: usize = 64 * 1024;

/// The expected bytes.
#[derive(Debug)]
pub enum Checker {
    /// Simulated objects, whose bytes follow from key, version and offset.
    Simulated,
    /// A copy of a real object, made with one plain GET.
    Copy(File),
}

/// The result of checking a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Bytes that differ from the version with the fewest differences.
    pub wrong_bytes: u64,
    /// The version of the bytes; `None` if they are wrong.
    pub version: Option<u64>,
}

impl Checker {
    /// Compares with `file`, a copy of a real object.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn copy(file: &Path) -> Result<Self> {
        Ok(Self::Copy(File::open(file).with_context(|| format!("cannot open {}", file.display()))?))
    }

    /// Checks `pieces`, which claim to be bytes of `key` from `offset` on. They are right if all of them belong to one
    /// version, from the first to `newest`.
    pub fn check<'a>(
        &self,
        key: &str,
        offset: u64,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
        newest: u64,
    ) -> Verdict {
        let wrong_in =
            |version| pieces_wrong(offset, pieces.clone(), &mut |at, bytes| self.wrong(key, version, at, bytes));
        // The newest version first, because most reads return it.
        let mut least = u64::MAX;
        for version in (FIRST_GENERATION..=newest).rev() {
            match wrong_in(version) {
                0 => return Verdict { wrong_bytes: 0, version: Some(version) },
                wrong => least = least.min(wrong),
            }
        }
        Verdict { wrong_bytes: least, version: None }
    }

    fn wrong(&self, key: &str, version: u64, offset: u64, bytes: &[u8]) -> u64 {
        match self {
            Self::Simulated => {
                let content = Content::new(key, version);
                if content.check(offset, bytes).is_ok() {
                    return 0;
                }
                differences(offset, bytes, |at, expected| {
                    content.fill(at, expected);
                    true
                })
            }
            Self::Copy(file) => differences(offset, bytes, |at, expected| read_at(file, at, expected).is_ok()),
        }
    }
}

fn pieces_wrong<'a>(
    offset: u64,
    pieces: impl Iterator<Item = &'a [u8]>,
    wrong: &mut dyn FnMut(u64, &[u8]) -> u64,
) -> u64 {
    let mut at = offset;
    let mut sum = 0;
    for piece in pieces {
        sum += wrong(at, piece);
        at += piece.len() as u64;
    }
    sum
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(into)
}

/// Counts bytes that differ from those that `fill` supplies. Bytes that `fill` cannot supply count too.
fn differences(offset: u64, bytes: &[u8], mut fill: impl FnMut(u64, &mut [u8]) -> bool) -> u64 {
    let mut expected = vec![0; BLOCK.min(bytes.len())];
    let mut at = offset;
    let mut wrong = 0;
    for block in bytes.chunks(BLOCK) {
        let expected = &mut expected[..block.len()];
        wrong +=
            if fill(at, expected) { block.iter().zip(&*expected).filter(|(a, b)| a != b).count() } else { block.len() };
        at += block.len() as u64;
    }
    wrong as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[track_caller]
    fn check(checker: &Checker, right: &[u8]) {
        let wrong =
            |offset, bytes: &[u8]| checker.check("a", offset, bytes.chunks(7_000), FIRST_GENERATION).wrong_bytes;
        assert_eq!(wrong(0, right), 0);
        assert_eq!(wrong(70_000, &right[70_000..]), 0);
        let mut bytes = right.to_vec();
        bytes[3] ^= 1;
        bytes[99_999] ^= 1;
        assert_eq!(wrong(0, &bytes), 2);
    }

    #[test]
    fn wrong_bytes_are_counted() {
        let content = Content::new("a", FIRST_GENERATION).bytes(0..100_000);
        check(&Checker::Simulated, &content);
        let mut copy = tempfile::NamedTempFile::new().unwrap();
        copy.write_all(&content).unwrap();
        check(&Checker::copy(copy.path()).unwrap(), &content);
        let missing = Checker::copy(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/at/all"));
    }

    #[test]
    fn bytes_beyond_a_copy_are_wrong() {
        let copy = tempfile::NamedTempFile::new().unwrap();
        let checker = Checker::copy(copy.path()).unwrap();
        assert_eq!(checker.check("a", 0, [&b"abc"[..]].into_iter(), FIRST_GENERATION).wrong_bytes, 3);
    }

    #[test]
    fn a_read_is_of_one_version_or_torn() {
        const OLD: u64 = FIRST_GENERATION;
        const NEW: u64 = OLD + 1;
        let [old, new] = [OLD, NEW].map(|version| Content::new("a", version).bytes(0..1000));
        let check = |pieces: &[&[u8]], newest| Checker::Simulated.check("a", 0, pieces.iter().copied(), newest);
        assert_eq!(check(&[&old], NEW), Verdict { wrong_bytes: 0, version: Some(OLD) });
        assert_eq!(check(&[&new], NEW), Verdict { wrong_bytes: 0, version: Some(NEW) });
        assert!(check(&[&new], OLD).wrong_bytes > 900, "nobody has written that version yet");
        let torn = check(&[&old[..500], &new[500..]], NEW);
        assert!(torn.wrong_bytes > 400 && torn.version.is_none(), "{torn:?}");
    }
}
