//! Waits for a future on the calling thread, without the GIL, until it is done or a signal handler raises.
//!
//! Python's handlers run on the main thread, and only when it executes Python code or asks for it
//! (`PyErr_CheckSignals`). A thread that waits in Rust does neither, so it wakes now and then to ask.

use std::future::Future;
use std::time::Duration;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use tokio::time::timeout;

use crate::exit::stay_out;
use crate::process::Process;

/// How often a waiting thread looks for signals. Ctrl-C ends a read within two of these.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// Waits for `future`. The calling thread polls it, so that what is ready needs no other thread.
///
/// # Errors
/// What a signal handler raised (`KeyboardInterrupt`); the future is then dropped, which aborts its requests.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    process: &'static Process,
    future: impl Future<Output = T> + Send,
) -> PyResult<T> {
    wait_and(py, process, future, || Ok(()))
}

/// As [`wait`], and calls `report` now and then, attached to the interpreter.
///
/// # Errors
/// Those of `report` too.
pub(crate) fn wait_and<T: Send>(
    py: Python<'_>,
    process: &'static Process,
    future: impl Future<Output = T> + Send,
    report: impl Fn() -> PyResult<()>,
) -> PyResult<T> {
    let mut future = Box::pin(future);
    loop {
        let slice = || {
            let done = process.runtime.block_on(async { timeout(SIGNAL_CHECK, future.as_mut()).await });
            stay_out();
            done
        };
        if let Ok(done) = py.detach(slice) {
            return Ok(done);
        }
        let checked = py.check_signals().and_then(|()| report());
        if !process.is_current() {
            // The handler forked and returned here, in the child.
            std::mem::forget(future);
            checked?;
            return Err(PyOSError::new_err("the process was forked by a signal handler while it waited: read again"));
        }
        if let Err(raised) = checked {
            py.detach(|| {
                let _context = process.runtime.enter();
                drop(future);
            });
            return Err(raised);
        }
    }
}
