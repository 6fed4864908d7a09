//! Programs that are run as processes: whether they are installed, and where cargo built them.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Displays a command as it would be typed in a shell.
pub(crate) struct CommandLine<'a>(pub(crate) &'a Command);

impl fmt::Display for CommandLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in self.0.get_envs() {
            write!(f, "{}=\"{}\" ", key.display(), value.unwrap_or_default().display())?;
        }
        write!(f, "{}", self.0.get_program().display())?;
        self.0.get_args().try_for_each(|arg| write!(f, " {}", arg.display()))
    }
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct KilledOnDrop(pub(crate) Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether `program` is installed: it tells its version when it is run with `arguments` and `--version`.
pub(crate) fn is_installed(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The command line as users build it.
pub(crate) fn users_command_line() -> Result<PathBuf> {
    build_program(&["--release", "--package", "headstart-cli"])
}

/// Builds a program by `cargo build` with `args` in the workspace's root, and returns its path.
pub(crate) fn build_program(args: &[&str]) -> Result<PathBuf> {
    built_programs("build", args)?.pop().map(|(_, path)| path).context("cargo has built no program")
}

/// The names and paths of the programs that are built by `cargo COMMAND ARGS` in the workspace's root, without those
/// that are tests.
pub(crate) fn built_programs(command: &str, args: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        target: Option<Target>,
        profile: Option<Profile>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    #[derive(Deserialize)]
    struct Profile {
        test: bool,
    }
    let line = format!("cargo {command} {}", args.join(" "));
    println!("building: {line}");
    let output = Command::new("cargo")
        .args([command, "--message-format", "json-render-diagnostics"])
        .args(args)
        .current_dir(crate::workspace_root())
        .env("CARGO_INCREMENTAL", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "`{line}` ended with {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let programs = messages.lines().filter_map(|line| {
        let message = serde_json::from_str::<Message>(line).ok()?;
        let program = message.profile.is_some_and(|profile| !profile.test);
        program.then_some((message.target?.name, message.executable?))
    });
    Ok(programs.collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A command that runs `script`.
    pub(crate) fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(CommandLine(&command).to_string(), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps");
    }
}
