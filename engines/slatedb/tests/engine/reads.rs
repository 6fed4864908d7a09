//! The same values in every mode, and how many requests and how much time they take.

use std::sync::Arc;
use std::time::Duration;

use headstart::{Headstart, Mode};
use headstart_sim::SeededRng;
use slatedb::config::{DbReaderOptions, ScanOptions};
use slatedb::object_store::ObjectStore;
use slatedb::{Db, DbReader, DbReaderMode, Error};

use super::common::{Bucket, PATH, ROWS, check, key, value};
use super::steps::Steps;

#[expect(dead_code, reason = "a test does not run its `main`")]
#[path = "../../examples/get.rs"]
mod example;

const SEED: u64 = 18;

/// Which step scans, one block a request.
const SCAN: usize = 2;

async fn open(store: Arc<dyn ObjectStore>) -> Result<DbReader, Error> {
    // Nothing is polled while it is measured.
    let options = DbReaderOptions { manifest_poll_interval: Duration::from_secs(3600), ..DbReaderOptions::default() };
    let builder = DbReader::builder(PATH, store).with_reader_mode(DbReaderMode::FollowLatest);
    builder.with_options(options).build().await
}

/// Gets `count` rows at random, in turn.
async fn get(db: &DbReader, seed: u64, count: usize) -> Result<(), Error> {
    let mut rng = SeededRng::new(seed);
    for _ in 0..count {
        let row = rng.below(ROWS);
        assert_eq!(db.get(key(row)).await?, Some(value(row)), "row {row}");
    }
    Ok(())
}

/// Reads all rows in order.
async fn scan(db: &DbReader, options: &ScanOptions) -> Result<(), Error> {
    let mut found = db.scan_with_options(.., options).await?;
    let mut rows = 0;
    while let Some(entry) = found.next().await? {
        check(&entry, rows);
        rows += 1;
    }
    assert_eq!(rows, ROWS);
    Ok(())
}

/// Opens the database, gets values and reads it all.
async fn read(bucket: &Bucket, store: Arc<dyn ObjectStore>) -> Result<Steps, Error> {
    let mut steps = Steps::of(&bucket.store);
    let block_by_block = ScanOptions::default();
    let ahead = ScanOptions { read_ahead_bytes: 1 << 20, max_fetch_tasks: 4, ..ScanOptions::default() };

    let db = steps.step("open", open(store)).await?;
    steps.step("get 100 rows", get(&db, SEED, 100)).await?;
    steps.step("scan", scan(&db, &block_by_block)).await?;
    steps.step("scan, 4 × 1 MiB ahead", scan(&db, &ahead)).await?;
    steps.step("get 100 other rows", get(&db, SEED + 1, 100)).await?;
    db.close().await?;
    Ok(steps)
}

/// A stack over the bucket, without the variables of the process.
async fn over(bucket: &Bucket, mode: Mode) -> Arc<dyn ObjectStore> {
    let builder = Headstart::builder().environment([]).mode(mode).store(Arc::new(bucket.store.clone()));
    Arc::new(builder.build().await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn gets_are_no_more_than_those_of_slatedb_alone() -> Result<(), Error> {
    println!("seed {SEED}");
    let bucket = Bucket::with_database().await?;
    let plain = read(&bucket, Arc::new(bucket.store.clone())).await?;
    println!("{:<9} {plain}", "plain");
    for mode in [Mode::Fetch, Mode::Adaptive, Mode::Cached] {
        let steps = read(&bucket, over(&bucket, mode).await).await?;
        println!("{:<9} {steps}", mode.to_string());
        let gets = |steps: &Steps| steps.all.iter().map(|step| step.counts.gets).sum::<u64>();
        assert!(gets(&steps) <= gets(&plain), "{mode}: all steps together");
        let elapsed = |steps: &Steps| steps.all[SCAN].elapsed;
        if mode != Mode::Fetch {
            assert!(elapsed(&steps) * 20 <= elapsed(&plain), "a scan of single blocks is read ahead");
        }
        if mode == Mode::Cached {
            for (step, alone) in steps.all.iter().zip(&plain.all) {
                let (name, gets, most) = (step.name, step.counts.gets, alone.counts.gets);
                assert!(gets <= most, "{name}: {gets} GETs, {most} without Headstart");
            }
            let again = steps.all[SCAN + 1..].iter().map(|step| step.counts.gets);
            assert_eq!(again.sum::<u64>(), 0, "what was scanned is in the cache");
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_example_gets_values() -> Result<(), Error> {
    let bucket = Bucket::with_database().await?;
    let keys = [key(7), "no order".to_owned(), key(ROWS - 1)];
    let values = example::get(over(&bucket, Mode::Cached).await, PATH, &keys).await?;
    assert_eq!(values, [Some(value(7)), None, Some(value(ROWS - 1))]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_written_through_headstart_is_read_without() -> Result<(), Error> {
    for mode in [Mode::Adaptive, Mode::Cached] {
        let bucket = Bucket::with_database().await?;
        let db = Db::open(PATH, over(&bucket, mode).await).await?;
        db.put(key(7), value(ROWS)).await?;
        assert_eq!(db.get(key(7)).await?, Some(value(ROWS)));
        db.close().await?;
        let db = Db::open(PATH, Arc::new(bucket.store.clone())).await?;
        assert_eq!(db.get(key(7)).await?, Some(value(ROWS)));
        assert_eq!(db.get(key(8)).await?, Some(value(8)));
        db.close().await?;
    }
    Ok(())
}
