//! Gives an existing `Arc<dyn ObjectStore>` a head start: `cargo run -p headstart --example wrap_store`.

use std::error::Error;
use std::sync::Arc;

use headstart::Headstart;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mine: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    mine.put(&"data".into(), vec![7; 1 << 20].into()).await?;

    // The five lines: `store` goes wherever `mine` went.
    let store = Headstart::builder().store(mine).option("mode", "cached").build().await?;
    let footer = store.get_range(&"data".into(), 1_048_000..1_048_576).await?;
    let again = store.get_range(&"data".into(), 1_048_000..1_048_576).await?;
    assert_eq!(footer, again);
    println!("{store}\n{:#?}", store.stats());
    Ok(())
}
