//! Other people's readers: built or installed where they are missing, and started as processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use headstart_bench::child::Task;
use headstart_bench::system::System;
use serde::Deserialize;

use super::child::common;
use super::server::BUCKET;
use crate::python::Environment;

/// The package of those in Rust.
const PACKAGE: &str = "headstart-peers";

/// What those in Python need.
const PINS: &str = include_str!("../../../peers/python/requirements.txt");

/// The programs.
#[derive(Debug)]
pub(crate) struct Peers {
    rust: PathBuf,
    python: PathBuf,
    script: PathBuf,
    /// What takes part, and in which version.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Peers {
    /// Builds and installs what is missing, which takes some minutes the first time.
    pub(crate) fn ready(systems: &[System]) -> Result<Self> {
        let root = crate::workspace_root();
        let rust = build(root)?;
        let mut versions = versions_of(Command::new(&rust).arg("--versions"))?;
        let environment =
            Environment { folder: root.join("target/peers-python"), pins: PINS, file: "peers/python/requirements.txt" };
        let script = root.join("peers/python/read.py");
        if systems.iter().any(|system| system.is_python()) {
            if !environment.is_installed() {
                println!("installing the wheels of {} …", environment.file);
                environment.install()?;
            }
            versions.extend(versions_of(Command::new(environment.program("python")).arg(&script).arg("--versions"))?);
        }
        Ok(Self { rust, python: environment.program("python"), script, versions })
    }

    /// The command that reads by `system` from the simulated server at `endpoint`.
    pub(crate) fn command(&self, task: &Task, system: System, endpoint: &str) -> Result<Command> {
        let mut command = if system.is_python() {
            let mut python = Command::new(&self.python);
            python.arg(&self.script);
            python
        } else {
            Command::new(&self.rust)
        };
        common(&mut command, task, system);
        command.args(["--endpoint", endpoint, "--bucket", BUCKET]);
        Ok(command)
    }
}

/// Builds the program of the peers in Rust, as this one is built, and says where it is.
fn build(root: &Path) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    println!("building {PACKAGE} …");
    let output = Command::new("cargo")
        .args(["build", "--release", "-p", PACKAGE, "--bins", "--message-format", "json-render-diagnostics"])
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "{PACKAGE} cannot be built: {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut executables = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable);
    executables.next_back().with_context(|| format!("{PACKAGE} has no program"))
}

fn versions_of(command: &mut Command) -> Result<BTreeMap<String, String>> {
    let output = command.stdin(Stdio::null()).output().context("a peer cannot be started")?;
    ensure!(output.status.success(), "a peer does not start: {}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("a peer does not tell its version")
}
