//! The parts of `cargo metadata` that checks of the workspace look at.

use std::path::Path;
use std::process::Command;

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
