//! Self-describing content: every byte of an object follows from its key, version and offset.
//!
//! Word `i` of an object, eight bytes little-endian, is `x ^ (x >> 32)` with `x = seed + i · step`. A word costs one
//! addition, so bytes are generated and checked at several GB/s. No word repeats within 2⁶⁴ words.

use std::ops::Range;

use bytes::Bytes;
use headstart_fetch_core::internal::byte_range::{self, in_memory};

use crate::policy::rng::{GOLDEN, mix};

/// Bytes in a word.
const WORD: usize = 8;

/// Bytes compared at a time: large enough for vector instructions, small enough for the L1 cache.
const BLOCK: usize = 4096;

/// The bytes of one version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    seed: u64,
}

/// A byte that differs from the content of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} is {found:#04x} instead of {expected:#04x}")]
pub struct WrongByte {
    /// Offset in the object.
    pub offset: u64,
    /// The byte of the content.
    pub expected: u8,
    /// The byte that was found.
    pub found: u8,
}

impl Content {
    /// The content of version `version` of the object `key`.
    #[must_use]
    pub fn new(key: &str, version: u64) -> Self {
        let mut seed = mix(version ^ GOLDEN);
        for chunk in key.as_bytes().chunks(WORD) {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            seed = mix(seed ^ u64::from_le_bytes(word)).wrapping_add(GOLDEN);
        }
        // The length distinguishes "a" from "a\0".
        Self { seed: mix(seed ^ key.len() as u64) }
    }

    /// Fills `buf` with the bytes from `offset` on.
    pub fn fill(&self, offset: u64, buf: &mut [u8]) {
        let (index, skipped) = (offset / WORD as u64, in_memory(offset % WORD as u64));
        let lead = buf.len().min((WORD - skipped) % WORD);
        let (head, rest) = buf.split_at_mut(lead);
        head.copy_from_slice(&self.word(index)[skipped % WORD..][..lead]);
        let mut x = self.state(index + u64::from(skipped > 0));
        let mut words = rest.chunks_exact_mut(WORD);
        for word in &mut words {
            word.copy_from_slice(&(x ^ (x >> 32)).to_le_bytes());
            x = x.wrapping_add(GOLDEN);
        }
        let tail = words.into_remainder();
        let n = tail.len();
        tail.copy_from_slice(&(x ^ (x >> 32)).to_le_bytes()[..n]);
    }

    /// The bytes of `range`.
    #[must_use]
    pub fn bytes(&self, range: Range<u64>) -> Bytes {
        let mut buf = vec![0; in_memory(byte_range::len(&range))];
        self.fill(range.start, &mut buf);
        buf.into()
    }

    /// Checks that `bytes` are the bytes from `offset` on.
    ///
    /// # Errors
    /// The first [`WrongByte`].
    pub fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), WrongByte> {
        let mut expected = [0; BLOCK];
        let mut at = offset;
        for block in bytes.chunks(BLOCK) {
            let expected = &mut expected[..block.len()];
            self.fill(at, expected);
            if block != expected {
                let wrong = block.iter().zip(&*expected).zip(at..).find(|((found, expected), _)| found != expected);
                let ((&found, &expected), offset) = wrong.expect("the blocks differ");
                return Err(WrongByte { offset, expected, found });
            }
            at += block.len() as u64;
        }
        Ok(())
    }

    fn state(&self, index: u64) -> u64 {
        self.seed.wrapping_add(index.wrapping_mul(GOLDEN))
    }

    fn word(&self, index: u64) -> [u8; WORD] {
        let x = self.state(index);
        (x ^ (x >> 32)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// At this length a wrong range passes with a probability of 2⁻¹²⁸.
    const LONG_ENOUGH: usize = 16;

    #[test]
    fn the_bytes_never_change() {
        let content = Content::new("synthetic/1GiB/a", 1);
        assert_eq!(content.bytes(6..10).to_vec(), [96, 27, 219, 131]);
    }

    #[test]
    fn a_wrong_byte_says_where_and_what() {
        let content = Content::new("a", 1);
        let mut bytes = content.bytes(100..20_000).to_vec();
        bytes[9_000] ^= 1;
        let (expected, found) = (bytes[9_000] ^ 1, bytes[9_000]);
        assert_eq!(content.check(100, &bytes), Err(WrongByte { offset: 9_100, expected, found }));
    }

    #[test]
    fn every_part_of_the_name_counts() {
        let seeds: std::collections::BTreeSet<u64> =
            [("a", 1), ("a", 2), ("b", 1), ("", 1), ("a\0", 1), ("abcdefgh", 1), ("abcdefgha", 1), ("hgfedcba", 1)]
                .map(|(key, version)| Content::new(key, version).seed)
                .into();
        assert_eq!(seeds.len(), 8);
    }

    proptest! {
        #[test]
        fn pieces_equal_the_whole(start in 0_u64..1 << 40, cuts in prop::collection::vec(0_u64..40, 0..40)) {
            let content = Content::new("k", 3);
            let end = start + cuts.iter().sum::<u64>();
            let whole = content.bytes(start..end);
            let mut pieces = Vec::new();
            let mut at = start;
            for cut in cuts {
                let piece = content.bytes(at..at + cut);
                prop_assert_eq!(content.check(at, &piece), Ok(()));
                pieces.extend_from_slice(&piece);
                at += cut;
            }
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn other_bytes_are_detected(
            offset in 0_u64..1 << 40,
            len in LONG_ENOUGH..10_000,
            shift in 1_u64..1 << 30,
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let content = Content::new("k", 3);
            let range = offset..offset + len as u64;
            let mut bytes = content.bytes(range.clone()).to_vec();
            prop_assert_eq!(content.check(offset, &bytes), Ok(()));
            prop_assert!(content.check(offset + shift, &bytes).is_err(), "shifted");
            prop_assert!(Content::new("k", 4).check(offset, &bytes).is_err(), "another version");
            prop_assert!(Content::new("l", 3).check(offset, &bytes).is_err(), "another object");
            let at = at.index(len);
            bytes[at] ^= 1_u8 << bit;
            let wrong = content.check(offset, &bytes).unwrap_err();
            prop_assert_eq!((wrong.offset, wrong.found), (offset + at as u64, bytes[at]));
        }
    }
}
