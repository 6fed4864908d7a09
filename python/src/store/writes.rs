//! Writes of a store, each waited for or awaited.

use futures::{StreamExt, TryStreamExt, stream};
use headstart::object_store::{
    CopyMode, CopyOptions, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, RenameTargetMode, TagSet,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::{Store, finish};
use crate::answers::{Outcome, read_attributes};
use crate::asyncio;
use crate::buffer::copy_in;
use crate::upload::{Upload, put_mode};

impl Store {
    fn put_call(
        &self,
        py: Python<'_>,
        path: &str,
        chunks: &Bound<'_, PyList>,
        options: PutOptions,
    ) -> PyResult<impl Future<Output = Outcome<PutResult>> + use<>> {
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
        let options = PutMultipartOptions {
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
}
