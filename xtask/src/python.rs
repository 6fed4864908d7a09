//! `cargo xtask python`: builds the Python package, installs it and runs its tests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::servers::{self, PythonEnvironment};

/// The packages for `--torch`, which weigh gigabytes.
const TORCH: &str = "python/requirements-torch.txt";

/// What the package must do alone, installed into an environment without other packages.
const ALONE: &str = "import headstart; store = headstart.Store('memory:///'); store.put('key', b'value'); \
                     assert store.open('key').read() == b'value'; print('installed alone:', headstart.__version__)";

/// What to test.
#[derive(Debug, Default, Args)]
pub(crate) struct PythonArgs {
    /// Also install torch, which weighs gigabytes, and test with its data loader
    #[arg(long)]
    torch: bool,
    /// Only build the wheel and install it into target/python/env
    #[arg(long)]
    build: bool,
    /// Arguments for pytest; all tests by default, in several processes
    #[arg(last = true)]
    pytest: Vec<String>,
}

/// The environment with the tools and libraries of the tests.
pub(crate) fn environment() -> PythonEnvironment {
    PythonEnvironment {
        folder: crate::workspace_root().join("target/python/env"),
        pins: include_str!("../../python/requirements.txt"),
        file: "python/requirements.txt",
    }
}

/// Builds the wheel, installs it, and runs the checks and tests.
pub(crate) fn run(args: &PythonArgs) -> Result<()> {
    let folder = crate::workspace_root().join("target/python");
    let env = environment();
    if !env.is_installed() {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        env.install()?;
    }
    if args.torch {
        let pip = ["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
        show(tool(&env, "pip").args(pip).args(["-r", TORCH]))?;
    }
    let wheel = build(&env, &folder)?;
    let pip = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--force-reinstall"];
    show(tool(&env, "pip").args(pip).arg(&wheel))?;
    if args.build {
        return Ok(());
    }
    alone(&folder, &wheel)?;
    show(tool(&env, "ruff").args(["format", "--check", "python"]))?;
    show(tool(&env, "ruff").args(["check", "python"]))?;
    show(tool(&env, "mypy").current_dir(package()).arg("headstart"))?;
    servers::install_missing()?;
    if !args.pytest.is_empty() {
        return show(pytest(&env)?.args(&args.pytest));
    }
    show(pytest(&env)?.args(["-m", "not alone", "--numprocesses", "auto", "--maxprocesses", "4"]))?;
    show(pytest(&env)?.args(["-m", "alone"]))
}

/// Pytest for the installed package, with the programs that the tests start as servers.
fn pytest(env: &PythonEnvironment) -> Result<Command> {
    let mut pytest = tool(env, "pytest");
    // Without the source tree in the path: the installed package is tested.
    pytest.current_dir(package()).args(["-q", "--import-mode=importlib"]);
    // Other variables that begin with HEADSTART_ are errors.
    let servers = crate::workspace_root().join("target/servers/bin");
    pytest.env("TEST_XTASK", env::current_exe().context("cannot find this program")?).env("TEST_SERVERS", servers);
    Ok(pytest)
}

/// Builds the wheel, and installs it into another environment.
pub(crate) fn install_into(other: &PythonEnvironment) -> Result<()> {
    run(&PythonArgs { build: true, ..PythonArgs::default() })?;
    let wheels = crate::workspace_root().join("target/python/wheels");
    let wheel = fs::read_dir(&wheels)?.next().context("no wheel was built")??.path();
    let pip = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--force-reinstall"];
    show(tool(other, "pip").args(pip).arg(&wheel))
}

fn package() -> PathBuf {
    crate::workspace_root().join("python")
}

/// Builds the wheel and returns its path.
fn build(env: &PythonEnvironment, folder: &Path) -> Result<PathBuf> {
    let wheels = folder.join("wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).with_context(|| format!("cannot remove {}", wheels.display()))?;
    }
    let mut maturin = tool(env, "maturin");
    maturin.args(["build", "--release", "--locked", "--manifest-path", "python/Cargo.toml", "--interpreter"]);
    maturin.arg(env.program("python")).arg("--out").arg(&wheels).env("CARGO_INCREMENTAL", "0");
    show(&mut maturin)?;
    let mut made = fs::read_dir(&wheels)?.collect::<std::io::Result<Vec<_>>>()?;
    ensure!(made.len() == 1, "expected one wheel in {}, found {}", wheels.display(), made.len());
    Ok(made.remove(0).path())
}

/// Installs the wheel into an environment that has nothing else, and uses it there.
fn alone(folder: &Path, wheel: &Path) -> Result<()> {
    let clean = PythonEnvironment { folder: folder.join("alone"), pins: "", file: "no packages" };
    show(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&clean.folder))?;
    show(tool(&clean, "pip").args(["install", "--quiet", "--disable-pip-version-check", "--no-index"]).arg(wheel))?;
    show(tool(&clean, "python").args(["-c", ALONE]))
}

/// A program of an environment, in the workspace's root.
fn tool(env: &PythonEnvironment, name: impl AsRef<OsStr> + AsRef<str>) -> Command {
    let mut command = Command::new(env.program(name.as_ref()));
    command.current_dir(crate::workspace_root()).stdin(Stdio::null());
    command
}

fn show(command: &mut Command) -> Result<()> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    println!("$ {name} {}", arguments.join(" "));
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}
