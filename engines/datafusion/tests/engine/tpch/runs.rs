//! Runs of TPC-H's queries in one session: their tables, results and times.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use headstart_datafusion::HeadstartRegistry;
use tokio::time::Instant;

use super::common;
use super::data::TABLES;
use super::queries::statements;

/// The settings of all sessions.
pub(crate) fn session_config() -> SessionConfig {
    // Fractions are exact then, as the results of TPC-H are.
    SessionConfig::new().set_bool("datafusion.sql_parser.parse_float_as_decimal", true)
}

/// A session that opens the bucket by `registry`, with its tables.
pub(crate) async fn session(registry: HeadstartRegistry) -> Result<SessionContext> {
    let context = common::session(&Arc::new(registry), session_config())?;
    create_tables(&context, "s3://bucket/tpch").await?;
    Ok(context)
}

/// Makes the tables of the files below `location`.
pub(crate) async fn create_tables(context: &SessionContext, location: &str) -> Result<()> {
    for (table, _) in TABLES {
        let sql = format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{location}/{table}/'");
        context.sql(&sql).await?.collect().await?;
    }
    Ok(())
}

/// The files below `folder`: their paths from there, and bytes.
pub(crate) fn files(folder: &Path) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    TABLES.into_iter().flat_map(move |(table, files)| {
        (1..=files).map(move |number| {
            let path = format!("{table}/{number}.parquet");
            let bytes = std::fs::read(folder.join(&path)).unwrap();
            (path, bytes)
        })
    })
}

/// The result of query `number`, from 1, and the time that it took.
pub(crate) async fn run(context: &SessionContext, number: usize, scale: f64) -> Result<(Vec<String>, Duration)> {
    let begun = Instant::now();
    let mut rows: Vec<RecordBatch> = Vec::new();
    for statement in statements(number, scale) {
        rows.extend(context.sql(&statement).await?.collect().await?);
    }
    let took = begun.elapsed();
    // Rows of equal rank have no order.
    let mut lines: Vec<String> = pretty_format_batches(&rows)?.to_string().lines().map(str::to_owned).collect();
    lines.sort();
    Ok((lines, took))
}
