//! `cargo xtask serve-clients`: clients that were not written here read through `headstart serve`.
//!
//! The store is the simulated cloud, in both dialects. The clients read all of a bucket and check every byte
//! (`xtask/serve_clients/clients.py`). When they read it again, the store must not be asked for a byte. Then they write
//! (`writes.py`), and a hundred clients read while the store has faults.

mod measure;
mod soak;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{Content, WriteCondition};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::bench::RunningProcess;
use crate::programs::users_command_line;
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

/// How long the hundred clients read in CI.
const SHORT_SOAK: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeClientsArgs {
    /// Only these clients
    #[arg(value_name = "CLIENT")]
    clients: Vec<String>,
    /// Measure boto3 on the link `gcs`, through the endpoint and without it, in place of the tests
    #[arg(long)]
    measure: bool,
    /// Let a hundred clients read for so long through an endpoint whose store has faults, in place of the tests
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
}

/// Runs the clients over both dialects, or measures one. `command_line` builds the command for the tests.
pub(crate) fn run(args: &ServeClientsArgs, command_line: fn() -> Result<PathBuf>) -> Result<()> {
    if let Some(seconds) = args.soak {
        return soak::run(&users_command_line()?, Duration::from_secs(seconds));
    }
    let env = python::environment();
    if !env.is_installed() {
        env.install()?;
    }
    if args.measure {
        return measure::run(&env, &users_command_line()?);
    }
    let programs = programs();
    if !programs.is_installed() {
        programs.install()?;
    }
    let program = command_line()?;
    let started = Instant::now();
    for dialect in [Dialect::Gcs, Dialect::S3] {
        over(dialect, &[&env, &programs], &program, &args.clients)?;
    }
    if args.clients.is_empty() {
        writes(Dialect::Gcs, false, &[&env, &programs], &program)?;
        writes(Dialect::S3, true, &[&env, &programs], &program)?;
        soak::run(&program, SHORT_SOAK)?;
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
    let endpoint = Endpoint::start(program, dialect, &upstream, &[])?;
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

/// Lets the clients write through an endpoint: as anybody, or with keys and TLS.
fn writes(dialect: Dialect, is_secure: bool, [env, programs]: &[&PythonEnvironment; 2], program: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [keys, certificate, key] = ["keys.toml", "certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    let mut args = vec![OsStr::new("--allow-writes")];
    if is_secure {
        std::fs::write(&keys, "me = 'hunter2'")?;
        let pair = KeyPair::generate()?;
        let own = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?.self_signed(&pair)?;
        std::fs::write(&certificate, own.pem())?;
        std::fs::write(&key, pair.serialize_pem())?;
        let files = [("--auth", &keys), ("--tls-cert", &certificate), ("--tls-key", &key)];
        args.extend(files.into_iter().flat_map(|(name, file)| [OsStr::new(name), file.as_os_str()]));
    }
    let upstream = SimServer::start(SimServerConfig { dialect, ..SimServerConfig::default() })?;
    let endpoint = Endpoint::start(program, dialect, &upstream, &args)?;
    println!("{dialect:?}, writes at {}:", endpoint.url);
    let mut python = Command::new(env.program("python"));
    python.arg(crate::workspace_root().join("xtask/serve_clients/writes.py"));
    python.arg(&endpoint.url).arg(programs.folder.join("bin"));
    if is_secure {
        python.arg(&certificate);
    }
    ensure!(python.stdin(Stdio::null()).status().context("cannot run python")?.success(), "clients failed");
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
    process: RunningProcess,
    _home: TempDir,
}

impl Endpoint {
    /// Starts it with more arguments.
    fn start(program: &Path, dialect: Dialect, upstream: &SimServerHandle, args: &[&OsStr]) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let mut command = Command::new(program);
        command.env_clear().env("HOME", home.path()).args(["serve", "--listen", "127.0.0.1:0"]).args(args);
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
        Ok(Self { url, process, _home: home })
    }

    /// Ends it, and returns what it has said on stderr.
    fn stop(self) -> String {
        self.process.stop()
    }

    fn process_id(&self) -> u32 {
        self.process.id()
    }
}
