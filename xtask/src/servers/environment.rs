//! Where the servers are installed: a Python environment, and a folder of npm packages in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::python::Environment;

/// The npm packages. The lock file has a checksum of every package, and names no registry.
const PACKAGE: (&str, &str) = ("package.json", include_str!("../../servers/package.json"));
const LOCK: (&str, &str) = ("package-lock.json", include_str!("../../servers/package-lock.json"));

/// The file that records the installed lock file.
const STAMP: &str = "installed.json";

const NOT_INSTALLED: &str = "the server is not installed: run `cargo xtask servers --install`";

fn python() -> Environment {
    Environment {
        folder: crate::workspace_root().join("target/servers"),
        pins: include_str!("../../servers.txt"),
        file: "xtask/servers.txt",
    }
}

fn node() -> PathBuf {
    python().folder.join("node")
}

/// Whether the servers in Python are installed as pinned.
pub(super) fn has_python() -> bool {
    python().is_installed()
}

/// Whether the servers in Node.js are installed as pinned.
pub(super) fn has_node() -> bool {
    fs::read_to_string(node().join(STAMP)).is_ok_and(|installed| installed == LOCK.1)
}

/// The path of a Python program. The error says how to install it.
pub(super) fn python_program(name: &str) -> Result<PathBuf> {
    ensure!(has_python(), NOT_INSTALLED);
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
    let runs = |program: &str| {
        let status = Command::new(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    ensure!(
        runs("node") && runs("npm"),
        "cannot install Azurite: Node.js (20 or later) with npm is needed; on Debian: apt-get install -y nodejs npm"
    );
    Ok(())
}
