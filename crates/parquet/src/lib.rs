//! Reads Parquet files from object stores: metadata in one request, and row groups ahead of the decoder.
//!
//! ```text
//!  ParquetRecordBatchStream, DataFusion
//!      │ AsyncFileReader
//!  FileReader       footer and page index in one request · ranges of a call as one planned read
//!      │            · the same columns of the next row groups, requested before they are asked for
//!  headstart        Reader::advise(WillNeed) · parallel ranges · one version · cache
//! ```
//!
//! ```
//! # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
//! # use headstart::object_store::ObjectStoreExt;
//! use futures::TryStreamExt;
//! use headstart::Headstart;
//! use headstart_parquet::ParquetFiles;
//! use parquet::arrow::ParquetRecordBatchStreamBuilder;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Headstart::builder().url("memory:///").build().await?; // Or gs://bucket, s3://bucket, …
//! # let column: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(0..1000));
//! # let batch = RecordBatch::try_from_iter([("n", column)])?;
//! # let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
//! # writer.write(&batch)?;
//! # store.put(&"table.parquet".into(), writer.into_inner()?.into()).await?;
//! let files = ParquetFiles::new(store); // One for all files of a store: it learns, and keeps metadata.
//! let reader = files.reader("table.parquet".into());
//! let batches = ParquetRecordBatchStreamBuilder::new(reader).await?.build()?;
//! let rows: usize = batches.map_ok(|batch| batch.num_rows()).try_collect::<Vec<_>>().await?.iter().sum();
//! assert_eq!(rows, 1000);
//! # Ok(())
//! # }
//! ```
//!
//! # Metadata
//! One request fetches the end of the file: as many bytes as the metadata of earlier files of the same directory had,
//! 64 KiB at first. Metadata that is longer takes a second request, and a page index that was asked for and lies before
//! it a third. Parsed metadata is kept by path and version ([`ParquetFiles::with_metadata_cache`]), so a file that is
//! opened again by its `ObjectMeta` needs no request.
//!
//! # Row groups ahead
//! From its second row group on, a reader requests the columns that it read in the row group before, of the row groups
//! that come next: the next ones, or every second one where it read every second one. What is ahead and unread is at
//! most the window of the link (or the next row group, if that is larger), and three times what the run has read. Once
//! predictions fail, wasted bytes stay within a fifth of those asked for. Where the reader before it of a file of the
//! same directory went from row group to row group, a reader starts at its first one. [`FileReader::will_read`]
//! announces what will be read, and needs no prediction.
//!
//! Columns of which only pages are read (by a row selection and an offset index) are not predicted.
//!
//! # Non-goals
//! It decodes nothing, and does not decide which row groups are read. Files are not written.
//!
//! # Memory
//! What is ahead is part of the memory of the `Headstart` (`memory_bytes`). Kept metadata is limited to 64 MiB by its
//! `memory_size`; the record of a directory takes some hundred bytes, for 256 directories.
//!
//! # Cancel safety
//! Every future may be dropped. Dropping a [`FileReader`] aborts its requests.

mod file_reader;
mod files;
mod metadata;
mod policy;
mod stats;

pub use file_reader::FileReader;
pub use files::ParquetFiles;
pub use stats::ParquetStats;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
