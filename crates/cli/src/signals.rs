//! Signals that end the program: the first one ends a command in an orderly way, and a second one at once.

#[cfg(unix)]
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use crate::failure::{Failure, FailureKind};
use crate::upload::PendingUploads;

/// How long a command may take to end after a signal.
const GRACE: Duration = Duration::from_millis(500);

/// Waits until a command ends, or a signal ends it. Uploads that were not completed are aborted.
///
/// # Errors
/// That of the command, or the signal.
pub(crate) async fn until_stopped(
    mut work: JoinHandle<Result<(), Failure>>,
    uploads: &PendingUploads,
) -> Result<(), Failure> {
    let mut signals = Signals::listen();
    tokio::select! {
        done = &mut work => ended(done),
        number = signals.next() => {
            work.abort();
            // What has arrived is kept for the next copy. A second signal ends the wait.
            let aborted = async {
                let _ = tokio::time::timeout(GRACE, work).await;
                uploads.abort_all().await;
            };
            tokio::select! {
                () = aborted => {}
                _ = signals.next() => {}
            }
            Err(Failure::new(FailureKind::Signal(number), ""))
        }
    }
}

/// What a command has come to. Its panic is that of the program.
///
/// # Errors
/// That of the command.
pub(crate) fn ended(done: Result<Result<(), Failure>, JoinError>) -> Result<(), Failure> {
    done.unwrap_or_else(|lost| match lost.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Failure::new(FailureKind::Other, "The command was stopped.")),
    })
}

/// The signals to stop, from the time of `listen` on. On other systems than Unix: Ctrl-C.
pub(crate) struct Signals {
    #[cfg(unix)]
    numbered: Vec<(tokio::signal::unix::Signal, u8)>,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15), (SignalKind::hangup(), 1)];
        // A signal that cannot be listened for ends the program at once.
        let numbered = kinds.into_iter().filter_map(|(kind, number)| Some((signal(kind).ok()?, number))).collect();
        Self { numbered }
    }

    /// Waits for the next signal, and returns its number.
    ///
    /// # Cancel safety
    /// Cancel safe: no signal is lost.
    pub(crate) async fn next(&mut self) -> u8 {
        std::future::poll_fn(|context| {
            let mut signals = self.numbered.iter_mut();
            let come = signals.find_map(|(signal, number)| signal.poll_recv(context).is_ready().then_some(*number));
            come.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> Self {
        Self {}
    }

    /// Waits for Ctrl-C, and returns the number of the signal on other systems.
    pub(crate) async fn next(&mut self) -> u8 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => 2,
            Err(_) => std::future::pending().await,
        }
    }
}
