//! The simulated store in a process of its own.
//!
//! The protocol is one line in, one line out: `counts` is answered with the counts of the request log. The server ends
//! when its stdin closes, so that it does not outlive the bench.

use std::path::{Path, PathBuf};
use std::{io::BufRead, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use headstart_bench::{results::WireCounts, workload::Workload};
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, TlsIdentity};
use headstart_sim::{LinkProfile, RequestCounts};

use super::RunningProcess;

pub(crate) const BUCKET: &str = "bench";

/// The time in which the server notices that a request was cancelled.
const SETTLING: Duration = Duration::from_secs(2);

/// What to serve.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[arg(long)]
    profile: LinkProfile,
    #[arg(long)]
    seed: u64,
    /// The workload whose faults the store has
    #[arg(long)]
    workload: Option<String>,
    /// The protocol, gcs or s3
    #[arg(long, default_value = "gcs", value_parser = dialect)]
    dialect: Dialect,
    /// Speak TLS, and write the authority that the client must trust to this file
    #[arg(long)]
    tls: Option<PathBuf>,
}

fn dialect(name: &str) -> Result<Dialect, String> {
    match name {
        "gcs" => Ok(Dialect::Gcs),
        "s3" => Ok(Dialect::S3),
        _ => Err("expected gcs or s3".to_owned()),
    }
}

pub(crate) fn serve(args: ServeArgs) -> Result<()> {
    let workload = args.workload.map(|name| Workload::named(&name)).transpose()?;
    let identity = args.tls.is_some().then(TlsIdentity::new).transpose().context("cannot generate a certificate")?;
    if let (Some(identity), Some(file)) = (&identity, &args.tls) {
        std::fs::write(file, identity.ca_pem()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let config = SimServerConfig {
        profile: args.profile,
        seed: args.seed,
        faults: workload.map(|workload| workload.faults(args.seed)).unwrap_or_default(),
        dialect: args.dialect,
        bucket: BUCKET.into(),
        tls: identity,
        ..SimServerConfig::default()
    };
    let server = SimServer::start(config).context("cannot start the server")?;
    println!("{}", server.url());
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "counts" => println!("{}", serde_json::to_string(&server.log().counts())?),
            other => bail!("no such command: {other}"),
        }
    }
    Ok(())
}

/// A server process, killed when this is dropped.
pub(crate) struct BenchServer {
    process: RunningProcess,
    pub(crate) url: String,
    /// The file of the authority that has signed the server's certificate, if the server speaks TLS.
    pub(crate) ca_certificate: Option<PathBuf>,
}

impl BenchServer {
    /// Starts this program again, as a server for `workload`. It speaks TLS if there is a file for its authority.
    pub(crate) fn start(profile: &LinkProfile, seed: u64, workload: &str, tls: Option<&Path>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.args(["serve", "--profile", &profile.to_string(), "--seed", &seed.to_string()]);
        command.args(["--workload", workload]);
        if let Some(file) = tls {
            command.arg("--tls").arg(file);
        }
        let mut process = RunningProcess::start(&mut command)?;
        let url = process.line()?.trim_end().to_owned();
        Ok(Self { process, url, ca_certificate: tls.map(Path::to_owned) })
    }

    /// The requests that the server has seen, once all of them have ended.
    pub(crate) async fn counts(&mut self) -> Result<WireCounts> {
        let deadline = tokio::time::Instant::now() + SETTLING;
        loop {
            self.process.send("counts")?;
            let counts: RequestCounts = serde_json::from_str(&self.process.line()?)?;
            if counts.live == 0 {
                return Ok(WireCounts { gets: counts.gets, heads: counts.heads, fetched_bytes: counts.bytes_sent });
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("{} requests are still open {SETTLING:?} after the client has gone", counts.live);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
