//! PatternRead patterns of applications, by name.
//!
//! Names have the form `pattern[-number][-size]`, such as `seq-64k` or `interleaved-2`. [`ReadPattern::named`] lists
//! them.

use headstart_fetch_core::options::parse_bytes;

use crate::policy::rng::SeededRng;

const MIB: u64 = 1 << 20;

/// Number of reads of random patterns.
const RANDOM_READS: usize = 256;

/// A read of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PatternRead {
    /// Offset of its first byte.
    pub offset: u64,
    /// Its length in bytes; not 0.
    pub len: u64,
}

/// A sequence of reads of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPattern {
    /// Its name.
    pub name: String,
    /// Length of the object in bytes. No read ends beyond it.
    pub object_bytes: u64,
    /// The reads in order.
    pub reads: Vec<PatternRead>,
}

/// Why a pattern cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// No pattern has this name.
    #[error(
        "unknown workload '{0}': expected seq-SIZE, rand-SIZE, runs-SIZE, interleaved-STREAMS[-SIZE], reordered-SIZE, \
         strided-SIZE, backward-SIZE, backtrack-SIZE, home-SIZE, footer-SIZE, parquet, hdf5 or whole, with a SIZE such \
         as 64k or 1m"
    )]
    UnknownName(String),
    /// The object is too small for a single read.
    #[error("workload '{name}' needs an object of at least {needed_bytes} bytes, not {object_bytes}")]
    ObjectTooSmall {
        /// Name of the pattern.
        name: String,
        /// Size of the smallest object that it can read.
        needed_bytes: u64,
        /// The object's size.
        object_bytes: u64,
    },
}

impl ReadPattern {
    /// The pattern `name` on an object of `object_bytes`:
    ///
    /// | name | reads |
    /// |---|---|
    /// | `seq-64k` | from the first byte to the last, 64 KiB at a time |
    /// | `rand-64k` | 256 reads of 64 KiB at random, unaligned offsets |
    /// | `runs-64k` | runs of 4 to 40 reads of 64 KiB, each run at a random offset; 256 reads in all |
    /// | `interleaved-2[-64k]` | two sequential readers of a half of the object each, in turn; 1 MiB by default |
    /// | `reordered-64k` | from the first byte to the last, each group of four reads of 64 KiB shuffled |
    /// | `strided-64k` | 64 KiB of every 512 KiB |
    /// | `backward-64k` | from the last byte to the first |
    /// | `backtrack-64k` | blocks 1 2 3 4 2 5 6 7 5, then the same on the next seven |
    /// | `home-64k` | blocks 1 2 1 3 1 4 1 … |
    /// | `parquet` | a footer of 64 KiB, then row groups of 20 column chunks of 1 to 4 MiB, ascending, with gaps |
    /// | `hdf5` | headers, then chunks of 256 KiB in order, with an index of 3 KiB before every 57 of them |
    /// | `footer-64k` | the last 8 bytes, the 256 KiB before them, then the object, 64 KiB at a time |
    /// | `whole` | the whole object at once |
    ///
    /// `seed` decides the random choices. Sizes are parsed like options (`k` and `KiB` are 1,024 bytes).
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn named(name: &str, object_bytes: u64, seed: u64) -> Result<Self, PatternError> {
        let unknown = || PatternError::UnknownName(name.to_owned());
        let size = |text: &str| parse_bytes("size", text).ok().filter(|bytes| *bytes > 0).ok_or_else(unknown);
        let (pattern, argument) = name.split_once('-').unwrap_or((name, ""));
        let mut rng = SeededRng::new(seed);
        let (needed_bytes, reads) = match pattern {
            "whole" if argument.is_empty() => (1, at_blocks(object_bytes, object_bytes.max(1), 0..object_bytes.min(1))),
            "parquet" if argument.is_empty() => (FOOTER_BYTES, parquet(object_bytes, &mut rng)),
            "hdf5" if argument.is_empty() => (HDF5_DATA + HDF5_INDEX_BYTES + HDF5_CHUNK_BYTES, hdf5(object_bytes)),
            "interleaved" => {
                let (streams, len) = argument.split_once('-').unwrap_or((argument, "1m"));
                let streams = streams.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(unknown)?;
                (streams, interleaved(object_bytes, streams, size(len)?))
            }
            _ => {
                let len = size(argument)?;
                let blocks = || 0..object_bytes.div_ceil(len);
                let reads = match pattern {
                    "seq" => at_blocks(object_bytes, len, blocks()),
                    "backward" => at_blocks(object_bytes, len, blocks().rev()),
                    "strided" => at_blocks(object_bytes, len, blocks().step_by(8)),
                    "backtrack" => at_blocks(object_bytes, len, backtracking(blocks().end)),
                    "home" => at_blocks(object_bytes, len, blocks().skip(1).flat_map(|block| [0, block])),
                    "reordered" => at_blocks(object_bytes, len, reordered(blocks().end, &mut rng).into_iter()),
                    "footer" => footer_first(object_bytes, at_blocks(object_bytes, len, blocks())),
                    "runs" => runs(object_bytes, len, &mut rng),
                    "rand" => random(object_bytes, len, &mut rng),
                    _ => return Err(unknown()),
                };
                (if matches!(pattern, "rand" | "runs") { len } else { 1 }, reads)
            }
        };
        if object_bytes < needed_bytes || reads.is_empty() {
            let needed_bytes = needed_bytes.max(1);
            return Err(PatternError::ObjectTooSmall { name: name.to_owned(), needed_bytes, object_bytes });
        }
        Ok(Self { name: name.to_owned(), object_bytes, reads })
    }

    /// Total bytes of all reads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.reads.iter().map(|read| read.len).sum()
    }
}

/// Reads of blocks of `len` bytes, by block number; the last block of the object may be shorter.
fn at_blocks(object_bytes: u64, len: u64, blocks: impl Iterator<Item = u64>) -> Vec<PatternRead> {
    let read = |block| {
        let offset = block * len;
        PatternRead { offset, len: len.min(object_bytes - offset) }
    };
    blocks.map(read).collect()
}

fn random(object_bytes: u64, len: u64, rng: &mut SeededRng) -> Vec<PatternRead> {
    let Some(room) = object_bytes.checked_sub(len) else { return Vec::new() };
    (0..RANDOM_READS).map(|_| PatternRead { offset: rng.below(room + 1), len }).collect()
}

fn runs(object_bytes: u64, len: u64, rng: &mut SeededRng) -> Vec<PatternRead> {
    let Some(room) = object_bytes.checked_sub(len) else { return Vec::new() };
    let mut reads = Vec::new();
    while reads.len() < RANDOM_READS {
        let (start, run) = (rng.below(room + 1), 4 + rng.below(37));
        let run = (0..run).map(|n| PatternRead { offset: start + n * len, len });
        reads.extend(run.take_while(|read| read.offset + len <= object_bytes));
    }
    reads.truncate(RANDOM_READS);
    reads
}

/// All blocks in order, each group of four shuffled.
fn reordered(blocks: u64, rng: &mut SeededRng) -> Vec<u64> {
    let mut order: Vec<u64> = (0..blocks).collect();
    order.chunks_mut(4).for_each(|four| rng.shuffle(four));
    order
}

fn footer_first(object_bytes: u64, in_order: Vec<PatternRead>) -> Vec<PatternRead> {
    let tail = object_bytes.saturating_sub(8);
    let footer = tail.saturating_sub(4 * FOOTER_BYTES);
    let ends =
        [PatternRead { offset: tail, len: object_bytes - tail }, PatternRead { offset: footer, len: tail - footer }];
    ends.into_iter().filter(|read| read.len > 0).chain(in_order).collect()
}

fn interleaved(object_bytes: u64, streams: u64, len: u64) -> Vec<PatternRead> {
    let share = object_bytes / streams;
    let rounds = at_blocks(share, len, 0..share.div_ceil(len));
    rounds
        .into_iter()
        .flat_map(|read| (0..streams).map(move |stream| PatternRead { offset: stream * share + read.offset, ..read }))
        .collect()
}

fn backtracking(blocks: u64) -> impl Iterator<Item = u64> {
    (0..blocks).step_by(7).flat_map(|first| [0, 1, 2, 3, 1, 4, 5, 6, 4].map(|n| first + n)).filter(move |n| *n < blocks)
}

const FOOTER_BYTES: u64 = 64 * 1024;

fn parquet(object_bytes: u64, rng: &mut SeededRng) -> Vec<PatternRead> {
    let Some(data_bytes) = object_bytes.checked_sub(FOOTER_BYTES) else { return Vec::new() };
    let mut reads = vec![PatternRead { offset: data_bytes, len: FOOTER_BYTES }];
    // Skips the magic number at the start of a Parquet file.
    let mut offset = 4;
    loop {
        for _ in 0..20 {
            let len = MIB + rng.below(3 * MIB + 1);
            // Skips about every third column.
            offset += if rng.below(3) == 0 { MIB + rng.below(3 * MIB) } else { 0 };
            if offset + len > data_bytes {
                return reads;
            }
            reads.push(PatternRead { offset, len });
            offset += len;
        }
        // Skips page indexes and statistics between row groups.
        offset += rng.below(MIB);
    }
}

/// Where the first index of chunks is.
const HDF5_DATA: u64 = 1400;
const HDF5_INDEX_BYTES: u64 = 3136;
const HDF5_CHUNK_BYTES: u64 = 256 * 1024;
const HDF5_CHUNKS_OF_INDEX: u64 = 57;

/// The reads of h5py 3.16 (HDF5 2.0), recorded while it read a data set of 1,024 chunks in the order in which they were
/// written.
fn hdf5(object_bytes: u64) -> Vec<PatternRead> {
    let headers = [(0, 8), (0, 48), (48, 48), (96, 512), (680, 512), (136, 544), (1072, 328), (800, 512)];
    let mut reads: Vec<_> = headers.into_iter().map(|(offset, len)| PatternRead { offset, len }).collect();
    let mut offset = HDF5_DATA;
    for chunk in 0.. {
        if chunk % HDF5_CHUNKS_OF_INDEX == 0 {
            reads.push(PatternRead { offset, len: HDF5_INDEX_BYTES });
            offset += HDF5_INDEX_BYTES;
        }
        if offset + HDF5_CHUNK_BYTES > object_bytes {
            break;
        }
        reads.push(PatternRead { offset, len: HDF5_CHUNK_BYTES });
        offset += HDF5_CHUNK_BYTES;
    }
    reads.retain(|read| read.offset + read.len <= object_bytes);
    reads
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reads of a pattern as block numbers of 1 KiB.
    fn blocks(name: &str, object_kib: u64) -> Vec<u64> {
        ReadPattern::named(name, object_kib << 10, 1).unwrap().reads.iter().map(|read| read.offset >> 10).collect()
    }

    #[test]
    fn patterns_match_their_names() {
        assert_eq!(blocks("seq-1k", 4), [0, 1, 2, 3]);
        assert_eq!(blocks("backward-1k", 4), [3, 2, 1, 0]);
        assert_eq!(blocks("strided-1k", 20), [0, 8, 16]);
        assert_eq!(blocks("interleaved-2-1k", 6), [0, 3, 1, 4, 2, 5]);
        assert_eq!(blocks("backtrack-1k", 9), [0, 1, 2, 3, 1, 4, 5, 6, 4, 7, 8, 8]);
        assert_eq!(blocks("home-1k", 4), [0, 1, 0, 2, 0, 3]);
        assert_eq!(blocks("whole", 4), [0]);
        assert_eq!(blocks("footer-128k", 512), [511, 255, 0, 128, 256, 384]);
    }

    #[test]
    fn reordered_reads_stay_among_their_four() {
        let order = blocks("reordered-1k", 40);
        assert!(order.iter().zip(0..).all(|(block, place)| block / 4 == place / 4) && !order.is_sorted(), "{order:?}");
    }

    #[test]
    fn runs_are_of_4_to_40_reads() {
        let reads = ReadPattern::named("runs-1k", 1 << 30, 1).unwrap().reads;
        let runs: Vec<usize> = reads.chunk_by(|a, b| a.offset + a.len == b.offset).map(<[PatternRead]>::len).collect();
        assert!(reads.len() == 256 && runs.len() > 5, "{runs:?}");
        assert!(runs[..runs.len() - 1].iter().all(|run| (4..=40).contains(run)), "{runs:?}");
    }

    #[test]
    fn random_reads_follow_their_seed_and_are_unaligned() {
        let one = ReadPattern::named("rand-64k", 1 << 30, 1).unwrap();
        assert_eq!(one, ReadPattern::named("rand-64k", 1 << 30, 1).unwrap());
        assert_ne!(one, ReadPattern::named("rand-64k", 1 << 30, 2).unwrap());
        assert_eq!((one.reads.len(), one.bytes()), (256, 16 << 20));
        assert!(one.reads.iter().filter(|read| read.offset % 512 == 0).count() < 10);
    }

    #[test]
    fn parquet_reads_the_footer_then_ascends() {
        let pattern = ReadPattern::named("parquet", 1 << 30, 1).unwrap();
        assert_eq!(pattern.reads[0], PatternRead { offset: (1 << 30) - FOOTER_BYTES, len: FOOTER_BYTES });
        assert!(pattern.reads[1..].windows(2).all(|pair| pair[0].offset + pair[0].len <= pair[1].offset));
        let gaps = pattern.reads[1..].windows(2).filter(|pair| pair[0].offset + pair[0].len < pair[1].offset).count();
        assert!((60..=200).contains(&gaps), "{gaps} gaps in {} reads", pattern.reads.len());
    }

    #[test]
    fn hdf5_reads_an_index_before_its_chunks() {
        let reads = ReadPattern::named("hdf5", 256 << 20, 1).unwrap().reads;
        let indexes: Vec<u64> = reads.iter().filter(|read| read.len == 3136).map(|read| read.offset).collect();
        assert_eq!((indexes.len(), &indexes[..2]), (18, &[1400, 14_946_744][..]));
        assert_eq!(reads.iter().filter(|read| read.len == 256 << 10).count(), 1023);
        assert!(reads[9..].windows(2).all(|pair| pair[0].offset + pair[0].len == pair[1].offset));
    }

    #[test]
    fn unknown_names_are_refused() {
        let names = " seq seq- seq-0 seq-lots rand interleaved interleaved-0 parquet-1m whole-1k hdf5-1k zigzag-1k";
        for name in names.split(' ') {
            assert_eq!(ReadPattern::named(name, 1 << 30, 1), Err(PatternError::UnknownName(name.into())), "{name}");
        }
        for (name, needed_bytes) in [("seq-1k", 1), ("rand-1k", 1024), ("parquet", FOOTER_BYTES), ("interleaved-3", 3)]
        {
            let too_small = PatternError::ObjectTooSmall { name: name.to_owned(), needed_bytes, object_bytes: 0 };
            assert_eq!(ReadPattern::named(name, 0, 1), Err(too_small));
        }
    }

    proptest! {
        #[test]
        fn no_read_is_empty_or_beyond_the_end(
            object_bytes in 1_u64..20_000_000,
            len in 1_u64..100_000,
            seed: u64,
            streams in 1_u64..9,
        ) {
            let len = len.max(object_bytes / 1000);
            let sized = ["seq", "rand", "runs", "reordered", "strided", "backward", "backtrack", "home", "footer"];
            let others = ["parquet", "hdf5", "whole"].map(str::to_owned);
            let interleaved = format!("interleaved-{streams}-{len}");
            for name in sized.map(|name| format!("{name}-{len}")).into_iter().chain(others).chain([interleaved]) {
                let Ok(pattern) = ReadPattern::named(&name, object_bytes, seed) else { continue };
                for read in &pattern.reads {
                    prop_assert!(read.len > 0 && read.offset + read.len <= object_bytes, "{}: {:?}", name, read);
                }
                if name.starts_with("seq") || name.starts_with("backward") {
                    prop_assert_eq!(pattern.bytes(), object_bytes);
                }
            }
        }
    }
}
