//! Reads the first bytes of a file: `cargo run -p headstart-local-backend --example file_read -- file:///etc/hostname`.

use std::error::Error;

use headstart_local_backend::LocalBackend;
use object_store::ObjectStoreExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("expected a file:/// URL")?;
    let backend = LocalBackend::from_url(&url.parse()?)?;
    let bytes = backend.store().get_range(backend.path(), 0..1024).await?;
    println!("{url} starts with {:?}", String::from_utf8_lossy(&bytes));
    Ok(())
}
