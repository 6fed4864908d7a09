//! `trace record`: runs another command, and records the reads that it makes at its store.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::args::{Cli, Command};
use crate::commands;
use crate::failure::Failure;
use crate::policy::text;
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(super) struct RecordArgs {
    /// The file to write; an existing one is replaced
    #[arg(value_name = "TRACE.JSONL")]
    file: PathBuf,
    /// The command with its arguments, such as: cat gs://bucket/key
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The end of a recording.
#[derive(Debug, Serialize)]
struct RecordedCalls {
    file: String,
    calls: u64,
    lost: u64,
}

/// Runs the command and records it.
pub(super) async fn run(session: &Session, args: RecordArgs) -> Result<(), Failure> {
    let words = std::iter::once("headstart".to_owned()).chain(args.command).map(Into::into);
    let inner = Cli::read(words).map_err(|error| Failure::usage(error.to_string().trim_end().to_owned()))?;
    if !matches!(inner.command, Command::Cat(_) | Command::Head(_) | Command::Stat(_) | Command::Verify(_)) {
        return Err(Failure::usage(
            "Only cat, head, stat and verify can be recorded. Programs record by the crate headstart-trace.",
        ));
    }
    let mut shared = inner.shared;
    shared.options = session.shared.options.iter().cloned().chain(shared.options).collect();
    shared.config = shared.config.or_else(|| session.shared.config.clone());
    (shared.json, shared.quiet) = (shared.json || session.shared.json, shared.quiet || session.shared.quiet);
    let recorded = Arc::new(Session::new(shared)?.recording_into(&args.file));
    let done = commands::run(inner.command, Arc::clone(&recorded)).await;
    let summary = recorded.finish_recording()?;
    done?;
    let summary = summary.map_or((0, 0), |summary| (summary.calls, summary.lost));
    let file = args.file.display().to_string();
    // Standard output has what the command wrote.
    let lost = if summary.1 > 0 { format!(", {} were lost", text::count(summary.1)) } else { String::new() };
    let told = RecordedCalls { calls: summary.0, lost: summary.1, file };
    session.output.note(&match session.output.is_json() {
        true => serde_json::to_string(&told).unwrap_or_default(),
        false => format!("{} in {}{lost}", text::counted(told.calls, "call", "calls"), told.file),
    });
    Ok(())
}
