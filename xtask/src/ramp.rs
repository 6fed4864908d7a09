//! `cargo xtask ramp`: draws how fast read-ahead reaches the link's rate, in virtual time.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::Args;
use headstart::{AccessHint, Headstart};
use headstart_bench::simulate::paused;
use headstart_sim::{LinkProfile, SimStore};
use object_store::path::Path;

use crate::numbers::{mebibytes, to_float};
use crate::report::panel::{frame, labelled_curves, time_axis};
use crate::report::svg::{Anchor, BLUE, Canvas, GREEN, MUTED, ORANGE, RED, Scale};
use crate::report::write;

const OBJECT: &str = "synthetic/1GiB/ramp";
const MIB: u64 = 1 << 20;
/// Length of the prefix that is drawn: the ramp, and a little of what follows.
const SHOWN_MIB: u64 = 320;
/// Room for the axis of time.
const AXIS: f64 = 40.0;
const READ: u64 = 64 * 1024;
/// Sequential runs after which read-ahead expects runs in this store to be long.
const LESSONS: usize = 4;

/// What to draw where.
#[derive(Debug, Args)]
pub(crate) struct RampArgs {
    /// Write the picture to this file
    #[arg(long, default_value = "docs/ramp.svg")]
    out: PathBuf,
}

/// MiB read by each time in milliseconds.
type Curve = Vec<(f64, f64)>;

/// What read-ahead knows before the first read.
#[derive(Clone, Copy)]
enum Start {
    Cold,
    Taught,
    Announced,
}

pub(crate) fn run(args: &RampArgs) -> Result<()> {
    let runtime = paused()?;
    let read = |start| runtime.block_on(read_in_order(start));
    let curves = [
        ("announced", read(Start::Announced)?),
        ("unannounced, after long runs in the same store", read(Start::Taught)?),
        ("unannounced, nothing known", read(Start::Cold)?),
    ];
    write(&args.out, &draw(curves))
}

async fn read_in_order(start: Start) -> Result<Curve> {
    let store = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).build();
    let headstart = Headstart::builder().environment([]).store(Arc::new(store.clone())).build().await?;
    let reads = |mib: u64| (0..mib * MIB / READ).map(|n| n * READ..(n + 1) * READ);
    if matches!(start, Start::Taught) {
        for _ in 0..LESSONS {
            let reader = headstart.reader(&Path::from(OBJECT))?;
            for range in reads(1024) {
                reader.chunks_at(range).await?;
            }
        }
    }
    let reader = headstart.reader(&Path::from(OBJECT))?;
    if matches!(start, Start::Announced) {
        reader.advise(AccessHint::Sequential);
    }
    let began = store.elapsed();
    let mut curve = vec![(0.0, 0.0)];
    for range in reads(SHOWN_MIB) {
        let end = range.end;
        reader.chunks_at(range).await?;
        curve.push(((store.elapsed() - began).as_secs_f64() * 1e3, mebibytes(end)));
    }
    Ok(curve)
}

/// Draws the curves, the link's limit, and one plain GET for comparison.
fn draw(curves: [(&str, Curve); 3]) -> String {
    const SIZE: (f64, f64) = (860.0, 460.0);
    let most_ms = curves.iter().filter_map(|(_, curve)| curve.last()).map(|(ms, _)| *ms).fold(0.0, f64::max);
    let shown = to_float(SHOWN_MIB);
    let across = Scale::new((0.0, most_ms * 1.02), (52.0, SIZE.0 - 14.0));
    let up = Scale::new((0.0, shown), (SIZE.1 - AXIS, 46.0));
    let mut canvas = Canvas::default();
    let label = "MiB read over time: announced, taught and cold, beside the link's limit";
    let title = "1 GiB in reads of 64 KiB: 30 ms to the first byte, 60 MB/s a stream, 1,000 MB/s in all";
    canvas.heading((52.0, 16.0), Anchor::Start, title);
    frame(&mut canvas, &across, &up, (46.0, SIZE.1 - AXIS), "MiB read", 8);
    time_axis(&mut canvas, &across, SIZE.1 - AXIS);
    // One first byte, then 1,000 MB/s; and 60 MB/s, the rate of one stream.
    let limit = vec![(0.0, 0.0), (30.0, 0.0), (30.0 + shown * 1.048_576, shown)];
    let stream = vec![(30.0, 0.0), (most_ms, (most_ms - 30.0) * 60e3 / to_float(MIB))];
    let references = [("the link's limit", limit), ("one plain GET, streamed", stream)];
    let colours = [MUTED, ORANGE, BLUE, GREEN, RED];
    labelled_curves(&mut canvas, &across, &up, references.into_iter().chain(curves).zip(colours));
    canvas.finish(SIZE, label)
}
