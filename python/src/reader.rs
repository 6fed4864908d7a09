//! The open object behind `headstart.File`: reads at any position, and the position of the file.

mod opened;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use headstart::object_store::path::Path;
use headstart::{AccessHint, ObjectVersion};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};

use crate::answers::{Answer, Outcome, structure};
use crate::asyncio;
use crate::buffer::{self, Buffer};
use crate::errors::Failure;
use crate::exit::Counted;
use crate::process::{self, AttachedMutex, PerProcess, Process};
use crate::reader::opened::{Opened, joined, meta_of};
use crate::recipe::Recipe;
use crate::wait::wait;

/// An open object. Every process that uses it opens it for itself, from the recipe.
#[pyclass(frozen, module = "headstart._headstart")]
pub(crate) struct Reader {
    recipe: Recipe,
    path: Path,
    opened: PerProcess<Arc<Opened>>,
    position: Arc<AtomicU64>,
    is_closed: AtomicBool,
    /// The version that was read here, in the parent or before it was pickled. Reads of another one are an error.
    version: AttachedMutex<Option<ObjectVersion>>,
    _counted: Counted,
}

/// The state of a pickled reader; see [`Reader::from_state`].
type State = (String, Vec<(String, String)>, u32, String, u64, Option<VersionState>);

/// A version as it is pickled: entity tag, version of the store, and size.
type VersionState = (Option<String>, Option<String>, u64);

impl Reader {
    pub(crate) fn at(recipe: Recipe, path: Path) -> Self {
        Self {
            recipe,
            path,
            opened: PerProcess::new(),
            position: Arc::default(),
            is_closed: AtomicBool::new(false),
            version: AttachedMutex::new(None),
            _counted: Counted::new(),
        }
    }

    /// The same object, of this version only.
    pub(crate) fn of_version(self, version: Option<ObjectVersion>) -> Self {
        Self { version: AttachedMutex::new(version), ..self }
    }

    /// Opens it in this process, so that mistakes in the URL and the options are found now.
    pub(crate) fn opened_here(self, py: Python<'_>) -> PyResult<Self> {
        self.opened(py)?;
        Ok(self)
    }

    /// The reader of this process.
    fn opened(&self, py: Python<'_>) -> PyResult<(&'static Process, Arc<Opened>)> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Failure::Closed.into());
        }
        let process = process::current(py)?;
        if let Some(opened) = self.opened.get(py) {
            self.remember_version(py, &opened);
            return Ok((process, opened));
        }
        let store = self.recipe.open(py)?;
        let expected = self.version.lock(py).clone();
        let (headstart, path, pinned) = (store.headstart.clone(), self.path.clone(), expected.clone());
        let open = async move {
            match pinned.filter(ObjectVersion::has_validator) {
                Some(version) => headstart.reader_with(meta_of(path, version)),
                // The URL of the recipe names the object where it names a generation.
                None if headstart.path() == &path => headstart.open().await,
                None => headstart.reader(&path),
            }
        };
        let reader = wait(py, process, open)?.map_err(Failure::from)?;
        let opened = Arc::new(Opened::new(reader, store, expected));
        Ok((process, self.opened.keep(py, process, opened)))
    }

    /// Waits for `call`, which uses the reader of this process, and remembers the version that it has read.
    fn run<T: Send, F: Future<Output = Outcome<T>> + Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(Arc<Opened>) -> F,
    ) -> PyResult<T> {
        let (process, opened) = self.opened(py)?;
        let call = call(Arc::clone(&opened));
        let done = wait(py, process, opened.until_closed(call))?;
        self.remember_version(py, &opened);
        match done {
            Err(_) if self.closed() => Err(Failure::Closed.into()),
            done => Ok(done?),
        }
    }

    /// Remembers the version of the first answer, for forked children and copies.
    fn remember_version(&self, py: Python<'_>, opened: &Opened) {
        let mut version = self.version.lock(py);
        if version.is_none() {
            *version = opened.seen.get().cloned();
        }
    }

    fn read_chunks(&self, py: Python<'_>, size: i64) -> PyResult<Vec<Bytes>> {
        let (most, position) = (u64::try_from(size).unwrap_or(u64::MAX), Arc::clone(&self.position));
        self.run(py, |opened| async move { opened.read_on(&position, most).await })
    }
}

#[pymethods]
impl Reader {
    /// The state of a pickled reader: the URL of the store, its options, `workers`, the path, the position and the
    /// version that was read.
    #[new]
    fn from_state(
        url: String,
        options: Vec<(String, String)>,
        workers: u32,
        path: &str,
        position: u64,
        version: Option<VersionState>,
    ) -> PyResult<Self> {
        let path = Path::parse(path).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let reader = Self::at(Recipe { url, options, workers }, path);
        reader.position.store(position, Ordering::Relaxed);
        let version = version.map(|(e_tag, version, size)| ObjectVersion { e_tag, version, last_modified: None, size });
        Ok(reader.of_version(version))
    }

    /// Opens the object that `url` names. Sends no request, unless the URL names a generation.
    #[staticmethod]
    #[pyo3(signature = (url, **options))]
    fn open(py: Python<'_>, url: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let (recipe, path) = Recipe::of_object(url, options)?;
        Self::at(recipe, path).opened_here(py)
    }

    /// The arguments that make a copy, with the position and the version that was read.
    fn state(&self, py: Python<'_>) -> PyResult<State> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Failure::Closed.into());
        }
        if let Some(opened) = self.opened.get(py) {
            self.remember_version(py, &opened);
        }
        let Recipe { url, options, workers } = self.recipe.clone();
        let version = self.version.lock(py).clone().map(|known| (known.e_tag, known.version, known.size));
        Ok((url, options, workers, self.path.to_string(), self.position.load(Ordering::Relaxed), version))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyType>, State)> {
        Ok((py.get_type::<Self>(), self.state(py)?))
    }

    /// The path of the object within its store.
    #[getter]
    fn path(&self) -> String {
        self.path.to_string()
    }

    /// The position of the next read.
    #[getter]
    fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Reads up to `size` bytes, all of them unless the object ends before; to the end if `size` is negative.
    #[pyo3(signature = (size = -1, /))]
    fn read<'py>(&self, py: Python<'py>, size: i64) -> PyResult<Bound<'py, PyBytes>> {
        let chunks = self.read_chunks(py, size)?;
        buffer::copy_out(py, &chunks)
    }

    /// Fills `target` from the position on, and returns the number of bytes read.
    fn readinto(&self, py: Python<'_>, target: &Bound<'_, PyAny>) -> PyResult<usize> {
        let target = buffer::writable(target)?;
        let size = i64::try_from(target.len_bytes()).map_err(|_| PyValueError::new_err("too long"))?;
        let chunks = self.read_chunks(py, size)?;
        buffer::copy_into(py, &target, &chunks)
    }

    /// As `read`, without a copy where the bytes are in one piece.
    #[pyo3(signature = (size = -1, /))]
    fn read_buffer(&self, py: Python<'_>, size: i64) -> PyResult<Buffer> {
        let (most, position) = (u64::try_from(size).unwrap_or(u64::MAX), Arc::clone(&self.position));
        let read = |opened: Arc<Opened>| async move { Ok(joined(opened.read_on(&position, most).await?)) };
        Buffer::new(py, self.run(py, read)?)
    }

    /// The bytes from `start` to `end`, or to the end of the object; the position stays.
    #[pyo3(signature = (start, end = None))]
    fn read_at(&self, py: Python<'_>, start: u64, end: Option<u64>) -> PyResult<Buffer> {
        let end = end.unwrap_or(u64::MAX);
        let read = |opened: Arc<Opened>| async move { Ok(joined(opened.read_at(start, end).await?)) };
        Buffer::new(py, self.run(py, read)?)
    }

    /// As `read_at`, as `bytes`.
    #[pyo3(signature = (start, end = None))]
    fn read_bytes_at<'py>(&self, py: Python<'py>, start: u64, end: Option<u64>) -> PyResult<Bound<'py, PyBytes>> {
        let end = end.unwrap_or(u64::MAX);
        let chunks = self.run(py, |opened| async move { opened.read_at(start, end).await })?;
        buffer::copy_out(py, &chunks)
    }

    /// The length of the object in bytes. Asks the store if nothing has been read yet.
    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        self.run(py, |opened| async move { Ok(opened.version().await?.size) })
    }

    /// The version that is read: `e_tag`, `version`, `last_modified` and `size`.
    fn version(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.run(py, |opened| async move { opened.version().await })?.into_python(py)
    }

    /// Announces how the object will be read: see `headstart.File.advise`.
    #[pyo3(signature = (hint, ranges = None))]
    fn advise(&self, py: Python<'_>, hint: &str, ranges: Option<Vec<(u64, u64)>>) -> PyResult<()> {
        let hint = read_hint(hint, ranges)?;
        let (process, opened) = self.opened(py)?;
        wait(py, process, async move { opened.reader.advise(hint) })
    }

    /// Counts of the store, and the bytes that are held for readers of this object.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (_, opened) = self.opened(py)?;
        let (stats, held_bytes) = py.detach(|| (opened.store.headstart.stats(), opened.reader.held_bytes()));
        let shown = structure(py, &stats)?;
        shown.set_item("held_bytes", held_bytes)?;
        Ok(shown)
    }

    /// As `read_buffer`, awaited.
    #[pyo3(signature = (size = -1, /))]
    fn read_async<'py>(&self, py: Python<'py>, size: i64) -> PyResult<Bound<'py, PyAny>> {
        let (most, position) = (u64::try_from(size).unwrap_or(u64::MAX), Arc::clone(&self.position));
        let (_, opened) = self.opened(py)?;
        asyncio::start(py, async move {
            let read = async { Ok(joined(opened.read_on(&position, most).await?)) };
            opened.until_closed(read).await
        })
    }

    /// As `read_at`, awaited.
    #[pyo3(signature = (start, end = None))]
    fn read_at_async<'py>(&self, py: Python<'py>, start: u64, end: Option<u64>) -> PyResult<Bound<'py, PyAny>> {
        let (_, opened) = self.opened(py)?;
        let end = end.unwrap_or(u64::MAX);
        asyncio::start(py, async move {
            let read = async { Ok(joined(opened.read_at(start, end).await?)) };
            opened.until_closed(read).await
        })
    }

    /// As `size`, awaited.
    fn size_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (_, opened) = self.opened(py)?;
        asyncio::start(py, async move {
            let ask = async { Ok(opened.version().await?.size) };
            opened.until_closed(ask).await
        })
    }

    /// Aborts what is in flight, frees the memory, and never waits. Reads in progress fail.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let taken = self.opened.take(py);
        if let Some(opened) = taken.as_ref().and_then(|taken| taken.get()).cloned() {
            process::current(py)?.runtime.spawn(async move { opened.close() });
        }
        drop(taken);
        Ok(())
    }

    /// Whether it is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

/// The hint of a name: `normal`, `sequential`, `random`, or with ranges `will_need` and `dont_need`.
pub(crate) fn read_hint(hint: &str, ranges: Option<Vec<(u64, u64)>>) -> PyResult<AccessHint> {
    let ranges = ranges.map(|ranges| ranges.into_iter().map(|(start, end)| start..end).collect());
    match (hint, ranges) {
        ("normal", None) => Ok(AccessHint::Normal),
        ("sequential", None) => Ok(AccessHint::Sequential),
        ("random", None) => Ok(AccessHint::Random),
        ("will_need", Some(ranges)) => Ok(AccessHint::WillNeed(ranges)),
        ("dont_need", Some(ranges)) => Ok(AccessHint::DontNeed(ranges)),
        _ => Err(PyValueError::new_err(
            "hint: expected 'normal', 'sequential' or 'random', or 'will_need' or 'dont_need' with ranges",
        )),
    }
}
