//! The project's own commands, `cargo xtask …`. Each is a module.

/// Displays values of command-line enums as they are typed.
macro_rules! display_as_argument {
    ($($type:ty),*) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(clap::ValueEnum::to_possible_value(self).expect("no value is hidden").get_name())
            }
        }
    )*};
}

mod background;
mod bench;
mod ci;
mod cli;
mod cluster;
mod compare;
mod compatibility;
mod conformance;
mod engines;
mod epochs;
mod fuzz;
mod local;
mod metadata;
mod numbers;
mod programs;
mod python;
mod ramp;
mod replay;
mod report;
mod serve_clients;
mod servers;
mod threads;
mod tidy;

use std::{path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure reads by several systems, with every byte checked
    Bench(Box<bench::BenchArgs>),
    /// Check everything that must hold before a change goes in
    Ci(ci::CiArgs),
    /// Run object_store's own suite and random reads over every backend and stack
    Conformance(conformance::ConformanceArgs),
    /// Read from servers that break rules, and compare with the bare client, in virtual time
    Compatibility(compatibility::CompatibilityArgs),
    /// Run random stacks over a simulated store with faults and overwrites, and check every answer
    Fuzz(fuzz::FuzzArgs),
    /// Measure reads of local files, and compare with object_store's LocalFileSystem
    Local(local::LocalArgs),
    /// Run the command `headstart` as a process over third-party servers
    Cli,
    /// Compute the cost of a recorded trace for other systems and options
    Replay(replay::ReplayArgs),
    /// Draw what is fetched by a program that reads its data again and is restarted
    Epochs(epochs::EpochsArgs),
    /// Draw how fast read-ahead reaches the link's rate
    Ramp(ramp::RampArgs),
    /// Write the results of a bench as a document, an HTML page and pictures
    Report(report::ReportArgs),
    /// Build, lint and test the wrappers of query engines, or measure their queries
    Engines(engines::EnginesArgs),
    /// Run an engine over several processes, each with its own cache, and check what they fetch
    Cluster(cluster::ClusterArgs),
    /// Build the Python package, install it and run its tests
    Python(python::PythonArgs),
    /// Let clients of S3, Google Cloud Storage and HTTP that were not written here read through `headstart serve`
    ServeClients(serve_clients::ServeClientsArgs),
    /// Start third-party object stores on loopback; Ctrl-C stops them
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

fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// An error with its causes, without those that its text contains: errors of `object_store` repeat their sources.
fn explain(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

/// Runs this program again with loopback excluded from proxies, if the environment names a proxy.
///
/// The clients under test read these variables.
#[expect(clippy::disallowed_methods, reason = "the environment of what is tested")]
fn rerun_without_proxy() -> Option<ExitCode> {
    const LOOPBACK: &str = "127.0.0.1,localhost";
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let proxies = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let excluded = ["NO_PROXY", "no_proxy"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    if !proxies.into_iter().any(set) || excluded.contains("127.0.0.1") {
        return None;
    }
    let excluded = format!("{LOOPBACK},{excluded}");
    let mut again = std::process::Command::new(std::env::current_exe().ok()?);
    again.args(std::env::args_os().skip(1)).env("NO_PROXY", &excluded).env("no_proxy", &excluded);
    let code = again.status().ok()?.code().and_then(|code| u8::try_from(code).ok());
    Some(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn main() -> ExitCode {
    if let Some(code) = rerun_without_proxy() {
        return code;
    }
    let outcome = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Cli => cli::run(programs::users_command_line),
        Command::Conformance(args) => conformance::run(&args),
        Command::Compatibility(args) => compatibility::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Engines(args) => engines::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Python(args) => python::run(&args),
        Command::ServeClients(args) => serve_clients::run(&args, programs::users_command_line),
        Command::Servers(args) => servers::run(&args),
        Command::Local(args) => local::run(&args),
        Command::Epochs(args) => epochs::run(&args),
        Command::Ramp(args) => ramp::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Report(args) => report::run(&args),
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
    fn repeated_causes_are_left_out() {
        let error = anyhow!("refused").context("cannot connect: refused").context("cannot read");
        assert_eq!(explain(&error), "cannot read: cannot connect: refused");
    }
}
