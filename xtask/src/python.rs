//! Environments of Python, made once from pinned wheels, in `target/`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// An environment.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Where it is.
    pub(crate) folder: PathBuf,
    /// What is installed, as `pip freeze` says it.
    pub(crate) pins: &'static str,
    /// The file of the workspace that says so.
    pub(crate) file: &'static str,
}

impl Environment {
    /// A copy of what was installed.
    fn stamp(&self) -> PathBuf {
        self.folder.join("installed.txt")
    }

    /// Whether what is pinned is there.
    pub(crate) fn is_installed(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|installed| installed == self.pins)
    }

    /// Where it keeps its program `name`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Makes the environment anew.
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
