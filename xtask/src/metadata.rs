//! What cargo tells: the parts of `cargo metadata` that checks of the workspace look at, and where it built programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The workspace's own packages.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
}

/// A package as its manifest describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the workspace's root.
    pub(crate) manifest_path: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// Registries that it may be published to; `None` stands for all.
    pub(crate) publish: Option<Vec<String>>,
    pub(crate) description: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) readme: Option<String>,
    /// The table `package.metadata`.
    pub(crate) metadata: Value,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev`, `build`, or nothing for the code's own.
    pub(crate) kind: Option<String>,
}

impl Package {
    pub(crate) fn is_published(&self) -> bool {
        self.publish.is_none()
    }
}

/// Asks cargo about the workspace at `root`.
pub(crate) fn read(root: &Path) -> Result<Workspace> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let mut workspace: Workspace = serde_json::from_slice(&output.stdout).context("cannot read cargo's metadata")?;
    let prefix = format!("{}/", root.display());
    for package in &mut workspace.packages {
        package.manifest_path = package.manifest_path.trim_start_matches(&prefix).to_owned();
    }
    Ok(workspace)
}

/// The command line as users build it.
pub(crate) fn users_command_line() -> Result<PathBuf> {
    build_program(&["--release", "--package", "headstart-cli"])
}

/// The command line as the tests of the workspace use it: after them nothing is left to build.
pub(crate) fn tested_command_line() -> Result<PathBuf> {
    let args = ["--no-run", "--workspace", "--exclude", "headstart-peers", "--all-features"];
    let programs = built_programs("test", &args)?;
    let mut programs = programs.into_iter().filter(|(name, _)| name == "headstart");
    programs.next_back().map(|(_, path)| path).context("cargo has built no program `headstart`")
}

/// Builds a program by `cargo build` with `args` in the workspace's root, and returns its path.
pub(crate) fn build_program(args: &[&str]) -> Result<PathBuf> {
    built_programs("build", args)?.pop().map(|(_, path)| path).context("cargo has built no program")
}

/// The names and paths of the programs that are built by `cargo COMMAND ARGS` in the workspace's root, without those
/// that are tests.
fn built_programs(command: &str, args: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        target: Option<Target>,
        profile: Option<Profile>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    #[derive(Deserialize)]
    struct Profile {
        test: bool,
    }
    let line = format!("cargo {command} {}", args.join(" "));
    println!("building: {line}");
    let output = Command::new("cargo")
        .args([command, "--message-format", "json-render-diagnostics"])
        .args(args)
        .current_dir(crate::workspace_root())
        .env("CARGO_INCREMENTAL", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "`{line}` ended with {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let programs = messages.lines().filter_map(|line| {
        let message = serde_json::from_str::<Message>(line).ok()?;
        let program = message.profile.is_some_and(|profile| !profile.test);
        program.then_some((message.target?.name, message.executable?))
    });
    Ok(programs.collect())
}
