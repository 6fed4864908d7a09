//! Promises for scans of Parquet files, in virtual time beside the reader of the `parquet` crate: prints exact figures.
//!
//! The file has 1 GiB in 64 row groups of 20 columns of 0.84 MB each, and lies behind the link `gcs`: 30 ms to the
//! first byte, 60 MB/s a stream, 1,000 MB/s in all. Decoding takes no time, unless a rate is given.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Bucket, Scan, Table, scan, theirs};
use headstart::object_store::ObjectStoreExt;
use headstart_parquet::{FileReader, ParquetFiles};
use headstart_sim::LinkProfile;
use parquet::arrow::async_reader::AsyncFileReader;

const TABLE: Table = Table { row_groups: 64, columns: 20, rows: 102, value_bytes: 8220, page_rows: None };
const FILE: &str = "table/0.parquet";
/// Five columns that lie side by side, and five with three others between them.
const ADJACENT: [usize; 5] = [0, 1, 2, 3, 4];
const SPREAD: [usize; 5] = [0, 4, 8, 12, 16];
/// What is requested of the end of the first file of a directory, for its metadata.
const TAIL_BYTES: u64 = 64 << 10;
const DECODE_BYTES_PER_S: u64 = 200_000_000;

fn all() -> Vec<usize> {
    (0..TABLE.row_groups).collect()
}

async fn files(bucket: &Bucket) -> ParquetFiles {
    ParquetFiles::new(bucket.headstart().await)
}

fn ours(files: &ParquetFiles) -> FileReader {
    files.reader(FILE.into())
}

fn times(theirs: &Scan, ours: &Scan) -> f64 {
    theirs.took.as_secs_f64() / ours.took.as_secs_f64()
}

fn print(what: &str, theirs: &Scan, ours: &Scan) {
    println!(
        "{what}: {} ms in {} GETs and {:.1} MB, theirs {} ms in {} and {:.1}: {:.2} times as fast",
        ours.took.as_millis(),
        ours.gets,
        ours.sent_bytes as f64 / 1e6,
        theirs.took.as_millis(),
        theirs.gets,
        theirs.sent_bytes as f64 / 1e6,
        times(theirs, ours),
    );
}

/// All in one test, because the file takes a second to write and a gigabyte to hold.
#[tokio::test(start_paused = true)]
async fn scans_are_faster_and_cost_no_more() {
    let bucket = Bucket::new(LinkProfile::gcs());
    bucket.put(FILE, TABLE.write()).await;
    full_scans(&bucket).await;
    with_decode_time(&bucket).await;
    pruned(&bucket).await;
    small_reads(&bucket).await;
}

async fn full_scans(bucket: &Bucket) {
    for (name, columns, cold, again) in
        [("5 adjacent columns", ADJACENT, 8.0, 8.0), ("5 columns apart", SPREAD, 4.0, 4.0)]
    {
        let theirs = scan(bucket, theirs(bucket, FILE), TABLE, &all(), &columns, None).await;
        let files = files(bucket).await;
        let first = scan(bucket, ours(&files), TABLE, &all(), &columns, None).await;
        print(&format!("{name} of all row groups"), &theirs, &first);
        println!("  promised {cold} times; {:?}", files.stats());
        assert!(times(&theirs, &first) >= cold);
        assert!(first.sent_bytes <= theirs.sent_bytes + TAIL_BYTES);
        assert_eq!(files.stats().mispredicted_bytes, 0);
        let second = scan(bucket, ours(&files), TABLE, &all(), &columns, None).await;
        print(&format!("{name}, the next reader"), &theirs, &second);
        println!("  promised {again} times");
        assert!(times(&theirs, &second) >= again);
        let mut announced = ours(&files);
        announced.get_metadata(None).await.unwrap();
        announced.will_read(&all(), &columns).unwrap();
        let announced = scan(bucket, announced, TABLE, &all(), &columns, None).await;
        print(&format!("{name}, announced, with known metadata"), &theirs, &announced);
        println!("  promised {again} times");
        assert!(times(&theirs, &announced) >= again);
    }
}

async fn with_decode_time(bucket: &Bucket) {
    for (name, columns) in [("5 adjacent columns", ADJACENT), ("5 columns apart", SPREAD)] {
        let theirs = scan(bucket, theirs(bucket, FILE), TABLE, &all(), &columns, Some(DECODE_BYTES_PER_S)).await;
        let ours = scan(bucket, ours(&files(bucket).await), TABLE, &all(), &columns, Some(DECODE_BYTES_PER_S)).await;
        print(&format!("{name}, decoded at 200 MB/s"), &theirs, &ours);
        println!("  waited {:?} for the first five row groups", &ours.waits[..5]);
        let late: Duration = ours.waits[3..].iter().sum();
        println!(
            "  waited {late:?} after the third row group (promised 0), theirs {:?}",
            theirs.waits[3..].iter().sum::<Duration>()
        );
        assert_eq!(late, Duration::ZERO);
    }
}

async fn pruned(bucket: &Bucket) {
    let every_second: Vec<usize> = all().into_iter().step_by(2).collect();
    // A third of the row groups in an order that looks random.
    let irregular: Vec<usize> = all().into_iter().filter(|n| (n * 0x9e37 + 0x79b9) % 97 % 3 == 0).collect();
    for (name, row_groups) in [("every second row group", every_second), ("a third of the row groups", irregular)] {
        for columns in [ADJACENT, SPREAD] {
            let theirs = scan(bucket, theirs(bucket, FILE), TABLE, &row_groups, &columns, None).await;
            let files = files(bucket).await;
            let ours = scan(bucket, ours(&files), TABLE, &row_groups, &columns, None).await;
            print(name, &theirs, &ours);
            let share = ours.sent_bytes as f64 / theirs.sent_bytes as f64;
            println!("  {share:.3} times their bytes (promised 1.25); {:?}", files.stats());
            assert!(share <= 1.25);
        }
    }
}

async fn small_reads(bucket: &Bucket) {
    for (name, row_groups, columns) in [
        ("the first row group", vec![0], &ADJACENT[..]),
        ("one row group", vec![17], &ADJACENT),
        ("one row group, columns apart", vec![17], &SPREAD),
        ("one column", all(), &[7]),
        ("one column of one row group", vec![63], &[19]),
    ] {
        let theirs = scan(bucket, theirs(bucket, FILE), TABLE, &row_groups, columns, None).await;
        let files = files(bucket).await;
        let first = scan(bucket, ours(&files), TABLE, &row_groups, columns, None).await;
        print(&format!("{name}, the first file of a directory"), &theirs, &first);
        assert!(first.gets <= theirs.gets && first.sent_bytes <= theirs.sent_bytes + TAIL_BYTES, "{first:?}");
        // A list of the directory tells the version, for which the metadata is known.
        let meta = bucket.sim.head(&FILE.into()).await.unwrap();
        let known = scan(bucket, files.reader_with(meta), TABLE, &row_groups, columns, None).await;
        print(&format!("{name}, known metadata"), &theirs, &known);
        assert!(known.gets < theirs.gets && known.sent_bytes < theirs.sent_bytes, "{known:?}");
    }
}
