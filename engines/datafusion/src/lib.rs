//! Opens and reads the tables of DataFusion 55 by Headstart.
//!
//! ```text
//!  SQL, DataFrame
//!      │ CREATE EXTERNAL TABLE … LOCATION 's3://bucket/table/'
//!  HeadstartRegistry    opens gs://, s3://, az://, https://, file:// on first use, with the options of each store
//!  HeadstartScans       the rule of the optimizer that gives scans of Parquet files a HeadstartReaderFactory
//!      │ AsyncFileReader                    │ object_store 0.13: lists, other formats, writes
//!  headstart_parquet::FileReader        headstart_object_store_013::Store013
//!      └──────────────────┬─────────────────┘
//!  headstart              parallel ranges · row groups ahead · one version · cache
//! ```
//!
//! ```no_run
//! use headstart_datafusion::{HeadstartRegistry, session_context};
//!
//! # async fn query() -> datafusion::error::Result<()> {
//! let context = session_context(HeadstartRegistry::new().with_option("mode", "cached")?)?;
//! context.sql("CREATE EXTERNAL TABLE trips STORED AS PARQUET LOCATION 's3://bucket/trips/'").await?;
//! context.sql("SELECT count(*) FROM trips").await?.show().await?;
//! # Ok(())
//! # }
//! ```
//! The features `aws`, `gcp`, `azure` and `http` switch on the kinds of stores, as those of `headstart` do.
//!
//! A session that exists already gets one store by [`register`]; a session that is still built gets a registry by
//! [`with_headstart`].
//!
//! # Options
//! The options are those of [`headstart::options`]. The strongest first:
//!
//! 1. [`HeadstartRegistry::with_store_option`]: for one store (`s3://bucket`), or all of a scheme (`s3://`)
//! 2. [`HeadstartRegistry::with_option`], and `SET headstart.<option> = '…'` in SQL: for all stores
//! 3. the environment (`HEADSTART_*`), and the defaults
//!
//! They apply when a store is opened, which is its first use. `SHOW headstart.<option>` shows what was set.
//!
//! # Metrics
//! `EXPLAIN ANALYZE` shows these metrics for a scan, beside DataFusion's own (`bytes_scanned` among them):
//!
//! | metric | what it counts |
//! |---|---|
//! | `headstart_gets` | GETs sent |
//! | `headstart_fetched_bytes` | bytes that arrived |
//! | `headstart_wasted_bytes` | of these, bytes that were dropped unread |
//! | `headstart_hit_bytes` | bytes that came from the cache |
//! | `headstart_ahead_bytes` | bytes of row groups that were requested before they were asked for |
//! | `headstart_mispredicted_bytes` | of these, bytes that were not asked for |
//! | `headstart_wait_time` | time that the scan waited for bytes, summed over partitions |
//!
//! Counts belong to a store, and readers share its requests. What a store does while scans read from it is counted for
//! one of them. So the sum over the scans of a plan is exact if nothing else reads from the store at the same time, and
//! how it is divided between scans of one store is not.
//!
//! # Files ahead
//! DataFusion opens the files of a scan one after the other in each partition. While the last row group of a file is
//! decoded, the first one of the next file is requested: the same columns, if nothing was pruned in the file before,
//! and if the session's cache has the metadata.
//!
//! # What it does not do
//! Files of other formats are read through the store, as calls without a reader: Headstart splits and caches what these
//! ask for. A scan's own `ParquetFileReaderFactory` is asked for metadata only. Writes pass through unchanged.
//!
//! # Memory
//! Each store has its own `memory_bytes` (512 MiB by default), which DataFusion's memory pool does not know of.
//!
//! # Cancel safety
//! Dropping a query's stream aborts the requests that nothing else waits for.

mod files_ahead;
mod layer_metrics;
mod options;
mod reader;
mod registry;
mod scans;
mod session;
mod stores;

pub use options::HeadstartOptions;
pub use reader::HeadstartReaderFactory;
pub use registry::HeadstartRegistry;
pub use scans::HeadstartScans;
pub use session::{register, session_context, with_headstart};

pub use headstart;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
