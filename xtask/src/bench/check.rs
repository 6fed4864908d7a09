//! Tells right bytes from wrong ones.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use headstart_sim::{Content, FIRST_GENERATION};

/// Bytes compared at a time: the check must not show in a run's peak memory.
const BLOCK: usize = 64 * 1024;

/// What the bytes are compared with.
#[derive(Debug)]
pub(crate) enum Checker {
    /// The simulated object: what a byte is follows from key and offset.
    Content(Content),
    /// A copy of a real object that one plain GET made.
    Copy(File),
}

impl Checker {
    /// For an object of the simulation.
    pub(crate) fn simulated(key: &str) -> Self {
        Self::Content(Content::new(key, FIRST_GENERATION))
    }

    /// For a real object of which `file` is a copy.
    pub(crate) fn copy(file: &Path) -> Result<Self> {
        Ok(Self::Copy(File::open(file).with_context(|| format!("cannot open {}", file.display()))?))
    }

    /// How many of `bytes`, which claim to start at `offset`, are wrong.
    pub(crate) fn wrong_bytes(&mut self, offset: u64, bytes: &[u8]) -> u64 {
        match self {
            Self::Content(content) if content.check(offset, bytes).is_ok() => 0,
            Self::Content(content) => compare(offset, bytes, |at, expected| {
                content.fill(at, expected);
                true
            }),
            Self::Copy(file) => compare(offset, bytes, |at, expected| {
                file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(expected)).is_ok()
            }),
        }
    }
}

/// Counts the bytes that differ from what `fill` says; all that it cannot tell count too.
fn compare(offset: u64, bytes: &[u8], mut fill: impl FnMut(u64, &mut [u8]) -> bool) -> u64 {
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
    fn check(checker: &mut Checker, right: &[u8]) {
        assert_eq!(checker.wrong_bytes(0, right), 0);
        assert_eq!(checker.wrong_bytes(70_000, &right[70_000..]), 0);
        let mut bytes = right.to_vec();
        bytes[3] ^= 1;
        bytes[99_999] ^= 1;
        assert_eq!(checker.wrong_bytes(0, &bytes), 2);
    }

    #[test]
    fn wrong_bytes_are_counted() {
        let content = Content::new("a", FIRST_GENERATION).bytes(0..100_000);
        check(&mut Checker::simulated("a"), &content);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let mut copy = Checker::copy(file.path()).unwrap();
        check(&mut copy, &content);
        assert_eq!(copy.wrong_bytes(99_990, &[0; 20]), 20, "bytes past the end of the object");
    }
}
