//! The bucket as sessions see it: the registry that opens it, its tables, and rows of queries.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::object_store::memory::InMemory;
use datafusion::object_store::{ObjectStoreExt, path::Path};
use datafusion::prelude::{SessionConfig, SessionContext};
use headstart_datafusion::HeadstartRegistry;

use crate::data::TABLES;

/// The bucket's URL.
pub(crate) const BUCKET: &str = "s3://bucket";

/// A registry that opens the bucket at `endpoint` with a cache, in memory and on disk if there is a directory.
pub(crate) fn registry(endpoint: &str, disk: Option<&str>) -> Result<HeadstartRegistry> {
    let options = [
        ("mode", "cached"),
        ("memory_bytes", "128MiB"),
        // A busy machine answers late. A request that is sent twice would be counted twice.
        ("fetch.hedge", "off"),
        ("s3.endpoint", endpoint),
        ("s3.access_key_id", "any"),
        ("s3.secret_access_key", "any"),
    ];
    // Without the variables of the process.
    let registry = HeadstartRegistry::new().with_environment([]);
    let disk = disk.map(|directory| ("cache.disk_directory", directory));
    options.into_iter().chain(disk).try_fold(registry, |registry, (option, value)| registry.with_option(option, value))
}

/// A session without Headstart, workers or a network, over the same files.
pub(crate) async fn plain(objects: &[(String, Vec<u8>)]) -> Result<SessionContext> {
    let store = InMemory::new();
    for (key, bytes) in objects {
        store.put(&Path::from(key.as_str()), bytes.clone().into()).await?;
    }
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    context.register_object_store(&BUCKET.parse().unwrap(), Arc::new(store));
    create_tables(&context).await?;
    Ok(context)
}

/// Creates the tables of the bucket in a session.
pub(crate) async fn create_tables(context: &SessionContext) -> Result<()> {
    for table in TABLES {
        let sql = format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{BUCKET}/{table}/'");
        context.sql(&sql).await?.collect().await?;
    }
    Ok(())
}

/// The rows that `sql` selects, as text.
pub(crate) async fn rows(context: &SessionContext, sql: &str) -> Result<String> {
    Ok(pretty_format_batches(&context.sql(sql).await?.collect().await?)?.to_string())
}

/// Rows in the order of their text.
pub(crate) fn sorted(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let text = pretty_format_batches(batches)?.to_string();
    let mut rows: Vec<_> = text.lines().map(str::to_owned).collect();
    rows.sort_unstable();
    Ok(rows)
}
