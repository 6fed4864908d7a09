//! What one process has: its runtime, its open stores and its memory budgets. A forked child gets new ones.
//!
//! A child has only the thread that forked. It has none of the parent's I/O threads, and the locks that other threads
//! held stay locked for ever. So a child uses nothing of its parent: every entry of this module asks for the process id
//! first, builds what is missing from its recipe, and leaks what the parent had ([`Owned`]).
//!
//! The locks of this module are taken only by a thread that is attached to the interpreter ([`AttachedMutex`]). So is a
//! thread that forks, and therefore no other thread can hold one of these locks at that moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use headstart::MemoryBudget;
use headstart::object_store::memory::InMemory;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::recipe::{OpenStore, StoreKey};

/// The most I/O threads. They decrypt and copy; four fill a link of 10 Gbit/s.
const MAX_IO_THREADS: usize = 4;

/// What the process with this id has.
pub(crate) struct Process {
    id: u32,
    pub(crate) runtime: Runtime,
    /// The stores that are open, the most recently used last.
    pub(crate) stores: AttachedMutex<Vec<(StoreKey, Owned<Arc<OpenStore>>)>>,
    /// By limit in bytes. There is one, unless options name other limits.
    pub(crate) budgets: AttachedMutex<BTreeMap<usize, Arc<MemoryBudget>>>,
    /// The objects of `memory:///`. A child begins with none.
    pub(crate) memory: Arc<InMemory>,
}

/// Never dropped: in a child, dropping would touch locks and threads of the parent.
static CURRENT: AttachedMutex<Option<&'static Process>> = AttachedMutex::new(None);

/// The state of this process. Builds it at the first call and after a fork.
pub(crate) fn current(py: Python<'_>) -> PyResult<&'static Process> {
    let mut current = CURRENT.lock(py);
    match *current {
        Some(process) if process.is_current() => Ok(process),
        _ => {
            let process: &'static Process = Box::leak(Box::new(Process::new()?));
            *current = Some(process);
            Ok(process)
        }
    }
}

impl Process {
    fn new() -> PyResult<Self> {
        let threads = available_parallelism().map_or(1, usize::from).clamp(1, MAX_IO_THREADS);
        let runtime =
            Builder::new_multi_thread().worker_threads(threads).thread_name("headstart-io").enable_all().build();
        Ok(Self {
            id: std::process::id(),
            runtime: runtime.map_err(|error| PyOSError::new_err(format!("cannot start the I/O threads: {error}")))?,
            stores: AttachedMutex::new(Vec::new()),
            budgets: AttachedMutex::new(BTreeMap::new()),
            memory: Arc::default(),
        })
    }

    /// Whether this process is the one that made the value.
    pub(crate) fn is_current(&self) -> bool {
        self.id == std::process::id()
    }

    /// A value of this process, which an I/O thread drops.
    pub(crate) fn own<T: Send + 'static>(&self, value: T) -> Owned<T> {
        Owned { process_id: self.id, runtime: Some(self.runtime.handle().clone()), value: Some(value) }
    }

    /// A value of this process that never waits when it is dropped, so that any thread may drop it.
    pub(crate) fn own_light<T: Send + 'static>(&self, value: T) -> Owned<T> {
        Owned { process_id: self.id, runtime: None, value: Some(value) }
    }
}

/// A mutex that is locked only by threads attached to the interpreter, and never while one detaches.
#[derive(Debug, Default)]
pub(crate) struct AttachedMutex<T>(Mutex<T>);

impl<T> AttachedMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Locks; does not wait, since only one thread is attached at a time. Do not call Python while it is locked: Python
    /// code may let other threads run.
    pub(crate) fn lock<'py>(&self, _attached: Python<'py>) -> MutexGuard<'_, T>
    where
        T: 'py,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that belongs to one process. In that process it is dropped by an I/O thread, so that `__del__` never waits;
/// in a forked child it is leaked.
pub(crate) struct Owned<T: Send + 'static> {
    process_id: u32,
    /// Where it is dropped; `None`: wherever Python drops it.
    runtime: Option<Handle>,
    /// `None` only while it is dropped.
    value: Option<T>,
}

impl<T: Send + 'static> Owned<T> {
    /// The value, in the process that it belongs to.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.process_id == std::process::id())
    }

    /// The value, in the process that it belongs to, to be dropped by the caller.
    pub(crate) fn into_inner(mut self) -> Option<T> {
        if self.process_id == std::process::id() { self.value.take() } else { None }
    }
}

impl<T: Send + 'static> Drop for Owned<T> {
    fn drop(&mut self) {
        let (value, runtime) = (self.value.take(), self.runtime.take());
        if self.process_id != std::process::id() {
            std::mem::forget((value, runtime));
        } else if let Some((value, runtime)) = value.zip(runtime) {
            runtime.spawn(async move { drop(value) });
        }
    }
}

/// A value that every process builds for itself, from the same recipe.
pub(crate) struct PerProcess<T: Send + 'static>(AttachedMutex<Option<Owned<T>>>);

impl<T: Clone + Send + 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AttachedMutex::new(None))
    }

    /// The value of this process, if it has one.
    pub(crate) fn get(&self, py: Python<'_>) -> Option<T> {
        self.0.lock(py).as_ref().and_then(Owned::get).cloned()
    }

    /// Keeps `value` for this process, unless another thread was faster; returns what is kept.
    pub(crate) fn keep(&self, py: Python<'_>, process: &Process, value: T) -> T {
        let mut slot = self.0.lock(py);
        if let Some(kept) = slot.as_ref().and_then(Owned::get).cloned() {
            return kept;
        }
        // Leaks the value of a parent.
        *slot = Some(process.own(value.clone()));
        value
    }

    /// Takes the value out: it is dropped with what is returned.
    pub(crate) fn take(&self, py: Python<'_>) -> Option<Owned<T>> {
        self.0.lock(py).take()
    }
}
