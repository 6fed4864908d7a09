//! Downloads of an object to a file. The thread that waits reports the progress, not the I/O threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headstart::Downloaded;
use headstart::object_store::path::Path;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::answers::{Answer, Outcome};
use crate::process;
use crate::recipe::OpenStore;
use crate::wait::wait_and;

/// One download, and how far it is.
pub(crate) struct Downloading {
    store: Arc<OpenStore>,
    path: Path,
    file: PathBuf,
    at: Arc<DownloadPosition>,
}

#[derive(Debug, Default)]
struct DownloadPosition {
    written_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl Downloading {
    pub(crate) fn new(store: Arc<OpenStore>, path: Path, file: PathBuf) -> Self {
        Self { store, path, file, at: Arc::default() }
    }

    pub(crate) async fn run(self) -> Outcome<Downloaded> {
        let Self { store, path, file, at } = self;
        let download = store.headstart.download(&path, file).on_progress(move |progress| {
            at.written_bytes.store(progress.written_bytes, Ordering::Relaxed);
            at.total_bytes.store(progress.total_bytes, Ordering::Relaxed);
        });
        Ok(download.await?)
    }
}

impl Answer for Downloaded {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shown = PyDict::new(py);
        shown.set_item("version", self.version.into_python(py)?)?;
        shown.set_item("resumed_bytes", self.resumed_bytes)?;
        shown.set_item("crc32c", self.crc32c)?;
        shown.set_item("verified", self.verified)?;
        Ok(shown.into_any().unbind())
    }
}

/// Downloads and waits. Calls `progress(written_bytes, total_bytes)` some twenty times a second, and at the end.
pub(crate) fn download(
    py: Python<'_>,
    download: Downloading,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let at = Arc::clone(&download.at);
    let report = || {
        let (written, total) = (at.written_bytes.load(Ordering::Relaxed), at.total_bytes.load(Ordering::Relaxed));
        match progress {
            Some(progress) if total > 0 => progress.call1((written, total)).map(drop),
            _ => Ok(()),
        }
    };
    let done = wait_and(py, process::current(py)?, download.run(), report)??;
    report()?;
    done.into_python(py)
}
