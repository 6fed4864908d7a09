//! A `Headstart` where a program expects a store of `object_store` 0.13, and a store of 0.13 below a `Headstart`.
//!
//! `cargo run -p headstart-object-store-013 --example adapt`

use std::sync::Arc;

use headstart::Headstart;
use headstart_object_store_013::{Store013, Store014, object_store_013};
use object_store_013::{ObjectStore, ObjectStoreExt, memory::InMemory};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The store that the program has today.
    let own: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    own.put(&"table.parquet".into(), vec![7; 3_000_000].into()).await?;

    // Headstart over it, and back to the version that the program's engine expects.
    let headstart = Headstart::builder().store(Arc::new(Store014::new(own))).build().await?;
    let store: Arc<dyn ObjectStore> = Arc::new(Store013::new(Arc::new(headstart)));

    let bytes = store.get_range(&"table.parquet".into(), 1_000_000..2_000_000).await?;
    println!("{} bytes through {store}", bytes.len());
    Ok(())
}
