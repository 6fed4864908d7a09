//! `trace`: records what a command reads, shows a recording, and replays it in virtual time.

mod record;
mod replay;
mod show;

use std::path::{Path as FilePath, PathBuf};

use clap::{Args, Subcommand};
use headstart_trace::{Trace, TraceError};

use crate::failure::{Failure, FailureKind};
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(crate) struct TraceArgs {
    #[command(subcommand)]
    command: TraceCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum TraceCommand {
    /// Run cat, head, stat or verify, and record its reads; programs record theirs by the crate headstart-trace
    Record(record::RecordArgs),
    /// Sum up a recording: calls, objects, bytes, sizes and times
    Show(show::ShowArgs),
    /// Compute what the same reads cost with the bare client and with Headstart, in virtual time; reads nothing
    Replay(replay::ReplayTraceArgs),
}

/// Runs a subcommand.
pub(crate) async fn run(session: &Session, args: TraceArgs) -> Result<(), Failure> {
    match args.command {
        TraceCommand::Record(args) => record::run(session, args).await,
        TraceCommand::Show(args) => show::run(session, &args),
        TraceCommand::Replay(args) => replay::run(session, &args).await,
    }
}

/// Reads a recording.
fn load(file: &FilePath) -> Result<Trace, Failure> {
    let open = std::fs::File::open(file).map_err(|error| Failure::file("read", file, &error))?;
    let trace = Trace::read(std::io::BufReader::new(open)).map_err(|error| match error {
        TraceError::Io(error) => Failure::file("read", file, &error),
        error => Failure::usage(format!("{} cannot be used: {}.", file.display(), crate::failure::chain(&error))),
    })?;
    match trace.calls.is_empty() {
        true => Err(Failure::new(FailureKind::Usage, format!("{} has no calls.", file.display()))),
        false => Ok(trace),
    }
}

/// A recording that is read.
#[derive(Debug, Clone, Args)]
struct TraceFile {
    /// A file that `headstart trace record` or `headstart_trace::TraceRecorder` has written
    #[arg(value_name = "TRACE.JSONL")]
    file: PathBuf,
}
