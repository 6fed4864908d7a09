//! `headstart.Store`: the protocols of obspec over a store of objects, each call waited for or awaited.

mod reads;
mod writes;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use headstart::ObjectVersion;
use headstart::object_store::ObjectStoreExt;
use headstart::object_store::path::Path;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::answers::{Answer, Outcome, full_path, structure};
use crate::asyncio;
use crate::download::{self, Downloading};
use crate::objects::ObjectIterator;
use crate::process::{self, PerProcess};
use crate::reader::{Reader, read_hint};
use crate::recipe::{OpenStore, Recipe};
use crate::wait::wait;

/// A store of objects. Every process that uses it opens it for itself, from the URL and the options.
#[pyclass(frozen, subclass, module = "headstart._headstart")]
pub(crate) struct Store {
    recipe: Recipe,
    /// Of all paths: what the URL names below the bucket.
    prefix: Path,
    opened: PerProcess<Arc<OpenStore>>,
}

impl Store {
    fn opened(&self, py: Python<'_>) -> PyResult<Arc<OpenStore>> {
        match self.opened.get(py) {
            Some(opened) => Ok(opened),
            None => Ok(self.opened.keep(py, process::current(py)?, self.recipe.open(py)?)),
        }
    }

    fn path(&self, path: &str) -> PyResult<Path> {
        Ok(full_path(&self.prefix, path)?)
    }

    fn prefix_of(&self, prefix: Option<&str>) -> PyResult<Option<Path>> {
        let path = self.path(prefix.unwrap_or_default())?;
        Ok(Some(path).filter(|path| !path.is_root()))
    }

    fn warm_call(
        &self,
        py: Python<'_>,
        path: &str,
        ranges: Option<Vec<(u64, u64)>>,
    ) -> PyResult<impl Future<Output = Outcome<u64>> + use<>> {
        let (store, path) = (self.opened(py)?, self.path(path)?);
        Ok(async move {
            let ranges = match ranges {
                Some(ranges) => ranges.into_iter().map(|(start, end)| start..end).collect(),
                None => match store.headstart.head(&path).await?.size {
                    0 => Vec::new(),
                    size => vec![0..size],
                },
            };
            Ok(store.headstart.warm(&path, &ranges).await?)
        })
    }

    fn close_call(&self, py: Python<'_>) -> PyResult<impl Future<Output = Outcome<()>> + use<>> {
        let store = self.opened(py)?;
        Ok(async move {
            store.headstart.close().await;
            Ok(())
        })
    }
}

/// Waits for a call, and makes its answer a Python object.
fn finish<T: Answer>(py: Python<'_>, call: impl Future<Output = Outcome<T>> + Send) -> PyResult<Py<PyAny>> {
    wait(py, process::current(py)?, call)??.into_python(py)
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (url, **options))]
    fn new(py: Python<'_>, url: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let (recipe, prefix) = Recipe::of_object(url, options)?;
        let store = Self { recipe, prefix, opened: PerProcess::new() };
        store.opened(py)?;
        Ok(store)
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        Ok((PyTuple::new(py, [self.url()])?, self.options(py)?))
    }

    /// The URL, with the prefix of the paths.
    #[getter]
    fn url(&self) -> String {
        self.recipe.object_url(&self.prefix)
    }

    /// Of all paths: what the URL names below the bucket.
    #[getter]
    fn prefix(&self) -> &str {
        self.prefix.as_ref()
    }

    fn __repr__(&self) -> String {
        format!("Store('{}')", self.recipe.shown_url(&self.prefix))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        let other = other.cast::<Self>();
        other.is_ok_and(|other| other.get().recipe == self.recipe && other.get().prefix == self.prefix)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.url(), &self.recipe.options).hash(&mut hasher);
        hasher.finish()
    }

    /// The object at `path`, for `headstart.File`. Of the version that is given by its size and a validator, if any.
    #[pyo3(signature = (path, *, size = None, e_tag = None, version = None))]
    fn reader(
        &self,
        py: Python<'_>,
        path: &str,
        size: Option<u64>,
        e_tag: Option<String>,
        version: Option<String>,
    ) -> PyResult<Reader> {
        let reader = Reader::at(self.recipe.clone(), self.path(path)?);
        let known = size.filter(|_| e_tag.is_some() || version.is_some());
        let known = known.map(|size| ObjectVersion { e_tag, version, last_modified: None, size });
        reader.of_version(known).opened_here(py)
    }

    /// The options as they were given, as strings, secrets included.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let options = PyDict::new(py);
        for (key, value) in &self.recipe.options {
            options.set_item(key, value)?;
        }
        if self.recipe.workers > 1 {
            options.set_item("workers", self.recipe.workers)?;
        }
        Ok(options)
    }

    /// Downloads an object to a file, resumable and checked. `progress` is called with the bytes written and the
    /// length.
    #[pyo3(signature = (path, file, progress = None))]
    fn download(
        &self,
        py: Python<'_>,
        path: &str,
        file: PathBuf,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        download::download(py, Downloading::new(self.opened(py)?, self.path(path)?, file), progress)
    }

    /// As `download`, awaited.
    fn download_async<'py>(&self, py: Python<'py>, path: &str, file: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, Downloading::new(self.opened(py)?, self.path(path)?, file).run())
    }

    /// Whole objects ahead of the consumer: an iterator of `(path, Buffer)`, in the order of `paths`.
    #[pyo3(signature = (paths, *, ordered = true, on_error = "raise", concurrency = None))]
    fn objects(
        &self,
        py: Python<'_>,
        paths: &Bound<'_, PyAny>,
        ordered: bool,
        on_error: &str,
        concurrency: Option<usize>,
    ) -> PyResult<ObjectIterator> {
        let returns_errors = match on_error {
            "raise" => false,
            "return" => true,
            _ => return Err(PyValueError::new_err("on_error: expected 'raise' or 'return'")),
        };
        let paths = paths.try_iter().map_err(|_| PyTypeError::new_err("paths: expected an iterable of strings"))?;
        ObjectIterator::new(py, self.opened(py)?, self.prefix.clone(), paths, ordered, returns_errors, concurrency)
    }

    /// Fetches what the cache lacks of an object, and returns the number of fetched bytes.
    #[pyo3(signature = (path, ranges = None))]
    fn warm(&self, py: Python<'_>, path: &str, ranges: Option<Vec<(u64, u64)>>) -> PyResult<Py<PyAny>> {
        finish(py, self.warm_call(py, path, ranges)?)
    }

    /// As `warm`, awaited.
    #[pyo3(signature = (path, ranges = None))]
    fn warm_async<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        ranges: Option<Vec<(u64, u64)>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.warm_call(py, path, ranges)?)
    }

    /// Announces how the calls on this store will read an object: see `headstart.File.advise`.
    #[pyo3(signature = (path, hint, ranges = None))]
    fn advise(&self, py: Python<'_>, path: &str, hint: &str, ranges: Option<Vec<(u64, u64)>>) -> PyResult<()> {
        let (store, path, hint) = (self.opened(py)?, self.path(path)?, read_hint(hint, ranges)?);
        wait(py, process::current(py)?, async move { store.headstart.advise(&path, hint) })
    }

    /// Writes what waits for the disk tier of the cache. Reads go on as before.
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        finish(py, self.close_call(py)?)
    }

    /// Counts of all layers since this process opened the store.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let store = self.opened(py)?;
        structure(py, &py.detach(|| store.headstart.stats()))
    }

    /// Every option: `key`, `value` and `source`. Secrets are shown as `***`.
    fn effective_config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        structure(py, &self.opened(py)?.headstart.effective_config())
    }
}
