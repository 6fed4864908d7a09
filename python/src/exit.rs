//! What happens when the interpreter exits.
//!
//! Threads that are not Python's go on while the interpreter is finalised. One that asks for the GIL then is ended by
//! `pthread_exit` (until Python 3.14), which unwinds its stack. Neither frames of Rust nor destructors of C++ permit
//! that: the process would abort. So a thread of ours stays where it is, without the GIL, until the process ends
//! ([`stay_out`]). And while threads of pyarrow are letting go of files and buffers, the exit waits for them
//! ([`wait_for_arrow`]).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use pyo3::prelude::*;

/// Whether the interpreter is exiting.
static IS_EXITING: AtomicBool = AtomicBool::new(false);

/// The thread that finalises the interpreter, which may go on. Locked only by that thread, and by others after that.
static EXITING_THREAD: Mutex<Option<ThreadId>> = Mutex::new(None);

/// Files and buffers that exist.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// How often the exit looks whether files and buffers are left.
const LOOK: Duration = Duration::from_millis(1);

/// The exit goes on when nothing was let go of for so many looks: what is left then is kept by the program.
const MOST_IDLE_LOOKS: u32 = 200;

/// A file or buffer, counted as long as it exists.
pub(crate) struct Counted(());

impl Counted {
    pub(crate) fn new() -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Called by `atexit`: when threads that are not daemons have ended, and before anything is torn down.
#[pyfunction]
fn note_exit(py: Python<'_>) -> PyResult<()> {
    if py.import("sys")?.getattr("modules")?.contains("pyarrow")? {
        py.detach(wait_for_arrow);
    }
    *EXITING_THREAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
    IS_EXITING.store(true, Ordering::Release);
    Ok(())
}

/// Waits until no file or buffer is left, or until none was let go of for a while. The threads of pyarrow drop theirs
/// after a read has returned, with the GIL.
fn wait_for_arrow() {
    let (mut left, mut idle) = (LIVE.load(Ordering::Relaxed), 0);
    while left > 0 && idle < MOST_IDLE_LOOKS {
        thread::park_timeout(LOOK);
        let now = LIVE.load(Ordering::Relaxed);
        idle = if now == left { idle + 1 } else { 0 };
        left = now;
    }
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
