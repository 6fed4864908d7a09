//! `headstart.Store`: the protocols of obspec over a store of objects, each call waited for or awaited.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use headstart::ObjectVersion;
use headstart::object_store::path::Path;
use headstart::object_store::{
    CopyMode, CopyOptions, ObjectStore, ObjectStoreExt, PutOptions, PutPayload, RenameOptions, RenameTargetMode, TagSet,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::answers::{Answer, Level, Meta, Outcome, full_path, read_attributes, structure};
use crate::asyncio;
use crate::buffer::copy_in;
use crate::cat::{Chunks, ManyChunks, Slice, cat, cat_many};
use crate::download::{self, Downloading};
use crate::get::{Got, read_get_options};
use crate::list::ListStream;
use crate::objects::ObjectIterator;
use crate::process::{self, PerProcess};
use crate::reader::{Reader, read_hint};
use crate::recipe::{OpenStore, Recipe};
use crate::upload::{Upload, put_mode};
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
        full_path(&self.prefix, path)
    }

    fn prefix_of(&self, prefix: Option<&str>) -> PyResult<Option<Path>> {
        let path = self.path(prefix.unwrap_or_default())?;
        Ok(Some(path).filter(|path| !path.is_root()))
    }

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

    fn slice(&self, path: &str, start: Option<i64>, end: Option<i64>) -> PyResult<Slice> {
        Ok(Slice { path: self.path(path)?, start, end })
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
        let slices = slices.map(|(path, (start, end))| self.slice(path, *start, *end)).collect::<PyResult<_>>()?;
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

    fn put_call(
        &self,
        py: Python<'_>,
        path: &str,
        chunks: &Bound<'_, PyList>,
        options: PutOptions,
    ) -> PyResult<impl Future<Output = Outcome<headstart::object_store::PutResult>> + use<>> {
        let (store, path) = (self.opened(py)?, self.path(path)?);
        let payload = chunks.iter().map(|chunk| copy_in(&chunk)).collect::<PyResult<PutPayload>>()?;
        Ok(async move { Ok(store.headstart.put_opts(&path, payload, options).await?) })
    }

    fn delete_call(
        &self,
        py: Python<'_>,
        paths: &Bound<'_, PyAny>,
    ) -> PyResult<impl Future<Output = Outcome<()>> + use<>> {
        let store = self.opened(py)?;
        let paths = match paths.extract::<String>() {
            Ok(path) => vec![path],
            Err(_) => paths.extract::<Vec<String>>()?,
        };
        let paths = paths.iter().map(|path| self.path(path)).collect::<PyResult<Vec<_>>>()?;
        Ok(async move {
            if let [path] = &*paths {
                return Ok(store.headstart.delete(path).await?);
            }
            let paths = stream::iter(paths).map(Ok).boxed();
            Ok(store.headstart.delete_stream(paths).try_for_each(|_| async { Ok(()) }).await?)
        })
    }

    fn copy_call(
        &self,
        py: Python<'_>,
        from: &str,
        to: &str,
        overwrite: bool,
    ) -> PyResult<impl Future<Output = Outcome<()>> + use<>> {
        let (store, from, to) = (self.opened(py)?, self.path(from)?, self.path(to)?);
        let mode = if overwrite { CopyMode::Overwrite } else { CopyMode::Create };
        Ok(async move { Ok(store.headstart.copy_opts(&from, &to, CopyOptions::new().with_mode(mode)).await?) })
    }

    fn rename_call(
        &self,
        py: Python<'_>,
        from: &str,
        to: &str,
        overwrite: bool,
    ) -> PyResult<impl Future<Output = Outcome<()>> + use<>> {
        let (store, from, to) = (self.opened(py)?, self.path(from)?, self.path(to)?);
        let mode = if overwrite { RenameTargetMode::Overwrite } else { RenameTargetMode::Create };
        let options = RenameOptions::new().with_target_mode(mode);
        Ok(async move { Ok(store.headstart.rename_opts(&from, &to, options).await?) })
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

fn put_options(
    attributes: Option<&Bound<'_, PyDict>>,
    tags: Option<&Bound<'_, PyDict>>,
    mode: Option<&Bound<'_, PyAny>>,
) -> PyResult<PutOptions> {
    Ok(PutOptions {
        mode: put_mode(mode)?,
        tags: read_tags(tags)?,
        attributes: read_attributes(attributes)?,
        ..PutOptions::default()
    })
}

fn read_tags(given: Option<&Bound<'_, PyDict>>) -> PyResult<TagSet> {
    let mut tags = TagSet::default();
    for (key, value) in given.into_iter().flatten() {
        tags.push(&key.extract::<String>()?, &value.extract::<String>()?);
    }
    Ok(tags)
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
        use std::hash::{DefaultHasher, Hash, Hasher};
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

    /// Writes `chunks` as one object, in one request.
    #[pyo3(signature = (path, chunks, *, attributes = None, tags = None, mode = None))]
    fn put_chunks(
        &self,
        py: Python<'_>,
        path: &str,
        chunks: &Bound<'_, PyList>,
        attributes: Option<&Bound<'_, PyDict>>,
        tags: Option<&Bound<'_, PyDict>>,
        mode: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        finish(py, self.put_call(py, path, chunks, put_options(attributes, tags, mode)?)?)
    }

    /// As `put_chunks`, awaited.
    #[pyo3(signature = (path, chunks, *, attributes = None, tags = None, mode = None))]
    fn put_chunks_async<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        chunks: &Bound<'_, PyList>,
        attributes: Option<&Bound<'_, PyDict>>,
        tags: Option<&Bound<'_, PyDict>>,
        mode: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.put_call(py, path, chunks, put_options(attributes, tags, mode)?)?)
    }

    /// Begins an upload in parts of `chunk_size` bytes. The object appears when it is finished.
    #[pyo3(signature = (path, *, attributes = None, tags = None, chunk_size = 5 * 1024 * 1024, max_concurrency = 12))]
    fn upload(
        &self,
        py: Python<'_>,
        path: &str,
        attributes: Option<&Bound<'_, PyDict>>,
        tags: Option<&Bound<'_, PyDict>>,
        chunk_size: usize,
        max_concurrency: usize,
    ) -> PyResult<Upload> {
        let options = headstart::object_store::PutMultipartOptions {
            tags: read_tags(tags)?,
            attributes: read_attributes(attributes)?,
            ..Default::default()
        };
        Upload::new(py, self.opened(py)?, self.path(path)?, options, chunk_size, max_concurrency)
    }

    fn delete(&self, py: Python<'_>, paths: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        finish(py, self.delete_call(py, paths)?)
    }

    fn delete_async<'py>(&self, py: Python<'py>, paths: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.delete_call(py, paths)?)
    }

    #[pyo3(signature = (from_, to, *, overwrite = true))]
    fn copy(&self, py: Python<'_>, from_: &str, to: &str, overwrite: bool) -> PyResult<Py<PyAny>> {
        finish(py, self.copy_call(py, from_, to, overwrite)?)
    }

    #[pyo3(signature = (from_, to, *, overwrite = true))]
    fn copy_async<'py>(&self, py: Python<'py>, from_: &str, to: &str, overwrite: bool) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.copy_call(py, from_, to, overwrite)?)
    }

    #[pyo3(signature = (from_, to, *, overwrite = true))]
    fn rename(&self, py: Python<'_>, from_: &str, to: &str, overwrite: bool) -> PyResult<Py<PyAny>> {
        finish(py, self.rename_call(py, from_, to, overwrite)?)
    }

    #[pyo3(signature = (from_, to, *, overwrite = true))]
    fn rename_async<'py>(
        &self,
        py: Python<'py>,
        from_: &str,
        to: &str,
        overwrite: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::start(py, self.rename_call(py, from_, to, overwrite)?)
    }

    /// Downloads an object to a file, resumable and checked. `progress` is called with the bytes written and the length.
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
