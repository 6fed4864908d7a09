//! Errors as Python's exceptions: by what happened, with the message of Rust.

use std::error::Error;
use std::io;

use headstart::object_store;
use headstart::object_store::client::{HttpError, HttpErrorKind};
use headstart::{DownloadError, FetchError, ObjectChanged as Changed, ObjectError};
use headstart_fetch_core::internal::http_status;
use pyo3::create_exception;
use pyo3::exceptions::{
    PyConnectionError, PyFileExistsError, PyFileNotFoundError, PyIsADirectoryError, PyNotImplementedError, PyOSError,
    PyPermissionError, PyRuntimeError, PyTimeoutError, PyValueError,
};
use pyo3::prelude::*;

create_exception!(headstart, PreconditionError, PyOSError, "A condition of the request did not hold.");
create_exception!(
    headstart,
    ObjectChanged,
    PreconditionError,
    "The object was overwritten or deleted while it was read."
);
create_exception!(headstart, NotModifiedError, PyOSError, "The object has not changed since the given date or ETag.");
create_exception!(headstart, AlreadyExistsError, PyFileExistsError, "An object exists at the destination.");
create_exception!(headstart, NotSupportedError, PyNotImplementedError, "The store does not support this.");
create_exception!(headstart, InvalidPathError, PyValueError, "A key that cannot be used.");
create_exception!(headstart, PermissionDeniedError, PyPermissionError, "The credentials do not permit this.");
create_exception!(headstart, UnauthenticatedError, PyPermissionError, "The credentials are missing or invalid.");

/// Why a call failed. Made on any thread; becomes an exception on a thread that is attached to the interpreter.
#[derive(Debug)]
pub(crate) enum Failure {
    Store(object_store::Error),
    Path(object_store::path::Error),
    Open(headstart::Error),
    Download(DownloadError),
    /// The file was closed while it was read.
    Closed,
    /// A task panicked, or was aborted while somebody waited for it.
    Lost(String),
    /// A value of the parent process, which a forked child cannot use.
    OtherProcess(&'static str),
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<headstart::Error> for Failure {
    fn from(error: headstart::Error) -> Self {
        Self::Open(error)
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        Self::Download(error)
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::Store(error.source)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => of_store(&error),
            Failure::Path(error) => InvalidPathError::new_err(error.to_string()),
            Failure::Open(headstart::Error::Store(error)) => of_store(&error),
            Failure::Open(error) => PyValueError::new_err(chain(&error)),
            Failure::Download(DownloadError::Store(error)) => of_store(&error),
            Failure::Download(error) => of_download(&error),
            Failure::Closed => PyValueError::new_err("I/O operation on closed file"),
            Failure::Lost(why) => PyRuntimeError::new_err(why),
            Failure::OtherProcess(what) => {
                PyRuntimeError::new_err(format!("{what} was begun before the fork: begin it again in this process"))
            }
        }
    }
}

fn of_store(error: &object_store::Error) -> PyErr {
    use object_store::Error as E;
    let message = error.to_string();
    match error {
        E::NotFound { .. } => PyFileNotFoundError::new_err(message),
        E::Precondition { .. } if Changed::find(error).is_some() => {
            ObjectChanged::new_err(Changed::find(error).map_or(message, ToString::to_string))
        }
        E::Precondition { .. } => PreconditionError::new_err(message),
        E::NotModified { .. } => NotModifiedError::new_err(message),
        E::AlreadyExists { .. } => AlreadyExistsError::new_err(message),
        E::PermissionDenied { .. } => PermissionDeniedError::new_err(message),
        E::Unauthenticated { .. } => UnauthenticatedError::new_err(message),
        E::NotSupported { .. } => NotSupportedError::new_err(message),
        E::NotImplemented { .. } => PyNotImplementedError::new_err(message),
        E::InvalidPath { .. } => InvalidPathError::new_err(message),
        _ => of_sources(error, message),
    }
}

/// An error without a variant of its own: its sources tell.
fn of_sources(error: &object_store::Error, message: String) -> PyErr {
    if let Some(FetchError::PastEnd { .. } | FetchError::EmptyRange { .. }) = FetchError::find(error) {
        return PyValueError::new_err(message);
    }
    if let Some(FetchError::Stalled { .. }) = FetchError::find(error) {
        return PyTimeoutError::new_err(message);
    }
    match http_status(error) {
        Some(404) => return PyFileNotFoundError::new_err(message),
        Some(401) => return UnauthenticatedError::new_err(message),
        Some(403) => return PermissionDeniedError::new_err(message),
        _ => {}
    }
    for cause in sources(error) {
        match cause.downcast_ref::<HttpError>().map(HttpError::kind) {
            Some(HttpErrorKind::Timeout) => return PyTimeoutError::new_err(message),
            Some(HttpErrorKind::Connect) => return PyConnectionError::new_err(message),
            _ => {}
        }
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::TimedOut) => return PyTimeoutError::new_err(message),
            Some(io::ErrorKind::PermissionDenied) => return PyPermissionError::new_err(message),
            Some(io::ErrorKind::IsADirectory) => return PyIsADirectoryError::new_err(message),
            _ => {}
        }
    }
    PyOSError::new_err(message)
}

fn of_download(error: &DownloadError) -> PyErr {
    let message = chain(error);
    match error {
        DownloadError::NoDirectory { .. } => PyFileNotFoundError::new_err(message),
        DownloadError::IsDirectory { .. } => PyIsADirectoryError::new_err(message),
        DownloadError::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            PyPermissionError::new_err(message)
        }
        _ => PyOSError::new_err(message),
    }
}

/// The message of `error` and those of its sources that it does not repeat.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let said = cause.to_string();
        if !message.contains(&said) {
            message = format!("{message}: {said}");
        }
    }
    message
}

fn sources<'a>(error: &'a object_store::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

/// Adds the exceptions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("PreconditionError", py.get_type::<PreconditionError>())?;
    module.add("ObjectChanged", py.get_type::<ObjectChanged>())?;
    module.add("NotModifiedError", py.get_type::<NotModifiedError>())?;
    module.add("AlreadyExistsError", py.get_type::<AlreadyExistsError>())?;
    module.add("NotSupportedError", py.get_type::<NotSupportedError>())?;
    module.add("InvalidPathError", py.get_type::<InvalidPathError>())?;
    module.add("PermissionDeniedError", py.get_type::<PermissionDeniedError>())?;
    module.add("UnauthenticatedError", py.get_type::<UnauthenticatedError>())
}
