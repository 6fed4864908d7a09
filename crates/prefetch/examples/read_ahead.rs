//! Read-ahead in front of any object store: `cargo run -p headstart-prefetch --example read_ahead`.

use std::sync::Arc;

use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, Result};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let slow = Arc::new(InMemory::new());
    let path = Path::from("data.bin");
    slow.put(&path, vec![42; 8 << 20].into()).await?;

    let store = PrefetchStore::new(slow, PrefetchConfig::default()).expect("valid settings");
    let mut reader = store.reader(&path)?;
    let mut block = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let read = reader.read(&mut block).await?;
        if read == 0 {
            break;
        }
        total += read;
    }
    let stats = store.stats();
    println!("read {total} bytes, {} of them before they were asked for", stats.ahead_bytes);
    Ok(())
}
