//! A command that runs beside others, with what they leave of the cores.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::programs::{CommandLine, KilledOnDrop, is_installed};

/// A command of the lowest priority. Its output goes to a file until it is waited for. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Background {
    process: KilledOnDrop,
    line: String,
    output: PathBuf,
}

impl Background {
    /// Starts `program`, without input. Its output goes to the file `output`.
    ///
    /// # Errors
    /// It cannot be started, or the file cannot be written.
    pub(crate) fn start(program: &Command, output: PathBuf) -> Result<Self> {
        let line = CommandLine(program).to_string();
        if let Some(parent) = output.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let file = File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
        // Where there is no `nice`, it shares the cores with the others.
        let nice: &[&str] = if is_installed("nice", &[]) { &["nice", "-n", "19"] } else { &[] };
        let mut words = nice.iter().map(OsStr::new).chain([program.get_program()]).chain(program.get_args());
        let mut command = Command::new(words.next().context("no program")?);
        command.args(words).envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        command.stdin(Stdio::null()).stdout(file.try_clone().context("cannot share the output")?).stderr(file);
        let process = KilledOnDrop(command.spawn().with_context(|| format!("cannot run `{line}`"))?);
        println!("beside the steps: {line} (output: {})", output.display());
        Ok(Self { process, line, output })
    }

    /// Waits for its end and shows its output.
    ///
    /// # Errors
    /// It has failed.
    pub(crate) fn wait(mut self) -> Result<()> {
        println!("waiting for: {}", self.line);
        let status = self.process.0.wait().with_context(|| format!("cannot wait for `{}`", self.line))?;
        print!("{}", String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()));
        ensure!(status.success(), "`{}` ended with {status}", self.line);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::tests::shell;

    #[test]
    fn the_output_and_the_end_are_those_of_the_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("logs/output");
        let start = |script: &str| {
            Background::start(shell(script).current_dir(folder.path()), output.clone()).expect("started")
        };
        start("pwd; echo said >&2").wait().expect("it succeeds");
        let said = fs::read_to_string(&output).expect("an output");
        assert!(said.ends_with("said\n") && said.contains(&*folder.path().to_string_lossy()), "{said}");
        let error = start("exit 3").wait().expect_err("it fails");
        assert_eq!(error.to_string(), "`sh -c exit 3` ended with exit status: 3");
    }

    #[test]
    fn a_dropped_command_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let background = Background::start(&shell("sleep 60"), folder.path().join("output"));
        drop(background.expect("started")); // Waits for its end: a test that takes a minute is stopped.
    }
}
