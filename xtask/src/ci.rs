//! `cargo xtask ci`: everything that must hold before a change goes in, step by step.

use std::fmt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use tokio::time::{Duration, Instant};

use crate::bench::{self, gates};
use crate::compatibility::{self, CompatibilityArgs};
use crate::conformance::{self, ConformanceArgs};
use crate::explain;
use crate::fuzz;
use crate::servers;
use crate::tidy;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CiArgs {
    /// Take only this step; may be given several times
    #[arg(long = "step", value_name = "STEP")]
    steps: Vec<Step>,
    /// Write what the virtual-time bench counts into xtask/gates.json instead of comparing; review the difference
    #[arg(long)]
    bless_gates: bool,
}

/// One step; they are taken in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting
    Fmt,
    /// Lints, warnings denied
    Clippy,
    /// The rules that no compiler checks
    Tidy,
    /// Tests
    Test,
    /// Examples in the documentation
    Doctest,
    /// Documentation, warnings denied
    Doc,
    /// object_store's own suite over every backend and stack, random reads over every backend; installs the servers where they are not there
    Conformance,
    /// Odd servers beside the bare client, in virtual time
    Compatibility,
    /// Random stacks over a store that does everything stores do, in virtual time: CI's seeds
    Fuzz,
    /// Exact counts of the virtual-time bench
    Gates,
}

/// All packages and features: one set for every step, so that each dependency is built once for each kind of build.
const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// What is linted and not built: benches beside heavy peers, which no test runs.
const PEERS: [&str; 2] = ["--exclude", "headstart-peers"];

/// Takes the steps in order and stops at the first that fails.
pub(crate) fn run(args: &CiArgs) -> Result<()> {
    if args.bless_gates {
        return gates::bless(&bench::count_for_gates()?);
    }
    let started = Instant::now();
    let mut times = Vec::new();
    for step in Step::value_variants() {
        if !args.steps.is_empty() && !args.steps.contains(step) {
            continue;
        }
        println!("\n== {step}");
        let step_started = Instant::now();
        take(*step)
            .map_err(|error| anyhow!("{}\nto run only this step: cargo xtask ci --step {step}", explain(&error)))?;
        times.push((step, step_started.elapsed()));
    }
    println!("\n== all is well");
    for (step, time) in times {
        println!("{:>8}  {step}", seconds(time));
    }
    println!("{:>8}  in all", seconds(started.elapsed()));
    Ok(())
}

fn take(step: Step) -> Result<()> {
    match step {
        Step::Fmt => cargo(&["fmt", "--all", "--check"], &[], None),
        Step::Clippy => cargo(&["clippy", "--all-targets"], &["--", "-D", "warnings"], None),
        Step::Tidy => tidy::run(),
        Step::Test if has_nextest() => cargo(&["nextest", "run"], &[], None),
        // What is promised is printed with its figure, though it holds; `.config/nextest.toml` sees to that above.
        Step::Test => cargo(&["test", "--all-targets"], &["--", "--show-output"], None),
        Step::Doctest => cargo(&["test", "--doc"], &[], None),
        Step::Doc => cargo(&["doc", "--no-deps"], &[], Some(("RUSTDOCFLAGS", "-D warnings"))),
        Step::Conformance => {
            if !servers::is_installed() {
                servers::install()?;
            }
            conformance::run(&ConformanceArgs::default())
        }
        Step::Compatibility => compatibility::run(&CompatibilityArgs::default()),
        Step::Fuzz => fuzz::run_for_ci(),
        Step::Gates => gates::check(&bench::count_for_gates()?),
    }
}

/// Runs cargo on the whole workspace, showing its output as it comes.
fn cargo(args: &[&str], last: &[&str], env: Option<(&str, &str)>) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(args).current_dir(crate::workspace_root()).stdin(Stdio::null()).envs(env);
    // What only the next build would read: two gigabytes on a machine that builds once.
    command.env("CARGO_INCREMENTAL", "0");
    if args[0] != "fmt" {
        command.args(EVERYTHING);
        if args[0] != "clippy" {
            command.args(PEERS);
        }
    }
    command.args(last);
    let line = Line(&command).to_string();
    println!("$ {line}");
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

fn has_nextest() -> bool {
    let version =
        Command::new("cargo").args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no step is hidden").get_name())
    }
}

/// A command as one would type it.
struct Line<'a>(&'a Command);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in self.0.get_envs() {
            write!(f, "{}=\"{}\" ", key.display(), value.unwrap_or_default().display())?;
        }
        write!(f, "{}", self.0.get_program().display())?;
        self.0.get_args().try_for_each(|arg| write!(f, " {}", arg.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(Line(&command).to_string(), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps");
    }
}
