//! What calls return to Python: metadata as the dictionaries of obspec, buffers, and statistics.

use bytes::Bytes;
use headstart::ObjectVersion;
use headstart::object_store::path::Path;
use headstart::object_store::{Attribute, Attributes, ListResult, ObjectMeta, PutResult};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::buffer::Buffer;
use crate::errors::Failure;

/// A value that becomes a Python object on a thread that is attached to the interpreter.
pub(crate) trait Answer: Send + 'static {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

impl Answer for () {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }
}

impl Answer for u64 {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.into_pyobject(py)?.into_any().unbind())
    }
}

impl Answer for Bytes {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Buffer::new(py, self)?)?.into_any())
    }
}

impl<T: Answer> Answer for Vec<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let items = self.into_iter().map(|item| item.into_python(py)).collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, items)?.into_any().unbind())
    }
}

/// The path of an object as the user of a store sees it: without the prefix of the store.
pub(crate) fn shown_path(path: &Path, prefix: &Path) -> String {
    match path.as_ref().strip_prefix(prefix.as_ref()) {
        Some(rest) if !prefix.is_root() => rest.trim_start_matches('/').to_owned(),
        _ => path.to_string(),
    }
}

/// The path that a user of a store with `prefix` names.
pub(crate) fn full_path(prefix: &Path, path: &str) -> Outcome<Path> {
    let path = Path::parse(path).map_err(Failure::Path)?;
    Ok(match (prefix.is_root(), path.is_root()) {
        (true, _) => path,
        (false, true) => prefix.clone(),
        (false, false) => {
            let joined = format!("{prefix}/{path}");
            Path::parse(joined).map_err(Failure::Path)?
        }
    })
}

/// Metadata of an object in a store with a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    pub(crate) meta: ObjectMeta,
    pub(crate) prefix: Path,
}

impl Answer for Meta {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Self { meta, prefix } = self;
        let shown = PyDict::new(py);
        shown.set_item("path", shown_path(&meta.location, &prefix))?;
        shown.set_item("last_modified", meta.last_modified)?;
        shown.set_item("size", meta.size)?;
        shown.set_item("e_tag", meta.e_tag)?;
        shown.set_item("version", meta.version)?;
        Ok(shown.into_any().unbind())
    }
}

/// A listing of one level.
pub(crate) struct Level {
    pub(crate) listed: ListResult,
    pub(crate) prefix: Path,
}

impl Answer for Level {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Self { listed, prefix } = self;
        let shown = PyDict::new(py);
        let prefixes: Vec<_> = listed.common_prefixes.iter().map(|path| shown_path(path, &prefix)).collect();
        shown.set_item("common_prefixes", prefixes)?;
        let metas = listed.objects.into_iter().map(|meta| Meta { meta, prefix: prefix.clone() });
        shown.set_item("objects", metas.collect::<Vec<_>>().into_python(py)?)?;
        Ok(shown.into_any().unbind())
    }
}

impl Answer for PutResult {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shown = PyDict::new(py);
        shown.set_item("e_tag", self.e_tag)?;
        shown.set_item("version", self.version)?;
        Ok(shown.into_any().unbind())
    }
}

impl Answer for ObjectVersion {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shown = PyDict::new(py);
        shown.set_item("e_tag", self.e_tag)?;
        shown.set_item("version", self.version)?;
        shown.set_item("last_modified", self.last_modified)?;
        shown.set_item("size", self.size)?;
        Ok(shown.into_any().unbind())
    }
}

/// Anything serialisable, as Python's dictionaries, lists, strings and numbers.
pub(crate) fn structure<'py>(py: Python<'py>, value: &impl serde::Serialize) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))?;
    py.import("json")?.call_method1("loads", (text,))
}

/// The attributes that have names of their own; all others are metadata of the user.
const NAMED_ATTRIBUTES: [(Attribute, &str); 5] = [
    (Attribute::ContentDisposition, "Content-Disposition"),
    (Attribute::ContentEncoding, "Content-Encoding"),
    (Attribute::ContentLanguage, "Content-Language"),
    (Attribute::ContentType, "Content-Type"),
    (Attribute::CacheControl, "Cache-Control"),
];

/// Attributes of an object as obspec's dictionary.
pub(crate) fn attributes<'py>(py: Python<'py>, attributes: &Attributes) -> PyResult<Bound<'py, PyDict>> {
    let shown = PyDict::new(py);
    for (name, value) in attributes {
        let name = match (name, NAMED_ATTRIBUTES.iter().find(|(attribute, _)| attribute == name)) {
            (_, Some((_, name))) => name,
            (Attribute::Metadata(name), None) => &**name,
            _ => continue,
        };
        shown.set_item(name, value.as_ref())?;
    }
    Ok(shown)
}

/// obspec's dictionary as attributes of an object.
pub(crate) fn read_attributes(given: Option<&Bound<'_, PyDict>>) -> PyResult<Attributes> {
    let mut attributes = Attributes::new();
    for (name, value) in given.into_iter().flatten() {
        let name: String = name.extract()?;
        let named = NAMED_ATTRIBUTES.iter().find(|(_, known)| known.eq_ignore_ascii_case(&name));
        let attribute = named.map_or_else(|| Attribute::Metadata(name.into()), |(attribute, _)| attribute.clone());
        attributes.insert(attribute, value.extract::<String>()?.into());
    }
    Ok(attributes)
}

/// A list that a call has answered, or its failure.
pub(crate) type Outcome<T> = Result<T, Failure>;
