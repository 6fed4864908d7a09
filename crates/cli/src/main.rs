//! The program `headstart`: looks at objects, copies them and measures a link.
//!
//! ```text
//!   args ── commands ── session: options, stacks, output ── headstart
//!               │
//!            policy: ranges, places, plans (pure)
//! ```

mod args;
mod commands;
mod config;
mod failure;
mod file_crc;
mod listing;
mod output;
mod policy;
mod progress;
mod session;
mod upload;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::args::Cli;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::session::Session;

/// How long a command may take to end after a signal.
const GRACE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let output = Output::new(cli.shared.json, cli.shared.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::new(FailureKind::Other, format!("The program cannot start its threads: {error}."));
            return end(&output, Err(failure));
        }
    };
    let done = runtime.block_on(run(cli));
    // A thread that writes to a pipe which nobody reads would be waited for.
    runtime.shutdown_background();
    end(&output, done)
}

fn end(output: &Output, done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// Runs the command until it ends, or a signal ends it. Uploads that were not completed are aborted.
async fn run(cli: Cli) -> Result<(), Failure> {
    let session = Arc::new(Session::new(cli.shared)?);
    let mut work = tokio::spawn(commands::run(cli.command, Arc::clone(&session)));
    tokio::select! {
        done = &mut work => done.unwrap_or_else(|lost| match lost.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Failure::new(FailureKind::Other, "The command was stopped.")),
        }),
        number = stopped() => {
            work.abort();
            // What has arrived is kept for the next copy. A second signal ends the wait.
            let ended = async {
                let _ = tokio::time::timeout(GRACE, work).await;
                session.uploads.abort_all().await;
            };
            tokio::select! {
                () = ended => {}
                _ = stopped() => {}
            }
            Err(Failure::new(FailureKind::Signal(number), ""))
        }
    }
}

/// Waits for a signal to stop; returns its number.
#[cfg(unix)]
async fn stopped() -> u8 {
    use tokio::signal::unix::{SignalKind, signal};
    let numbered = |kind: SignalKind, number: u8| async move {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        };
        number
    };
    tokio::select! {
        number = numbered(SignalKind::interrupt(), 2) => number,
        number = numbered(SignalKind::terminate(), 15) => number,
        number = numbered(SignalKind::hangup(), 1) => number,
    }
}

/// Waits for Ctrl-C; returns the number of the signal on other systems.
#[cfg(not(unix))]
async fn stopped() -> u8 {
    match tokio::signal::ctrl_c().await {
        Ok(()) => 2,
        Err(_) => std::future::pending().await,
    }
}
