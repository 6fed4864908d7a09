//! A worker as a process: prints its URL, and its counts for each line that it reads. Ends with its stdin, so that it
//! does not outlive the coordinator.

use std::error::Error;
use std::sync::Arc;

use headstart_distributed::worker;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::bucket::{BUCKET, registry};
use crate::process::Counts;

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
