//! Serves a simulated bucket until its stdin is closed. With the arguments `gcs s3` it speaks the S3 dialect over a
//! link like that of GCS:
//!
//! ```sh
//! cargo run --release -p headstart-sim --example serve -- gcs s3
//! curl -o /dev/null $URL/bucket/synthetic/1GiB/a
//! ```

use headstart_sim::server::{Dialect, SimServer, SimServerConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let profile = arguments.next().as_deref().unwrap_or("loopback").parse()?;
    let dialect = match arguments.next().as_deref() {
        None | Some("gcs") => Dialect::Gcs,
        Some("s3") => Dialect::S3,
        Some(other) => return Err(format!("unknown dialect '{other}': expected gcs or s3").into()),
    };
    SimServer::run_until_stdin_closes(SimServerConfig { profile, dialect, ..SimServerConfig::default() })?;
    Ok(())
}
