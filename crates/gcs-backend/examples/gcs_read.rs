//! Reads the first bytes of an object:
//!
//! ```sh
//! cargo run -p headstart-gcs-backend --example gcs_read -- gs://bucket/key [option=value …]
//! ```

use std::error::Error;
use std::process::ExitCode;

use headstart_gcs_backend::GcsBackend;
use object_store::{GetOptions, GetRange};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match read().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn read() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1).collect::<Vec<_>>().into_iter();
    let url = arguments.next().ok_or("expected gs://bucket/key")?;
    let options: Vec<_> = arguments
        .map(|argument| argument.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect::<Option<_>>()
        .ok_or("expected option=value")?;

    let backend = GcsBackend::from_url(&url.parse()?, options)?;
    let mut get = GetOptions::new().with_range(Some(GetRange::Bounded(0..1024)));
    get.version = backend.generation().map(str::to_owned);
    let answer = backend.store().get_opts(backend.path(), get).await?;
    println!(
        "{}: {} bytes, generation {}",
        answer.meta.location,
        answer.meta.size,
        answer.meta.version.as_deref().unwrap_or("?")
    );
    let bytes = answer.bytes().await?;
    println!("first {} bytes: {}", bytes.len(), String::from_utf8_lossy(&bytes).escape_debug());
    Ok(())
}
