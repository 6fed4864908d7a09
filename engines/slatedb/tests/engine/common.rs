//! A bucket in virtual time, and a database in it whose every value follows from its row.

use std::ops::Range;
use std::sync::Arc;

use headstart_sim::{Content, LinkProfile, SimStore};
use slatedb::bytes::Bytes;
use slatedb::config::{FlushOptions, FlushType, Settings};
use slatedb::{Db, Error, KeyValue, WriteBatch};

/// The database's path.
pub(crate) const PATH: &str = "orders";

/// Rows of a sorted table, and of the four of the database: 9 MB.
const TABLE_ROWS: u64 = 10_000;
pub(crate) const ROWS: u64 = 4 * TABLE_ROWS;

/// Bytes of a value.
const VALUE_BYTES: u64 = 200;

/// A simulated bucket, behind the link `gcs`.
pub(crate) struct Bucket {
    pub(crate) store: SimStore,
}

impl Bucket {
    /// A bucket with the database.
    pub(crate) async fn with_database() -> Result<Self, Error> {
        let store = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build();
        // Nothing works in the background.
        let settings = Settings { compactor_options: None, garbage_collector_options: None, ..Settings::default() };
        let db = Db::builder(PATH, Arc::new(store.clone())).with_settings(settings).build().await?;
        for first in (0..ROWS).step_by(usize::try_from(TABLE_ROWS).unwrap()) {
            db.write(batch(first..first + TABLE_ROWS)).await?;
            db.flush_with_options(FlushOptions { flush_type: FlushType::MemTable }).await?;
        }
        db.close().await?;
        Ok(Self { store })
    }
}

fn batch(rows: Range<u64>) -> WriteBatch {
    let mut batch = WriteBatch::new();
    rows.for_each(|row| batch.put(key(row), value(row)));
    batch
}

pub(crate) fn key(row: u64) -> String {
    format!("order {row:08}")
}

pub(crate) fn value(row: u64) -> Bytes {
    Content::new("value", row).bytes(0..VALUE_BYTES)
}

/// Checks the key and the value of a row.
pub(crate) fn check(found: &KeyValue, row: u64) {
    assert_eq!(found.key, key(row));
    assert_eq!(found.value, value(row), "row {row}");
}
