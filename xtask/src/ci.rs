//! `cargo xtask ci`: everything that must hold before a change goes in, step by step.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, ValueEnum};
use tokio::time::{Duration, Instant};

use crate::background::Background;
use crate::bench::{self, gates, peers};
use crate::compatibility::{self, CompatibilityArgs};
use crate::conformance::{self, ConformanceArgs};
use crate::metadata::{self, Package};
use crate::programs::{CommandLine, built_programs, is_installed};
use crate::python::{self, PythonArgs};
use crate::serve_clients::{self, ServeClientsArgs};
use crate::{cli, cluster, explain, fuzz, servers, tidy};

/// Which steps to run.
#[derive(Debug, Args)]
pub(crate) struct CiArgs {
    /// Run only this step; may be given several times
    #[arg(long = "step", value_name = "STEP")]
    steps: Vec<Step>,
    /// Write the counts of the virtual-time bench to xtask/gates.json instead of comparing them; review the difference
    #[arg(long)]
    bless_gates: bool,
}

/// The steps, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting
    Fmt,
    /// Lints, warnings denied
    Clippy,
    /// The rules of `cargo xtask tidy`
    Tidy,
    /// Tests
    Test,
    /// Examples in the documentation
    Doctest,
    /// Documentation, warnings denied
    Doc,
    /// object_store's own suite over every backend and stack, and random reads; installs missing servers
    Conformance,
    /// The command `headstart` over third-party servers; installs missing servers
    Cli,
    /// Servers that break rules, beside the bare client, in virtual time
    Compatibility,
    /// Random stacks over a simulated store with faults and overwrites, in virtual time: CI's seeds
    Fuzz,
    /// Exact counts of the virtual-time bench
    Gates,
    /// The Python package: its wheel, checks and tests; installs missing packages
    Python,
    /// Clients of S3, Google Cloud Storage and HTTP over `headstart serve`; installs missing packages
    ServeClients,
    /// datafusion-distributed over several processes, each with its own cache
    Cluster,
    /// Packages of all published crates, complete and without uncommitted changes
    Package,
}

/// All packages and features. Every step uses the same set, so that each dependency is built once per kind of build.
const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// The package of peers is linted and not built: its dependencies are heavy, and no test runs it.
const PEERS: [&str; 2] = ["--exclude", "headstart-peers"];

/// What is built for tests. Examples and benchmarks are checked by Clippy, and not linked: no test runs them.
const TESTED: [&str; 3] = ["--lib", "--bins", "--tests"];

/// Files that users of a published crate look for.
const FILES: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Runs the steps in order and stops at the first that fails.
pub(crate) fn run(args: &CiArgs) -> Result<()> {
    if args.bless_gates {
        return gates::bless(&bench::count_for_gates()?);
    }
    let started = Instant::now();
    let is_chosen = |step: &Step| args.steps.is_empty() || args.steps.contains(step);
    // Takes 400 s of CPU time. The other steps leave two cores idle for longer than that.
    let mut cluster_build = is_chosen(&Step::Cluster).then(build_cluster).transpose()?;
    let mut times = Vec::new();
    for step in Step::value_variants().iter().filter(|step| is_chosen(step)) {
        println!("\n== {step}");
        let step_started = Instant::now();
        run_step(*step, &mut cluster_build)
            .map_err(|error| anyhow!("{}\nto run only this step: cargo xtask ci --step {step}", explain(&error)))?;
        times.push((step, step_started.elapsed()));
    }
    println!("\n== all steps passed");
    times.into_iter().for_each(|(step, time)| println!("{:>8}  {step}", seconds(time)));
    println!("{:>8}  total", seconds(started.elapsed()));
    Ok(())
}

fn run_step(step: Step, cluster_build: &mut Option<Background>) -> Result<()> {
    match step {
        Step::Fmt => cargo(&["fmt", "--all", "--check"], &[], None),
        Step::Clippy => cargo(&["clippy", "--all-targets"], &["--", "-D", "warnings"], None),
        Step::Tidy => tidy::run(),
        Step::Test if is_installed("cargo", &["nextest"]) => {
            cargo(&[&["nextest", "run"], &TESTED[..]].concat(), &[], None)
        }
        // `--show-output` prints the figures of promises that hold. With nextest, `.config/nextest.toml` does so.
        Step::Test => cargo(&[&["test"], &TESTED[..]].concat(), &["--", "--show-output"], None),
        Step::Doctest => cargo(&["test", "--doc"], &[], None),
        Step::Doc => cargo(&["doc", "--no-deps"], &[], Some(("RUSTDOCFLAGS", "-D warnings"))),
        Step::Conformance => {
            servers::install_missing()?;
            conformance::run(&ConformanceArgs::default())
        }
        Step::Cli => {
            servers::install_missing()?;
            cli::run(tested_command_line)
        }
        Step::Compatibility => compatibility::run(&CompatibilityArgs::default()),
        Step::Fuzz => fuzz::run_for_ci(),
        Step::Gates => gates::check(&bench::count_for_gates()?),
        Step::Python => python::run(&PythonArgs::default()),
        Step::ServeClients => serve_clients::run(&ServeClientsArgs::default(), tested_command_line),
        Step::Cluster => {
            cluster_build.take().map_or(Ok(()), Background::wait)?;
            cluster::run_for_ci()
        }
        Step::Package => package(),
    }
}

/// Starts the build of the cluster's programs.
fn build_cluster() -> Result<Background> {
    let output = crate::workspace_root().join("target/engines/build.log");
    Background::start(in_root(&mut cluster::build_for_ci()), output)
}

fn cargo(args: &[&str], last: &[&str], env: Option<(&str, &str)>) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(args).envs(env);
    if args[0] != "fmt" {
        command.args(EVERYTHING);
        if args[0] != "clippy" {
            command.args(PEERS);
        }
    }
    run_cargo(command.args(last))
}

/// Runs a command of cargo in the workspace's root, showing its output as it comes.
pub(crate) fn run_cargo(command: &mut Command) -> Result<()> {
    let line = CommandLine(command).to_string();
    println!("$ {line}");
    let status = in_root(command).status().context("cannot run cargo")?;
    ensure!(status.success(), "`{line}` ended with {status}");
    Ok(())
}

/// Lets a command of cargo run in the workspace's root, without incremental data: they would only serve the next build,
/// and take two gigabytes on a machine that builds once.
fn in_root(command: &mut Command) -> &mut Command {
    command.current_dir(crate::workspace_root()).stdin(Stdio::null()).env("CARGO_INCREMENTAL", "0")
}

/// The command line that the tests use: after them nothing is left to build.
fn tested_command_line() -> Result<PathBuf> {
    let programs = built_programs("test", &[&["--no-run"], &TESTED[..], &EVERYTHING[..], &PEERS[..]].concat())?;
    let mut programs = programs.into_iter().filter(|(name, _)| name == "headstart");
    programs.next_back().map(|(_, path)| path).context("cargo has built no program `headstart`")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Packages all published crates, and fails if one of them lacks files or fields.
///
/// The crates are packaged together, so that they find each other without a registry. Nothing is built: the steps
/// before this one have built the same code.
fn package() -> Result<()> {
    let root = crate::workspace_root();
    let packages = metadata::read(root)?.packages;
    let unpublished = packages.iter().filter(|package| !package.is_published());
    let excluded: Vec<&str> = unpublished.flat_map(|package| ["--exclude", &*package.name]).collect();
    run_cargo(Command::new("cargo").args(["package", "--workspace", "--no-verify", "--offline"]).args(excluded))?;
    let mut lacking = 0;
    for package in packages.iter().filter(|package| package.is_published()) {
        let lacks = lacks(package, &files(&package.name)?);
        if !lacks.is_empty() {
            eprintln!("{} lacks {}", package.name, lacks.join(", "));
            lacking += 1;
        }
    }
    ensure!(lacking == 0, "{lacking} crates are not ready to be published");
    // No other step builds this workspace. Its lock file lists what our crates depend on.
    run_cargo(Command::new("cargo").args(["update", "--workspace", "--locked", "--manifest-path", peers::OCRA]))
}

fn files(name: &str) -> Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["package", "--list", "--offline", "--package", name])
        .current_dir(crate::workspace_root())
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot list the package of {name}: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// What a package with these `files` lacks.
fn lacks(package: &Package, files: &[String]) -> Vec<String> {
    let missing = FILES.iter().filter(|name| !files.iter().any(|file| file == *name));
    let mut lacks: Vec<String> = missing.map(|name| format!("the file {name}")).collect();
    let fields = [
        ("description", &package.description),
        ("license", &package.license),
        ("repository", &package.repository),
        ("readme", &package.readme),
    ];
    lacks.extend(fields.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| format!("`{name}` in Cargo.toml")));
    if package.metadata["docs"]["rs"]["all-features"] != true {
        lacks.push("`all-features = true` in `[package.metadata.docs.rs]`".to_owned());
    }
    if !files.iter().any(|file| file.starts_with("examples/")) {
        lacks.push("an example in examples/".to_owned());
    }
    lacks
}

display_as_argument!(Step);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_package_lacks_is_named() {
        let some = || Some("some".to_owned());
        let complete = Package {
            description: some(),
            license: some(),
            repository: some(),
            readme: some(),
            metadata: json!({ "docs": { "rs": { "all-features": true } } }),
            ..Package::default()
        };
        let files = ["README.md", "LICENSE-APACHE", "LICENSE-MIT", "examples/a.rs"].map(str::to_owned);
        assert_eq!(lacks(&complete, &files), [""; 0]);
        assert_eq!(lacks(&complete, &files[1..3]), ["the file README.md", "an example in examples/"]);
        let bare = Package { license: some(), ..Package::default() };
        let fields = [
            "`description` in Cargo.toml",
            "`repository` in Cargo.toml",
            "`readme` in Cargo.toml",
            "`all-features = true` in `[package.metadata.docs.rs]`",
        ];
        assert_eq!(lacks(&bare, &files), fields);
    }
}
