//! Ranges of objects as Python slices them: from the end, clamped, empty past the end. What fsspec's `cat` needs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;
use headstart::object_store::path::Path;
use headstart::object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, Result};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::answers::{Answer, Outcome};
use crate::buffer::copy_out;
use crate::errors::Failure;
use crate::recipe::OpenStore;

/// The chunks of a range: `bytes` in Python.
pub(crate) struct Chunks(Vec<Bytes>);

impl Answer for Chunks {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(copy_out(py, &self.0)?.into_any().unbind())
    }
}

/// The ranges of several objects; errors are returned in their place.
pub(crate) struct ManyChunks(Vec<Outcome<Chunks>>);

impl Answer for ManyChunks {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let item = |chunks: Outcome<Chunks>| match chunks {
            Ok(chunks) => chunks.into_python(py),
            Err(failure) => Ok(PyErr::from(failure).into_value(py).into_any()),
        };
        let items = self.0.into_iter().map(item).collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, items)?.into_any().unbind())
    }
}

/// One range of one object, with the meaning of a Python slice.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) path: Path,
    pub(crate) start: Option<i64>,
    pub(crate) end: Option<i64>,
}

impl Slice {
    /// The range, where it needs no length of the object.
    fn bounded(&self) -> Option<Range<u64>> {
        let start = u64::try_from(self.start.unwrap_or(0)).ok()?;
        Some(start..u64::try_from(self.end?).ok()?)
    }
}

/// One slice: by one GET, where it needs no length.
pub(crate) async fn cat(store: Arc<OpenStore>, slice: Slice) -> Outcome<Chunks> {
    let asked = match (slice.start.unwrap_or(0), slice.end) {
        (0, None) => Some(None),
        (start, None) if start > 0 => Some(Some(GetRange::Offset(start.cast_unsigned()))),
        (start, None) => Some(Some(GetRange::Suffix(start.unsigned_abs()))),
        _ => slice.bounded().map(|range| Some(GetRange::Bounded(range))),
    };
    if slice.bounded().is_some_and(|range| range.is_empty()) {
        return Ok(Chunks(Vec::new()));
    }
    let Some(range) = asked else { return by_length(&store, &slice).await };
    match one_get(&store, &slice.path, range).await {
        Ok(chunks) => Ok(Chunks(chunks)),
        // Perhaps past the end, which is empty.
        Err(error) if may_be_the_range(&error) => by_length(&store, &slice).await,
        Err(error) => Err(error.into()),
    }
}

async fn one_get(store: &OpenStore, path: &Path, range: Option<GetRange>) -> Result<Vec<Bytes>> {
    if let Some(GetRange::Bounded(range)) = range {
        // Calls of this method are watched for patterns, and read ahead.
        return Ok(vec![store.headstart.get_range(path, range).await?]);
    }
    let options = GetOptions { range, ..GetOptions::default() };
    store.headstart.get_opts(path, options).await?.into_stream().try_collect().await
}

fn may_be_the_range(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. })
}

/// Asks for the length first.
async fn by_length(store: &OpenStore, slice: &Slice) -> Outcome<Chunks> {
    let size = store.headstart.head(&slice.path).await?.size;
    let at = |position: i64| match u64::try_from(position) {
        Ok(from_start) => from_start.min(size),
        Err(_) => size.saturating_sub(position.unsigned_abs()),
    };
    let range = slice.start.map_or(0, at)..slice.end.map_or(size, at);
    if range.is_empty() {
        return Ok(Chunks(Vec::new()));
    }
    Ok(Chunks(vec![store.headstart.get_range(&slice.path, range).await?]))
}

/// Many slices, all in flight together. Ranges of one object are merged where that saves requests. What is no slice is
/// answered with its error.
pub(crate) async fn cat_many(store: Arc<OpenStore>, asked: Vec<Outcome<Slice>>) -> Outcome<ManyChunks> {
    let (mut places, mut slices, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (place, slice) in asked.into_iter().enumerate() {
        match slice {
            Ok(slice) => {
                places.push(place);
                slices.push(slice);
            }
            Err(failure) => all.push((place, Err(failure))),
        }
    }
    let mut by_path = BTreeMap::<_, Vec<usize>>::new();
    for (at, slice) in slices.iter().enumerate() {
        let is_plain = slice.bounded().is_some_and(|range| !range.is_empty());
        // Slices of other kinds stay alone.
        let kind = if is_plain { 0 } else { at + 1 };
        by_path.entry((kind, &slice.path)).or_default().push(at);
    }
    let groups = by_path.into_values().map(async |group| {
        let merged = merged(&store, &slices, &group).await;
        let chunks = match merged {
            Some(chunks) => chunks,
            None => join_all(group.iter().map(|at| cat(Arc::clone(&store), slices[*at].clone()))).await,
        };
        group.into_iter().zip(chunks).collect::<Vec<_>>()
    });
    let read = join_all(groups).await.into_iter().flatten();
    all.extend(read.map(|(at, chunks)| (places[at], chunks)));
    all.sort_unstable_by_key(|(place, _)| *place);
    Ok(ManyChunks(all.into_iter().map(|(_, chunks)| chunks).collect()))
}

/// The ranges of one object together; `None` where each has to be asked for by itself.
async fn merged(store: &OpenStore, slices: &[Slice], group: &[usize]) -> Option<Vec<Outcome<Chunks>>> {
    let [first, _, ..] = group else { return None };
    let ranges = group.iter().map(|at| slices[*at].bounded()).collect::<Option<Vec<_>>>()?;
    match store.headstart.get_ranges(&slices[*first].path, &ranges).await {
        Ok(answers) => Some(answers.into_iter().map(|bytes| Ok(Chunks(vec![bytes]))).collect()),
        Err(error) if may_be_the_range(&error) => None,
        Err(Error::NotFound { path, source }) => {
            let message = source.to_string();
            let copy = || Failure::Store(Error::NotFound { path: path.clone(), source: message.clone().into() });
            Some(group.iter().map(|_| Err(copy())).collect())
        }
        Err(_) => None,
    }
}
