//! Lists of whole objects: fetched ahead of the consumer, in order, within the memory budget.

use std::sync::Arc;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use headstart::Objects;
use headstart::object_store::path::Path;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};
use tokio::sync::Mutex;

use crate::answers::{Outcome, full_path, shown_path};
use crate::asyncio;
use crate::buffer::Buffer;
use crate::errors::Failure;
use crate::process::{self, AttachedMutex, Owned};
use crate::recipe::OpenStore;
use crate::wait::wait;

/// So many paths are taken from the caller's iterator ahead of the objects returned. More than are ever in flight.
const PATHS_AHEAD: usize = 4096;

/// An iterator of `(path, Buffer)`. Belongs to the process that made it.
#[pyclass(frozen, module = "headstart._headstart")]
pub(crate) struct ObjectIterator {
    objects: Owned<Arc<Mutex<Objects>>>,
    prefix: Path,
    returns_errors: bool,
    paths: AttachedMutex<Option<Paths>>,
}

/// The caller's iterator, and where its paths go.
struct Paths {
    iterator: Py<PyIterator>,
    sender: UnboundedSender<Path>,
    /// Paths sent whose objects have not been returned.
    ahead: usize,
}

/// An object or its error, and its path.
type Item = (Path, Outcome<bytes::Bytes>);

impl ObjectIterator {
    pub(crate) fn new(
        py: Python<'_>,
        store: Arc<OpenStore>,
        prefix: Path,
        iterator: Bound<'_, PyIterator>,
        ordered: bool,
        returns_errors: bool,
        concurrency: Option<usize>,
    ) -> PyResult<Self> {
        let (sender, receiver) = unbounded();
        let mut objects = store.headstart.objects(receiver).continue_after_errors();
        if !ordered {
            objects = objects.unordered();
        }
        if let Some(most) = concurrency {
            objects = objects.concurrency(most);
        }
        let objects = process::current(py)?.own(Arc::new(Mutex::new(objects)));
        let paths = AttachedMutex::new(Some(Paths { iterator: iterator.unbind(), sender, ahead: 0 }));
        Ok(Self { objects, prefix, returns_errors, paths })
    }

    /// Takes paths from the caller's iterator, up to the limit.
    fn send_paths(&self, py: Python<'_>) -> PyResult<()> {
        // Taken out, since the iterator is Python code and must not run under a lock. A concurrent call sends none.
        let Some(mut paths) = self.paths.lock(py).take() else { return Ok(()) };
        while paths.ahead < PATHS_AHEAD {
            let Some(path) = paths.iterator.bind(py).clone().next() else { return Ok(()) };
            let path = full_path(&self.prefix, &path?.extract::<String>()?)?;
            // Fails only where the list has ended.
            drop(paths.sender.unbounded_send(path));
            paths.ahead += 1;
        }
        *self.paths.lock(py) = Some(paths);
        Ok(())
    }

    fn next_call(&self, py: Python<'_>) -> PyResult<impl Future<Output = Outcome<Option<Item>>> + use<>> {
        let objects = self.objects.get().cloned().ok_or(Failure::OtherProcess("this iterator"))?;
        self.send_paths(py)?;
        Ok(async move {
            Ok(objects.lock().await.next().await.map(|object| match object {
                Ok((path, bytes)) => (path, Ok(bytes)),
                Err(error) => (error.path, Err(Failure::Store(error.source))),
            }))
        })
    }

    /// Counts the object and makes it a Python object.
    fn returned(&self, py: Python<'_>, (path, object): Item) -> PyResult<Py<PyAny>> {
        if let Some(paths) = &mut *self.paths.lock(py) {
            paths.ahead = paths.ahead.saturating_sub(1);
        }
        let object = match object {
            Ok(bytes) => Py::new(py, Buffer::new(py, bytes)?)?.into_any(),
            Err(failure) if self.returns_errors => PyErr::from(failure).into_value(py).into_any(),
            Err(failure) => {
                // Dropped when it is unlocked: the iterator is Python code.
                let ended = self.paths.lock(py).take();
                drop(ended);
                return Err(failure.into());
            }
        };
        let path = shown_path(&path, &self.prefix).into_pyobject(py)?.into_any();
        Ok(PyTuple::new(py, [path, object.into_bound(py)])?.into_any().unbind())
    }
}

#[pymethods]
impl ObjectIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let item = wait(py, process::current(py)?, self.next_call(py)?)??;
        item.map(|item| self.returned(py, item)).transpose()
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.clone().unbind();
        asyncio::start_with(py, slf.get().next_call(py)?, move |py, item| match item? {
            Some(item) => this.get().returned(py, item),
            None => Err(PyStopAsyncIteration::new_err(())),
        })
    }
}
