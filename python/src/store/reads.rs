//! Reads of a store: objects, ranges, slices and listings, each waited for or awaited.

use bytes::Bytes;
use headstart::object_store::{ObjectStore, ObjectStoreExt};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Store, finish};
use crate::answers::{Level, Meta, Outcome, full_path};
use crate::asyncio;
use crate::cat::{Chunks, ManyChunks, Slice, cat, cat_many};
use crate::get::{Got, read_get_options};
use crate::list::ListStream;

impl Store {
    fn head_call(&self, py: Python<'_>, path: &str) -> PyResult<impl Future<Output = Outcome<Meta>> + use<>> {
        let (store, path, prefix) = (self.opened(py)?, self.path(path)?, self.prefix.clone());
        Ok(async move { Ok(Meta { meta: store.headstart.head(&path).await?, prefix }) })
    }

    fn get_call(
        &self,
        py: Python<'_>,
        path: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<impl Future<Output = Outcome<Got>> + use<>> {
        let (store, path, prefix) = (self.opened(py)?, self.path(path)?, self.prefix.clone());
        let options = read_get_options(options)?;
        Ok(async move { Ok(Got { result: store.headstart.get_opts(&path, options).await?, prefix }) })
    }

    fn get_range_call(
        &self,
        py: Python<'_>,
        path: &str,
        start: u64,
        end: Option<u64>,
        length: Option<u64>,
    ) -> PyResult<impl Future<Output = Outcome<Bytes>> + use<>> {
        let (store, path) = (self.opened(py)?, self.path(path)?);
        let end = match (end, length) {
            (Some(end), None) => end,
            (None, Some(length)) => start.saturating_add(length),
            _ => return Err(PyValueError::new_err("expected one of 'end' and 'length'")),
        };
        Ok(async move { Ok(store.headstart.get_range(&path, start..end).await?) })
    }

    fn get_ranges_call(
        &self,
        py: Python<'_>,
        path: &str,
        starts: Vec<u64>,
        ends: Option<Vec<u64>>,
        lengths: Option<Vec<u64>>,
    ) -> PyResult<impl Future<Output = Outcome<Vec<Bytes>>> + use<>> {
        let (store, path) = (self.opened(py)?, self.path(path)?);
        let ends = match (ends, lengths) {
            (Some(ends), None) => ends,
            (None, Some(lengths)) => starts.iter().zip(lengths).map(|(at, len)| at.saturating_add(len)).collect(),
            _ => return Err(PyValueError::new_err("expected one of 'ends' and 'lengths'")),
        };
        if starts.len() != ends.len() {
            return Err(PyValueError::new_err("expected as many ends or lengths as starts"));
        }
        let ranges: Vec<_> = starts.into_iter().zip(ends).map(|(start, end)| start..end).collect();
        Ok(async move { Ok(store.headstart.get_ranges(&path, &ranges).await?) })
    }

    fn slice(&self, path: &str, start: Option<i64>, end: Option<i64>) -> Outcome<Slice> {
        Ok(Slice { path: full_path(&self.prefix, path)?, start, end })
    }

    fn cat_call(
        &self,
        py: Python<'_>,
        path: &str,
        start: Option<i64>,
        end: Option<i64>,
    ) -> PyResult<impl Future<Output = Outcome<Chunks>> + use<>> {
        Ok(cat(self.opened(py)?, self.slice(path, start, end)?))
    }

    fn cat_ranges_call(
        &self,
        py: Python<'_>,
        paths: &[String],
        starts: &[Option<i64>],
        ends: &[Option<i64>],
    ) -> PyResult<impl Future<Output = Outcome<ManyChunks>> + use<>> {
        if starts.len() != paths.len() || ends.len() != paths.len() {
            return Err(PyValueError::new_err("expected as many starts and ends as paths"));
        }
        let slices = paths.iter().zip(starts.iter().zip(ends));
        let slices = slices.map(|(path, (start, end))| self.slice(path, *start, *end)).collect();
        Ok(cat_many(self.opened(py)?, slices))
    }

    fn level_call(
        &self,
        py: Python<'_>,
        prefix: Option<&str>,
    ) -> PyResult<impl Future<Output = Outcome<Level>> + use<>> {
        let (store, path, prefix) = (self.opened(py)?, self.prefix_of(prefix)?, self.prefix.clone());
        Ok(async move { Ok(Level { listed: store.headstart.list_with_delimiter(path.as_ref()).await?, prefix }) })
    }
}

#[pymethods]
impl Store {
    fn head(&self, py: Python<'_>, path: &str) -> PyResult<Py<PyAny>> {
        finish(py, self.head_call(py, path)?)
    }

    fn head_async<'py>(&self, py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.head_call(py, path)?)
    }

    #[pyo3(signature = (path, *, options = None))]
    fn get(&self, py: Python<'_>, path: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Py<PyAny>> {
        finish(py, self.get_call(py, path, options)?)
    }

    #[pyo3(signature = (path, *, options = None))]
    fn get_async<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.get_call(py, path, options)?)
    }

    #[pyo3(signature = (path, *, start, end = None, length = None))]
    fn get_range(
        &self,
        py: Python<'_>,
        path: &str,
        start: u64,
        end: Option<u64>,
        length: Option<u64>,
    ) -> PyResult<Py<PyAny>> {
        finish(py, self.get_range_call(py, path, start, end, length)?)
    }

    #[pyo3(signature = (path, *, start, end = None, length = None))]
    fn get_range_async<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        start: u64,
        end: Option<u64>,
        length: Option<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.get_range_call(py, path, start, end, length)?)
    }

    #[pyo3(signature = (path, *, starts, ends = None, lengths = None))]
    fn get_ranges(
        &self,
        py: Python<'_>,
        path: &str,
        starts: Vec<u64>,
        ends: Option<Vec<u64>>,
        lengths: Option<Vec<u64>>,
    ) -> PyResult<Py<PyAny>> {
        finish(py, self.get_ranges_call(py, path, starts, ends, lengths)?)
    }

    #[pyo3(signature = (path, *, starts, ends = None, lengths = None))]
    fn get_ranges_async<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        starts: Vec<u64>,
        ends: Option<Vec<u64>>,
        lengths: Option<Vec<u64>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.get_ranges_call(py, path, starts, ends, lengths)?)
    }

    /// A range with the meaning of a Python slice, as `bytes`: negative from the end, clamped, empty past the end.
    #[pyo3(signature = (path, start = None, end = None))]
    fn cat(&self, py: Python<'_>, path: &str, start: Option<i64>, end: Option<i64>) -> PyResult<Py<PyAny>> {
        finish(py, self.cat_call(py, path, start, end)?)
    }

    /// As `cat`, awaited.
    #[pyo3(signature = (path, start = None, end = None))]
    fn cat_async<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        start: Option<i64>,
        end: Option<i64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.cat_call(py, path, start, end)?)
    }

    /// As `cat` for many ranges, all in flight together. An error is returned in its place.
    #[expect(clippy::needless_pass_by_value, reason = "arguments of Python are extracted")]
    fn cat_ranges(
        &self,
        py: Python<'_>,
        paths: Vec<String>,
        starts: Vec<Option<i64>>,
        ends: Vec<Option<i64>>,
    ) -> PyResult<Py<PyAny>> {
        finish(py, self.cat_ranges_call(py, &paths, &starts, &ends)?)
    }

    /// As `cat_ranges`, awaited.
    #[expect(clippy::needless_pass_by_value, reason = "arguments of Python are extracted")]
    fn cat_ranges_async<'py>(
        &self,
        py: Python<'py>,
        paths: Vec<String>,
        starts: Vec<Option<i64>>,
        ends: Vec<Option<i64>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.cat_ranges_call(py, &paths, &starts, &ends)?)
    }

    /// All objects below `prefix`, in lists of up to 1,000.
    #[pyo3(signature = (prefix = None, *, offset = None))]
    fn list(&self, py: Python<'_>, prefix: Option<&str>, offset: Option<&str>) -> PyResult<ListStream> {
        let (store, path) = (self.opened(py)?, self.prefix_of(prefix)?);
        let offset = offset.map(|offset| self.path(offset)).transpose()?;
        ListStream::new(py, &store, path.as_ref(), offset.as_ref(), self.prefix.clone())
    }

    /// As `list`, for `async for`.
    #[pyo3(signature = (prefix = None, *, offset = None))]
    fn list_async(&self, py: Python<'_>, prefix: Option<&str>, offset: Option<&str>) -> PyResult<ListStream> {
        self.list(py, prefix, offset)
    }

    #[pyo3(signature = (prefix = None))]
    fn list_with_delimiter(&self, py: Python<'_>, prefix: Option<&str>) -> PyResult<Py<PyAny>> {
        finish(py, self.level_call(py, prefix)?)
    }

    #[pyo3(signature = (prefix = None))]
    fn list_with_delimiter_async<'py>(&self, py: Python<'py>, prefix: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.level_call(py, prefix)?)
    }
}
