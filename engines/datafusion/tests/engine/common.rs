//! A bucket behind the S3 client, and a table in it whose every value follows from its row.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::prelude::{SessionConfig, SessionContext};
use headstart::object_store::ClientOptions;
use headstart::object_store::aws::{AmazonS3, AmazonS3Builder};
use headstart_datafusion::{HeadstartRegistry, with_headstart};
use headstart_object_store_013::Store013;
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{EPOCH, LinkProfile, WriteCondition};

/// The bucket's URL.
pub(crate) const BUCKET: &str = "s3://bucket";

/// A session with these settings that opens stores by `registry`.
pub(crate) fn session(registry: &Arc<HeadstartRegistry>, config: SessionConfig) -> Result<SessionContext> {
    let builder = SessionStateBuilder::new().with_default_features().with_config(config);
    Ok(SessionContext::new_with_state(with_headstart(builder, registry)?.build()))
}

/// A simulated bucket.
pub(crate) struct Bucket {
    pub(crate) server: SimServerHandle,
}

impl Bucket {
    pub(crate) fn start(profile: LinkProfile) -> Self {
        let config = SimServerConfig { profile, dialect: Dialect::S3, versioned: false, ..SimServerConfig::default() };
        Self { server: SimServer::start(config).unwrap() }
    }

    /// Writes an object, `seconds` after the first ones.
    pub(crate) fn put(&self, key: &str, bytes: Vec<u8>, seconds: u64) {
        let now = EPOCH + std::time::Duration::from_secs(seconds);
        let written = self.server.catalog().put(key, bytes.into(), Default::default(), &WriteCondition::Always, now);
        written.unwrap();
    }

    /// A registry that opens the bucket in `mode`.
    pub(crate) fn registry(&self, mode: &str) -> HeadstartRegistry {
        let options = [
            ("s3.endpoint", self.server.url()),
            ("s3.access_key_id", "any"),
            ("s3.secret_access_key", "any"),
            ("mode", mode),
        ];
        // Without the variables of the process.
        let registry = HeadstartRegistry::new().with_environment([]);
        options.into_iter().fold(registry, |registry, (key, value)| registry.with_option(key, value).unwrap())
    }

    /// The client, without Headstart.
    pub(crate) fn client(&self) -> AmazonS3 {
        let builder = AmazonS3Builder::new()
            .with_endpoint(self.server.url())
            .with_bucket_name("bucket")
            .with_access_key_id("any")
            .with_secret_access_key("any");
        builder.with_client_options(ClientOptions::new().with_allow_http(true)).build().unwrap()
    }

    /// Makes `context` read the bucket by the client alone.
    pub(crate) fn register_client(&self, context: &SessionContext) {
        context.register_object_store(&BUCKET.parse().unwrap(), Arc::new(Store013::new(Arc::new(self.client()))));
    }

    /// GETs that have arrived since the last call.
    pub(crate) fn take_gets(&self) -> u64 {
        let gets = self.server.log().counts().gets;
        self.server.log().clear();
        gets
    }
}

/// Rows of a file, of a row group, and of the table of four files.
pub(crate) const FILE_ROWS: i64 = 20_000;
pub(crate) const GROUP_ROWS: i64 = 2_000;
pub(crate) const ROWS: i64 = 4 * FILE_ROWS;

/// The columns `n`, `square` and `text` of a row of generation `generation`.
pub(crate) fn values(row: i64, generation: i64) -> (i64, i64, String) {
    (row, (row * row + generation) % 1_000_003, format!("row {row:08} of {generation}"))
}

/// A Parquet file with these rows.
pub(crate) fn parquet(rows: Range<i64>, generation: i64) -> Vec<u8> {
    let rows: Vec<_> = rows.map(|row| values(row, generation)).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)))),
        ("square", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ("text", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.2)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let group_rows = usize::try_from(GROUP_ROWS).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// The files of the table: their keys and bytes.
pub(crate) fn table(generation: i64) -> impl Iterator<Item = (String, Vec<u8>)> {
    let files = (0..ROWS / FILE_ROWS).map(|file| file * FILE_ROWS..(file + 1) * FILE_ROWS);
    files.enumerate().map(move |(file, rows)| (format!("table/{file}.parquet"), parquet(rows, generation)))
}

/// A bucket with the table.
pub(crate) fn bucket_with_table() -> Bucket {
    let bucket = Bucket::start(LinkProfile::loopback());
    table(0).for_each(|(key, bytes)| bucket.put(&key, bytes, 0));
    bucket
}

/// Makes the table `t` of the Parquet files at `location`.
pub(crate) async fn create_table(context: &SessionContext, location: &str) -> Result<()> {
    let sql = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{location}'");
    context.sql(&sql).await?.collect().await.map(drop)
}

/// The rows that `sql` selects, as text.
pub(crate) async fn rows(context: &SessionContext, sql: &str) -> Result<String> {
    Ok(pretty_format_batches(&context.sql(sql).await?.collect().await?)?.to_string())
}

/// Checks sums and texts over all rows of generation `generation`.
pub(crate) async fn check_table(context: &SessionContext, generation: i64) -> Result<()> {
    let sql = "SELECT count(*), sum(n), sum(square), min(text), max(text) FROM t WHERE n % 3 = 0";
    let expected: Vec<_> = (0..ROWS).filter(|row| row % 3 == 0).map(|row| values(row, generation)).collect();
    let sum = |column: fn(&(i64, i64, String)) -> i64| expected.iter().map(column).sum::<i64>();
    let found = rows(context, sql).await?;
    let cells: Vec<_> = found.lines().nth(3).unwrap().split('|').map(str::trim).collect();
    let (first, last) = (expected.first().unwrap(), expected.last().unwrap());
    let wanted = [
        expected.len().to_string(),
        sum(|row| row.0).to_string(),
        sum(|row| row.1).to_string(),
        first.2.clone(),
        last.2.clone(),
    ];
    assert_eq!(cells[1..6], wanted, "{found}");
    Ok(())
}
