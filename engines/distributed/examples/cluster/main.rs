//! Promises of a cluster of processes, each with its own cache, over one simulated bucket: what is read again, after a
//! worker has joined, and after one was killed in the middle of a query.
//!
//! `cargo xtask cluster --workers 4`, or `cargo run -p headstart-distributed --example cluster -- --workers 4`

#![allow(clippy::unwrap_used, reason = "the first error ends the program")]

mod bucket;
mod cluster;
mod coordinator;
mod data;
mod phases;
mod process;
mod worker;

use std::error::Error;

use process::argument;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(endpoint) = argument("worker-of") {
        return worker::run(&endpoint, argument("disk").as_deref()).await;
    }
    let workers: usize = argument("workers").map_or(Ok(4), |workers| workers.parse())?;
    let files: usize = argument("files").map_or(Ok(480), |files| files.parse())?;
    phases::run(workers.max(2), files, argument("disk").as_deref()).await
}
