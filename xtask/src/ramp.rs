//! `cargo xtask ramp`: draws how fast read-ahead comes up to the link's rate, in virtual time.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use headstart::{AccessHint, Headstart};
use headstart_bench::simulate::paused;
use headstart_sim::{LinkProfile, SimStore};
use object_store::path::Path;
use plotters::prelude::*;

const OBJECT: &str = "synthetic/1GiB/ramp";
const MIB: u64 = 1 << 20;
/// So much of the object is drawn: the ramp, and a little of what follows.
const SHOWN_MIB: u64 = 320;
/// Length of a read.
const READ: u64 = 64 * 1024;
/// Runs that teach a store that runs are long.
const LESSONS: usize = 4;

/// What to draw where.
#[derive(Debug, Args)]
pub(crate) struct RampArgs {
    /// Write the picture to this file
    #[arg(long, default_value = "docs/ramp.svg")]
    out: PathBuf,
}

/// When so many milliseconds had passed, so many MiB had been read.
type Curve = Vec<(f64, f64)>;

/// How the reader begins.
#[derive(Clone, Copy)]
enum Start {
    Cold,
    Taught,
    Announced,
}

/// Draws the picture.
pub(crate) fn run(args: &RampArgs) -> Result<()> {
    let runtime = paused()?;
    let read = |start| runtime.block_on(read_in_order(start));
    let curves = [
        ("announced", read(Start::Announced)?),
        ("unannounced, where runs have been long", read(Start::Taught)?),
        ("unannounced, nothing known", read(Start::Cold)?),
    ];
    draw(&args.out, &curves).with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("written to {}", args.out.display());
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a picture")]
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
        curve.push(((store.elapsed() - began).as_secs_f64() * 1e3, end as f64 / MIB as f64));
    }
    Ok(curve)
}

#[expect(clippy::cast_precision_loss, reason = "a picture")]
fn draw(out: &std::path::Path, curves: &[(&str, Curve)]) -> Result<()> {
    const GREY: RGBColor = RGBColor(130, 130, 130);
    const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(0, 158, 115), RGBColor(213, 94, 0)];
    let shown = SHOWN_MIB as f64;
    let most_ms = curves.iter().filter_map(|(_, curve)| curve.last()).map(|(ms, _)| *ms).fold(0.0, f64::max);
    let area = SVGBackend::new(out, (860, 460)).into_drawing_area();
    // Both on light and on dark pages.
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "1 GiB in reads of 64 KiB: 30 ms to the first byte, 60 MB/s a stream, 1,000 MB/s in all",
            ("sans-serif", 15),
        )
        .margin(14)
        .x_label_area_size(38)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..most_ms * 1.02, 0.0..shown)?;
    chart.configure_mesh().x_desc("ms").y_desc("MiB read").light_line_style(WHITE).draw()?;
    let limit = [(0.0, 0.0), (30.0, 0.0), (30.0 + shown * 1.048_576, shown)];
    chart
        .draw_series(LineSeries::new(limit, GREY.stroke_width(2)))?
        .label("the link's limit")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], GREY.stroke_width(2)));
    for ((name, curve), colour) in curves.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(curve.iter().step_by(16).copied(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    // 60 MB/s: what one stream of one GET would have read meanwhile.
    let stream = [(30.0, 0.0), (most_ms, (most_ms - 30.0) * 60e3 / MIB as f64)];
    chart
        .draw_series(DashedLineSeries::new(stream, 4, 4, GREY.stroke_width(1)))?
        .label("one plain GET, streamed")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], GREY.stroke_width(1)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(GREY)
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}
