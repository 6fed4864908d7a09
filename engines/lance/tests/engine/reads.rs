//! The same rows in every mode, and how many requests and how much time they take.

use std::sync::Arc;

use futures::TryStreamExt;
use headstart::{Headstart, Mode};
use headstart_lance::HeadstartWrapper;
use headstart_sim::SeededRng;
use lance::io::WrappingObjectStore;
use lance::{Dataset, Result};

use super::common::{Bucket, ROWS, TABLE, check, open};
use super::steps::Steps;

#[path = "../../examples/take.rs"]
#[expect(dead_code, reason = "its `main` is for the command line")]
mod example;

const SEED: u64 = 14;

/// Reads all rows in order.
async fn scan(table: &Dataset) -> Result<()> {
    let mut batches = table.scan().try_into_stream().await?;
    let mut next = 0;
    while let Some(batch) = batches.try_next().await? {
        let end = next + batch.num_rows() as u64;
        check(&batch, (next..end).collect::<Vec<_>>().into_iter());
        next = end;
    }
    assert_eq!(next, ROWS);
    Ok(())
}

/// Takes `count` rows at random, `times` in turn.
async fn take(table: &Dataset, seed: u64, count: usize, times: usize) -> Result<()> {
    let mut rng = SeededRng::new(seed);
    for _ in 0..times {
        let rows: Vec<u64> = (0..count).map(|_| rng.below(ROWS)).collect();
        let batch = table.take(&rows, table.schema().clone()).await?;
        check(&batch, rows.into_iter());
    }
    Ok(())
}

/// Opens the table, reads it and takes rows, by a session of its own.
async fn read(bucket: &Bucket, wrapper: Option<Arc<dyn WrappingObjectStore>>) -> Result<Steps> {
    let session = bucket.session();
    let mut steps = Steps::of(&bucket.store);

    let table = steps.step("open", open(&session, wrapper)).await?;
    steps.step("take 1 row, 50 times", take(&table, SEED, 1, 50)).await?;
    steps.step("take 100 rows, 5 times", take(&table, SEED + 1, 100, 5)).await?;
    steps.step("scan", scan(&table)).await?;
    steps.step("scan again", scan(&table)).await?;
    steps.step("take 100 other rows, 5 times", take(&table, SEED + 2, 100, 5)).await?;
    Ok(steps)
}

fn wrapper(mode: Mode) -> Arc<dyn WrappingObjectStore> {
    // Without the variables of the process.
    Arc::new(HeadstartWrapper::new(move || Headstart::builder().environment([]).mode(mode)).unwrap())
}

#[tokio::test(start_paused = true)]
async fn rows_are_the_same_in_every_mode() -> Result<()> {
    println!("seed {SEED}");
    let bucket = Bucket::with_table().await?;
    let plain = read(&bucket, None).await?;
    println!("{:<9} {plain}", "plain");
    for mode in [Mode::Fetch, Mode::Adaptive, Mode::Cached] {
        let steps = read(&bucket, Some(wrapper(mode))).await?;
        println!("{:<9} {steps}", mode.to_string());
        for (theirs, ours) in plain.all.iter().zip(&steps.all) {
            let (name, theirs_bytes, ours_bytes) = (ours.name, theirs.counts.bytes_sent, ours.counts.bytes_sent);
            // Large pages are read in parts, by several requests, unless the cache fetches them.
            if mode == Mode::Cached || !name.starts_with("scan") {
                assert!(ours.counts.gets <= theirs.counts.gets, "{mode}, {name}");
            }
            assert!(mode == Mode::Cached || ours_bytes <= theirs_bytes, "{mode}, {name}: {ours_bytes} bytes");
        }
        if mode == Mode::Cached {
            let again = steps.all.iter().skip_while(|step| step.name != "scan again");
            assert_eq!(again.map(|step| step.counts.gets).sum::<u64>(), 0, "all of the table is in the cache");
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_example_takes_rows() -> Result<()> {
    let bucket = Bucket::with_table().await?;
    let rows = [7, ROWS - 1, 0];
    check(&example::take(bucket.session(), TABLE, &rows).await?, rows.into_iter());
    Ok(())
}

#[test]
fn invalid_options_are_refused() {
    let refused = HeadstartWrapper::new(|| Headstart::builder().environment([]).option("mode", "fast"));
    assert!(refused.unwrap_err().to_string().contains("mode"));
}
