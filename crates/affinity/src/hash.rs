//! Hashes of keys and workers, which other languages compute too: FNV-1a of 64 bits, and the finalizer of SplitMix64.

/// The start value of FNV-1a.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// The factor of FNV-1a.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// A file of a version, or a block of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey<'a> {
    /// The store, as all workers name it: `s3://bucket`.
    pub store: &'a str,
    /// The path of the file in the store.
    pub path: &'a str,
    /// The version or entity tag; empty where it is not known. A new version may have another owner: its bytes are in
    /// no cache.
    pub version: &'a str,
    /// The offset in bytes of the block, where a large file is divided among workers; 0 for a whole file.
    pub start: u64,
}

impl FileKey<'_> {
    /// The hash of the key: FNV-1a of the bytes `store 0 path 0 version 0 start`, with `start` as eight bytes in
    /// little-endian order.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut state = FNV_OFFSET;
        for text in [self.store, self.path, self.version] {
            state = fnv1a(fnv1a(state, text.as_bytes()), &[0]);
        }
        fnv1a(state, &self.start.to_le_bytes())
    }
}

/// The hash of a worker's id: FNV-1a.
#[must_use]
pub fn worker_hash(id: &str) -> u64 {
    fnv1a(FNV_OFFSET, id.as_bytes())
}

/// The score of a worker for a key. The highest score owns the key.
///
/// Both hashes are mixed: FNV-1a leaves similar texts with similar hashes.
#[must_use]
pub fn score(worker: u64, key: u64) -> u64 {
    mixed_score(mix(worker), key)
}

/// The [`score`] of a worker whose hash was mixed before.
pub(crate) fn mixed_score(mixed_worker: u64, key: u64) -> u64 {
    mix(mixed_worker ^ key)
}

fn fnv1a(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014), after its first addition.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_those_of_the_literature() {
        // Test vectors of FNV-1a, and the first outputs of SplitMix64 with the seed 1234567.
        assert_eq!(worker_hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(worker_hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(worker_hash("foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
        assert_eq!(mix(1_234_567_u64.wrapping_add(0x9e37_79b9_7f4a_7c15)), 3_203_168_211_198_807_973);
    }

    #[test]
    fn every_part_of_a_key_counts() {
        let key = FileKey { store: "s", path: "p", version: "v", start: 0 };
        let others = [
            FileKey { store: "sp", path: "", ..key },
            FileKey { path: "pv", version: "", ..key },
            FileKey { version: "w", ..key },
            FileKey { start: 1, ..key },
            FileKey { start: 1 << 56, ..key },
        ];
        assert!(others.iter().all(|other| other.hash() != key.hash()));
    }
}
