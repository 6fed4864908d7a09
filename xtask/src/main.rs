//! The project's own commands: `cargo xtask bench`, `ci`, `conformance`, `local`, `ramp`, `servers` and `tidy`.

mod bench;
mod ci;
mod conformance;
mod local;
mod ramp;
mod servers;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure how fast an object is read, beside other ways of reading it
    Bench(Box<bench::BenchArgs>),
    /// Check everything that must hold before a change goes in
    Ci(ci::CiArgs),
    /// Run object_store's own suite and random reads over every backend and stack
    Conformance(conformance::ConformanceArgs),
    /// Measure how fast files of this machine are read, beside object_store's own store for them
    Local(local::LocalArgs),
    /// Draw how fast read-ahead comes up to the link's rate
    Ramp(ramp::RampArgs),
    /// Start object stores written by others, to try things out on; Ctrl-C stops them
    Servers(servers::ServersArgs),
    /// Check the rules that no compiler checks
    Tidy,
    /// The bench's server
    #[command(hide = true)]
    Serve(bench::ServeArgs),
    /// One run of the bench
    #[command(hide = true)]
    BenchOne(bench::ChildArgs),
}

/// The workspace's root folder.
fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// An error with its causes. Those of `object_store` repeat theirs; nothing is said twice.
fn explain(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Servers(args) => servers::run(&args),
        Command::Local(args) => local::run(&args),
        Command::Ramp(args) => ramp::run(&args),
        Command::Tidy => tidy::run(),
        Command::Serve(args) => bench::serve(args),
        Command::BenchOne(args) => bench::run_one(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn nothing_is_said_twice() {
        let error = anyhow!("refused").context("cannot connect: refused").context("cannot read");
        assert_eq!(explain(&error), "cannot read: cannot connect: refused");
    }
}
