//! The answer of `Store.get`: metadata, and the bytes as one buffer or as the chunks that arrive.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use headstart::object_store::path::Path;
use headstart::object_store::{Attributes, GetOptions, GetRange, GetResult};
use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::Mutex;

use crate::answers::{Answer, Meta, Outcome, attributes};
use crate::asyncio;
use crate::buffer::{Buffer, concat};
use crate::errors::Failure;
use crate::process::{self, Owned};
use crate::wait::wait;

/// What a store has answered.
pub(crate) struct Got {
    pub(crate) result: GetResult,
    pub(crate) prefix: Path,
}

/// The body of an answer, until it has been taken.
type Body = Arc<Mutex<Option<BoxStream<'static, headstart::object_store::Result<Bytes>>>>>;

/// The answer of `Store.get`. Belongs to the process that asked.
#[pyclass(frozen, name = "GetResult", module = "headstart._headstart")]
pub(crate) struct Answered {
    meta: Meta,
    range: (u64, u64),
    attributes: Attributes,
    body: Owned<Body>,
}

impl Answer for Got {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Self { result, prefix } = self;
        let answered = Answered {
            meta: Meta { meta: result.meta.clone(), prefix },
            range: (result.range.start, result.range.end),
            attributes: result.attributes.clone(),
            body: process::current(py)?.own(Arc::new(Mutex::new(Some(result.into_stream())))),
        };
        Ok(Py::new(py, answered)?.into_any())
    }
}

/// Takes the whole body.
async fn whole(body: Body) -> Outcome<Bytes> {
    let taken = body.lock().await.take();
    let mut taken = taken.ok_or_else(|| Failure::Lost("the body of this answer has been taken already".to_owned()))?;
    let mut chunks = Vec::new();
    while let Some(chunk) = taken.next().await {
        chunks.push(chunk?);
    }
    Ok(if chunks.len() > 1 { concat(&chunks) } else { chunks.pop().unwrap_or_default() })
}

/// The next chunk of the body.
async fn next_chunk(body: Body) -> Outcome<Option<Bytes>> {
    let mut body = body.lock().await;
    match body.as_mut() {
        Some(stream) => Ok(stream.next().await.transpose()?),
        None => Ok(None),
    }
}

impl Answered {
    fn body(&self) -> PyResult<Body> {
        Ok(self.body.get().cloned().ok_or(Failure::OtherProcess("this answer"))?)
    }
}

#[pymethods]
impl Answered {
    #[getter]
    fn meta(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.meta.clone().into_python(py)
    }

    #[getter]
    fn range(&self) -> (u64, u64) {
        self.range
    }

    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        attributes(py, &self.attributes)
    }

    fn buffer(&self, py: Python<'_>) -> PyResult<Buffer> {
        let body = self.body()?;
        Buffer::new(py, wait(py, process::current(py)?, whole(body))??)
    }

    /// As `buffer`.
    fn bytes(&self, py: Python<'_>) -> PyResult<Buffer> {
        self.buffer(py)
    }

    fn buffer_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, whole(self.body()?))
    }

    /// As `buffer_async`.
    fn bytes_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.buffer_async(py)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Buffer>> {
        let chunk = wait(py, process::current(py)?, next_chunk(self.body()?))??;
        chunk.map(|chunk| Buffer::new(py, chunk)).transpose()
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start_with(py, next_chunk(self.body()?), |py, chunk| match chunk? {
            Some(chunk) => chunk.into_python(py),
            None => Err(PyStopAsyncIteration::new_err(())),
        })
    }
}

/// obspec's options of a get.
pub(crate) fn read_get_options(given: Option<&Bound<'_, PyDict>>) -> PyResult<GetOptions> {
    let mut options = GetOptions::default();
    for (key, value) in given.into_iter().flatten() {
        let key: String = key.extract()?;
        match &*key {
            "if_match" => options.if_match = value.extract()?,
            "if_none_match" => options.if_none_match = value.extract()?,
            "if_modified_since" => options.if_modified_since = value.extract()?,
            "if_unmodified_since" => options.if_unmodified_since = value.extract()?,
            "version" => options.version = value.extract()?,
            "head" => options.head = value.extract()?,
            "range" if value.is_none() => {}
            "range" => options.range = Some(read_range(&value)?),
            _ => return Err(PyValueError::new_err(format!("unknown option of get: '{key}'"))),
        }
    }
    Ok(options)
}

/// `(start, end)`, `{"offset": n}` or `{"suffix": n}`.
fn read_range(given: &Bound<'_, PyAny>) -> PyResult<GetRange> {
    if let Ok(named) = given.cast::<PyDict>() {
        let number = |key| named.get_item(key)?.map(|value| value.extract::<u64>()).transpose();
        return match (number("offset")?, number("suffix")?) {
            (Some(offset), None) => Ok(GetRange::Offset(offset)),
            (None, Some(suffix)) => Ok(GetRange::Suffix(suffix)),
            _ => Err(PyValueError::new_err("range: expected 'offset' or 'suffix'")),
        };
    }
    match *given.extract::<Vec<u64>>()? {
        [start, end] => Ok(GetRange::Bounded(start..end)),
        _ => Err(PyValueError::new_err("range: expected a start and an end")),
    }
}
