//! `cargo xtask serve-clients --measure`: boto3 and pyarrow through an endpoint and without it, on the link `gcs`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use headstart_sim::LinkProfile;
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};

use super::{Endpoint, MIB, content, put};
use crate::numbers::median;
use crate::servers::PythonEnvironment;

/// The objects that are read in order and at random, and their size.
const OBJECTS: [&str; 3] = ["sequential", "random", "processes"];
const BYTES: u64 = 192 * MIB;

/// The seconds of each pass.
const SECONDS: &str = "6";

/// Runs of each; the median counts.
const REPEATS: usize = 3;

/// How many processes read one object at once.
const PROCESSES: usize = 8;

/// Compares both clients with and without the endpoint, three times; the medians count.
pub(super) fn run(env: &PythonEnvironment, program: &Path) -> Result<()> {
    let profile = LinkProfile::gcs();
    let upstream = SimServer::start(SimServerConfig { dialect: Dialect::S3, profile, ..SimServerConfig::default() })?;
    for (seed, key) in (1..).zip(OBJECTS) {
        put(&upstream, key, content(seed, BYTES))?;
    }
    for client in ["boto3", "pyarrow"].map(|name| MeasuredClient { env, name }) {
        for pattern in ["sequential", "random"] {
            let mut rates = Vec::new();
            for _ in 0..REPEATS {
                let bare = client.rates(upstream.url(), pattern, "1")?;
                // Each endpoint begins with an empty cache.
                let endpoint = Endpoint::start(program, Dialect::S3, &upstream, &[])?;
                let through = client.rates(&endpoint.url, pattern, "2")?;
                let ([bare], [cold, again]) = (&bare[..], &through[..]) else { bail!("expected one rate, and two") };
                rates.push([*bare, *cold, *again]);
            }
            let of_runs = |which: usize| median(rates.iter().map(|rates| rates[which]).collect()).unwrap_or_default();
            let [bare, cold, again] = [0, 1, 2].map(of_runs);
            println!(
                "{}, {pattern}: {bare:.2} MB/s at the store; through the endpoint {cold:.2} ({:.2} times), again \
                 {again:.2} ({:.1} times)",
                client.name,
                cold / bare,
                again / bare
            );
        }
    }
    processes(&MeasuredClient { env, name: "boto3" }, &upstream, program)
}

/// Several processes read one object through one endpoint.
fn processes(client: &MeasuredClient, upstream: &SimServerHandle, program: &Path) -> Result<()> {
    let endpoint = Endpoint::start(program, Dialect::S3, upstream, &[])?;
    upstream.log().clear();
    let commands = (0..PROCESSES).map(|_| client.command(&endpoint.url, "processes", "1").spawn());
    let children = commands.collect::<std::io::Result<Vec<_>>>()?;
    let mut read = 0;
    for child in children {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "measure.py failed");
        let line: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        read += line["reads"].as_u64().context("no count")? * MIB;
    }
    let fetched = upstream.log().counts().bytes_sent;
    println!("{PROCESSES} processes have read {} MiB, and the store has sent {} MiB", read / MIB, fetched / MIB);
    Ok(())
}

/// A client of `measure.py`.
struct MeasuredClient<'a> {
    env: &'a PythonEnvironment,
    name: &'static str,
}

impl MeasuredClient<'_> {
    fn command(&self, url: &str, key: &str, passes: &str) -> Command {
        let mut python = Command::new(self.env.program("python"));
        python.arg(crate::workspace_root().join("xtask/serve_clients/measure.py"));
        let pattern = if key == "random" { "random" } else { "sequential" };
        python.args([url, self.name, pattern, key, &BYTES.to_string(), SECONDS, passes]);
        python.stdin(Stdio::null()).stdout(Stdio::piped());
        python
    }

    /// The MB/s of each pass.
    fn rates(&self, url: &str, key: &str, passes: &str) -> Result<Vec<f64>> {
        let output = self.command(url, key, passes).output()?;
        ensure!(output.status.success(), "measure.py failed");
        let rate = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line)?;
            line["mb_per_s"].as_f64().context("no rate")
        };
        String::from_utf8(output.stdout)?.lines().map(rate).collect()
    }
}
