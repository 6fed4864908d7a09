//! Reads a file as if it were a remote object: in parts, in parallel, in order.
//!
//! `cargo run --release --example fetch -- FILE`

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchStore};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bytes = match std::env::args().nth(1) {
        Some(file) => std::fs::read(file)?,
        None => vec![7; 64 << 20],
    };
    // A store that takes 30 ms to answer and gives each stream 60 MB/s; any other `ObjectStore` will do.
    let (path, far_away) = (Path::from("object"), InMemory::new());
    far_away.put(&path, bytes.into()).await?;
    let far_away: Arc<dyn ObjectStore> = Arc::new(ThrottledStore::new(
        far_away,
        ThrottleConfig {
            wait_get_per_call: Duration::from_millis(30),
            wait_get_per_byte: Duration::from_nanos(17),
            ..ThrottleConfig::default()
        },
    ));

    let profile = BackendProfile { stream_bytes_per_s: 60e6, ..BackendProfile::default() };
    let store = Arc::new(
        FetchStore::new(Arc::clone(&far_away), FetchConfig { profile: Some(profile), ..FetchConfig::default() })
            .expect("valid settings"),
    );
    for store in [far_away, Arc::clone(&store) as Arc<dyn ObjectStore>] {
        let start = Instant::now();
        let mut body = store.get(&path).await?.into_stream();
        let mut read = 0;
        while let Some(chunk) = body.try_next().await? {
            read += chunk.len();
        }
        println!("{store}: {read} bytes in {:?}", start.elapsed());
    }
    println!("{:#?}\n{:#?}", store.stats(), store.link().link());
    Ok(())
}
