//! `cargo xtask servers`: starts third-party object stores on loopback, for tests and for trying things out.

mod environment;
mod kind;
mod process;

use std::io::{Write, stdout};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};

pub(crate) use environment::{PythonEnvironment, install};
pub(crate) use kind::{HowToRead, ServerKind};
pub(crate) use process::{LinkShape, RunningServer};

/// The bucket that `cargo xtask servers` creates, and its object.
const BUCKET: &str = "bucket";
const OBJECT: &str = "object";
const OBJECT_BYTES: usize = 64 << 20;

/// Which servers to start.
#[derive(Debug, Args)]
pub(crate) struct ServersArgs {
    /// Start only these
    #[arg(value_name = "SERVER")]
    servers: Vec<ServerKind>,
    /// Install all servers into target/servers, as pinned by xtask/servers.txt and xtask/servers/, and start none
    #[arg(long, conflicts_with = "servers")]
    install: bool,
    /// Milliseconds to hadro's first bytes
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u32,
    /// Megabytes per second of one stream of hadro
    #[arg(long, value_name = "MB_PER_S")]
    stream_mb_per_s: Option<u32>,
}

/// Installs the servers, where one is missing in its pinned version.
pub(crate) fn install_missing() -> Result<()> {
    match ServerKind::value_variants().iter().all(|kind| kind.is_installed()) {
        true => Ok(()),
        false => install(),
    }
}

/// Installs the servers, or starts them, prints how to read from each, and stops them at an interrupt.
pub(crate) fn run(args: &ServersArgs) -> Result<()> {
    if args.install {
        return install();
    }
    let kinds = if args.servers.is_empty() { ServerKind::value_variants().to_vec() } else { args.servers.clone() };
    let shape = LinkShape { latency_ms: args.latency_ms, jitter_ms: 0, stream_mb_per_s: args.stream_mb_per_s };
    ensure!(
        shape == LinkShape::default() || kinds.contains(&ServerKind::Hadro),
        "--latency-ms and --stream-mb-per-s shape hadro, which is not among the servers to start"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = async {
        let mut running = Vec::new();
        for kind in kinds {
            let server = RunningServer::start(kind, shape).await?;
            server.make_bucket(BUCKET).await?;
            server.write(BUCKET, OBJECT, vec![7; OBJECT_BYTES].into()).await?;
            println!("\n{kind} at {}: an object of 64 MiB. Read it with", server.url());
            for HowToRead { url, options, variables } in server.how_to_read(BUCKET, OBJECT) {
                let variables = variables.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
                let options = options.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
                let run = "cargo run --release -p headstart --features gcp,aws,azure --example read_url --";
                println!("  {variables}{run} {url}{options}");
            }
            running.push(server);
        }
        print!("\nCtrl-C stops them. ");
        stdout().flush()?;
        std::future::pending::<()>().await;
        anyhow::Ok(())
    };
    // An interrupt is the normal end of this command.
    runtime.block_on(until_interrupted(serve)).unwrap_or(Ok(()))
}

/// The result of `work`, or an error if this process is interrupted. Then `work` is dropped, and with it its servers.
pub(crate) async fn until_interrupted<T>(work: impl Future<Output = T>) -> Result<T> {
    let interrupted = async {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut stop = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
            let stop = stop.iter_mut().filter_map(|signal| signal.as_mut().ok()).map(|signal| Box::pin(signal.recv()));
            futures::future::select_all(stop).await;
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        done = work => Ok(done),
        () = interrupted => bail!("told to stop"),
    }
}
