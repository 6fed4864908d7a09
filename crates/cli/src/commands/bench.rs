//! `bench`: what reads of one object gain on this link, in under a minute.

mod run;

use std::time::Duration;

use clap::Args;
use headstart::object_store::ObjectStore;

use self::run::{BenchRuns, block_sums};
use super::consent::{self, MeasurementLimits};
use crate::failure::{Failure, FailureKind};
use crate::policy::bench_summary::{BenchFigures, BenchMode, sentences, table};
use crate::policy::text;
use crate::progress::Progress;
use crate::session::Session;

/// Three patterns in each of four modes, and what the cache has once more.
const RUNS: u32 = 13;

/// The most bytes of the object that a run reads.
const MOST_BYTES: u64 = 256 << 20;

#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// URL of an object; the larger the better, up to 256 MiB
    url: String,
    /// Go on without asking
    #[arg(short, long)]
    yes: bool,
    /// The most that each of the 13 runs takes
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = parse_seconds)]
    seconds: Duration,
}

/// Reads a time of a run.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected 0.05 to 600 seconds".to_owned()),
    }
}

/// Measures reads of one object.
pub(crate) async fn run(session: &Session, args: &BenchArgs) -> Result<(), Failure> {
    let site = session.site(&args.url).await?;
    site.check_one_of_bucket()?;
    let meta = site.stack.get_opts(&site.path, site.head_options()).await.map_err(|error| site.failure(&error))?.meta;
    let size = meta.size.min(MOST_BYTES);
    if size < run::READ_BYTES {
        let what =
            format!("{} has only {}. Name an object of some MiB, better 256.", site.shown, text::size(meta.size));
        return Err(Failure::usage(what));
    }
    consent::ask(session, &args.url, limits(size, args.seconds), args.yes).await?;
    let progress = Progress::of_items(&session.output, "runs");
    let mut runs = BenchRuns::new(session, &site, meta, size, args.seconds);
    let mut figures: Vec<BenchFigures> = Vec::new();
    for mode in BenchMode::ALL {
        progress.say(format!("runs; now mode {}", mode.name()));
        for measured in runs.of_mode(mode).await? {
            if session.output.is_json() {
                session.output.line(String::new, &measured)?;
            }
            figures.push(measured);
            progress.add(1);
        }
    }
    progress.end();
    if runs.differing_blocks > 0 {
        let blocks = block_sums(runs.differing_blocks);
        let what = format!(
            "{} gave other bytes in {blocks} than before: it changed meanwhile, or bytes are damaged.",
            site.shown
        );
        return Err(Failure::new(FailureKind::Different, what));
    }
    if session.output.is_json() {
        return Ok(());
    }
    let said = sentences(&figures).join("\n");
    session.output.line(|| format!("{}\n{said}", table(&figures)), &())
}

/// The most that all runs send and read.
fn limits(size: u64, run_time: Duration) -> MeasurementLimits {
    let modes = BenchMode::ALL.len() as u64;
    // Streams and sequential reads, whose GETs have at least 1 MiB, and what read-ahead may waste.
    let requests = 2 * size.div_ceil(run::READ_BYTES) + run::RANDOM_READS as u64;
    let bytes = 2 * size + run::RANDOM_READS as u64 * run::RANDOM_BYTES * 3 + size / 4;
    MeasurementLimits { requests: modes * requests + 1, bytes: modes * bytes, time: run_time * RUNS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_runs_take_less_than_a_minute() {
        let limits = limits(MOST_BYTES, Duration::from_secs(4));
        assert!(limits.time.as_secs() < 60 && limits.bytes < 3 << 30 && limits.requests < 3000, "{limits:?}");
    }
}
