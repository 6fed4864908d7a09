//! Reads the first bytes of an object: `cargo run -p headstart-s3-backend --example s3_read -- s3://bucket/key`.

use std::error::Error;

use headstart_s3_backend::S3Backend;
use object_store::ObjectStoreExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("expected s3://bucket/key")?;
    let backend = S3Backend::from_url(&url.parse()?, [] as [(&str, &str); 0])?;
    let bytes = backend.store().get_range(backend.path(), 0..1024).await?;
    println!("{url} starts with {:?}", String::from_utf8_lossy(&bytes));
    Ok(())
}
