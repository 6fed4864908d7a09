//! A user of the command: runs it with the options that lead to a server, in a folder of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::{Duration, Instant};

use super::{BUCKET, link::CountedLink};
use crate::servers::{HowToRead, ServerKind};

/// A time that no command takes.
const HANGS: Duration = Duration::from_secs(60);

/// A user of the command, and the way to a server. Its methods block.
pub(super) struct CommandUser {
    pub(super) kind: ServerKind,
    pub(super) link: CountedLink,
    /// The server itself, without the link.
    pub(super) server_url: String,
    program: PathBuf,
    how: HowToRead,
    folder: TempDir,
    runtime: Handle,
    http: reqwest::Client,
    ran: Mutex<BTreeSet<String>>,
}

impl CommandUser {
    /// A user in a new folder, who reads from the server as `how` says, but through `link`.
    pub(super) fn new(
        kind: ServerKind,
        program: &Path,
        mut how: HowToRead,
        server_url: &str,
        link: CountedLink,
    ) -> Result<Self> {
        for (_, value) in &mut how.options {
            *value = value.replace(server_url, link.url());
        }
        Ok(Self {
            kind,
            link,
            server_url: server_url.to_owned(),
            program: program.to_owned(),
            how,
            folder: tempfile::tempdir()?,
            runtime: Handle::current(),
            // Loopback is never reached through a proxy.
            http: reqwest::Client::builder().no_proxy().build()?,
            ran: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> String {
        format!("{} by {}", self.kind, self.how.url)
    }

    /// The commands that have been run.
    pub(super) fn ran(&self) -> BTreeSet<String> {
        self.ran.lock().clone()
    }

    pub(super) fn is_s3(&self) -> bool {
        self.how.url.starts_with("s3://")
    }

    /// The scheme of this user's URLs, with the separator.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_s3() { "s3://" } else { "gs://" }
    }

    /// The URL of an object, prefix or pattern of the bucket.
    pub(super) fn url(&self, key: &str) -> String {
        format!("{}{BUCKET}/{}", self.scheme(), key.replace(' ', "%20"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        std::fs::write(path, bytes).with_context(|| format!("cannot write {name}"))
    }

    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read(self.path(name)).with_context(|| format!("cannot read {name}"))
    }

    /// The arguments, and the options that lead to the server.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare_command(args);
        command.args(self.options());
        command
    }

    /// The options that lead to the server.
    pub(super) fn options(&self) -> Vec<String> {
        let option = |(key, value): &(&str, String)| ["-o".to_owned(), format!("{key}={value}")];
        self.how.options.iter().flat_map(option).collect()
    }

    /// The arguments alone.
    pub(super) fn bare_command(&self, args: &[&str]) -> Command {
        self.ran.lock().extend(args.first().map(|name| (*name).to_owned()));
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin");
        // Nothing asks the metadata service of a cloud.
        command.env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1").env("GCE_METADATA_HOST", "127.0.0.1:1");
        command.current_dir(&self.folder).args(args);
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Result<CommandRun> {
        finish(self.command(args))
    }

    /// Runs without the options that lead to the server.
    pub(super) fn run_bare(&self, args: &[&str]) -> Result<CommandRun> {
        finish(self.bare_command(args))
    }

    /// Waits until `is_so`.
    pub(super) fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while !is_so()? {
            ensure!(started.elapsed() < HANGS, "{what} never was so");
            self.runtime.block_on(tokio::time::sleep(Duration::from_millis(5)));
        }
        Ok(())
    }

    /// Sends a request of plain HTTP; returns status and body.
    pub(super) fn http(&self, method: &str, url: &str, range: Option<&str>) -> Result<(u16, Vec<u8>)> {
        let mut request = self.http.request(method.parse()?, url);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.with_context(|| format!("cannot ask for {url}"))?;
            Ok((answer.status().as_u16(), answer.bytes().await?.to_vec()))
        })
    }

    /// Prints what is not checked, and why.
    pub(super) fn skip(&self, what: &str) {
        println!("{}: SKIPPED: {what}", self.name());
    }
}

/// Starts a command with its output in pipes.
pub(super) fn start(command: &mut Command) -> Result<Child> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.context("cannot start the command")
}

/// Runs a command to its end.
pub(super) fn finish(mut command: Command) -> Result<CommandRun> {
    let shown: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    wait(start(&mut command)?, format!("headstart {}", shown.join(" ")))
}

/// The end of a process, which comes in time.
pub(super) fn wait(child: Child, shown: String) -> Result<CommandRun> {
    let (id, (ended, end)) = (child.id(), mpsc::channel());
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    let Ok(output) = end.recv_timeout(HANGS) else {
        signal(id, "KILL")?;
        bail!("`{shown}` does not end");
    };
    let output = output?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(CommandRun { shown, code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr })
}

/// Sends a signal, such as `INT`, to a process.
pub(super) fn signal(id: u32, signal: &str) -> Result<()> {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status();
    ensure!(status.context("cannot run sh")?.success(), "cannot send SIG{signal}");
    Ok(())
}

/// What a command has left.
#[derive(Debug)]
pub(super) struct CommandRun {
    shown: String,
    pub(super) code: i32,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl CommandRun {
    /// The output of a success.
    pub(super) fn ok(self) -> Result<Vec<u8>> {
        ensure!(self.code == 0, "`{}` ended with {}: {}", self.shown, self.code, self.stderr);
        Ok(self.stdout)
    }

    pub(super) fn text(self) -> Result<String> {
        Ok(String::from_utf8(self.ok()?)?)
    }

    /// The lines of a success with `--json`.
    pub(super) fn json_lines(self) -> Result<Vec<Value>> {
        let shown = self.shown.clone();
        let lines = self.text()?.lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>();
        lines.with_context(|| format!("`{shown}` printed no JSON"))
    }

    /// The last line of a success with `--json`.
    pub(super) fn json(self) -> Result<Value> {
        let shown = self.shown.clone();
        self.json_lines()?.pop().with_context(|| format!("`{shown}` printed nothing"))
    }

    /// Checks that the bytes of a success are these.
    pub(super) fn gives(self, bytes: &[u8]) -> Result<()> {
        let shown = self.shown.clone();
        let got = self.ok()?;
        ensure!(got == bytes, "`{shown}` gave {} bytes, not the {} expected ones", got.len(), bytes.len());
        Ok(())
    }

    /// Checks the code of a failure, that its sentence says this, and that nothing was printed in its place.
    pub(super) fn fails(self, code: i32, says: &str) -> Result<()> {
        let Self { shown, code: got, stderr, .. } = self;
        ensure!(got == code, "`{shown}` ended with {got} in place of {code}: {stderr}");
        ensure!(stderr.contains(says), "`{shown}` does not say '{says}': {stderr}");
        ensure!(!stderr.contains("panicked"), "`{shown}` panicked: {stderr}");
        Ok(())
    }
}
