//! `cargo xtask serve-clients`: clients that were not written here read through `headstart serve`.
//!
//! The store is the simulated cloud, in both dialects. The clients read all of a bucket and check every byte
//! (`xtask/serve_clients/clients.py`). When they read it again, the store must not be asked for a byte.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{Content, LinkProfile, WriteCondition};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::bench::RunningProcess;
use crate::metadata::build_program;
use crate::python;
use crate::servers::PythonEnvironment;

const MIB: u64 = 1 << 20;

/// The objects of the bucket and their sizes. `clients.py` knows the first.
const OBJECTS: [(&str, u64); 6] = [
    ("data/large", 24 * MIB + 7),
    ("data/sub dir/a b#+%", 100_000),
    ("data/sub dir/ü", 1),
    ("empty", 0),
    ("more/1", 3 * MIB),
    ("more/2", MIB),
];

/// The object of `--measure`, and the seconds of each run.
const MEASURED: (&str, u64) = ("large", 256 * MIB);
const SECONDS: &str = "6";

/// The command, built with the packages and features of the other steps of CI, so that no dependency is built twice.
pub(crate) const OF_CI: [&str; 6] =
    ["--workspace", "--exclude", "headstart-peers", "--all-features", "--bin", "headstart"];

/// The command as users have it.
const OF_USERS: [&str; 3] = ["--release", "--package", "headstart-cli"];

/// What to run.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeClientsArgs {
    /// Only these clients
    #[arg(value_name = "CLIENT")]
    clients: Vec<String>,
    /// Measure boto3 on the link `gcs`, through the endpoint and without it, in place of the tests
    #[arg(long)]
    measure: bool,
}

/// Runs the clients over both dialects, or measures one.
pub(crate) fn run(args: &ServeClientsArgs) -> Result<()> {
    let env = python::environment();
    if !env.is_installed() {
        env.install()?;
    }
    if args.measure {
        return measure(&env, &build_program(&OF_USERS)?);
    }
    let programs = programs();
    if !programs.is_installed() {
        programs.install()?;
    }
    let program = build_program(&OF_CI)?;
    let started = Instant::now();
    for dialect in [Dialect::Gcs, Dialect::S3] {
        over(dialect, &[&env, &programs], &program, &args.clients)?;
    }
    println!("all clients passed in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// The environment with `rclone` and `aws`: their needs are not those of the packages.
fn programs() -> PythonEnvironment {
    PythonEnvironment {
        folder: crate::workspace_root().join("target/serve-clients"),
        pins: include_str!("../serve_clients/programs.txt"),
        file: "xtask/serve_clients/programs.txt",
    }
}

/// Lets the clients read a bucket twice, through one endpoint.
fn over(dialect: Dialect, [env, programs]: &[&PythonEnvironment; 2], program: &Path, clients: &[String]) -> Result<()> {
    let upstream = SimServer::start(SimServerConfig { dialect, ..SimServerConfig::default() })?;
    let folder = tempfile::tempdir()?;
    for (seed, (key, size)) in (1..).zip(OBJECTS) {
        let path = folder.path().join(key);
        std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        let bytes = content(seed, size);
        std::fs::write(&path, &bytes)?;
        put(&upstream, key, bytes)?;
    }
    let endpoint = Endpoint::start(program, dialect, &upstream)?;
    for pass in ["first", "second"] {
        println!("{dialect:?}, {pass} pass:");
        upstream.log().clear();
        let mut python = Command::new(env.program("python"));
        python.arg(crate::workspace_root().join("xtask/serve_clients/clients.py"));
        python.arg(&endpoint.url).arg(folder.path()).arg(programs.folder.join("bin")).args(clients);
        let status = python.stdin(Stdio::null()).status();
        ensure!(status.context("cannot run python")?.success(), "clients failed");
    }
    let counts = upstream.log().counts();
    println!("{dialect:?}: in the second pass {} GETs and {} bytes of the store", counts.gets, counts.bytes_sent);
    ensure!(counts.bytes_sent == 0, "the second pass was not served from the cache");
    Ok(())
}

/// Compares boto3 with and without the endpoint, on the simulated link `gcs`.
fn measure(env: &PythonEnvironment, program: &Path) -> Result<()> {
    let profile = LinkProfile::gcs();
    let upstream = SimServer::start(SimServerConfig { dialect: Dialect::S3, profile, ..SimServerConfig::default() })?;
    let (key, size) = MEASURED;
    put(&upstream, key, content(1, size))?;
    let read = |url: &str, passes: &str| -> Result<Vec<(String, f64)>> {
        let mut python = Command::new(env.program("python"));
        python.arg(crate::workspace_root().join("xtask/serve_clients/measure.py"));
        let output = python.args([url, &size.to_string(), SECONDS, passes]).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "measure.py failed");
        let text = String::from_utf8(output.stdout)?;
        let measured = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line)?;
            Ok((line["what"].as_str().context("no name")?.to_owned(), line["mb_per_s"].as_f64().context("no rate")?))
        };
        text.lines().map(measured).collect()
    };
    let bare = read(upstream.url(), "1")?;
    let [(_, bare_sequential), (_, bare_random)] = bare[..] else { bail!("expected two rates") };
    println!("the store itself: sequential 1 MiB {bare_sequential:.1} MB/s, random 64 KiB {bare_random:.2} MB/s");
    let endpoint = Endpoint::start(program, Dialect::S3, &upstream)?;
    for (what, rate) in read(&endpoint.url, "2")? {
        let bare = if what.starts_with("random") { bare_random } else { bare_sequential };
        println!("through the endpoint: {what} {rate:.2} MB/s, {:.2} times the store itself", rate / bare);
    }
    Ok(())
}

/// Bytes that say where they are.
fn content(seed: u64, size: u64) -> Bytes {
    Content::new("serve", seed).bytes(0..size)
}

fn put(upstream: &SimServerHandle, key: &str, bytes: Bytes) -> Result<()> {
    let written = upstream.catalog().put(key, bytes, Default::default(), &WriteCondition::Always, chrono::Utc::now());
    written.map(|_| ()).map_err(|error| anyhow::anyhow!("cannot write {key}: {error:?}"))
}

/// `headstart serve` as a process, with a home of its own.
struct Endpoint {
    url: String,
    _process: RunningProcess,
    _home: TempDir,
}

impl Endpoint {
    fn start(program: &Path, dialect: Dialect, upstream: &SimServerHandle) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let mut command = Command::new(program);
        command.env_clear().env("HOME", home.path()).args(["serve", "--listen", "127.0.0.1:0"]);
        let upstream = upstream.url();
        let (url, options) = match dialect {
            Dialect::Gcs => ("gs://bucket", vec![format!("gcs.endpoint={upstream}")]),
            Dialect::S3 => {
                let keys = ["s3.access_key_id=any", "s3.secret_access_key=any", "s3.region=us-east-1"];
                let endpoint = format!("s3.endpoint={upstream}");
                ("s3://bucket", keys.into_iter().map(str::to_owned).chain([endpoint]).collect())
            }
        };
        for option in &options {
            command.args(["-o", option]);
        }
        let mut process = RunningProcess::start(command.arg(url))?;
        let url = process.line()?.trim_end().to_owned();
        Ok(Self { url, _process: process, _home: home })
    }
}
