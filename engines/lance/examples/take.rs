//! Takes rows of a data set of Lance at random, by Headstart.
//!
//! `cargo run -p headstart-lance --example take -- file-object-store:///data/trips.lance 100`. Lance opens `s3://`,
//! `gs://` and `az://` with its features `aws`, `gcp` and `azure`.

use std::sync::Arc;

use headstart_lance::HeadstartWrapper;
use lance::dataset::builder::DatasetBuilder;
use lance::deps::arrow_array::RecordBatch;
use lance::io::ObjectStoreParams;
use lance::{Result, session::Session};

/// Rows at random of the data set at `url`.
pub(crate) async fn take(session: Arc<Session>, url: &str, rows: &[u64]) -> Result<RecordBatch> {
    let wrapper = Arc::new(HeadstartWrapper::default());
    let params = ObjectStoreParams { object_store_wrapper: Some(wrapper), ..ObjectStoreParams::default() };
    let table = DatasetBuilder::from_uri(url).with_session(session).with_store_params(params).load().await?;
    table.take(rows, table.schema().clone()).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(url) = arguments.next() else {
        println!("usage: take URL ROW…");
        return Ok(());
    };
    let rows: Vec<u64> = arguments.filter_map(|row| row.parse().ok()).collect();
    println!("{:?}", take(Arc::default(), &url, &rows).await?);
    Ok(())
}
