//! Puts a cache before a store that is far away, and reads the same file twice.
//!
//! `cargo run -p headstart-cache --example cached`

use std::sync::Arc;
use std::time::Duration;

use headstart_cache::{CacheConfig, CacheStore};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStoreExt, PutPayload};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let far_away = ThrottleConfig { wait_get_per_call: Duration::from_millis(30), ..ThrottleConfig::default() };
    let inner = ThrottledStore::new(InMemory::new(), far_away);
    let store = CacheStore::new(Arc::new(inner), CacheConfig::default())?;

    let path = "table.parquet".into();
    store.put(&path, PutPayload::from(vec![7; 10 << 20])).await?;

    for pass in ["cold", "warm"] {
        let started = Instant::now();
        for start in (0..10 << 20).step_by(1 << 20) {
            store.get_range(&path, start..start + 1000).await?;
        }
        println!("{pass}: ten reads in {:?}", started.elapsed());
    }
    println!("{:#?}", store.stats());
    Ok(())
}
