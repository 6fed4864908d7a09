//! Runs in processes of their own, which keeps peak memory and CPU time apart: the processes and their start.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use headstart::{FetchConfig, Headstart};
use headstart_bench::ours::{self, StoreClient};
use headstart_bench::{
    child::ChildTask, ideal, meter::Outcome, results::WireCounts, source::HttpOverwriter, source::Overwriter,
    system::System, traces,
};
use headstart_fetch_core::BackendProfile;
use headstart_gcs_backend::{GcsBackend, GcsConfig};
use headstart_local_backend::LocalBackend;
use headstart_s3_backend::S3Backend;
use object_store::ObjectStore;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{BenchJob, BenchServer, CountingStore, PreparedWorkload};

/// A process that is silent this long after its run's time hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// The arguments of a process for one of our systems.
#[derive(Debug, Args)]
pub(crate) struct ChildArgs {
    #[command(flatten)]
    task: ChildTask,
    /// The store: `gs://bucket`, `s3://bucket` or `file:///`
    #[arg(long)]
    root: Url,
    /// The address of a simulated store
    #[arg(long)]
    endpoint: Option<String>,
    /// A file of the authority that has signed the certificate of the simulated store
    #[arg(long)]
    ca_certificate: Option<PathBuf>,
    #[arg(long)]
    system: System,
    /// Index of the system's shape
    #[arg(long)]
    shape: usize,
}

/// The line that a process prints at its end: the outcome, and its requests if the store has no log.
#[derive(Debug, Serialize, Deserialize)]
struct ProcessReport {
    #[serde(flatten)]
    outcome: Outcome,
    #[serde(default)]
    wire: Option<WireCounts>,
}

/// Runs `processes` at once; returns their joint outcome, and their requests if they counted them.
pub(crate) fn run_all(processes: Vec<Command>, limit: Duration) -> Result<(Outcome, Option<WireCounts>)> {
    let mut running =
        processes.into_iter().map(|mut command| RunningProcess::start(&mut command)).collect::<Result<Vec<_>>>()?;
    let (done, watched) = channel::<()>();
    let children: Vec<_> = running.iter().map(|one| Arc::clone(&one.child)).collect();
    // Killing a process that hangs closes its pipes, which ends the reads below.
    let watchdog = thread::spawn(move || {
        let hangs = watched.recv_timeout(limit + PATIENCE) == Err(RecvTimeoutError::Timeout);
        children.iter().filter(|_| hangs).for_each(|child| drop(child.lock().kill()));
    });
    let said = all(&mut running);
    drop(done);
    drop(running);
    watchdog.join().ok().context("the watchdog panicked")?;
    let (mut outcomes, mut wire) = (Vec::new(), None::<WireCounts>);
    for said in said? {
        outcomes.push(said.outcome);
        wire = match (wire, said.wire) {
            (Some(WireCounts { gets, heads, fetched_bytes }), Some(more)) => Some(WireCounts {
                gets: gets + more.gets,
                heads: heads + more.heads,
                fetched_bytes: fetched_bytes + more.fetched_bytes,
            }),
            (before, more) => before.or(more),
        };
    }
    Ok((Outcome::of_all(outcomes).context("there was no process")?, wire))
}

fn all(running: &mut [RunningProcess]) -> Result<Vec<ProcessReport>> {
    for one in &mut *running {
        let line = one.line()?;
        ensure!(line.trim() == "ready", "a process printed '{}' instead of 'ready'", line.trim());
    }
    for one in &mut *running {
        one.send("go")?;
    }
    let said = |one: &mut RunningProcess| {
        let line = one.line()?;
        serde_json::from_str(&line).with_context(|| format!("a process printed no outcome, but '{line}'"))
    };
    running.iter_mut().map(said).collect()
}

/// A process, killed when this is dropped.
pub(crate) struct RunningProcess {
    child: Arc<Mutex<Child>>,
    lines: BufReader<ChildStdout>,
    /// Reads stderr, so that the process never blocks on it.
    errors: Option<JoinHandle<String>>,
}

impl RunningProcess {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot start {program}"))?;
        let lines = BufReader::new(child.stdout.take().context("it has no stdout")?);
        let mut stderr = child.stderr.take().context("it has no stderr")?;
        let errors = thread::spawn(move || {
            let mut said = Vec::new();
            // On an error, the output before it is all there is.
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).trim().to_owned()
        });
        Ok(Self { child: Arc::new(Mutex::new(child)), lines, errors: Some(errors) })
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.lock().id()
    }

    /// Ends the process, and returns what it has said on stderr.
    pub(crate) fn stop(mut self) -> String {
        // It may have ended by itself.
        let _ = self.child.lock().kill();
        self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default()
    }

    pub(crate) fn send(&mut self, line: &str) -> Result<()> {
        let mut child = self.child.lock();
        let stdin = child.stdin.as_mut().context("the process has no stdin")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).context("the process has ended")
    }

    /// The next line of its output; an error with its stderr if it has ended.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        if !line.is_empty() {
            return Ok(line);
        }
        // Stderr ends with the process. The lock stays free until then, because the watchdog needs it to kill the
        // process.
        let why = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        bail!("{}: {why}", self.child.lock().wait()?)
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        // The process has usually ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Adds the arguments that every process takes.
pub(crate) fn common(command: &mut Command, task: &ChildTask, system: System) {
    command.arg("--trace").arg(&task.trace).args(["--system", &system.to_string()]);
    command.args(["--limit-ms", &task.limit_ms.to_string()]);
    command.args(["--processes", &task.processes.to_string(), "--process", &task.process.to_string()]);
}

/// The command of a process for one of our systems, which reads from `server` if the store is simulated.
pub(crate) fn command(task: &ChildTask, root: &Url, server: Option<&BenchServer>, job: BenchJob) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.arg("bench-one").args(["--shape", &job.shape.to_string(), "--root", root.as_str()]);
    common(&mut command, task, job.system);
    if let Some(server) = server {
        command.args(["--endpoint", &server.url]);
        if let Some(file) = &server.ca_certificate {
            command.arg("--ca-certificate").arg(file);
        }
    }
    if let Some(copy) = &task.copy {
        command.arg("--copy").arg(copy);
    }
    Ok(command)
}

/// The tasks of the processes that read `prepared`, whose trace is in `file`.
pub(crate) fn tasks(
    prepared: &PreparedWorkload,
    system: System,
    file: PathBuf,
    copy: Option<PathBuf>,
    limit: Duration,
) -> Vec<ChildTask> {
    // The ideal gains nothing from sharing.
    let processes = if system == System::Ideal { 1 } else { prepared.workload.processes };
    let task = |process| ChildTask {
        trace: file.clone(),
        limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        processes,
        process,
        copy: copy.clone(),
    };
    (0..processes).map(task).collect()
}

/// Runs one task and prints its outcome as a line of JSON.
pub(crate) fn run(args: ChildArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let said = runtime.block_on(measured(args))?;
    println!("{}", serde_json::to_string(&said)?);
    Ok(())
}

async fn measured(args: ChildArgs) -> Result<ProcessReport> {
    let (mut client, profile) = client(&args.root, args.endpoint.as_deref(), args.ca_certificate.as_deref())?;
    // A real store has no log, so the client counts its requests.
    let tally = args.task.copy.is_some().then(|| {
        let counted = if matches!(args.system, System::Raw | System::Stream | System::BufReader | System::Ideal) {
            &client.store
        } else {
            &client.for_fetch
        };
        Arc::new(CountingStore::new(Arc::clone(counted)))
    });
    if let Some(tally) = &tally {
        let fetch = FetchConfig { profile: Some(profile), ..FetchConfig::default() };
        client.facade = Headstart::builder().environment([]).store(Arc::clone(tally) as _).fetch(fetch);
        (client.store, client.for_fetch) = (Arc::clone(tally) as _, Arc::clone(tally) as _);
    }
    let outcome = if args.system == System::Ideal {
        let trace = traces::load(&args.task.trace)?;
        let shape = *ideal::shapes(&trace).get(args.shape).context("there is no such shape")?;
        let meter = args.task.begin()?;
        ideal::run(&trace, shape, &client.store, &meter).await?;
        meter.finish()
    } else {
        let source = ours::source(args.system, client).await?;
        let overwriter = args.endpoint.map(|endpoint| Arc::new(HttpOverwriter { endpoint }) as Arc<dyn Overwriter>);
        args.task.run(source, overwriter).await?
    };
    Ok(ProcessReport { outcome, wire: tally.map(|tally| tally.wire()) })
}

/// The client of the store at `root`, and the store's profile. For a simulated store the environment is ignored, and
/// the authority in the file `ca_certificate` is trusted.
pub(crate) fn client(
    root: &Url,
    endpoint: Option<&str>,
    ca_certificate: Option<&Path>,
) -> Result<(StoreClient, BackendProfile)> {
    let facade = Headstart::builder().environment([]).url(root.as_str());
    let no_options: [(&str, &str); 0] = [];
    let (store, for_fetch, profile): (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>, _) = match (root.scheme(), endpoint) {
        ("gs", endpoint) => {
            let mut config = match endpoint {
                Some(endpoint) => GcsConfig::resolve([("endpoint", endpoint), ("anonymous", "true")], |_| None)?,
                None => GcsConfig::resolve(no_options, GcsConfig::process_environment)?,
            };
            config.ca_certificate = ca_certificate.map(Path::to_owned);
            let backend = GcsBackend::open(Some(root), config)?;
            (backend.store(), backend.store_for_fetch(), backend.profile())
        }
        ("s3", None) => {
            let backend = S3Backend::from_url(root, no_options)?;
            (backend.store(), backend.store_for_fetch(), backend.profile())
        }
        ("file", None) => {
            let backend = LocalBackend::from_url(root)?;
            let plain = Arc::new(object_store::local::LocalFileSystem::new());
            (plain, backend.store(), backend.profile())
        }
        (scheme, _) => bail!("the bench does not know how to read '{scheme}:'"),
    };
    let facade = match endpoint {
        Some(endpoint) => {
            let facade = facade.option("gcs.endpoint", endpoint).option("gcs.anonymous", "true");
            ca_certificate
                .into_iter()
                .fold(facade, |facade, file| facade.option("ca_certificate", file.to_string_lossy()))
        }
        // The client of a real store takes its credentials from the environment.
        None if root.scheme() != "file" => Headstart::builder().url(root.as_str()),
        None => facade,
    };
    Ok((StoreClient { store, for_fetch, facade }, profile))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::tests::shell;

    fn run(scripts: &[&str]) -> Result<(Outcome, Option<WireCounts>), String> {
        let processes = scripts.iter().map(|script| shell(script)).collect();
        run_all(processes, Duration::from_secs(1)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn outcomes_of_processes_are_joined() {
        let outcome = Outcome { delivered_bytes: 5, elapsed_ms: 1.0, ..Outcome::default() };
        let script = format!("echo ready; read line; echo '{}'", serde_json::to_string(&outcome).unwrap());
        let (all, wire) = run(&[&script, &script]).unwrap();
        assert_eq!((all.delivered_bytes, wire), (10, None));
    }

    #[test]
    fn errors_of_a_process_are_reported() {
        for (script, says) in [
            ("echo no such object >&2; exit 3", "no such object"),
            ("echo hello", "instead of 'ready'"),
            ("echo ready; read line; echo nonsense", "nonsense"),
            ("echo ready; read line; echo late >&2; exit 1", "late"),
        ] {
            let error = run(&[script]).unwrap_err();
            assert!(error.contains(says), "{script}: {error}");
        }
    }
}
