//! Other libraries, run by the bench: one run a process, by the protocol of `headstart_bench::child`.
//!
//! `cargo xtask bench --peers` builds and starts it. The benches of cache hits are run by hand:
//!
//! ```console
//! $ cargo bench -p headstart-peers --bench cache_hits
//! ```

mod foyer;
mod opendal;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use headstart_bench::child;
use headstart_bench::system::System;

fn main() -> Result<()> {
    child::run_peer(versions(), |system, endpoint, bucket| {
        Ok(match system {
            System::Opendal4 => Arc::new(opendal::Chunked::new(endpoint, bucket, 4)?),
            System::Opendal8 => Arc::new(opendal::Chunked::new(endpoint, bucket, 8)?),
            System::Foyer => Arc::new(foyer::Pages::new(endpoint, bucket)?),
            other => bail!("{other} is not among the peers in Rust"),
        })
    })
}

/// The peers, in the versions of the workspace's lock file.
fn versions() -> BTreeMap<&'static str, String> {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let version = |name: &str| {
        let package = LOCK.split("[[package]]").find(|package| package.contains(&format!("\nname = \"{name}\"\n")))?;
        let version = package.lines().find_map(|line| line.strip_prefix("version = "))?;
        Some(version.trim_matches('"').to_owned())
    };
    let names = ["opendal", "foyer-memory", "object_store"];
    names.into_iter().filter_map(|name| Some((name, version(name)?))).collect()
}
