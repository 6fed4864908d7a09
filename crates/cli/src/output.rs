//! Standard output: text or JSON lines, and the end of a closed pipe.

use std::io::{self, ErrorKind, IsTerminal, Write};

use parking_lot::Mutex;
use serde::Serialize;

use crate::failure::{Failure, FailureKind};
use crate::policy::text;

/// Bytes that are collected before they are written, as text.
const BUFFER_BYTES: usize = 64 * 1024;

/// Standard output, shared by the tasks of a command.
#[derive(Debug)]
pub(crate) struct Output {
    is_json: bool,
    is_quiet: bool,
    /// Text that has not been written yet.
    waiting: Mutex<Vec<u8>>,
}

impl Output {
    pub(crate) fn new(is_json: bool, is_quiet: bool) -> Self {
        Self { is_json, is_quiet, waiting: Mutex::default() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Whether to show progress: somebody watches, and reads no data from the same terminal.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.is_quiet && !self.is_json && io::stderr().is_terminal()
    }

    /// Prints a line of text, or with `--json` the JSON of `data`.
    ///
    /// # Errors
    /// [`FailureKind::ClosedPipe`], or what the system says.
    pub(crate) fn line(&self, shown: impl FnOnce() -> String, data: &impl Serialize) -> Result<(), Failure> {
        let line = match self.is_json {
            true => serde_json::to_string(data)
                .map_err(|error| Failure::new(FailureKind::Other, format!("The result is not JSON: {error}.")))?,
            false => shown(),
        };
        let mut waiting = self.waiting.lock();
        waiting.extend_from_slice(line.as_bytes());
        waiting.push(b'\n');
        match waiting.len() > BUFFER_BYTES {
            true => write(&mut waiting),
            false => Ok(()),
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        write(&mut self.waiting.lock())
    }

    /// Writes bytes of an object. Blocks this thread while nobody reads, which holds up the fetches of these bytes.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        tokio::task::block_in_place(|| io::stdout().lock().write_all(bytes)).map_err(|error| failed(&error))
    }

    /// Says something to the user, beside the output.
    pub(crate) fn note(&self, text: &str) {
        if !self.is_quiet {
            // Nobody may be listening.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Says why something failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        let line = match self.is_json {
            true => {
                let code = failure.kind.exit_code();
                serde_json::json!({ "error": failure.message, "exit_code": code }).to_string()
            }
            false => format!("headstart: {}", text::name(&failure.message)),
        };
        let _ = writeln!(io::stderr(), "{line}");
    }
}

fn write(waiting: &mut Vec<u8>) -> Result<(), Failure> {
    let written = print(waiting);
    waiting.clear();
    written
}

/// Writes a whole text.
///
/// # Errors
/// As [`Output::line`].
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).map_err(|error| failed(&error))
}

fn failed(error: &io::Error) -> Failure {
    match error.kind() {
        // Whoever read has seen enough.
        ErrorKind::BrokenPipe => Failure::new(FailureKind::ClosedPipe, ""),
        _ => Failure::new(FailureKind::File, format!("Standard output cannot be written: {error}.")),
    }
}

/// Writes all of standard output that is in buffers of this process.
pub(crate) fn flush_stdout() -> Result<(), Failure> {
    io::stdout().lock().flush().map_err(|error| failed(&error))
}
