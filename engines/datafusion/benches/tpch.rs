//! Times of TPC-H's 22 queries over a simulated bucket by the real S3 client, with and without Headstart, and over
//! local files, which show what the queries cost without a network.
//!
//! `cargo xtask engines --measure`, or `cargo bench -p headstart-datafusion --bench tpch -- [--scale 1] [--link gcs]`

#![allow(clippy::unwrap_used, reason = "the first error ends the measurement")]

use std::time::Duration;

use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use headstart_datafusion::HeadstartRegistry;
use headstart_sim::LinkProfile;

#[path = "../tests/engine/common.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod common;
#[path = "../tests/engine/tpch/data.rs"]
mod data;
#[path = "../tests/engine/tpch/queries.rs"]
mod queries;
#[path = "../tests/engine/tpch/runs.rs"]
mod runs;

use common::Bucket;
use queries::QUERIES;

/// Enough for all tables at scale 1, which are 330 MB.
const CACHE_BYTES: &str = "640MiB";
const MEMORY_BYTES: &str = "1152MiB";

/// The value after `--name`.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| *argument != format!("--{name}")).nth(1)
}

fn registry(bucket: &Bucket, mode: &str) -> Result<HeadstartRegistry> {
    let registry = bucket.registry(mode);
    match mode {
        "cached" => registry.with_option("memory_bytes", MEMORY_BYTES)?.with_option("cache.memory_bytes", CACHE_BYTES),
        _ => Ok(registry),
    }
}

/// What the passes are called.
const PASSES: [&str; 5] = ["local files", "client alone", "headstart", "cached, first", "cached, again"];

/// A query in a pass.
#[derive(Clone, Copy, Default)]
struct Run {
    took: Duration,
    gets: u64,
    sent_bytes: u64,
}

impl Run {
    fn ms(self) -> f64 {
        self.took.as_secs_f64() * 1e3
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let scale: f64 = argument("scale").map_or(1.0, |scale| scale.parse().expect("--scale takes a number"));
    let link = argument("link").unwrap_or_else(|| "gcs".to_owned());
    let profile: LinkProfile = link.parse().expect("--link takes the name of a profile");
    let repeats: usize = argument("repeats").map_or(1, |times| times.parse().expect("--repeats takes a number"));

    let folder = data::folder(scale);
    let bucket = Bucket::start(profile);
    runs::files(&folder).for_each(|(path, bytes)| bucket.put(&format!("tpch/{path}"), bytes, 0));
    let local = SessionContext::new_with_config(runs::session_config());
    runs::create_tables(&local, &folder.display().to_string()).await?;
    let plain = SessionContext::new_with_config(runs::session_config());
    bucket.register_client(&plain);
    runs::create_tables(&plain, "s3://bucket/tpch").await?;
    let [adaptive, cached] =
        [runs::session(registry(&bucket, "adaptive")?).await?, runs::session(registry(&bucket, "cached")?).await?];

    println!("\nTPC-H at scale {scale} over '{link}': milliseconds (the least of {repeats}) and GETs\n");
    println!("| query | {} | times | GETs: {} |", PASSES.join(" | "), PASSES[1..].join(", "));
    println!("|---|{}---|---|", "---|".repeat(PASSES.len()));
    let mut totals = [Run::default(); PASSES.len()];
    let mut slowest = (f64::INFINITY, 0);
    for number in 1..=QUERIES {
        let mut runs = [Run::default(); PASSES.len()];
        let mut expected = None;
        for (pass, context) in [&local, &plain, &adaptive, &cached, &cached].into_iter().enumerate() {
            // The first run with a cache is the only one that is the first.
            let repeats = if pass == 3 { 1 } else { repeats };
            let mut least: Option<Run> = None;
            for _ in 0..repeats {
                bucket.server.log().clear();
                let (found, took) = runs::run(context, number, scale).await?;
                let counts = bucket.server.log().counts();
                assert_eq!(&found, expected.get_or_insert_with(|| found.clone()), "query {number}, {}", PASSES[pass]);
                let run = Run { took, gets: counts.gets, sent_bytes: counts.bytes_sent };
                least = least.filter(|least| least.took <= took).or(Some(run));
            }
            runs[pass] = least.unwrap_or_default();
        }
        let times = runs[1].ms() / runs[2].ms();
        slowest = if times < slowest.0 { (times, number) } else { slowest };
        row(&number.to_string(), &runs);
        for (total, run) in totals.iter_mut().zip(runs) {
            total.took += run.took;
            total.gets += run.gets;
            total.sent_bytes += run.sent_bytes;
        }
    }
    row("all", &totals);
    println!("\nleast gain: {:.2} times, query {}", slowest.0, slowest.1);
    let sent: Vec<_> = totals[1..].iter().map(|run| format!("{:.0}", run.sent_bytes as f64 / 1e6)).collect();
    println!("MB sent: {}", sent.join(", "));
    Ok(())
}

fn row(name: &str, runs: &[Run; PASSES.len()]) {
    let ms: Vec<_> = runs.iter().map(|run| format!("{:.0}", run.ms())).collect();
    let gets: Vec<_> = runs[1..].iter().map(|run| run.gets.to_string()).collect();
    println!("| {name} | {} | {:.2} | {} |", ms.join(" | "), runs[1].ms() / runs[2].ms(), gets.join(", "));
}
