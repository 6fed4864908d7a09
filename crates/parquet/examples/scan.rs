//! Reads a column of a Parquet file, and prints what was requested ahead.
//!
//! `cargo run -p headstart-parquet --example scan`

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use futures::TryStreamExt;
use headstart::Headstart;
use headstart::object_store::ObjectStoreExt;
use headstart_parquet::ParquetFiles;
use parquet::arrow::{ArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::file::properties::WriterProperties;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Headstart::builder().url("memory:///").build().await?;
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000_000));
    let batch = RecordBatch::try_from_iter([("a", Arc::clone(&numbers)), ("b", numbers)])?;
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100_000)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    store.put(&"table.parquet".into(), writer.into_inner()?.into()).await?;

    let files = ParquetFiles::new(store);
    let builder = ParquetRecordBatchStreamBuilder::new(files.reader("table.parquet".into())).await?;
    let column = ProjectionMask::leaves(builder.parquet_schema(), [1]);
    let batches = builder.with_projection(column).build()?;
    let rows = batches.try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows()) }).await?;
    println!("{rows} rows, {:#?}", files.stats());
    Ok(())
}
