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
mod signals;
mod upload;

use std::process::ExitCode;
use std::sync::Arc;

use crate::args::{Cli, Command};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::session::Session;

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

async fn run(cli: Cli) -> Result<(), Failure> {
    let session = Arc::new(Session::new(cli.shared)?);
    let ends_itself = matches!(cli.command, Command::Serve(_));
    let work = tokio::spawn(commands::run(cli.command, Arc::clone(&session)));
    match ends_itself {
        true => signals::ended(work.await),
        false => signals::until_stopped(work, &session.uploads).await,
    }
}
