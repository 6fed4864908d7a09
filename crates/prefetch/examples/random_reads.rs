//! Random reads of 64 KiB from memory, to count what read-ahead and fetching cost where nothing is to be read ahead.
//!
//! `valgrind --tool=callgrind target/release/examples/random_reads reader 2000` counts instructions; the difference to
//! the same command with `0` reads, divided by the number of reads, is the cost of one read. `calls` instead of
//! `reader` reads by `get_range`, and `memory` without read-ahead. A third argument `fetch` puts a `FetchStore` below.
//! docs/decisions.md has the figures.

use std::sync::Arc;

use headstart_fetch_core::{FetchConfig, FetchStore};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const READ_BYTES: u64 = 64 << 10;
const OBJECT_BYTES: u64 = 64 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let way = arguments.next().unwrap_or_else(|| "reader".to_owned());
    let reads: u64 = arguments.next().map_or(Ok(2000), |reads| reads.parse())?;
    let fetches = arguments.next().is_some_and(|below| below == "fetch");

    let inner = Arc::new(InMemory::new());
    let path = Path::from("data.bin");
    inner.put(&path, vec![42; 64 << 20].into()).await?;
    let mut below: Arc<dyn ObjectStore> = inner;
    if fetches {
        below = Arc::new(FetchStore::new(below, FetchConfig::default()).expect("valid settings"));
    }
    let store = PrefetchStore::new(Arc::clone(&below), PrefetchConfig::default()).expect("valid settings");
    let reader = store.reader(&path)?;
    // A fixed linear congruential sequence: the same reads in each run.
    let mut state = 1_u64;
    for _ in 0..reads {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let start = (state >> 20) % (OBJECT_BYTES - READ_BYTES);
        let range = start..start + READ_BYTES;
        let bytes = match way.as_str() {
            "memory" => below.get_range(&path, range).await?,
            "calls" => store.get_range(&path, range).await?,
            _ => reader.read_at(range).await?,
        };
        assert_eq!(bytes.len() as u64, READ_BYTES);
    }
    let stats = store.stats();
    println!("{} reads, {} bytes ahead", stats.reads, stats.ahead_bytes);
    Ok(())
}
