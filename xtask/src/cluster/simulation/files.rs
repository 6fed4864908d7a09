//! The files of a simulation: keys, sizes, and how often each is read.

use anyhow::{Context, Result};
use headstart_affinity::FileKey;
use rand::{SeedableRng, distr::Distribution, rngs::StdRng};
use rand_distr::{LogNormal, Zipf};

use crate::numbers::to_float;

/// Mean size of a file in bytes.
const MEAN_BYTES: f64 = 64e6;
/// Standard deviation of the logarithm of the sizes: one file in six is larger than 2.7 times the median.
const SIGMA: f64 = 1.0;
/// Exponent of Zipf's law: the n-th file is read 1/n times as often as the first.
const EXPONENT: f64 = 1.0;

/// A file of the simulation, by its rank: 0 is read most.
pub(super) type FileRank = u32;

#[derive(Debug)]
pub(super) struct Files {
    /// In the order of their ranks.
    files: Vec<File>,
    total_bytes: u64,
}

/// What the placement sees of a file.
#[derive(Debug)]
struct File {
    key: u64,
    bytes: u64,
}

/// Shares of requests and of bytes that are served from caches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HitRatio {
    pub(super) requests: f64,
    pub(super) bytes: f64,
}

impl Files {
    /// `count` files with log-normal sizes that do not depend on how often the files are read.
    pub(super) fn new(count: u32, seed: u64) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let sizes = LogNormal::new(MEAN_BYTES.ln() - SIGMA * SIGMA / 2.0, SIGMA).context("sizes of files")?;
        let path = |n| format!("table/part-{n:08}.parquet");
        let key = |n| FileKey { store: "s3://bucket", path: &path(n), version: "", start: 0 }.hash();
        let mut file = |n| File { key: key(n), bytes: whole(sizes.sample(&mut random)).max(1) };
        let files: Vec<File> = (0..count).map(&mut file).collect();
        let total_bytes = files.iter().map(|file| file.bytes).sum();
        Ok(Self { files, total_bytes })
    }

    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub(super) fn key(&self, file: FileRank) -> u64 {
        self.files[file as usize].key
    }

    pub(super) fn bytes(&self, file: FileRank) -> u64 {
        self.files[file as usize].bytes
    }

    /// Which files are read, one after the other, without end. Reads are independent of each other.
    pub(super) fn reads(&self, seed: u64) -> Result<impl Iterator<Item = FileRank>> {
        let ranks = Zipf::new(to_float(self.count() as u64), EXPONENT).context("how often files are read")?;
        let last = self.count() as u64 - 1;
        let rank = move |rank: f64| u32::try_from((whole(rank) - 1).min(last)).unwrap_or(u32::MAX);
        Ok(ranks.sample_iter(StdRng::seed_from_u64(seed)).map(rank))
    }

    /// The most that caches of `capacity_bytes` in all can serve of these reads in expectation, for each measure.
    ///
    /// With independent reads, the chance that the next read is a hit is the sum of the chances of the files that are
    /// cached. It is greatest where the files with the greatest chance a byte are cached, each once. Parts of a file
    /// count, so that the bound holds for any sizes.
    pub(super) fn optimum(&self, capacity_bytes: u64) -> HitRatio {
        let chance = |file: usize| (to_float(file as u64) + 1.0).powf(-EXPONENT);
        let bytes = |file: usize| to_float(self.files[file].bytes);
        let mut order: Vec<usize> = (0..self.count()).collect();
        // The files come in the order of their chances. A hit in bytes weighs the file's size, a request does not.
        let by_bytes = filled(&order, capacity_bytes, bytes, |file| chance(file) * bytes(file));
        order.sort_by(|one, other| (chance(*other) / bytes(*other)).total_cmp(&(chance(*one) / bytes(*one))));
        HitRatio { requests: filled(&order, capacity_bytes, bytes, chance), bytes: by_bytes }
    }
}

/// The share of the value of all files that is in the first `capacity_bytes` of `order`.
fn filled(order: &[usize], capacity_bytes: u64, bytes: impl Fn(usize) -> f64, value: impl Fn(usize) -> f64) -> f64 {
    let (mut free_bytes, mut cached, mut total) = (to_float(capacity_bytes), 0.0, 0.0);
    for &file in order {
        cached += value(file) * (free_bytes / bytes(file)).clamp(0.0, 1.0);
        free_bytes -= bytes(file);
        total += value(file);
    }
    cached / total
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes and ranks are positive")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_by_the_law_of_zipf() {
        const SEED: u64 = 5;
        let files = Files::new(1000, SEED).expect("files");
        let mut reads = [0_u32; 1000];
        files.reads(SEED).expect("reads").take(1_000_000).for_each(|file| reads[file as usize] += 1);
        let harmonic: f64 = (1..=1000).map(|n| 1.0 / f64::from(n)).sum();
        for rank in [1_u32, 2, 10, 100] {
            let expected = 1e6 / f64::from(rank) / harmonic;
            let read = f64::from(reads[rank as usize - 1]);
            assert!((read - expected).abs() < 6.0 * expected.sqrt(), "seed {SEED}, rank {rank}: {read} of {expected}");
        }
        let mean = to_float(files.total_bytes()) / 1000.0;
        assert!((50e6..80e6).contains(&mean), "seed {SEED}: mean size {mean}");
    }

    #[test]
    fn the_optimum_fills_the_caches_with_the_best_files() {
        let file = |bytes| File { key: 1, bytes };
        let files = |bytes: [u64; 3]| Files { files: bytes.map(file).into(), total_bytes: bytes.iter().sum() };
        // Chances are 6, 3 and 2 of 11.
        let close = |ratio: HitRatio, requests: f64, bytes: f64| {
            assert!((ratio.requests - requests).abs() < 1e-9 && (ratio.bytes - bytes).abs() < 1e-9, "{ratio:?}");
        };
        close(files([10, 10, 10]).optimum(15), 7.5 / 11.0, 7.5 / 11.0);
        close(files([10, 10, 10]).optimum(30), 1.0, 1.0);
        // The first file is large: requests are served best from the others.
        close(files([100, 10, 10]).optimum(20), 5.0 / 11.0, 120.0 / 650.0);
    }
}
