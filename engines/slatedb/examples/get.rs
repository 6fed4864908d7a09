//! The values of some keys of a SlateDB in a bucket or folder, by Headstart.
//!
//! `cargo run -p headstart-slatedb --example get -- s3://bucket/ path/of/the/db KEY…`

use std::error::Error;
use std::sync::Arc;

use headstart::Headstart;
use slatedb::object_store::ObjectStore;
use slatedb::{DbReader, DbReaderMode, bytes::Bytes};

/// The values of `keys` in the database at `path`, which this only reads.
pub(crate) async fn get(
    store: Arc<dyn ObjectStore>,
    path: &str,
    keys: &[String],
) -> Result<Vec<Option<Bytes>>, slatedb::Error> {
    let db = DbReader::builder(path, store).with_reader_mode(DbReaderMode::FollowLatest).build().await?;
    let mut values = Vec::new();
    for key in keys {
        values.push(db.get(key).await?);
    }
    db.close().await?;
    Ok(values)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, path, keys @ ..] = &arguments[..] else {
        println!("usage: get URL PATH KEY…");
        return Ok(());
    };
    let store = Headstart::builder().url(url).build().await?;
    println!("{:?}", get(Arc::new(store), path, keys).await?);
    Ok(())
}
