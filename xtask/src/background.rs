//! A command that runs beside others, with what they leave of the cores.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::programs::is_installed;

/// A command of the lowest priority. Its output goes to a file until it is waited for. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    line: String,
    output: PathBuf,
}

impl Background {
    /// Starts `program` in `folder`, which needs no input. Its output goes to the file `output`.
    ///
    /// # Errors
    /// It cannot be started, or the file cannot be written.
    pub(crate) fn start(program: &Command, folder: &Path, output: PathBuf) -> Result<Self> {
        let words = || std::iter::once(program.get_program()).chain(program.get_args());
        let line = words().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        if let Some(parent) = output.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let file = File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
        // Where there is no `nice`, it shares the cores with the others.
        let mut words = words();
        let mut command = match is_installed("nice", &[]) {
            true => Command::new("nice"),
            false => Command::new(words.next().context("no program")?),
        };
        if command.get_program() == "nice" {
            command.args(["-n", "19"]);
        }
        let child = command
            .args(words)
            .envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share the output")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot run `{line}`"))?;
        println!("beside the steps: {line} (output: {})", output.display());
        Ok(Self { child, line, output })
    }

    /// Waits for its end and shows its output.
    ///
    /// # Errors
    /// It has failed.
    pub(crate) fn wait(mut self) -> Result<()> {
        println!("waiting for: {}", self.line);
        let status = self.child.wait().with_context(|| format!("cannot wait for `{}`", self.line))?;
        print!("{}", String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()));
        ensure!(status.success(), "`{}` ended with {status}", self.line);
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_output_and_the_end_are_those_of_the_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("logs/output");
        let start = |script: &str| Background::start(&shell(script), folder.path(), output.clone()).expect("started");
        start("pwd; echo said >&2").wait().expect("it succeeds");
        let said = fs::read_to_string(&output).expect("an output");
        assert!(said.ends_with("said\n") && said.contains(&*folder.path().to_string_lossy()), "{said}");
        let error = start("exit 3").wait().expect_err("it fails");
        assert_eq!(error.to_string(), "`sh -c exit 3` ended with exit status: 3");
    }

    #[test]
    fn a_dropped_command_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let background = Background::start(&shell("sleep 60"), folder.path(), folder.path().join("output"));
        drop(background.expect("started")); // Waits for its end: a test that takes a minute is stopped.
    }
}
