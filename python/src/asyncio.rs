//! Results for asyncio. I/O threads run no Python code and never wait for the GIL: they put results into a queue and
//! write one byte to a socket. The event loop watches the socket (`add_reader`) and resolves its futures itself.

use std::collections::HashMap;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tokio::task::AbortHandle;

use crate::answers::{Answer, Outcome};
use crate::errors::Failure;
use crate::process::{self, AttachedMutex, Owned};

/// A result that waits for the event loop: makes the Python object there.
type Completion = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What I/O threads share with the event loop.
struct Completions {
    queue: Mutex<Vec<(u64, Completion)>>,
    /// One byte is in flight while the queue has something.
    wake: UnixStream,
}

impl Completions {
    fn push(&self, number: u64, completion: Completion) {
        let was_empty = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.push((number, completion));
            queue.len() == 1
        };
        if was_empty {
            // Fails only where the event loop is gone; nobody waits then.
            drop((&self.wake).write(&[1]));
        }
    }

    fn take(&self) -> Vec<(u64, Completion)> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The connection between I/O threads and one event loop, which calls it when results are there.
#[pyclass(frozen, module = "headstart._headstart")]
struct LoopBridge {
    ends: Owned<(Arc<Completions>, UnixStream)>,
    /// The futures that wait, by the number of their task.
    pending: AttachedMutex<HashMap<u64, Py<PyAny>>>,
    next_number: AtomicU64,
}

#[pymethods]
impl LoopBridge {
    /// Resolves the futures whose results are there.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let Some((completions, socket)) = self.ends.get() else { return Ok(()) };
        let mut bytes = [0; 64];
        loop {
            match (&*socket).read(&mut bytes) {
                Ok(read) if read == bytes.len() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        for (number, completion) in completions.take() {
            let Some(future) = self.pending.lock(py).remove(&number) else { continue };
            let future = future.into_bound(py);
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                continue;
            }
            match completion(py) {
                Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
                Err(error) => future.call_method1(intern!(py, "set_exception"), (error,))?,
            };
        }
        Ok(())
    }
}

/// Ends a task whose future was cancelled.
#[pyclass(frozen, module = "headstart._headstart")]
struct AbortOnCancel {
    task: Owned<AbortHandle>,
    number: u64,
    bridge: Py<LoopBridge>,
}

#[pymethods]
impl AbortOnCancel {
    fn __call__(&self, py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<()> {
        if future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            if let Some(task) = self.task.get() {
                task.abort();
            }
            let removed = self.bridge.get().pending.lock(py).remove(&self.number);
            drop(removed);
        }
        Ok(())
    }
}

/// Starts `future` on the I/O threads and returns an `asyncio.Future` of its result. Cancelling it aborts the requests.
///
/// # Errors
/// `RuntimeError` where no event loop runs on this thread.
pub(crate) fn start<T: Answer>(
    py: Python<'_>,
    future: impl Future<Output = Outcome<T>> + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    start_with(py, future, |py, outcome| outcome.map_err(PyErr::from)?.into_python(py))
}

/// As [`start`], with `convert` instead of [`Answer::into_python`].
pub(crate) fn start_with<T: Send + 'static>(
    py: Python<'_>,
    future: impl Future<Output = Outcome<T>> + Send + 'static,
    convert: impl FnOnce(Python<'_>, Outcome<T>) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    let process = process::current(py)?;
    let event_loop = py.import(intern!(py, "asyncio"))?.call_method0(intern!(py, "get_running_loop"))?;
    let bridge = bridge_of(py, &event_loop)?;
    let shared = bridge.get();
    let Some((completions, _)) = shared.ends.get() else {
        return Err(Failure::OtherProcess("this event loop").into());
    };
    let waiting = event_loop.call_method0(intern!(py, "create_future"))?;
    let number = shared.next_number.fetch_add(1, Ordering::Relaxed);
    shared.pending.lock(py).insert(number, waiting.clone().unbind());
    let completions = Arc::clone(completions);
    let task = process.runtime.spawn(async move {
        let outcome = AssertUnwindSafe(future).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Err(Failure::Lost("a task panicked; see stderr".to_owned())));
        completions.push(number, Box::new(move |py| convert(py, outcome)));
    });
    let task = process.own_light(task.abort_handle());
    let on_done = Bound::new(py, AbortOnCancel { task, number, bridge: bridge.unbind() })?;
    waiting.call_method1(intern!(py, "add_done_callback"), (on_done,))?;
    Ok(waiting)
}

/// The bridge of an event loop; made at its first call, and again in a forked child.
fn bridge_of<'py>(py: Python<'py>, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, LoopBridge>> {
    /// By event loop, with weak keys.
    static BRIDGES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let bridges = BRIDGES
        .get_or_try_init(py, || PyResult::Ok(py.import("weakref")?.getattr("WeakKeyDictionary")?.call0()?.unbind()))?;
    let bridges = bridges.bind(py);
    let known = bridges.call_method1(intern!(py, "get"), (event_loop,))?;
    if let Ok(bridge) = known.cast_into::<LoopBridge>()
        && bridge.get().ends.get().is_some()
    {
        return Ok(bridge);
    }
    forget_closed_loops(py, bridges)?;
    let (wake, socket) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    socket.set_nonblocking(true)?;
    let number = socket.as_raw_fd();
    let completions = Arc::new(Completions { queue: Mutex::default(), wake });
    let ends = process::current(py)?.own_light((completions, socket));
    let bridge =
        Bound::new(py, LoopBridge { ends, pending: AttachedMutex::default(), next_number: AtomicU64::new(0) })?;
    event_loop.call_method1(intern!(py, "add_reader"), (number, &bridge))?;
    bridges.set_item(event_loop, &bridge)?;
    Ok(bridge)
}

/// Drops the bridges of closed loops. Futures that will never be resolved would keep them.
fn forget_closed_loops<'py>(py: Python<'py>, bridges: &Bound<'py, PyAny>) -> PyResult<()> {
    for event_loop in bridges.call_method0("keys")?.try_iter()?.collect::<PyResult<Vec<_>>>()? {
        if event_loop.call_method0("is_closed")?.is_truthy()? {
            let bridge = bridges.call_method1("pop", (event_loop, py.None()))?;
            if let Ok(bridge) = bridge.cast_into::<LoopBridge>() {
                let pending = std::mem::take(&mut *bridge.get().pending.lock(py));
                drop(pending);
            }
        }
    }
    Ok(())
}
