//! Environments in `target/`, created from pinned packages: Python for servers and peers, npm for Azurite.

use std::process::{Command, Stdio};
use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::programs::is_installed;

/// The npm packages. The lock file has a checksum of every package, and names no registry.
const PACKAGE: (&str, &str) = ("package.json", include_str!("../../servers/package.json"));
const LOCK: (&str, &str) = ("package-lock.json", include_str!("../../servers/package-lock.json"));

/// The file that records the installed lock file.
const STAMP: &str = "installed.json";

const NOT_INSTALLED: &str = "the server is not installed: run `cargo xtask servers --install`";

pub(super) fn python() -> PythonEnvironment {
    PythonEnvironment {
        folder: crate::workspace_root().join("target/servers"),
        pins: include_str!("../../servers.txt"),
        file: "xtask/servers.txt",
    }
}

fn node() -> PathBuf {
    python().folder.join("node")
}

/// Whether the servers in Node.js are installed as pinned.
pub(super) fn has_node() -> bool {
    fs::read_to_string(node().join(STAMP)).is_ok_and(|installed| installed == LOCK.1)
}

/// The path of a Python program. The error says how to install it.
pub(super) fn python_program(name: &str) -> Result<PathBuf> {
    ensure!(python().is_installed(), NOT_INSTALLED);
    Ok(python().program(name))
}

/// The path of an npm program. The error says how to install it.
pub(super) fn node_program(name: &str) -> Result<PathBuf> {
    ensure!(has_node(), NOT_INSTALLED);
    Ok(node().join("node_modules/.bin").join(name))
}

/// Installs everything, and replaces what is there.
pub(crate) fn install() -> Result<()> {
    ensure_node()?;
    python().install()?;
    let folder = node();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in [PACKAGE, LOCK] {
        fs::write(folder.join(name), text)?;
    }
    // Scripts of packages do not run: Azurite needs none.
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .status()
        .context("cannot run npm")?;
    ensure!(npm.success(), "npm failed: {npm}");
    fs::write(folder.join(STAMP), LOCK.1).context("cannot note what was installed")?;
    println!("what xtask/servers/package-lock.json pins is installed in {}", folder.display());
    Ok(())
}

fn ensure_node() -> Result<()> {
    ensure!(
        is_installed("node", &[]) && is_installed("npm", &[]),
        "cannot install Azurite: Node.js (20 or later) with npm is needed; on Debian: apt-get install -y nodejs npm"
    );
    Ok(())
}

#[derive(Debug)]
pub(crate) struct PythonEnvironment {
    pub(crate) folder: PathBuf,
    /// The pinned packages, in the format of `pip freeze`.
    pub(crate) pins: &'static str,
    /// The file of the workspace that holds the pins.
    pub(crate) file: &'static str,
}

impl PythonEnvironment {
    fn stamp(&self) -> PathBuf {
        self.folder.join("installed.txt")
    }

    pub(crate) fn is_installed(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|installed| installed == self.pins)
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Creates the environment, and replaces an existing one.
    pub(crate) fn install(&self) -> Result<()> {
        let folder = &self.folder;
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let python = Command::new("python3").args(["-m", "venv"]).arg(folder).stdin(Stdio::null()).status();
        if !python.is_ok_and(|status| status.success()) {
            bail!(
                "cannot create a Python environment: python3 (3.11 or later) with its venv module is needed; on \
                 Debian: apt-get install -y python3-venv"
            );
        }
        let pip = Command::new(self.program("pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--no-deps", "-r"])
            .arg(crate::workspace_root().join(self.file))
            .stdin(Stdio::null())
            .status()
            .context("cannot run pip")?;
        ensure!(pip.success(), "pip failed: {pip}");
        fs::write(self.stamp(), self.pins).context("cannot note what was installed")?;
        println!("what {} pins is installed in {}", self.file, folder.display());
        Ok(())
    }
}
