//! Tables whose every value tells where it belongs, as Parquet files in a simulated bucket.
#![allow(dead_code, reason = "no test file uses all of this")]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, cast::AsArray};
use bytes::Bytes;
use headstart::Headstart;
use headstart::object_store::{ObjectStore, ObjectStoreExt, path::Path};
use headstart_object_store_013::Store013;
use headstart_sim::{LinkProfile, SimStore};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

/// A table of binary columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) row_groups: usize,
    pub(crate) columns: usize,
    /// Rows of a row group.
    pub(crate) rows: usize,
    /// Bytes of a value.
    pub(crate) value_bytes: usize,
    /// Rows of a page, where the file has a page index.
    pub(crate) page_rows: Option<usize>,
}

impl Table {
    /// Writes the value of a cell into `value`.
    pub(crate) fn fill(value: &mut [u8], row: usize, column: usize) {
        let tag = row.wrapping_mul(0x9e37_79b9).wrapping_add(column.wrapping_mul(0x85eb_ca6b));
        value.fill(tag.to_le_bytes()[0]);
        let cell = [row.to_le_bytes(), column.to_le_bytes()].concat();
        let len = cell.len().min(value.len());
        value[..len].copy_from_slice(&cell[..len]);
    }

    fn array(&self, rows: Range<usize>, column: usize) -> ArrayRef {
        let values = rows.map(|row| {
            let mut value = vec![0; self.value_bytes];
            Self::fill(&mut value, row, column);
            value
        });
        Arc::new(BinaryArray::from_iter_values(values))
    }

    /// The file.
    pub(crate) fn write(&self) -> Bytes {
        let batch = |rows: Range<usize>| {
            let columns = (0..self.columns).map(|column| (format!("c{column}"), self.array(rows.clone(), column)));
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let statistics = if self.page_rows.is_some() { EnabledStatistics::Page } else { EnabledStatistics::None };
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(statistics)
            .set_offset_index_disabled(self.page_rows.is_none())
            .set_data_page_size_limit(64 << 20)
            .set_max_row_group_row_count(Some(self.rows));
        if let Some(rows) = self.page_rows {
            properties = properties.set_data_page_row_count_limit(rows).set_write_batch_size(rows);
        }
        let cells = self.row_groups * self.columns * self.rows;
        let file = Vec::with_capacity(cells * (self.value_bytes + 5) + (1 << 20));
        let mut writer = ArrowWriter::try_new(file, batch(0..1).schema(), Some(properties.build())).unwrap();
        for row_group in 0..self.row_groups {
            writer.write(&batch(row_group * self.rows..(row_group + 1) * self.rows)).unwrap();
        }
        writer.into_inner().unwrap().into()
    }

    /// Checks a batch that begins with `row` and has `columns`, and returns the bytes of its values.
    #[track_caller]
    pub(crate) fn check(&self, batch: &RecordBatch, row: usize, columns: &[usize]) -> usize {
        assert_eq!(batch.num_columns(), columns.len());
        let mut expected = vec![0; self.value_bytes];
        for (array, column) in batch.columns().iter().zip(columns) {
            let array = array.as_binary::<i32>();
            for n in 0..batch.num_rows() {
                Self::fill(&mut expected, row + n, *column);
                assert!(array.value(n) == expected, "row {}, column {column}", row + n);
            }
        }
        batch.num_rows() * columns.len() * self.value_bytes
    }
}

/// A bucket behind a link in virtual time.
pub(crate) struct Bucket {
    pub(crate) sim: SimStore,
}

impl Bucket {
    pub(crate) fn new(profile: LinkProfile) -> Self {
        Self { sim: SimStore::builder().profile(profile).warm_connections(256).build() }
    }

    pub(crate) async fn put(&self, path: &str, file: Bytes) {
        self.sim.put(&Path::from(path), file.into()).await.unwrap();
        self.sim.log().clear();
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.sim.clone())
    }

    pub(crate) async fn headstart(&self) -> Headstart {
        Headstart::builder().environment([]).store(self.store()).build().await.unwrap()
    }
}

/// The reader of the `parquet` crate over the bare store.
#[expect(deprecated, reason = "it is what engines use")]
pub(crate) fn theirs(bucket: &Bucket, path: &str) -> parquet::arrow::async_reader::ParquetObjectReader {
    parquet::arrow::async_reader::ParquetObjectReader::new(Arc::new(Store013::new(bucket.store())), path.into())
}

/// What a scan took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// From the first request for metadata to the last value.
    pub(crate) took: Duration,
    pub(crate) gets: u64,
    pub(crate) sent_bytes: u64,
    /// How long the decoder waited for each row group.
    pub(crate) waits: Vec<Duration>,
}

/// Reads `columns` of `row_groups` of `table` one after the other, and checks every value. A decoder that decodes
/// `decode_bytes_per_s` works between the reads.
pub(crate) async fn scan<R: AsyncFileReader + Unpin + Send + 'static>(
    bucket: &Bucket,
    reader: R,
    table: Table,
    row_groups: &[usize],
    columns: &[usize],
    decode_bytes_per_s: Option<u64>,
) -> Scan {
    let (began, before) = (bucket.sim.elapsed(), bucket.sim.log().counts());
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, ArrowReaderOptions::new()).await.unwrap();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), columns.iter().copied());
    let builder = builder.with_projection(mask).with_batch_size(table.rows).with_row_groups(row_groups.to_vec());
    let mut stream = builder.build().unwrap();
    let mut waits = Vec::new();
    for row_group in row_groups {
        let waiting = bucket.sim.elapsed();
        let batches = stream.next_row_group().await.unwrap().expect("a row group");
        waits.push(bucket.sim.elapsed() - waiting);
        let mut row = row_group * table.rows;
        let mut bytes = 0;
        for batch in batches {
            let batch = batch.unwrap();
            bytes += table.check(&batch, row, columns) as u64;
            row += batch.num_rows();
        }
        assert_eq!(row, (row_group + 1) * table.rows, "all rows");
        if let Some(rate) = decode_bytes_per_s {
            tokio::time::sleep(Duration::from_micros(bytes * 1_000_000 / rate)).await;
        }
    }
    assert!(stream.next_row_group().await.unwrap().is_none());
    let took = bucket.sim.elapsed() - began;
    drop(stream);
    // Aborted requests are counted when their tasks have ended.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let counts = bucket.sim.log().counts();
    Scan { took, gets: counts.gets - before.gets, sent_bytes: counts.bytes_sent - before.bytes_sent, waits }
}
