//! `FileReader` beside a reader of the whole file, over stores in virtual time: results, requests for metadata, errors.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::error::Error as _;
use std::sync::Arc;

use arrow_array::{RecordBatch, cast::AsArray};
use bytes::Bytes;
use common::{Bucket, Table, scan, theirs};
use futures::{FutureExt, TryStreamExt};
use headstart::object_store::{GetRange, ObjectStore, ObjectStoreExt, path::Path};
use headstart::{Headstart, Mode, ObjectChanged};
use headstart_parquet::{FileReader, ParquetFiles};
use headstart_sim::{Altered, LinkProfile, SeededRng};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

const TABLE: Table = Table { row_groups: 12, columns: 6, rows: 100, value_bytes: 500, page_rows: Some(10) };
const FILE: &str = "table/0.parquet";

async fn bucket() -> (Bucket, Bytes) {
    let (bucket, file) = (Bucket::new(LinkProfile::gcs()), TABLE.write());
    bucket.put(FILE, file.clone()).await;
    (bucket, file)
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

fn with_page_index() -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required)
}

/// What one read of a file selects.
#[derive(Debug, Clone)]
struct Selection {
    row_groups: Vec<usize>,
    columns: Vec<usize>,
    /// Rows to skip and to read, in turn; nothing selects all.
    rows: Vec<usize>,
}

impl Selection {
    fn random(rng: &mut SeededRng) -> Self {
        let mut below = |n: u64| usize::try_from(rng.below(n)).unwrap();
        let keep = 1 + below(4);
        let row_groups: Vec<usize> = (0..TABLE.row_groups).filter(|_| below(4) < keep).collect();
        let columns: Vec<usize> = (0..TABLE.columns).filter(|_| below(2) == 0).collect();
        let mut left = row_groups.len() * TABLE.rows;
        let mut part = || {
            let rows = below(90).min(left);
            left -= rows;
            rows
        };
        let rows = if row_groups.len().is_multiple_of(2) { Vec::new() } else { (0..8).map(|_| part()).collect() };
        Self { row_groups, columns, rows }
    }

    fn row_selection(&self) -> Option<RowSelection> {
        let selectors = self
            .rows
            .iter()
            .enumerate()
            .map(|(n, rows)| if n % 2 == 0 { RowSelector::skip(*rows) } else { RowSelector::select(*rows) });
        (!self.rows.is_empty()).then(|| selectors.collect::<Vec<_>>().into())
    }
}

/// The number of rows, and the values of each column one after the other. Batches may end elsewhere.
#[derive(Debug, PartialEq, Eq)]
struct Values {
    rows: usize,
    columns: Vec<Vec<u8>>,
}

impl Values {
    fn of(batches: &[RecordBatch]) -> Self {
        let columns = batches.first().map_or(0, RecordBatch::num_columns);
        let values = |column: usize| {
            let mut values = Vec::new();
            for batch in batches {
                batch
                    .column(column)
                    .as_binary::<i32>()
                    .iter()
                    .flatten()
                    .for_each(|value| values.extend_from_slice(value));
            }
            values
        };
        Self { rows: batches.iter().map(RecordBatch::num_rows).sum(), columns: (0..columns).map(values).collect() }
    }
}

/// The values of `selection`, read by `reader`.
async fn read<R>(reader: R, selection: &Selection) -> Values
where
    R: AsyncFileReader + Unpin + Send + 'static,
{
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, with_page_index()).await.unwrap();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), selection.columns.iter().copied());
    let mut builder = builder.with_projection(mask).with_row_groups(selection.row_groups.clone());
    if let Some(rows) = selection.row_selection() {
        builder = builder.with_row_selection(rows);
    }
    Values::of(&builder.build().unwrap().try_collect::<Vec<_>>().await.unwrap())
}

/// The same from the bytes of the file.
fn expected(file: &Bytes, selection: &Selection) -> Values {
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), with_page_index()).unwrap();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), selection.columns.iter().copied());
    let mut builder = builder.with_projection(mask).with_row_groups(selection.row_groups.clone());
    if let Some(rows) = selection.row_selection() {
        builder = builder.with_row_selection(rows);
    }
    Values::of(&builder.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap())
}

#[tokio::test(start_paused = true)]
async fn results_equal_those_from_the_whole_file_in_every_mode() {
    let (bucket, file) = bucket().await;
    for mode in [Mode::None, Mode::Fetch, Mode::Adaptive, Mode::Cached] {
        let store = Headstart::builder().environment([]).store(bucket.store()).mode(mode).build().await.unwrap();
        let files = ParquetFiles::new(store);
        for seed in 0..20 {
            let selection = Selection::random(&mut SeededRng::new(seed));
            let values = read(files.reader(FILE.into()), &selection).await;
            assert!(values == expected(&file, &selection), "{mode}, seed {seed}: {selection:?}");
        }
        let stats = files.stats();
        assert_eq!(stats.ahead_bytes, stats.used_bytes + stats.mispredicted_bytes, "{mode}: {stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_of_clones_read_at_once() {
    let (bucket, file) = bucket().await;
    let files = ParquetFiles::new(bucket.headstart().await);
    let reader = files.reader(FILE.into());
    let shares =
        (0..4).map(|n| Selection { row_groups: (n * 3..n * 3 + 3).collect(), columns: vec![1, 4], rows: Vec::new() });
    let reads = shares.map(|share| {
        let (reader, file) = (reader.clone(), file.clone());
        async move { assert!(read(reader, &share).await == expected(&file, &share), "{share:?}") }
    });
    futures::future::join_all(reads).await;
}

#[tokio::test(start_paused = true)]
async fn local_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = TABLE.write();
    std::fs::write(folder.path().join("a.parquet"), &file).unwrap();
    let url = format!("file://{}", folder.path().display());
    let store = Headstart::builder().environment([]).url(url).build().await.unwrap();
    let path = store.path().clone().join("a.parquet");
    let files = ParquetFiles::new(store);
    let selection = Selection { row_groups: (0..12).collect(), columns: vec![0, 5], rows: Vec::new() };
    assert!(read(files.reader(path), &selection).await == expected(&file, &selection));
}

/// Columns of 50 KB with holes between them, which the readers of both crates bridge.
#[tokio::test(start_paused = true)]
async fn small_holes_take_no_more_requests_than_those_of_the_parquet_crate() {
    let (bucket, _) = bucket().await;
    let row_groups: Vec<usize> = (0..TABLE.row_groups).collect();
    let theirs = scan(&bucket, theirs(&bucket, FILE), TABLE, &row_groups, &[0, 2, 5], None).await;
    let files = ParquetFiles::new(bucket.headstart().await);
    for _ in 0..2 {
        let ours = scan(&bucket, files.reader(FILE.into()), TABLE, &row_groups, &[0, 2, 5], None).await;
        assert!(ours.gets <= theirs.gets && ours.took < theirs.took, "{ours:?}, theirs {theirs:?}");
        assert!(ours.sent_bytes <= theirs.sent_bytes + (64 << 10), "{ours:?}, theirs {theirs:?}");
    }
    let stats = files.store().stats();
    assert_eq!((files.stats().mispredicted_bytes, stats.budget.used_bytes), (0, 0), "holes are given up");
}

/// The requests for the metadata of `path`.
async fn metadata_gets(bucket: &Bucket, mut reader: FileReader, options: &ArrowReaderOptions) -> u64 {
    let before = bucket.sim.log().counts().gets;
    let metadata = reader.get_metadata(Some(options)).await.unwrap();
    assert_eq!(metadata.num_row_groups(), TABLE.row_groups);
    let wants_index = options.offset_index_policy() == PageIndexPolicy::Required;
    assert_eq!(metadata.offset_index().is_some(), wants_index);
    bucket.sim.log().counts().gets - before
}

#[tokio::test(start_paused = true)]
async fn metadata_takes_one_request_where_its_size_is_known() {
    let wide = Table { columns: 200, rows: 20, value_bytes: 20, ..TABLE };
    let (bucket, file) = (Bucket::new(LinkProfile::gcs()), wide.write());
    for n in 0..4 {
        bucket.put(&format!("table/{n}.parquet"), file.clone()).await;
    }
    let files = ParquetFiles::new(bucket.headstart().await);
    let reader = |n: u32| files.reader(format!("table/{n}.parquet").into());
    // Longer than the first guess: the footer, and then the page index before it.
    assert_eq!(metadata_gets(&bucket, reader(0), &with_page_index()).await, 3);
    for n in 1..4 {
        assert_eq!(metadata_gets(&bucket, reader(n), &with_page_index()).await, 1, "file {n}");
    }
    let stats = files.stats();
    assert_eq!((stats.metadata_loads, stats.metadata_reads, stats.metadata_hits), (4, 6, 0));
    // By its version it needs none, unless it was parsed with other options.
    let meta = bucket.sim.head(&Path::from("table/2.parquet")).await.unwrap();
    assert_eq!(metadata_gets(&bucket, files.reader_with(meta.clone()), &with_page_index()).await, 0);
    assert_eq!(metadata_gets(&bucket, files.reader_with(meta), &ArrowReaderOptions::new()).await, 1);
    assert_eq!(files.stats().metadata_hits, 1);
    // Without its version, one request tells that it is the same.
    assert_eq!(metadata_gets(&bucket, reader(2), &with_page_index()).await, 1);
    assert_eq!(files.stats().metadata_hits, 2);
    let none = ParquetFiles::with_metadata_cache(bucket.headstart().await, 0);
    let meta = bucket.sim.head(&Path::from("table/2.parquet")).await.unwrap();
    for _ in 0..2 {
        assert!(metadata_gets(&bucket, none.reader_with(meta.clone()), &with_page_index()).await > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_file_is_an_error_and_its_metadata_is_fetched_again() {
    let (bucket, _) = bucket().await;
    let files = ParquetFiles::new(bucket.headstart().await);
    let mut reader = files.reader(FILE.into());
    reader.get_metadata(None).await.unwrap();
    let other = Table { row_groups: 3, ..TABLE };
    bucket.put(FILE, other.write()).await;
    let error = reader.get_bytes(100..200).await.unwrap_err();
    let ParquetError::External(source) = &error else { panic!("{error:?}") };
    let source = source.downcast_ref::<headstart::object_store::Error>().expect("the store's error");
    assert!(ObjectChanged::find(source).is_some(), "{source:?}");
    assert!(error.source().is_some() && error.to_string().contains(FILE), "{error}");
    // Also where bytes were read first.
    let mut early = files.reader("table/1.parquet".into());
    for rows in [100, 101] {
        bucket.put("table/1.parquet", Table { rows, ..TABLE }.write()).await;
        early.get_bytes(4..100).await.ok();
    }
    let ParquetError::External(source) = early.get_metadata(None).await.unwrap_err() else { panic!("not the store's") };
    assert!(ObjectChanged::find(source.downcast_ref().expect("the store's error")).is_some(), "{source:?}");
    // A clone is of the same version, a new reader is not.
    reader.clone().get_bytes(100..200).await.unwrap_err();
    assert_eq!(files.reader(FILE.into()).get_metadata(None).await.unwrap().num_row_groups(), 3);
    scan(&bucket, files.reader(FILE.into()), other, &[0, 1, 2], &[0, 3], None).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_without_suffix_ranges_takes_a_head() {
    let (bucket, file) = bucket().await;
    let refuses = |options: headstart::object_store::GetOptions| match options.range {
        Some(GetRange::Suffix(_)) => {
            Err(headstart::object_store::Error::NotSupported { source: "no suffix ranges".into() })
        }
        _ => Ok(options),
    };
    let below: Arc<dyn ObjectStore> = Arc::new(Altered::new(bucket.sim.clone(), refuses));
    let files = ParquetFiles::new(Headstart::builder().environment([]).store(below).build().await.unwrap());
    let selection = Selection { row_groups: (0..12).collect(), columns: vec![2], rows: Vec::new() };
    assert!(read(files.reader(FILE.into()), &selection).await == expected(&file, &selection));
    assert_eq!(bucket.sim.log().counts().heads, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_parquet_file_says_so() {
    let bucket = Bucket::new(LinkProfile::gcs());
    let files = ParquetFiles::new(bucket.headstart().await);
    for (path, bytes, says) in [
        ("short", &b"PAR1"[..], "'short' is no Parquet file: it has 4 bytes, and the shortest has 12"),
        ("other", &b"this is a text and no table"[..], "Invalid Parquet file"),
    ] {
        bucket.put(path, Bytes::from_static(bytes)).await;
        let error = files.reader(path.into()).get_metadata(None).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = files.reader("missing".into()).get_metadata(None).await.unwrap_err();
    let ParquetError::External(source) = &error else { panic!("{error:?}") };
    let source = source.downcast_ref::<headstart::object_store::Error>().expect("the store's error");
    assert!(matches!(source, headstart::object_store::Error::NotFound { .. }), "{source:?}");
}

#[tokio::test(start_paused = true)]
async fn ranges_of_a_call_come_in_their_order_and_past_the_end_is_an_error() {
    let (bucket, file) = bucket().await;
    let files = ParquetFiles::new(bucket.headstart().await);
    for has_metadata in [false, true] {
        let mut reader = files.reader(FILE.into());
        if has_metadata {
            reader.get_metadata(None).await.unwrap();
        }
        let ranges = vec![90_000..150_000, 4..10, 8..20, 7..7, 200_000..200_001, 100_000..110_000];
        let read = reader.get_byte_ranges(ranges.clone()).await.unwrap();
        for (range, bytes) in ranges.into_iter().zip(read) {
            assert_eq!(bytes, file[at(range.start)..at(range.end)], "{range:?}");
        }
        let end = file.len() as u64;
        let error = reader.get_bytes(end - 10..end + 10).await.unwrap_err();
        assert!(matches!(error, ParquetError::EOF(_)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_that_are_dropped_leave_nothing_behind() {
    let (bucket, file) = bucket().await;
    let files = ParquetFiles::new(bucket.headstart().await);
    let mut reader = files.reader(FILE.into());
    let metadata = reader.get_metadata(None).await.unwrap();
    let column = |row_group: usize, column: usize| {
        let (start, len) = metadata.row_group(row_group).column(column).byte_range();
        start..start + len
    };
    for row_group in 0..TABLE.row_groups {
        let ranges = vec![column(row_group, 0), column(row_group, 3)];
        // Dropped after its first poll, or after some of the time that it takes.
        assert!(reader.get_byte_ranges(ranges.clone()).now_or_never().is_none() || row_group > 1);
        let patience = std::time::Duration::from_millis(row_group as u64 * 5);
        drop(tokio::time::timeout(patience, reader.get_byte_ranges(ranges.clone())).await);
        let read = reader.get_byte_ranges(ranges.clone()).await.unwrap();
        for (range, bytes) in ranges.into_iter().zip(read) {
            assert_eq!(bytes, file[at(range.start)..at(range.end)], "{range:?}");
        }
    }
    drop(reader);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let stats = files.store().stats();
    assert_eq!((stats.prefetch.outstanding_bytes, stats.budget.used_bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_needs_metadata() {
    let (bucket, _) = bucket().await;
    let files = ParquetFiles::new(bucket.headstart().await);
    let mut reader = files.reader(FILE.into());
    let error = reader.will_read(&[0], &[0]).unwrap_err();
    assert_eq!(error.to_string(), "Parquet error: the metadata of 'table/0.parquet' is not known: get it first");
    let metadata = reader.get_metadata(None).await.unwrap();
    let mut other = reader.clone().with_metadata(&metadata);
    other.will_read(&[3, 4], &[1]).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let gets = bucket.sim.log().counts().gets;
    let (start, len) = metadata.row_group(3).column(1).byte_range();
    assert_eq!(other.get_bytes(start..start + len).await.unwrap().len() as u64, len);
    assert_eq!(bucket.sim.log().counts().gets, gets, "it has been fetched");
    assert!(files.stats().used_bytes >= len);
}
