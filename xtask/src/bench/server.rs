//! The simulated store as a process of its own, and the pipe through which it is asked what it has seen.
//!
//! One line in, one line out: `counts` answers with the sums of the request log. The server ends when the pipe does, so that none outlives its bench.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use headstart_sim::server::{SimServer, SimServerConfig};
use headstart_sim::{LinkProfile, RequestCounts};

use headstart_bench::results::WireCounts;
use headstart_bench::workload::Workload;

/// The bucket that is served.
pub(crate) const BUCKET: &str = "bench";

/// How long a request that was given up may take to be noticed.
const SETTLING: Duration = Duration::from_secs(2);

/// What to serve.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[arg(long)]
    profile: LinkProfile,
    #[arg(long)]
    seed: u64,
    /// What goes wrong is this workload's.
    #[arg(long)]
    workload: Option<String>,
}

/// Serves until stdin closes.
pub(crate) fn serve(args: ServeArgs) -> Result<()> {
    let faults =
        args.workload.map(|name| Ok::<_, anyhow::Error>(Workload::named(&name)?.faults(args.seed))).transpose()?;
    let config = SimServerConfig {
        profile: args.profile,
        seed: args.seed,
        faults: faults.unwrap_or_default(),
        bucket: BUCKET.into(),
        ..SimServerConfig::default()
    };
    let server = SimServer::start(config).context("cannot start the server")?;
    println!("{}", server.url());
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "counts" => println!("{}", serde_json::to_string(&server.log().counts())?),
            other => bail!("no such command: {other}"),
        }
    }
    Ok(())
}

/// A server process; it ends when this is dropped.
pub(crate) struct BenchServer {
    process: Child,
    /// `None` once the pipe is closed.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl BenchServer {
    /// Starts this program again, as a server for `workload`.
    pub(crate) fn start(profile: &LinkProfile, seed: u64, workload: &str) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe().context("cannot find this program")?)
            .args(["serve", "--profile", &profile.to_string(), "--seed", &seed.to_string(), "--workload", workload])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().context("the server has no stdout")?);
        let mut server = Self { process, questions, answers, url: String::new() };
        server.url = server.answer()?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What was asked of it so far, once all of it has ended.
    pub(crate) async fn counts(&mut self) -> Result<WireCounts> {
        let deadline = tokio::time::Instant::now() + SETTLING;
        loop {
            let counts: RequestCounts = serde_json::from_str(&self.ask("counts")?)?;
            if counts.live == 0 {
                return Ok(WireCounts { gets: counts.gets, heads: counts.heads, fetched_bytes: counts.bytes_sent });
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("{} requests are still open {SETTLING:?} after the client has gone", counts.live);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        let pipe = self.questions.as_mut().context("the server was stopped")?;
        writeln!(pipe, "{question}").context("the server is gone")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("the server does not answer")?;
        if line.is_empty() {
            bail!("the server is gone");
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        drop(self.questions.take());
        // Nothing is left to be done about a server that cannot be waited for.
        let _ = self.process.wait();
    }
}
