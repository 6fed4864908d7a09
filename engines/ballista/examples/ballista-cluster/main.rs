//! Promises of a Ballista cluster of processes, each executor with its own cache, over one simulated bucket: what is
//! read again, after an executor has joined, and after one was killed in the middle of a query.
//!
//! `cargo xtask cluster --ballista`, or `cargo run -p headstart-ballista --example ballista-cluster -- --workers 4`

#![allow(clippy::unwrap_used, reason = "the first error ends the program")]

// What does not depend on the engine is that of the example of `headstart-distributed`.
#[path = "../../../distributed/examples/cluster/bucket.rs"]
mod bucket;
#[path = "../../../distributed/examples/cluster/cluster.rs"]
mod cluster;
#[path = "../../../distributed/examples/cluster/data.rs"]
mod data;
mod executor;
mod phases;
#[path = "../../../distributed/examples/cluster/process.rs"]
mod process;
mod scheduler;

use std::error::Error;

use process::argument;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let disk = argument("disk");
    if let Some(endpoint) = argument("worker-of") {
        return executor::run(&endpoint, disk.as_deref()).await;
    }
    let workers: usize = argument("workers").map_or(Ok(4), |workers| workers.parse())?;
    let files: usize = argument("files").map_or(Ok(480), |files| files.parse())?;
    phases::run(workers.max(2), files, disk.as_deref()).await
}
