//! `cargo xtask local`: measures reads of local files by Headstart and by `object_store`'s `LocalFileSystem`.

use std::{fmt, fs, io::Write, ops::Range, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use comfy_table::{Table, presets};
use headstart::Headstart;
use headstart_sim::{Content, SeededRng};
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use tokio::time::{Duration, Instant};

use crate::{compatibility::access::collect, numbers::quantile};

const KEY: &str = "file";
const FILE_BYTES: u64 = 256 << 20;

/// The most bytes and calls of a batch.
const BATCH_BYTES: u64 = 128 << 20;
const BATCH_CALLS: u64 = 400;

/// Writing to this file drops the kernel's page cache.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// Batches of each row and store, alternating; the table shows the median of their ratios
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Seed of random offsets
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Drop the kernel's page cache before every batch
    #[arg(long)]
    cold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `get_range` in order
    Sequential(u64),
    /// `get_range` at random offsets
    Random(u64),
    /// `get_ranges` of sixteen random ranges
    Ranges(u64),
    /// `get` of the whole file, collected
    Whole,
    /// `get` of the whole file, streamed
    Stream,
}

const RANGES: usize = 16;

impl Form {
    /// The promised rate, as a multiple of `LocalFileSystem`'s.
    fn promised(self) -> f64 {
        if self == Self::Stream { 2.0 } else { 0.95 }
    }

    /// The ranges of one batch, call by call.
    fn calls(self, dice: &mut SeededRng) -> Vec<Vec<Range<u64>>> {
        let count = |len: u64| (BATCH_BYTES / len).clamp(1, BATCH_CALLS);
        let mut anywhere = |len: u64| {
            let start = dice.below(FILE_BYTES - len);
            start..start + len
        };
        match self {
            Self::Sequential(len) => (0..count(len)).map(|n| vec![n * len..(n + 1) * len]).collect(),
            Self::Random(len) => (0..count(len)).map(|_| vec![anywhere(len)]).collect(),
            Self::Ranges(len) => {
                (0..count(len * RANGES as u64)).map(|_| (0..RANGES).map(|_| anywhere(len)).collect()).collect()
            }
            Self::Whole | Self::Stream => vec![vec![0..FILE_BYTES]],
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |len: &u64| len >> 10;
        match self {
            Self::Sequential(len) => write!(f, "get_range, {} KiB, in order", kib(len)),
            Self::Random(len) => write!(f, "get_range, {} KiB, anywhere", kib(len)),
            Self::Ranges(len) => write!(f, "get_ranges, {RANGES} × {} KiB", kib(len)),
            Self::Whole => f.write_str("get, collected"),
            Self::Stream => f.write_str("get, streamed"),
        }
    }
}

/// Measures, prints the table, and fails if a promise is missed in three of four batches.
pub(crate) fn run(args: &LocalArgs) -> Result<()> {
    ensure!(args.rounds > 0, "--rounds is 0: at least one is needed");
    if args.cold && fs::write(DROP_CACHES, "1").is_err() {
        bail!("this machine does not let us drop its page cache: {DROP_CACHES} cannot be written");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &LocalArgs) -> Result<()> {
    let folder = tempfile::tempdir().context("no room for a folder")?;
    let mut file = fs::File::create(folder.path().join(KEY))?;
    let content = Content::new(KEY, 1);
    for start in (0..FILE_BYTES).step_by(1 << 20) {
        file.write_all(&content.bytes(start..start + (1 << 20)))?;
    }
    file.sync_all()?;
    let plain: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
    let url = format!("file://{}/{KEY}", folder.path().display());
    let headstart = Headstart::builder().environment([]).url(url).build().await?;
    let (here, path) = (headstart.path().clone(), Path::from(KEY));
    let ours: Arc<dyn ObjectStore> = Arc::new(headstart);

    let sizes = [4 << 10, 64 << 10, 1 << 20, 16 << 20];
    let mut forms: Vec<Form> = sizes.iter().flat_map(|len| [Form::Sequential(*len), Form::Random(*len)]).collect();
    forms.extend(sizes[..3].iter().map(|len| Form::Ranges(*len)));
    forms.extend([Form::Whole, Form::Stream]);

    let mut table = Table::new();
    let header = ["", "LocalFileSystem, MB/s", "Headstart, MB/s", "median of ratios", "their middle half", "promised"];
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    let (mut dice, mut missed) = (SeededRng::new(args.seed), Vec::new());
    for form in forms {
        let (mut ratios, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
        for round in 0..args.rounds {
            let calls = form.calls(&mut dice);
            let mut times = [Duration::ZERO; 2];
            for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                let (store, path) = [(&plain, &path), (&ours, &here)][at];
                if args.cold {
                    fs::write(DROP_CACHES, "1")?;
                }
                times[at] = batch(store, path, form, &calls, &content).await?;
            }
            let bytes: u64 = calls.iter().flatten().map(|range| range.end - range.start).sum();
            for (rates, time) in rates.iter_mut().zip(times) {
                rates.push(bytes as f64 / 1e6 / time.as_secs_f64());
            }
            ratios.push(times[0].as_secs_f64() / times[1].as_secs_f64());
        }
        let of = |values: &[f64], percent| quantile(values, percent).expect("at least one round");
        for values in rates.iter_mut().chain([&mut ratios]) {
            values.sort_by(f64::total_cmp);
        }
        let [plain, ours] = rates.each_ref().map(|rates| of(rates, 50.0));
        let [low, ratio, high] = [25.0, 50.0, 75.0].map(|percent| of(&ratios, percent));
        table.add_row([
            form.to_string(),
            format!("{plain:.0}"),
            format!("{ours:.0}"),
            format!("{ratio:.2}"),
            format!("{low:.2}–{high:.2}"),
            format!("{:.2}", form.promised()),
        ]);
        // Other load on the machine slows single batches, but not three of four.
        if high < form.promised() {
            missed.push(format!("{form}: {ratio:.3}"));
        }
    }
    let cache = if args.cold { "cold" } else { "warm" };
    println!("{table}\n\n{} batches of each, page cache {cache}, every byte checked", args.rounds);
    ensure!(missed.is_empty(), "below what is promised: {}", missed.join("; "));
    Ok(())
}

/// The time that the calls take. The bytes are checked outside of this time.
async fn batch(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    form: Form,
    calls: &[Vec<Range<u64>>],
    content: &Content,
) -> Result<Duration> {
    let mut time = Duration::ZERO;
    for ranges in calls {
        let started = Instant::now();
        let answers: Vec<(u64, Bytes)> = match (form, ranges.as_slice()) {
            (Form::Whole, _) => vec![(0, store.get(path).await?.bytes().await?)],
            (Form::Stream, _) => collect(0, store.get(path).await?.into_stream()).await?,
            (Form::Ranges(_), ranges) => {
                let parts = store.get_ranges(path, ranges).await?;
                ranges.iter().map(|range| range.start).zip(parts).collect()
            }
            (_, [range, ..]) => vec![(range.start, store.get_range(path, range.clone()).await?)],
            (_, []) => Vec::new(),
        };
        time += started.elapsed();
        let bytes: u64 = answers.iter().map(|(_, chunk)| chunk.len() as u64).sum();
        ensure!(bytes == ranges.iter().map(|range| range.end - range.start).sum::<u64>(), "{form}: {bytes} bytes");
        for (at, chunk) in answers {
            content.check(at, &chunk).map_err(|error| anyhow::anyhow!("{form}: {error}"))?;
        }
    }
    Ok(time)
}
