//! Records a few reads and prints the trace: `cargo run -p headstart-trace --example record`.

use std::error::Error;
use std::sync::Arc;

use headstart_trace::TraceRecorder;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&"table".into(), vec![7; 1 << 20].into()).await?;

    let file = std::env::temp_dir().join("headstart-trace-example.jsonl");
    let recorded = TraceRecorder::create(store, &file)?;
    recorded.get_range(&"table".into(), 1_000_000..1_048_576).await?;
    recorded.get_ranges(&"table".into(), &[0..4096, 500_000..504_096]).await?;
    println!("{:?}", recorded.finish()?);
    println!("{}", std::fs::read_to_string(&file)?);
    Ok(std::fs::remove_file(file)?)
}
