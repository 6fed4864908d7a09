//! Listings: all objects below a prefix, in lists, as they arrive.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, ReadyChunks};
use headstart::object_store::path::Path;
use headstart::object_store::{ObjectMeta, ObjectStore, Result};
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use tokio::sync::Mutex;

use crate::answers::{Answer, Meta, Outcome};
use crate::asyncio;
use crate::errors::Failure;
use crate::process::{self, Owned};
use crate::recipe::OpenStore;
use crate::wait::wait;

/// The most objects of one list; stores answer with as many.
const LIST_LEN: usize = 1000;

type Listing = Arc<Mutex<ReadyChunks<BoxStream<'static, Result<ObjectMeta>>>>>;

/// Lists of metadata. Belongs to the process that asked.
#[pyclass(frozen, module = "headstart._headstart")]
pub(crate) struct ListStream {
    listing: Owned<Listing>,
    prefix: Path,
}

impl ListStream {
    pub(crate) fn new(
        py: Python<'_>,
        store: &OpenStore,
        path: Option<&Path>,
        offset: Option<&Path>,
        prefix: Path,
    ) -> PyResult<Self> {
        let process = process::current(py)?;
        let listing = {
            let _context = process.runtime.enter();
            match offset {
                Some(offset) => store.headstart.list_with_offset(path, offset),
                None => store.headstart.list(path),
            }
        };
        Ok(Self { listing: process.own(Arc::new(Mutex::new(listing.ready_chunks(LIST_LEN)))), prefix })
    }

    fn next_call(&self) -> PyResult<impl Future<Output = Outcome<Option<Vec<Meta>>>> + use<>> {
        let listing = self.listing.get().cloned().ok_or(Failure::OtherProcess("this listing"))?;
        let prefix = self.prefix.clone();
        Ok(async move {
            let Some(listed) = listing.lock().await.next().await else { return Ok(None) };
            let meta = |meta: Result<ObjectMeta>| Ok(Meta { meta: meta?, prefix: prefix.clone() });
            Ok(Some(listed.into_iter().map(meta).collect::<Outcome<Vec<_>>>()?))
        })
    }
}

#[pymethods]
impl ListStream {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let listed = wait(py, process::current(py)?, self.next_call()?)??;
        listed.map(|listed| listed.into_python(py)).transpose()
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start_with(py, self.next_call()?, |py, listed| match listed? {
            Some(listed) => listed.into_python(py),
            None => Err(PyStopAsyncIteration::new_err(())),
        })
    }
}
