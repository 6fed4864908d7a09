//! The Python environment that the servers live in.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::python::Environment;

fn environment() -> Environment {
    Environment {
        folder: crate::workspace_root().join("target/servers"),
        pins: include_str!("../../servers.txt"),
        file: "xtask/servers.txt",
    }
}

/// Whether what is pinned is there.
pub(crate) fn is_installed() -> bool {
    environment().is_installed()
}

/// Where the environment keeps its programs; an error that says how to install it where it is not there.
pub(super) fn programs() -> Result<PathBuf> {
    ensure!(is_installed(), "the servers are not installed: run `cargo xtask servers --install`");
    Ok(environment().folder.join("bin"))
}

/// Makes the environment anew.
pub(crate) fn install() -> Result<()> {
    environment().install()
}
