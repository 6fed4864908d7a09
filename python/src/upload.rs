//! Uploads in parts: bytes go out while the caller makes more.

use std::sync::Arc;

use headstart::object_store::path::Path;
use headstart::object_store::{ObjectStore, PutMode, PutMultipartOptions, PutResult, UpdateVersion, WriteMultipart};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::Mutex;

use crate::answers::{Answer, Outcome};
use crate::asyncio;
use crate::buffer::copy_in;
use crate::errors::Failure;
use crate::process::{self, Owned};
use crate::recipe::OpenStore;
use crate::wait::wait;

/// An upload in parts. Belongs to the process that began it.
#[pyclass(frozen, module = "headstart._headstart")]
pub(crate) struct Upload(Owned<Arc<Parts>>);

struct Parts {
    store: Arc<OpenStore>,
    path: Path,
    chunk_size: usize,
    max_concurrency: usize,
    state: Mutex<State>,
}

enum State {
    /// No request has been sent.
    New(PutMultipartOptions),
    Open(WriteMultipart),
    Ended,
}

impl Parts {
    /// Sends full parts; waits while too many are in flight.
    async fn write(&self, bytes: bytes::Bytes) -> Outcome<()> {
        let mut state = self.state.lock().await;
        let upload = self.opened(&mut state).await?;
        upload.wait_for_capacity(self.max_concurrency).await?;
        upload.put(bytes);
        Ok(())
    }

    async fn opened<'a>(&self, state: &'a mut State) -> Outcome<&'a mut WriteMultipart> {
        if let State::New(options) = state {
            let upload = self.store.headstart.put_multipart_opts(&self.path, options.clone()).await?;
            *state = State::Open(WriteMultipart::new_with_chunk_size(upload, self.chunk_size));
        }
        match state {
            State::Open(upload) => Ok(upload),
            _ => Err(Failure::Lost("the upload has ended".to_owned())),
        }
    }

    /// Sends the rest and makes the object appear.
    async fn finish(&self) -> Outcome<PutResult> {
        let mut state = self.state.lock().await;
        self.opened(&mut state).await?;
        match std::mem::replace(&mut *state, State::Ended) {
            State::Open(upload) => Ok(upload.finish().await?),
            _ => Err(Failure::Lost("the upload has ended".to_owned())),
        }
    }

    /// Gives up: the store may delete the parts.
    async fn abort(&self) -> Outcome<()> {
        match std::mem::replace(&mut *self.state.lock().await, State::Ended) {
            State::Open(upload) => Ok(upload.abort().await?),
            _ => Ok(()),
        }
    }
}

impl Upload {
    pub(crate) fn new(
        py: Python<'_>,
        store: Arc<OpenStore>,
        path: Path,
        options: PutMultipartOptions,
        chunk_size: usize,
        max_concurrency: usize,
    ) -> PyResult<Self> {
        if chunk_size == 0 || max_concurrency == 0 {
            return Err(PyValueError::new_err("chunk_size and max_concurrency must be at least 1"));
        }
        let state = Mutex::new(State::New(options));
        let parts = Arc::new(Parts { store, path, chunk_size, max_concurrency, state });
        Ok(Self(process::current(py)?.own(parts)))
    }

    fn parts(&self) -> PyResult<Arc<Parts>> {
        Ok(self.0.get().cloned().ok_or(Failure::OtherProcess("this upload"))?)
    }
}

#[pymethods]
impl Upload {
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let (parts, bytes) = (self.parts()?, copy_in(data)?);
        Ok(wait(py, process::current(py)?, async move { parts.write(bytes).await })??)
    }

    fn write_async<'py>(&self, py: Python<'py>, data: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (parts, bytes) = (self.parts()?, copy_in(data)?);
        asyncio::start(py, async move { parts.write(bytes).await })
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let parts = self.parts()?;
        wait(py, process::current(py)?, async move { parts.finish().await })??.into_python(py)
    }

    fn finish_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let parts = self.parts()?;
        asyncio::start(py, async move { parts.finish().await })
    }

    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        let parts = self.parts()?;
        Ok(wait(py, process::current(py)?, async move { parts.abort().await })??)
    }

    fn abort_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let parts = self.parts()?;
        asyncio::start(py, async move { parts.abort().await })
    }
}

/// obspec's mode of a put: `"create"`, `"overwrite"` or the version to replace.
pub(crate) fn put_mode(given: Option<&Bound<'_, PyAny>>) -> PyResult<PutMode> {
    let Some(given) = given else { return Ok(PutMode::Overwrite) };
    if let Ok(version) = given.cast::<PyDict>() {
        let text = |key| version.get_item(key)?.map(|value| value.extract::<Option<String>>()).transpose();
        let (e_tag, version) = (text("e_tag")?.flatten(), text("version")?.flatten());
        return Ok(PutMode::Update(UpdateVersion { e_tag, version }));
    }
    match &*given.extract::<String>()? {
        "create" => Ok(PutMode::Create),
        "overwrite" => Ok(PutMode::Overwrite),
        _ => Err(PyValueError::new_err("mode: expected 'create', 'overwrite' or a version")),
    }
}
