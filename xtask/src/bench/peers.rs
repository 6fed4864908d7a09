//! Other libraries: built or installed if missing, and run as processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use headstart_bench::{child::ChildTask, system::System};

use super::{child::common, server::BUCKET};
use crate::programs::build_program;
use crate::servers::PythonEnvironment;

/// The pinned wheels of peers in Python.
const PINS: &str = include_str!("../../../peers/python/requirements.txt");

/// The manifest of the workspace for ocra.
pub(crate) const OCRA: &str = "peers/ocra/Cargo.toml";

#[derive(Debug)]
pub(crate) struct Peers {
    rust: PathBuf,
    ocra: PathBuf,
    python: PathBuf,
    script: PathBuf,
    pub(crate) versions: BTreeMap<String, String>,
}

impl Peers {
    /// Builds and installs missing peers. The first time takes some minutes.
    pub(crate) fn ready(systems: &[System]) -> Result<Self> {
        let root = crate::workspace_root();
        let environment = PythonEnvironment {
            folder: root.join("target/peers-python"),
            pins: PINS,
            file: "peers/python/requirements.txt",
        };
        let mut peers = Self {
            rust: PathBuf::new(),
            ocra: PathBuf::new(),
            python: environment.program("python"),
            script: root.join("peers/python/read.py"),
            versions: BTreeMap::new(),
        };
        if systems.iter().any(|system| matches!(system, System::Opendal4 | System::Opendal8 | System::Foyer)) {
            peers.rust = build_program(&["--release", "--package", "headstart-peers", "--bins"])?;
            peers.versions.extend(versions_of(Command::new(&peers.rust).arg("--versions"))?);
        }
        if systems.contains(&System::Ocra) {
            let (manifest, target) = (root.join(OCRA), root.join("target/peers-ocra"));
            let (manifest, target) = (manifest.to_string_lossy(), target.to_string_lossy());
            peers.ocra =
                build_program(&["--release", "--locked", "--manifest-path", &manifest, "--target-dir", &target])?;
            peers.versions.extend(versions_of(Command::new(&peers.ocra).arg("--versions"))?);
        }
        if systems.iter().any(|system| system.is_python()) {
            if !environment.is_installed() {
                println!("installing the wheels of {} …", environment.file);
                environment.install()?;
            }
            if systems.iter().any(|system| system.is_python_package()) {
                println!("building the Python package …");
                crate::python::install_into(&environment)?;
            }
            peers.versions.extend(versions_of(Command::new(&peers.python).arg(&peers.script).arg("--versions"))?);
        }
        Ok(peers)
    }

    /// The command that reads by `system` from the simulated server at `endpoint`.
    pub(crate) fn command(&self, task: &ChildTask, system: System, endpoint: &str) -> Command {
        let mut command = if system.is_python() {
            let mut python = Command::new(&self.python);
            python.arg(&self.script);
            python
        } else {
            Command::new(if system == System::Ocra { &self.ocra } else { &self.rust })
        };
        common(&mut command, task, system);
        command.args(["--endpoint", endpoint, "--bucket", BUCKET]);
        command
    }
}

fn versions_of(command: &mut Command) -> Result<BTreeMap<String, String>> {
    let output = command.stdin(Stdio::null()).output().context("a peer cannot be started")?;
    ensure!(output.status.success(), "a peer does not start: {}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("a peer does not tell its version")
}
