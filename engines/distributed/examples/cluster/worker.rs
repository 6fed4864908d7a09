//! A worker as a process: prints its URL, and its counts for each line that it reads. Ends with its stdin, so that it
//! does not outlive the coordinator.

use std::error::Error;
use std::sync::Arc;

use datafusion::error::Result;
use headstart_datafusion::HeadstartRegistry;
use headstart_distributed::worker;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::coordinator::BUCKET;
use crate::process::Counts;

/// A registry that opens the bucket at `endpoint` with a cache, in memory and on disk if there is a directory.
pub(crate) fn registry(endpoint: &str, disk: Option<&str>) -> Result<HeadstartRegistry> {
    let options = [
        ("mode", "cached"),
        ("memory_bytes", "128MiB"),
        // A busy machine answers late. A request that is sent twice would be counted twice.
        ("fetch.hedge", "off"),
        ("s3.endpoint", endpoint),
        ("s3.access_key_id", "any"),
        ("s3.secret_access_key", "any"),
    ];
    // Without the variables of the process.
    let registry = HeadstartRegistry::new().with_environment([]);
    let disk = disk.map(|directory| ("cache.disk_directory", directory));
    options.into_iter().chain(disk).try_fold(registry, |registry, (option, value)| registry.with_option(option, value))
}

/// Serves until stdin ends.
pub(crate) async fn run(endpoint: &str, disk: Option<&str>) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(registry(endpoint, disk)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let worker = worker(&registry)?.into_worker_server();
    tokio::spawn(Server::builder().add_service(worker).serve_with_incoming(TcpIncoming::from(listener)));
    let mut lines = BufReader::new(stdin()).lines();
    while lines.next_line().await?.is_some() {
        println!("{}", Counts::of(&registry.headstart(&BUCKET.parse()?)?));
    }
    Ok(())
}
