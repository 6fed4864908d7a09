//! Random reads, seeks, hints and overwrites through all layers: every byte is right, or the error `ObjectChanged`.

use std::{io::SeekFrom, ops::Range};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headstart::{AccessHint, CacheConfig, Freshness, Headstart, Reader};
use headstart_fetch_core::ObjectChanged;
use headstart_sim::{Content, SeededRng};
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{BackendServer, Bucket, stack::splitting};

const KEY: &str = "dir/object";

/// Sizes that end within a page and at its end.
const SIZES: [u64; 3] = [700_001, 512 * 1024, 300_000];

/// One of this many steps writes a new version.
const STEPS_A_WRITE: u64 = 100;

struct RandomRun {
    headstart: Headstart,
    bucket: Bucket,
    has_suffixes: bool,
    dice: SeededRng,
    /// The number and size of the current version.
    present: (u64, u64),
    reader: Option<Snapshot>,
    steps: u64,
    writes: u64,
    changed: u64,
}

/// A reader, and the versions that it can be on.
struct Snapshot {
    reader: Reader,
    /// The version at its opening and those written since, if they agree with the bytes that the reader returned.
    may_be: Vec<(u64, u64)>,
    /// Whether there was a write since the reader was opened.
    overwritten: bool,
}

/// Runs `steps` random steps and returns a summary.
pub(super) async fn run(server: &BackendServer, steps: u64, seed: u64) -> Result<String> {
    let bucket = server.bucket().await?;
    let cache = CacheConfig {
        freshness: Freshness::EveryRead,
        pin: Some(bucket.profile.pin),
        memory_bytes: 8 << 20,
        page_bytes: 16 << 10,
        ..CacheConfig::default()
    };
    let headstart = bucket.headstart().fetch(splitting(&bucket, true)).cache(cache).build().await?;
    let mut run = RandomRun {
        headstart,
        bucket,
        has_suffixes: server.backend.has_suffixes(),
        dice: SeededRng::new(seed),
        present: (0, 0),
        reader: None,
        steps: 0,
        writes: 0,
        changed: 0,
    };
    run.write().await?;
    while run.steps < steps {
        run.steps += 1;
        let step = run.steps;
        run.step().await.with_context(|| format!("{}, seed {seed}, step {step}", server.backend))?;
    }
    Ok(format!(
        "{} random steps with {} overwrites: every byte right, {} times the object had changed (seed {seed})",
        run.steps, run.writes, run.changed
    ))
}

impl RandomRun {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice.below(sides)
    }

    fn range(&mut self) -> Range<u64> {
        self.range_of(self.present.1)
    }

    fn range_of(&mut self, size: u64) -> Range<u64> {
        let start = self.roll(size);
        start..(start + 1 + self.roll(100_000)).min(size)
    }

    /// Writes a new version, through the stack or out of band.
    async fn write(&mut self) -> Result<()> {
        self.writes += 1;
        let version = (self.writes, SIZES[usize::try_from(self.roll(3))?]);
        let bytes = Content::new(KEY, version.0).bytes(0..version.1);
        let behind = self.roll(2) == 0;
        let store: &dyn ObjectStore = if behind { &*self.bucket.store } else { &self.headstart };
        store.put(&KEY.into(), bytes.into()).await.context("the write")?;
        self.present = version;
        if let Some(snapshot) = &mut self.reader {
            snapshot.may_be.push(version);
            snapshot.overwritten = true;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<()> {
        if self.roll(STEPS_A_WRITE) == 0 {
            return self.write().await;
        }
        match self.roll(10) {
            0..=4 => self.read_by_handle().await,
            5..=6 => {
                let range = self.range();
                let bytes = self.headstart.get_range(&KEY.into(), range.clone()).await?;
                check(self.present, &range, &[bytes])
            }
            7 => {
                let ranges: Vec<_> = (0..=self.roll(4)).map(|_| self.range()).collect();
                let parts = self.headstart.get_ranges(&KEY.into(), &ranges).await?;
                ensure!(parts.len() == ranges.len(), "{} parts of {}", parts.len(), ranges.len());
                ranges.iter().zip(parts).try_for_each(|(range, part)| check(self.present, range, &[part]))
            }
            8 => {
                let (range, expected) = match (self.roll(2), self.range()) {
                    (0, range) => (GetRange::Offset(range.start), range.start..self.present.1),
                    (_, range) => (GetRange::Suffix(range.end), self.present.1 - range.end..self.present.1),
                };
                let suffix = matches!(range, GetRange::Suffix(_));
                let options = GetOptions::new().with_range(Some(range));
                let answer = self.headstart.get_opts(&KEY.into(), options).await;
                if !self.has_suffixes && matches!((suffix, &answer), (true, Err(Error::NotSupported { .. }))) {
                    return Ok(());
                }
                let bytes = answer?.bytes().await?;
                check(self.present, &expected, &[bytes])
            }
            _ => {
                let meta = self.headstart.head(&KEY.into()).await?;
                ensure!(meta.size == self.present.1, "{} bytes, not {}", meta.size, self.present.1);
                Ok(())
            }
        }
    }

    /// Reads from a handle, which stays on one version.
    async fn read_by_handle(&mut self) -> Result<()> {
        let mut snapshot = match self.reader.take() {
            Some(snapshot) if self.roll(50) != 0 => snapshot,
            _ => Snapshot {
                reader: self.headstart.reader(&Path::from(KEY))?,
                may_be: vec![self.present],
                overwritten: false,
            },
        };
        // Within all versions that the reader can be on, so that every byte can be compared.
        let size = snapshot.may_be.iter().map(|(_, size)| *size).min().unwrap_or_default();
        let range = self.range_of(size);
        let (how, step) = (self.roll(8), 1 + self.roll(60_000));
        let read = snapshot.some(range, how, step).await;
        let error = match read {
            Ok(()) => {
                self.reader = Some(snapshot);
                return Ok(());
            }
            Err(error) => error,
        };
        // The error is only correct after an overwrite.
        let typed = error.downcast_ref::<Error>().is_some_and(|error| ObjectChanged::find(error).is_some());
        if typed && snapshot.overwritten {
            self.changed += 1;
            return Ok(());
        }
        Err(error.context(format!("a reader of {:?}", snapshot.may_be)))
    }
}

impl Snapshot {
    async fn some(&mut self, range: Range<u64>, how: u64, step: u64) -> Result<()> {
        match how {
            0 => self.reader.advise(AccessHint::Sequential),
            1 => self.reader.advise(AccessHint::Random),
            2 => self.reader.advise(AccessHint::WillNeed(vec![range.clone()])),
            3 => self.reader.advise(AccessHint::Normal),
            4 => {
                let start = range.start;
                self.reader.seek(SeekFrom::Start(start)).await.map_err(store_error)?;
                for _ in 0..3 {
                    let mut bytes = vec![0; usize::try_from(step)?];
                    let at = self.reader.stream_position().await?;
                    let read = self.reader.read(&mut bytes).await.map_err(store_error)?;
                    bytes.truncate(read);
                    let ended = self.may_be.iter().any(|(_, size)| *size <= at);
                    ensure!(read > 0 || ended, "nothing at byte {at} of {:?}", self.may_be);
                    self.check(&(at..at + read as u64), &[bytes.into()])?;
                }
                return Ok(());
            }
            _ => {}
        }
        let chunks = self.reader.chunks_at(range.clone()).await?;
        // The range lies within every version.
        self.check(&range, &chunks)
    }

    /// Checks that one version explains `chunks`, and keeps the versions that do.
    fn check(&mut self, range: &Range<u64>, chunks: &[Bytes]) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let before = self.may_be.clone();
        self.may_be.retain(|version| check(*version, range, chunks).is_ok());
        ensure!(!self.may_be.is_empty(), "bytes {range:?} are of none of the versions {before:?}");
        Ok(())
    }
}

/// The store's error inside an I/O error.
fn store_error(error: std::io::Error) -> anyhow::Error {
    match error.downcast::<Error>() {
        Ok(error) => error.into(),
        Err(error) => error.into(),
    }
}

fn check((number, size): (u64, u64), range: &Range<u64>, chunks: &[Bytes]) -> Result<()> {
    ensure!(range.end <= size, "{range:?} of {size} bytes");
    let content = Content::new(KEY, number);
    let mut at = range.start;
    for chunk in chunks {
        content.check(at, chunk).map_err(|error| anyhow::anyhow!("{error}"))?;
        at += chunk.len() as u64;
    }
    ensure!(at == range.end, "{} bytes of {range:?}", at - range.start);
    Ok(())
}
