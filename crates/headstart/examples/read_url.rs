//! Reads an object to its end and says how fast it went:
//! `cargo run --release -p headstart --features gcp,aws,http --example read_url -- gs://bucket/key [option=value …]`.

use std::error::Error;
use std::process::ExitCode;

use futures::TryStreamExt;
use headstart::Headstart;
use tokio::time::Instant;

#[tokio::main]
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
    let url = arguments.next().ok_or("expected a URL, such as gs://bucket/key, then options as key=value")?;
    let mut builder = Headstart::builder().url(url);
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or("expected options as key=value")?;
        builder = builder.option(key, value);
    }
    let headstart = builder.build().await?;
    for setting in headstart.effective_config() {
        println!("{setting}");
    }

    let reader = headstart.open().await?;
    let start = Instant::now();
    let mut bytes = 0_usize;
    let mut chunks = reader.stream();
    while let Some(chunk) = chunks.try_next().await? {
        bytes += chunk.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("\n{bytes} bytes in {seconds:.3} s: {:.1} MB/s", bytes as f64 / 1e6 / seconds);
    println!("{:#?}", headstart.stats());
    Ok(())
}
