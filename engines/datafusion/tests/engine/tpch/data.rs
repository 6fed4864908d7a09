//! The tables of TPC-H as Parquet files, several a table, made once in the target folder by `tpchgen`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use datafusion::arrow::record_batch::RecordBatchReader;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use tpchgen::generators as rows;
use tpchgen_arrow as arrow;

/// The tables, and how many files each has.
pub(crate) const TABLES: [(&str, i32); 8] = [
    ("lineitem", 8),
    ("orders", 4),
    ("partsupp", 4),
    ("customer", 4),
    ("part", 4),
    ("supplier", 2),
    ("nation", 1),
    ("region", 1),
];

/// Rows of a row group at scale 1. Six row groups a file of `lineitem`, as with files of 25 MB that real writers make.
const GROUP_ROWS: f64 = 131_072.0;
const LEAST_GROUP_ROWS: f64 = 2_048.0;

/// The folder with the files `TABLE/NUMBER.parquet` at `scale`. Makes them unless an earlier run has.
pub(crate) fn folder(scale: f64) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tpch-{scale}"));
    if !folder.exists() {
        let unfinished = folder.with_extension(format!("{}.part", std::process::id()));
        for (table, files) in TABLES {
            fs::create_dir_all(unfinished.join(table)).unwrap();
            for number in 1..=files {
                let reader = generate(table, scale, number, files);
                write(&unfinished.join(table).join(format!("{number}.parquet")), reader, scale);
            }
        }
        // Another process may have been faster; its files are the same.
        if let Err(error) = fs::rename(&unfinished, &folder) {
            assert!(folder.exists(), "cannot make {}: {error}", folder.display());
            fs::remove_dir_all(&unfinished).unwrap();
        }
    }
    folder
}

fn generate(table: &str, scale: f64, part: i32, parts: i32) -> Box<dyn RecordBatchReader> {
    match table {
        "lineitem" => Box::new(arrow::LineItemArrow::new(rows::LineItemGenerator::new(scale, part, parts))),
        "orders" => Box::new(arrow::OrderArrow::new(rows::OrderGenerator::new(scale, part, parts))),
        "partsupp" => Box::new(arrow::PartSuppArrow::new(rows::PartSuppGenerator::new(scale, part, parts))),
        "customer" => Box::new(arrow::CustomerArrow::new(rows::CustomerGenerator::new(scale, part, parts))),
        "part" => Box::new(arrow::PartArrow::new(rows::PartGenerator::new(scale, part, parts))),
        "supplier" => Box::new(arrow::SupplierArrow::new(rows::SupplierGenerator::new(scale, part, parts))),
        "nation" => Box::new(arrow::NationArrow::new(rows::NationGenerator::new(scale, part, parts))),
        "region" => Box::new(arrow::RegionArrow::new(rows::RegionGenerator::new(scale, part, parts))),
        other => panic!("TPC-H has no table '{other}'"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
fn write(path: &Path, reader: Box<dyn RecordBatchReader>, scale: f64) {
    let group_rows = (GROUP_ROWS * scale).clamp(LEAST_GROUP_ROWS, GROUP_ROWS) as usize;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(group_rows))
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, reader.schema(), Some(properties)).unwrap();
    for batch in reader {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.close().unwrap();
}
