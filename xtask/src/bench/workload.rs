//! What is read: the order and size of the reads.

use std::fmt;
use std::ops::Range;

use clap::ValueEnum;
use headstart_sim::{Trace, TraceError};
use serde::{Deserialize, Serialize};

/// An order of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Workload {
    /// From the first byte to the last, 64 KiB at a time
    #[value(name = "seq-64k")]
    #[serde(rename = "seq-64k")]
    Seq64k,
    /// From the first byte to the last, 1 MiB at a time
    #[value(name = "seq-1m")]
    #[serde(rename = "seq-1m")]
    Seq1m,
    /// From the first byte to the last, 16 MiB at a time
    #[value(name = "seq-16m")]
    #[serde(rename = "seq-16m")]
    Seq16m,
    /// 64 KiB anywhere
    #[value(name = "rand-64k")]
    #[serde(rename = "rand-64k")]
    Rand64k,
    /// 1 MiB anywhere, unaligned
    #[value(name = "rand-1m")]
    #[serde(rename = "rand-1m")]
    Rand1m,
    /// Both halves of the object in order, by turns, 1 MiB at a time, through one handle
    #[value(name = "interleaved-2")]
    #[serde(rename = "interleaved-2")]
    Interleaved2,
}

impl Workload {
    /// Whether each read begins where the last one ended.
    pub(crate) fn is_sequential(self) -> bool {
        matches!(self, Self::Seq64k | Self::Seq1m | Self::Seq16m)
    }

    /// Whether only some of the object is read.
    pub(crate) fn is_random(self) -> bool {
        matches!(self, Self::Rand64k | Self::Rand1m)
    }

    /// The reads of an object of `size` bytes, in order.
    pub(crate) fn trace(self, size: u64, seed: u64) -> Result<Vec<Range<u64>>, TraceError> {
        let mut reads = Trace::named(&self.to_string(), size, seed)?.reads;
        reads.truncate(self.most_reads());
        Ok(reads.into_iter().map(|read| read.offset..read.offset + read.len).collect())
    }

    /// Of reads without an end as many as take about a second on an ordinary link: more of them tell nothing new.
    fn most_reads(self) -> usize {
        match self {
            Self::Rand64k => 32,
            Self::Rand1m => 24,
            _ => usize::MAX,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no workload is hidden").get_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn all_but_random_reads_cover_every_byte_once() {
        for workload in Workload::value_variants() {
            let mut reads = workload.trace(64 * MIB, 1).unwrap();
            reads.sort_by_key(|read| read.start);
            let end = reads.iter().try_fold(0, |at, read| (read.start == at).then_some(read.end));
            assert_eq!(end == Some(64 * MIB), !workload.is_random(), "{workload}");
        }
    }

    #[test]
    fn sequential_means_that_reads_follow_each_other() {
        for workload in Workload::value_variants() {
            let reads = workload.trace(64 * MIB, 1).unwrap();
            let follow = reads.windows(2).all(|pair| pair[0].end == pair[1].start);
            assert_eq!(workload.is_sequential(), follow, "{workload}");
        }
    }
}
