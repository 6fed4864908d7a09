//! `cargo xtask engines`: builds, lints and tests what wraps whole query engines, and measures their queries.
//!
//! The folder `engines` is a workspace of its own, because an engine has some 250 dependencies: no other command builds
//! them. Its build lies in `target/engines`.

use std::env;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::ci::run_cargo;
use crate::programs::is_installed;

/// What to do.
#[derive(Debug, Default, Args)]
pub(crate) struct EnginesArgs {
    /// Only these packages, such as headstart-datafusion; default: all but headstart-ballista
    #[arg(value_name = "PACKAGE", conflicts_with = "measure")]
    packages: Vec<String>,
    /// Measure TPC-H's queries over a simulated bucket, by an optimised build, instead of testing
    #[arg(long)]
    measure: bool,
    /// Scale of TPC-H's tables: 1 stands for 330 MB
    #[arg(long, requires = "measure", value_name = "SCALE")]
    scale: Option<f64>,
    /// The link of the bucket: gcs, s3, near, wan, …
    #[arg(long, requires = "measure", value_name = "LINK")]
    link: Option<String>,
    /// Runs of each query, of which the fastest counts
    #[arg(long, requires = "measure", value_name = "N")]
    repeats: Option<usize>,
}

/// Where the workspace is, and where its build goes. The lock file is part of what is tested.
const PLACE: [&str; 5] = ["--locked", "--manifest-path", "engines/Cargo.toml", "--target-dir", "target/engines"];

/// The adapter for Ballista, which is built where it is named: Ballista has many dependencies of its own.
pub(crate) const BALLISTA: &str = "headstart-ballista";

/// Runs the checks and tests, or the measurement.
pub(crate) fn run(args: &EnginesArgs) -> Result<()> {
    if args.measure {
        let mut bench = cargo("bench", &["--package", "headstart-datafusion", "--bench", "tpch"]);
        let values = [
            ("--scale", args.scale.map(|scale| scale.to_string())),
            ("--link", args.link.clone()),
            ("--repeats", args.repeats.map(|times| times.to_string())),
        ];
        bench.arg("--");
        for (name, value) in values.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            bench.args([*name, value]);
        }
        return run_cargo(&mut bench);
    }
    let is_chosen = |name: &str| args.packages.is_empty() || args.packages.iter().any(|package| package == name);
    ensure!(
        !is_chosen("headstart-lance") || has_protoc(),
        "Lance's build needs `protoc` and its well-known types: `apt-get install protobuf-compiler libprotobuf-dev`, \
         or set PROTOC; or name other packages, such as headstart-datafusion"
    );
    let mut chosen = vec!["--all-features"];
    if args.packages.is_empty() {
        chosen.extend(["--workspace", "--exclude", BALLISTA]);
    }
    args.packages.iter().for_each(|package| chosen.extend(["--package", package]));
    let in_all = |name: &str| cargo(name, &chosen);
    run_cargo(Command::new("cargo").args(["fmt", "--manifest-path", "engines/Cargo.toml", "--all", "--check"]))?;
    run_cargo(in_all("clippy").args(["--all-targets", "--", "-D", "warnings"]))?;
    run_cargo(in_all("doc").arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
    // `--show-output` prints the figures of promises that hold.
    run_cargo(in_all("test").args(["--", "--show-output"]))
}

/// Whether there is a compiler of Protocol Buffers, where the build of Lance looks for it.
#[expect(clippy::disallowed_methods, reason = "the environment of the build")]
fn has_protoc() -> bool {
    is_installed(env::var_os("PROTOC").unwrap_or_else(|| "protoc".into()), &[])
}

/// `cargo NAME` in the workspace of the engines.
pub(crate) fn cargo(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.arg(name).args(PLACE).args(args);
    command
}
