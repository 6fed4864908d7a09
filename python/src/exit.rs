//! The end of the interpreter: threads that wait in Rust must not come back into it.
//!
//! Daemon threads go on while the interpreter is finalised. One that asks for the GIL then is ended by `pthread_exit`
//! (until Python 3.14), which unwinds its stack. Frames of Rust do not permit that: the process would abort. So such a
//! thread stays where it is, without the GIL, until the process ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;

/// Whether the interpreter is exiting.
static IS_EXITING: AtomicBool = AtomicBool::new(false);

/// The thread that finalises the interpreter, which may go on. Locked only by that thread, and by others after that.
static EXITING_THREAD: Mutex<Option<ThreadId>> = Mutex::new(None);

/// Called by `atexit`: when threads that are not daemons have ended, and before anything is torn down.
#[pyfunction]
fn note_exit() {
    *EXITING_THREAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
    IS_EXITING.store(true, Ordering::Release);
}

/// Never returns on a thread that would come back into an interpreter that exits. Called without the GIL.
pub(crate) fn stay_out() {
    if !IS_EXITING.load(Ordering::Acquire) {
        return;
    }
    let exiting = *EXITING_THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if exiting != Some(thread::current().id()) {
        loop {
            thread::park();
        }
    }
}

/// Registers [`note_exit`].
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let note_exit = wrap_pyfunction!(note_exit, module)?;
    module.py().import("atexit")?.call_method1("register", (note_exit,))?;
    Ok(())
}
