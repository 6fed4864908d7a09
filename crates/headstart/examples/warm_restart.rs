//! A cache that outlives the process: `cargo run -p headstart --example warm_restart`.
//!
//! The second run of a program finds what the first one has read. Here, two stacks one after the other stand for the
//! two runs, and a store in memory stands for the bucket.

use std::error::Error;
use std::sync::Arc;

use headstart::{Headstart, Mode};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const SIZE: u64 = 32 << 20;

/// One run of a program: reads all of an object, and returns the bytes that came from the bucket.
async fn run(bucket: Arc<dyn ObjectStore>, directory: &std::path::Path) -> Result<u64, Box<dyn Error>> {
    let store = Headstart::builder()
        .store(bucket)
        .mode(Mode::Cached)
        .option("cache.disk_directory", directory.display().to_string())
        .option("cache.disk_bytes", "1GiB")
        .option("cache.disk_floor_bytes", "64MiB")
        .option("cache.disk_name", "example") // with a URL in place of a store, the URL is the name
        .build()
        .await?;
    let path = Path::from("data");
    for start in (0..SIZE).step_by(1 << 20) {
        let bytes = store.get_range(&path, start..start + (1 << 20)).await?;
        assert!(bytes.iter().all(|byte| *byte == 7));
    }
    store.close().await; // writes what waits; without it, the last few pages may be lost
    Ok(store.stats().cache.map_or(0, |cache| cache.fetched_bytes))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    bucket.put(&"data".into(), vec![7; 32 << 20].into()).await?;
    let directory = std::env::temp_dir().join(format!("headstart-warm-restart-{}", std::process::id()));
    for name in ["first", "second"] {
        let fetched = run(Arc::clone(&bucket), &directory).await?;
        println!("{name} run: {fetched} of {SIZE} bytes came from the bucket");
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
