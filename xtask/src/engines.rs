//! `cargo xtask engines`: builds, lints and tests what wraps whole query engines, and measures their queries.
//!
//! The folder `engines` is a workspace of its own, because an engine has some 250 dependencies: no other command builds
//! them. Its build lies in `target/engines`.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::ci::run_cargo;

/// What to do.
#[derive(Debug, Default, Args)]
pub(crate) struct EnginesArgs {
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

/// The adapter for Ballista, which only `cluster --ballista` builds and checks: Ballista has many dependencies of its own.
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
    run_cargo(Command::new("cargo").args(["fmt", "--manifest-path", "engines/Cargo.toml", "--all", "--check"]))?;
    check(&["--workspace", "--exclude", BALLISTA])
}

/// Lints, documents and tests these packages.
pub(crate) fn check(packages: &[&str]) -> Result<()> {
    let of_packages = |name| {
        let mut command = cargo(name, packages);
        command.arg("--all-features");
        command
    };
    run_cargo(of_packages("clippy").args(["--all-targets", "--", "-D", "warnings"]))?;
    run_cargo(of_packages("doc").arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
    // `--show-output` prints the figures of promises that hold.
    run_cargo(of_packages("test").args(["--", "--show-output"]))
}

/// `cargo NAME` in the workspace of the engines.
pub(crate) fn cargo(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.arg(name).args(PLACE).args(args);
    command
}
