//! A worker as a process: prints its URL, and then answers for its counts.

use std::error::Error;
use std::sync::Arc;

use headstart_distributed::worker;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::bucket::registry;
use crate::process::answer;

/// Serves until stdin ends.
pub(crate) async fn run(endpoint: &str, disk: Option<&str>) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(registry(endpoint, disk)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let worker = worker(&registry)?.into_worker_server();
    tokio::spawn(Server::builder().add_service(worker).serve_with_incoming(TcpIncoming::from(listener)));
    answer(&registry).await
}
