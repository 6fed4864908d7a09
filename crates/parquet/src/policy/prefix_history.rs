//! What earlier files below a prefix tell about the next one: the size of their metadata, and how they were read.

use std::collections::HashMap;

/// The bytes requested from the end of a file below an unknown prefix. Bytes beyond the metadata are wasted; metadata
/// that is longer costs another round trip.
const UNKNOWN_TAIL_BYTES: u64 = 64 * 1024;
/// Learned sizes are rounded up to this many bytes: files written alike differ by a few bytes.
const TAIL_GRAIN_BYTES: u64 = 4 * 1024;
/// The most bytes requested on a guess: about two round trips of a stream of 60 MB/s.
const MOST_TAIL_BYTES: u64 = 4 * 1024 * 1024;
/// Weight of earlier files where a file has smaller metadata: 1 − 1/8.
const DECAY: u64 = 8;
/// Prefixes that are remembered. Beyond them, the one that was used longest ago is forgotten.
const MOST_PREFIXES: usize = 256;

/// What is known of one prefix.
#[derive(Debug, Clone, Copy, Default)]
struct PrefixRecord {
    tail_bytes: Option<u64>,
    /// Whether the latest reader that finished read several row groups in a row.
    was_scanned: bool,
    used: u64,
}

/// What is known of the latest prefixes.
#[derive(Debug, Default)]
pub(crate) struct PrefixHistory {
    prefixes: HashMap<String, PrefixRecord>,
    uses: u64,
}

impl PrefixHistory {
    /// The bytes to request from the end of a file below `prefix` for its metadata.
    pub(crate) fn tail_bytes(&mut self, prefix: &str) -> u64 {
        let tail_bytes = self.record(prefix).tail_bytes;
        tail_bytes.map_or(UNKNOWN_TAIL_BYTES, |bytes| bytes.next_multiple_of(TAIL_GRAIN_BYTES).min(MOST_TAIL_BYTES))
    }

    /// The metadata of a file below `prefix` was the last `bytes` of the file. A larger size counts at once, a smaller
    /// one gradually: a second round trip costs more than a few bytes.
    pub(crate) fn on_metadata(&mut self, prefix: &str, bytes: u64) {
        let record = self.record(prefix);
        let known = record.tail_bytes.unwrap_or(0);
        record.tail_bytes = Some(if bytes >= known { bytes } else { known - (known - bytes) / DECAY });
    }

    /// Whether readers of files below `prefix` read row group after row group.
    pub(crate) fn is_scanned(&mut self, prefix: &str) -> bool {
        self.record(prefix).was_scanned
    }

    /// A reader of a file below `prefix` is done. `is_scan` tells whether it went from row group to row group.
    pub(crate) fn on_reader_end(&mut self, prefix: &str, is_scan: bool) {
        self.record(prefix).was_scanned = is_scan;
    }

    fn record(&mut self, prefix: &str) -> &mut PrefixRecord {
        self.uses += 1;
        if !self.prefixes.contains_key(prefix) && self.prefixes.len() >= MOST_PREFIXES {
            let oldest = self.prefixes.iter().min_by_key(|(_, record)| record.used).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.prefixes.remove(&name));
        }
        let record = self.prefixes.entry(prefix.to_owned()).or_default();
        record.used = self.uses;
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_footer_counts_at_once_and_a_smaller_one_gradually() {
        let mut history = PrefixHistory::default();
        assert_eq!(history.tail_bytes("a"), UNKNOWN_TAIL_BYTES);
        for (bytes, expected) in [(100_000, 102_400), (180_000, 180_224), (100_000, 172_032), (100_000, 163_840)] {
            history.on_metadata("a", bytes);
            assert_eq!(history.tail_bytes("a"), expected);
        }
        history.on_metadata("a", u64::MAX / 2);
        assert_eq!(history.tail_bytes("a"), MOST_TAIL_BYTES);
        assert_eq!(history.tail_bytes("b"), UNKNOWN_TAIL_BYTES);
    }

    #[test]
    fn the_latest_reader_tells_how_the_next_one_reads() {
        let mut history = PrefixHistory::default();
        assert!(!history.is_scanned("a"));
        history.on_reader_end("a", true);
        assert!(history.is_scanned("a") && !history.is_scanned("b"));
        history.on_reader_end("a", false);
        assert!(!history.is_scanned("a"));
    }

    #[test]
    fn the_prefix_that_was_used_longest_ago_is_forgotten() {
        let mut history = PrefixHistory::default();
        for n in 0..MOST_PREFIXES {
            history.on_reader_end(&n.to_string(), true);
        }
        assert!(history.is_scanned("0"));
        history.on_reader_end("new", true);
        assert!(history.is_scanned("0") && !history.is_scanned("1"));
        assert_eq!(history.prefixes.len(), MOST_PREFIXES);
    }
}
