//! Two tables of small Parquet files, whose values follow from their rows, and queries over them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::error::Result;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;

/// Rows of a file, and of a row group.
const FILE_ROWS: u64 = 1500;
const GROUP_ROWS: usize = 750;
const ZONES: u64 = 64;
const ZONE_FILES: u64 = 4;

/// Tables, the columns to check them by, and SQL.
pub(crate) const TABLES: [&str; 2] = ["trips", "zones"];
pub(crate) const QUERIES: [&str; 4] = [
    "SELECT count(*), sum(id), sum(fare), min(note), max(note) FROM trips",
    "SELECT zone, count(*), sum(fare), max(note) FROM trips GROUP BY zone ORDER BY zone",
    "SELECT z.name, sum(t.fare) FROM trips t JOIN zones z ON t.zone = z.zone GROUP BY z.name ORDER BY z.name",
    "SELECT sum(n) FROM (SELECT fare AS n FROM trips WHERE zone < 9 UNION ALL SELECT zone AS n FROM zones)",
];

/// A query that sends every row to the coordinator.
pub(crate) const ALL_ROWS: &str = "SELECT id, fare, note FROM trips";

/// Noise that follows from `row`: the output function of SplitMix64.
fn noise(row: u64) -> u64 {
    let value = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The objects of the bucket: `files` files of `trips`, and those of `zones`.
pub(crate) fn objects(files: usize) -> Result<Vec<(String, Vec<u8>)>> {
    let integer = |value: u64| value.cast_signed();
    let mut objects = Vec::new();
    for file in 0..files as u64 {
        let rows = || file * FILE_ROWS..(file + 1) * FILE_ROWS;
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from_iter_values(rows().map(integer)))),
            ("zone", Arc::new(Int64Array::from_iter_values(rows().map(|row| integer(noise(row) % ZONES))))),
            ("fare", Arc::new(Int64Array::from_iter_values(rows().map(|row| integer(noise(row) >> 20))))),
            ("note", Arc::new(StringArray::from_iter_values(rows().map(|row| format!("{:x}", noise(row + 1)))))),
        ];
        objects.push((format!("trips/{file:04}.parquet"), parquet(columns)?));
    }
    for file in 0..ZONE_FILES {
        let zones = || (0..ZONES).filter(|zone| zone % ZONE_FILES == file);
        let columns: [(&str, ArrayRef); 2] = [
            ("zone", Arc::new(Int64Array::from_iter_values(zones().map(integer)))),
            ("name", Arc::new(StringArray::from_iter_values(zones().map(|zone| format!("zone {zone}"))))),
        ];
        objects.push((format!("zones/{file}.parquet"), parquet(columns)?));
    }
    Ok(objects)
}

fn parquet<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<Vec<u8>> {
    let batch = RecordBatch::try_from_iter(columns)?;
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(GROUP_ROWS)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}
