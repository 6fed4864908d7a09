//! The runs of `bench`: one stack for each mode, and the same reads by each.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use headstart::object_store::{GetOptions, ObjectMeta, ObjectStore};
use headstart::{Headstart, Mode};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::policy::bench_summary::{BenchFigures, BenchMode, BenchPattern, offsets};
use crate::policy::text;
use crate::session::{Session, Site};

/// Bytes of a sequential read, and of a block that is compared with the other runs'.
pub(super) const READ_BYTES: u64 = 1 << 20;

/// Bytes of a random read.
pub(super) const RANDOM_BYTES: u64 = 64 << 10;

/// Random reads of a run, at most.
pub(super) const RANDOM_READS: usize = 150;

/// The seed of the random offsets.
const SEED: u64 = 1;

/// The runs of all modes, and the checksums that their bytes must have.
pub(super) struct BenchRuns<'a> {
    session: &'a Session,
    site: &'a Site,
    meta: ObjectMeta,
    /// Bytes of the object that are read.
    size: u64,
    /// A run ends after this time.
    run_time: Duration,
    /// Reads of the last sequential run.
    read_blocks: u64,
    sums: HashMap<(u64, u64), u32>,
    /// Blocks that had other bytes than in an earlier run.
    pub(super) differing_blocks: u64,
}

/// Blocks of [`READ_BYTES`], in words.
pub(super) fn block_sums(blocks: u64) -> String {
    text::counted(blocks, "block", "blocks")
}

/// The first so many reads of a sequential run.
fn blocks(count: u64) -> Vec<Range<u64>> {
    (0..count).map(|block| block * READ_BYTES..(block + 1) * READ_BYTES).collect()
}

/// What one run has read so far.
struct RunMeter {
    started: Instant,
    run_time: Duration,
    first_byte: Option<Duration>,
    read_bytes: u64,
    reads: u64,
}

impl RunMeter {
    fn start(run_time: Duration) -> Self {
        Self { started: Instant::now(), run_time, first_byte: None, read_bytes: 0, reads: 0 }
    }

    fn took(&mut self, bytes: u64) {
        self.first_byte.get_or_insert(self.started.elapsed());
        self.read_bytes += bytes;
        self.reads += 1;
    }

    fn is_over(&self) -> bool {
        self.started.elapsed() >= self.run_time
    }
}

impl<'a> BenchRuns<'a> {
    pub(super) fn new(session: &'a Session, site: &'a Site, meta: ObjectMeta, size: u64, run_time: Duration) -> Self {
        Self { session, site, meta, size, run_time, read_blocks: 0, sums: HashMap::new(), differing_blocks: 0 }
    }

    /// Reads in every pattern by one mode. Each pattern has a stack of its own, so that nothing is known before.
    pub(super) async fn of_mode(&mut self, mode: BenchMode) -> Result<Vec<BenchFigures>, Failure> {
        let mut figures = Vec::new();
        for pattern in [BenchPattern::Stream, BenchPattern::Sequential, BenchPattern::Random] {
            let stack = self.stack(mode).await?;
            figures.push(self.run(&stack, mode, pattern).await?);
            if mode == BenchMode::Cached && pattern == BenchPattern::Sequential {
                figures.push(self.run(&stack, mode, BenchPattern::Again).await?);
            }
        }
        Ok(figures)
    }

    async fn stack(&self, mode: BenchMode) -> Result<Headstart, Failure> {
        let mode = match mode {
            BenchMode::Raw => Mode::None,
            BenchMode::Fetch => Mode::Fetch,
            BenchMode::Adaptive => Mode::Adaptive,
            BenchMode::Cached => Mode::Cached,
        };
        // Without a disk: pages of earlier runs would be there.
        let builder = self.session.builder_without_disk().url(&self.site.store_url).mode(mode);
        builder.build().await.map_err(|error| Failure::open(&self.site.shown, &error))
    }

    async fn run(
        &mut self,
        stack: &Headstart,
        mode: BenchMode,
        pattern: BenchPattern,
    ) -> Result<BenchFigures, Failure> {
        let before = stack.stats().fetch.map(|fetch| (fetch.gets(), fetch.fetched_bytes)).unwrap_or_default();
        let mut meter = RunMeter::start(self.run_time);
        match pattern {
            BenchPattern::Stream => self.stream(stack, &mut meter).await?,
            BenchPattern::Sequential => {
                self.read(stack, blocks(self.size / READ_BYTES), &mut meter).await?;
                self.read_blocks = meter.reads;
            }
            BenchPattern::Again => self.read(stack, blocks(self.read_blocks), &mut meter).await?,
            BenchPattern::Random => {
                let offsets = offsets(SEED, self.size, RANDOM_BYTES, RANDOM_READS);
                let ranges = offsets.into_iter().map(|at| at..at + RANDOM_BYTES).collect();
                self.read(stack, ranges, &mut meter).await?;
            }
        }
        let seconds = meter.started.elapsed().as_secs_f64();
        let (gets, fetched_bytes) = match stack.stats().fetch {
            Some(after) => (after.gets() - before.0, after.fetched_bytes - before.1),
            // The bare client sends one GET a read.
            None if pattern == BenchPattern::Stream => (1, meter.read_bytes),
            None => (meter.reads, meter.read_bytes),
        };
        let first_byte_ms = meter.first_byte.unwrap_or_default().as_secs_f64() * 1e3;
        Ok(BenchFigures { mode, pattern, seconds, read_bytes: meter.read_bytes, fetched_bytes, gets, first_byte_ms })
    }

    async fn stream(&mut self, stack: &Headstart, meter: &mut RunMeter) -> Result<(), Failure> {
        let failed = |error| self.site.failure(&error);
        let options = GetOptions { range: Some((0..self.size).into()), ..self.pinned() };
        let mut body = stack.get_opts(&self.meta.location, options).await.map_err(failed)?.into_stream();
        let (mut block, mut block_bytes, mut at) = (0, 0, 0);
        while let Some(piece) = body.next().await {
            let mut piece = piece.map_err(|error| self.site.failure(&error))?;
            meter.took(piece.len() as u64);
            while !piece.is_empty() {
                let wanted = usize::try_from(READ_BYTES - block_bytes).unwrap_or(usize::MAX);
                let part = piece.split_to(piece.len().min(wanted));
                block = crc32c::crc32c_append(block, &part);
                block_bytes += part.len() as u64;
                if block_bytes == READ_BYTES {
                    self.compare(at..at + READ_BYTES, block);
                    (at, block, block_bytes) = (at + READ_BYTES, 0, 0);
                }
            }
            if meter.is_over() {
                break;
            }
        }
        Ok(())
    }

    async fn read(&mut self, stack: &Headstart, ranges: Vec<Range<u64>>, meter: &mut RunMeter) -> Result<(), Failure> {
        let reader = stack.reader_with(self.meta.clone()).map_err(|error| Failure::open(&self.site.shown, &error))?;
        for range in ranges {
            let pieces: Vec<Bytes> =
                reader.chunks_at(range.clone()).await.map_err(|error| self.site.failure(&error))?;
            meter.took(pieces.iter().map(|piece| piece.len() as u64).sum());
            let sum = pieces.iter().fold(0, |sum, piece| crc32c::crc32c_append(sum, piece));
            self.compare(range, sum);
            if meter.is_over() {
                break;
            }
        }
        Ok(())
    }

    fn pinned(&self) -> GetOptions {
        let strong = self.meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        GetOptions { if_match: strong, ..self.site.get_options() }
    }

    /// All runs must read the same bytes.
    fn compare(&mut self, range: Range<u64>, sum: u32) {
        let known = *self.sums.entry((range.start, range.end)).or_insert(sum);
        self.differing_blocks += u64::from(known != sum);
    }
}
