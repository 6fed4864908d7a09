//! Worker processes, and what they count.

use std::error::Error;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use headstart_datafusion::HeadstartRegistry;
use headstart_datafusion::headstart::Headstart;
use tokio::io::{AsyncBufReadExt, stdin};
use url::Url;

use crate::bucket::BUCKET;

/// The value after `--name`.
pub(crate) fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| *argument != format!("--{name}")).nth(1)
}

/// What the Headstart of a process did since it began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// GETs sent.
    pub(crate) gets: u64,
    /// Bytes that arrived.
    pub(crate) fetched_bytes: u64,
    /// Bytes that queries asked for.
    pub(crate) read_bytes: u64,
}

impl Counts {
    pub(crate) fn of(store: &Headstart) -> Self {
        let stats = store.stats();
        let fetch = stats.fetch.unwrap_or_default();
        Self { gets: fetch.gets(), fetched_bytes: fetch.fetched_bytes, read_bytes: stats.prefetch.demanded_bytes }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            gets: self.gets - before.gets,
            fetched_bytes: self.fetched_bytes - before.fetched_bytes,
            read_bytes: self.read_bytes - before.read_bytes,
        }
    }
}

/// As one line; [`Counts::parse`] reads it.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.gets, self.fetched_bytes, self.read_bytes)
    }
}

/// In a worker: prints its counts for each line of stdin. Returns when stdin ends, so that a worker does not outlive
/// the program that has started it.
pub(crate) async fn answer(registry: &HeadstartRegistry) -> Result<(), Box<dyn Error>> {
    let mut lines = tokio::io::BufReader::new(stdin()).lines();
    while lines.next_line().await?.is_some() {
        println!("{}", Counts::of(&registry.headstart(&BUCKET.parse()?)?));
    }
    Ok(())
}

impl Counts {
    fn parse(line: &str) -> Result<Self, Box<dyn Error>> {
        let values: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [gets, fetched_bytes, read_bytes] = values[..] else { return Err(format!("no counts: '{line}'").into()) };
        Ok(Self { gets, fetched_bytes, read_bytes })
    }
}

/// A running worker. Dropping it ends the process.
pub(crate) struct WorkerProcess {
    pub(crate) id: String,
    pub(crate) url: Url,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    before: Counts,
}

impl WorkerProcess {
    /// Starts this program as a worker that reads the bucket at `endpoint`, with `more` arguments.
    pub(crate) fn start(
        id: &str,
        endpoint: &str,
        disk: Option<&str>,
        more: &[(&str, String)],
    ) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--worker-of", endpoint]);
        for (name, value) in more {
            command.arg(format!("--{name}")).arg(value);
        }
        if let Some(directory) = disk {
            command.args(["--disk", &format!("{directory}/{id}")]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut url = String::new();
        stdout.read_line(&mut url)?;
        Ok(Self { id: id.to_owned(), url: url.trim().parse()?, child, stdin, stdout, before: Counts::default() })
    }

    /// What it did since the last call.
    pub(crate) fn take_counts(&mut self) -> Result<Counts, Box<dyn Error>> {
        writeln!(self.stdin, "counts")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let now = Counts::parse(&line)?;
        Ok(now.since(std::mem::replace(&mut self.before, now)))
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
