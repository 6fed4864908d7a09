//! An executor as a process: prints its URL, and then answers for its counts.

use std::error::Error;
use std::net::TcpListener;
use std::sync::Arc;

use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use headstart_ballista::executor;

use crate::bucket::registry;
use crate::process::{answer, argument};
use crate::scheduler::HEARTBEAT_SECONDS;

/// Virtual cores of an executor: as many partitions run at once.
const VCORES: usize = 2;

/// Serves until stdin ends.
pub(crate) async fn run(endpoint: &str, disk: Option<&str>) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(registry(endpoint, disk)?);
    let [port, grpc_port] = free_ports()?;
    let config = ExecutorProcessConfig {
        executor_id: argument("id").ok_or("no --id")?,
        external_host: Some("127.0.0.1".into()),
        port,
        grpc_port,
        scheduler_host: "127.0.0.1".into(),
        scheduler_port: argument("scheduler").ok_or("no --scheduler")?.parse()?,
        vcores: VCORES,
        work_dir: Some(argument("folder").ok_or("no --folder")?),
        executor_heartbeat_interval_seconds: HEARTBEAT_SECONDS,
        ..ExecutorProcessConfig::default()
    };
    println!("http://127.0.0.1:{port}");
    tokio::select! {
        ended = start_executor_process(Arc::new(executor(config, &registry)?)) => Ok(ended?),
        ended = answer(&registry) => ended,
    }
}

/// Ports that were free just now. Ballista takes numbers, not listeners, and does not say which port it got for 0. If
/// another program takes one of them first, the executor ends with an error.
fn free_ports() -> std::io::Result<[u16; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}
