//! Python environments in `target/`, created once from pinned wheels.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A Python environment.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) folder: PathBuf,
    /// The pinned packages, in the format of `pip freeze`.
    pub(crate) pins: &'static str,
    /// The file of the workspace that holds the pins.
    pub(crate) file: &'static str,
}

impl Environment {
    /// The file that records the installed pins.
    fn stamp(&self) -> PathBuf {
        self.folder.join("installed.txt")
    }

    /// Whether the environment has the pinned packages.
    pub(crate) fn is_installed(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|installed| installed == self.pins)
    }

    /// The path of a program of the environment.
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
                "cannot make a Python environment: python3 (3.11 or later) with its venv module is needed; on Debian: apt-get install -y python3-venv"
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
