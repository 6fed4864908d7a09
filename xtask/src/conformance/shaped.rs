//! Measures reads over hadro with 40 to 60 ms to the first byte and 20 MB/s a stream.
//!
//! The times are wall time, so CI does not run it. CI's gates are counts of the simulated cloud.

use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use headstart::Headstart;
use headstart_sim::{Content, ReadPattern};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::time::{Duration, Instant};

use crate::numbers::quantile;
use crate::servers::{HowToRead, LinkShape, RunningServer, ServerKind};

const BUCKET: &str = "bucket";
const KEY: &str = "object";
const OBJECT_BYTES: u64 = 128 << 20;

/// The promises, as multiples of a plain loop's rate for sequential reads, and of its time for random ones.
const SEQUENTIAL_AT_LEAST: f64 = 8.0;
const RANDOM_AT_MOST: f64 = 1.05;

const ROUNDS: usize = 3;

pub(super) async fn run(seed: u64) -> Result<()> {
    let shape = LinkShape { latency_ms: 40, jitter_ms: 20, stream_mb_per_s: Some(20) };
    let server = RunningServer::start(ServerKind::Hadro, shape).await?;
    server.make_bucket(BUCKET).await?;
    server.write(BUCKET, KEY, Content::new(KEY, 1).bytes(0..OBJECT_BYTES)).await?;
    println!("hadro: 40 to 60 ms to the first byte, 20 MB/s a stream; medians of {ROUNDS}, the order in turn");
    let mut kept = true;
    for read in server.how_to_read(BUCKET, KEY) {
        for (workload, reads) in [("seq-1m", 128), ("rand-1m", 48)] {
            let mut trace = ReadPattern::named(workload, OBJECT_BYTES, seed)?;
            trace.reads.truncate(reads);
            let (mut raw, mut ours) = (Vec::new(), Vec::new());
            for round in 0..ROUNDS {
                for mode in if round % 2 == 0 { ["none", "adaptive"] } else { ["adaptive", "none"] } {
                    let time = time(&read, mode, &trace).await?;
                    (if mode == "none" { &mut raw } else { &mut ours }).push(time);
                }
            }
            let (raw, ours) = (median(raw), median(ours));
            let faster = raw.as_secs_f64() / ours.as_secs_f64();
            let (promised, holds) = match workload {
                "seq-1m" => (format!("at least {SEQUENTIAL_AT_LEAST}"), faster >= SEQUENTIAL_AT_LEAST),
                _ => (format!("at least {:.2}", 1.0 / RANDOM_AT_MOST), faster >= 1.0 / RANDOM_AT_MOST),
            };
            let [raw, ours] = [raw, ours].map(|time| time.as_secs_f64() * 1e3);
            let rates = format!("raw {raw:.0} ms, headstart {ours:.0} ms: {faster:.2} ×");
            println!("{} {workload}: {rates} (promised {promised})", read.url);
            kept &= holds;
        }
    }
    ensure!(kept, "a promise is not kept");
    Ok(())
}

/// The time that the reads of `trace` take. Every time has a new store, which has learned nothing.
async fn time(read: &HowToRead, mode: &str, trace: &ReadPattern) -> Result<Duration> {
    let mut builder = Headstart::builder().environment([]).url(&read.url).option("mode", mode);
    for (key, value) in &read.options {
        builder = builder.option(*key, value);
    }
    let store: Arc<dyn ObjectStore> = Arc::new(builder.build().await?);
    let content = Content::new(KEY, 1);
    let path = Path::from(KEY);
    let mut answers: Vec<(u64, Bytes)> = Vec::new();
    let started = Instant::now();
    for read in &trace.reads {
        answers.push((read.offset, store.get_range(&path, read.offset..read.offset + read.len).await?));
    }
    let time = started.elapsed();
    for (offset, bytes) in answers {
        content.check(offset, &bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(time)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    quantile(&times, 50.0).expect("at least one round")
}
