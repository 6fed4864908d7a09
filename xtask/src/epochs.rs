//! `cargo xtask epochs`: draws what a program fetches that reads its data again and is restarted, in virtual time.

use std::{path::Path as FilePath, path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::Args;
use headstart::Headstart;
use headstart_bench::simulate::paused;
use headstart_sim::{LinkProfile, SimStore};
use object_store::{ObjectStoreExt, path::Path};

use crate::numbers::{mebibytes, to_float};
use crate::report::panel::{frame, labelled_curves};
use crate::report::svg::{Anchor, BLUE, Canvas, GREEN, MUTED, ORANGE, Scale};
use crate::report::write;

const OBJECT: &str = "synthetic/128MiB/epochs";
const MIB: u64 = 1 << 20;
const SET_MIB: u64 = 128;
const READ: u64 = 64 * 1024;
const EPOCHS: u64 = 3;
/// Reads until the program is restarted: in the middle of the second epoch.
const RESTART: u64 = 3 * SET_MIB * MIB / READ / 2;
/// Room for the axis below.
const AXIS: f64 = 40.0;

/// What to draw where.
#[derive(Debug, Args)]
pub(crate) struct EpochsArgs {
    /// Write the picture to this file
    #[arg(long, default_value = "docs/epochs.svg")]
    out: PathBuf,
}

/// MiB fetched by each number of MiB read.
type Fetched = Vec<(f64, f64)>;

pub(crate) fn run(args: &EpochsArgs) -> Result<()> {
    let runtime = paused()?;
    let directory = tempfile::tempdir()?;
    let read = |options: &str, disk: Option<&FilePath>| runtime.block_on(read_epochs(options, disk));
    let curves = [
        ("without a cache", read("mode=fetch", None)?),
        ("memory for a quarter of the data", read("mode=cached,prefetch=off,cache.memory_bytes=32MiB", None)?),
        (
            "the same and a disk tier",
            read("mode=cached,prefetch=off,cache.memory_bytes=32MiB", Some(directory.path()))?,
        ),
    ];
    write(&args.out, &draw(curves))
}

async fn read_epochs(options: &str, disk: Option<&FilePath>) -> Result<Fetched> {
    let store = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(16).build();
    let open = || {
        let builder = Headstart::builder().environment([]).store(Arc::new(store.clone())).options_str(options);
        let builder = match disk {
            Some(directory) => builder
                .option("cache.disk_directory", directory.display().to_string())
                .option("cache.disk_bytes", "256MiB")
                .option("cache.disk_floor_bytes", "0")
                .option("cache.disk_name", "epochs"),
            None => builder,
        };
        builder.build()
    };
    let mut dice: u64 = 1;
    let mut headstart = open().await?;
    let (mut curve, mut reads) = (vec![(0.0, 0.0)], 0);
    for _ in 0..EPOCHS {
        let mut order: Vec<u64> = (0..SET_MIB * MIB / READ).collect();
        for at in (1..order.len()).rev() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, usize::try_from((dice >> 33) % (at as u64 + 1))?);
        }
        for page in order {
            if reads == RESTART {
                headstart.close().await;
                headstart = open().await?;
            }
            headstart.get_range(&Path::from(OBJECT), page * READ..(page + 1) * READ).await?;
            reads += 1;
            // The disk is real, and must keep up with virtual time.
            while headstart.stats().cache.and_then(|cache| cache.disk).is_some_and(|disk| disk.queued_bytes > 0) {
                std::thread::yield_now();
            }
            if reads % 16 == 0 {
                curve.push((mebibytes(reads * READ), mebibytes(store.log().counts().bytes_sent)));
            }
        }
    }
    Ok(curve)
}

fn draw(curves: [(&str, Fetched); 3]) -> String {
    const SIZE: (f64, f64) = (860.0, 400.0);
    let most = to_float(EPOCHS * SET_MIB);
    let across = Scale::new((0.0, most), (52.0, SIZE.0 - 14.0));
    let up = Scale::new((0.0, most), (SIZE.1 - AXIS, 46.0));
    let mut canvas = Canvas::default();
    let title = "128 MiB in shuffled reads of 64 KiB, three times, with a restart in the middle of the second";
    canvas.heading((52.0, 16.0), Anchor::Start, title);
    frame(&mut canvas, &across, &up, (46.0, SIZE.1 - AXIS), "MiB fetched", 8);
    for mib in across.ticks(8) {
        canvas.text((across.at(mib), SIZE.1 - AXIS + 14.0), Anchor::Middle, MUTED, &format!("{mib}"));
    }
    canvas.text((SIZE.0 - 14.0, SIZE.1 - 8.0), Anchor::End, MUTED, "MiB read");
    let restart = across.at(mebibytes(RESTART * READ));
    canvas.line((restart, 46.0), (restart, SIZE.1 - AXIS), MUTED, 1);
    canvas.text((restart + 6.0, SIZE.1 - AXIS - 10.0), Anchor::Start, MUTED, "restart");
    labelled_curves(&mut canvas, &across, &up, curves.into_iter().zip([ORANGE, BLUE, GREEN]));
    canvas.finish(SIZE, "MiB fetched over MiB read: without a cache, with memory, with memory and disk")
}
