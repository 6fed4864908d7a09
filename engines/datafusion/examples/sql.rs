//! SQL over the Parquet files of a bucket or folder, as the table `t`.
//!
//! `cargo run -p headstart-datafusion --features aws --example sql -- s3://bucket/table/ 'SELECT count(*) FROM t'`

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use headstart_datafusion::{HeadstartRegistry, session_context};

/// The rows that `sql` selects, as text.
pub(crate) async fn query(registry: HeadstartRegistry, location: &str, sql: &str) -> Result<String> {
    let context = session_context(registry)?;
    context.sql(&format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{location}'")).await?;
    let batches = context.sql(sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(location), Some(sql)) = (arguments.next(), arguments.next()) else {
        println!("usage: sql LOCATION QUERY");
        return Ok(());
    };
    println!("{}", query(HeadstartRegistry::new(), &location, &sql).await?);
    Ok(())
}
