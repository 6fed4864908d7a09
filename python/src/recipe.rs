//! How a store is opened: from a URL and options, in every process anew. Equal recipes share one store.

use std::any::Any;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use headstart::object_store::ObjectStore;
use headstart::object_store::path::Path;
use headstart::{Headstart, HeadstartBuilder, MemoryBudget};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};

use crate::errors::Failure;
use crate::process::{self, Owned, Process};
use crate::wait::wait;

/// So many stores stay open while nobody uses them: files opened one after the other share connections, what was learnt
/// about the link, and cached pages.
const IDLE_STORES: usize = 8;

/// The least memory that a cache gets where others have taken most of it.
const MIN_CACHE_BYTES: usize = 16 << 20;

/// The URL of a store and its options. Contains secrets; is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The URL of the store, or of an object where it names a generation.
    pub(crate) url: String,
    pub(crate) options: Vec<(String, String)>,
    /// The memory of the process is divided by this.
    pub(crate) workers: u32,
}

/// What tells stores apart: the recipe and the environment, which has options and credentials too.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoreKey {
    recipe: Recipe,
    environment: u64,
}

/// A store of this process.
pub(crate) struct OpenStore {
    pub(crate) headstart: Headstart,
    /// The memory of its cache, reserved in the budget of the process.
    _cache_memory: Option<Box<dyn Any + Send + Sync>>,
}

impl Recipe {
    /// Takes apart the URL of an object: the recipe of its store, and its path. Opens nothing.
    pub(crate) fn of_object(url: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<(Self, Path)> {
        let (options, workers) = read_options(options)?;
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match url.rsplit_once('#') {
            // The whole URL: opening it asks for this generation.
            Some((object, generation)) if url.starts_with("gs:") && is_digits(generation) => {
                let (_, path) = headstart::split_url(object).map_err(Failure::from)?;
                Ok((Self { url: url.to_owned(), options, workers }, path))
            }
            _ => {
                let (store, path) = headstart::split_url(url).map_err(Failure::from)?;
                Ok((Self { url: store, options, workers }, path))
            }
        }
    }

    /// The store, from those of this process or newly opened. Sends no request.
    pub(crate) fn open(&self, py: Python<'_>) -> PyResult<Arc<OpenStore>> {
        let process = process::current(py)?;
        let key = StoreKey { recipe: self.clone(), environment: environment_hash() };
        if let Some(found) = find(py, process, &key) {
            return Ok(found);
        }
        let opened = Arc::new(self.build(py, process)?);
        // Another thread may have opened it meanwhile.
        if let Some(found) = find(py, process, &key) {
            return Ok(found);
        }
        let mut stores = process.stores.lock(py);
        stores.push((key, process.own(Arc::clone(&opened))));
        while stores.iter().filter(|(_, store)| is_idle(store)).count() > IDLE_STORES {
            let oldest = stores.iter().position(|(_, store)| is_idle(store)).unwrap_or_default();
            stores.remove(oldest);
        }
        Ok(opened)
    }

    /// The URL of the object at `path`, which opens this store again.
    pub(crate) fn object_url(&self, path: &Path) -> String {
        let escaped = path.as_ref().replace('%', "%25");
        match self.url.contains('#') {
            true => self.url.clone(),
            false => format!("{}{}", self.url, escaped.replace('#', "%23").replace('?', "%3F")),
        }
    }

    /// As [`Recipe::object_url`], without what may be a password.
    pub(crate) fn shown_url(&self, path: &Path) -> String {
        match self.url.split_once(':') {
            Some((scheme, rest)) if rest.contains('@') => format!("{scheme}:…"),
            _ => self.object_url(path),
        }
    }

    fn builder(&self, options: impl IntoIterator<Item = (String, String)>) -> HeadstartBuilder {
        let all = self.options.iter().cloned().chain(options);
        all.fold(Headstart::builder(), |builder, (key, value)| builder.option(key, value))
    }

    fn build(&self, py: Python<'_>, process: &'static Process) -> PyResult<OpenStore> {
        let build = |builder: HeadstartBuilder| {
            wait(py, process, builder.build())?.map_err(|error| PyErr::from(Failure::from(error)))
        };
        // What the options and the environment say about memory, asked from stores that hold nothing.
        let limit_of = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let probe = build(self.builder(options).store(Arc::clone(&process.memory) as Arc<dyn ObjectStore>))?;
            PyResult::Ok(usize::try_from(probe.stats().budget.limit_bytes).unwrap_or(usize::MAX))
        };
        let total_bytes = limit_of(&[("mode", "adaptive"), ("cache", "off")])? / self.workers.max(1) as usize;
        let mut memory = Vec::new();
        if self.workers > 1 {
            memory.push(("memory_bytes".to_owned(), total_bytes.to_string()));
        }
        let shown: Vec<_> = memory.iter().map(|(key, value): &(String, String)| (&**key, &**value)).collect();
        // Without the disk tier, which a probe must not open.
        let probed = [shown, vec![("cache.disk_directory", "")]].concat();
        let cache_bytes = total_bytes - limit_of(&probed)?.min(total_bytes);
        let budget = {
            let mut budgets = process.budgets.lock(py);
            Arc::clone(budgets.entry(total_bytes).or_insert_with(|| MemoryBudget::new(total_bytes)))
        };
        let mut cache_memory = None;
        if cache_bytes > 0 {
            let (bytes, reserved) = match self.reserve_cache(&budget, cache_bytes) {
                Ok(reserved) => reserved,
                Err(_) => {
                    drop_idle(py, process)?;
                    self.reserve_cache(&budget, cache_bytes)?
                }
            };
            if bytes < cache_bytes {
                memory.push(("cache.memory_bytes".to_owned(), bytes.to_string()));
            }
            cache_memory = Some(reserved);
        }
        let builder = self.builder(memory).budget(budget);
        let builder = if self.url.starts_with("memory:") {
            builder.store(Arc::clone(&process.memory) as Arc<dyn ObjectStore>)
        } else {
            builder.url(&*self.url)
        };
        Ok(OpenStore { headstart: build(builder)?, _cache_memory: cache_memory })
    }

    /// Reserves the memory of a cache. Where other caches and reads have taken it, a cache of default size gets half of
    /// what is free.
    fn reserve_cache(
        &self,
        budget: &Arc<MemoryBudget>,
        wanted_bytes: usize,
    ) -> PyResult<(usize, Box<dyn Any + Send + Sync>)> {
        let is_given = self.options.iter().any(|(key, _)| key == "cache.memory_bytes");
        let half_of_free = budget.free_bytes() / 2;
        let bytes = if is_given { wanted_bytes } else { wanted_bytes.min(half_of_free) };
        let reserved = (is_given || bytes >= MIN_CACHE_BYTES).then(|| budget.try_reserve(bytes)).flatten();
        let reserved = reserved.ok_or_else(|| {
            let mib = |bytes: usize| bytes >> 20;
            PyValueError::new_err(format!(
                "no memory for a cache of {} MiB: {} of the {} MiB of this process are in use; close other stores, set \
                 cache.memory_bytes lower or HEADSTART_MEMORY_BYTES higher",
                mib(wanted_bytes),
                mib(budget.used_bytes()),
                mib(budget.limit_bytes()),
            ))
        })?;
        Ok((bytes, Box::new(reserved)))
    }
}

/// Whether only the list of stores has it.
fn is_idle(store: &Owned<Arc<OpenStore>>) -> bool {
    store.get().is_none_or(|store| Arc::strong_count(store) == 1)
}

/// Drops the stores that nobody uses, for the memory of their caches.
fn drop_idle(py: Python<'_>, process: &'static Process) -> PyResult<()> {
    let (idle, used) = std::mem::take(&mut *process.stores.lock(py)).into_iter().partition(|(_, store)| is_idle(store));
    *process.stores.lock(py) = used;
    let idle: Vec<_> = Vec::into_iter(idle).filter_map(|(_, store)| store.into_inner()).collect();
    wait(py, process, async move { drop(idle) })
}

fn find(py: Python<'_>, process: &Process, key: &StoreKey) -> Option<Arc<OpenStore>> {
    let mut stores = process.stores.lock(py);
    let at = stores.iter().position(|(known, _)| known == key)?;
    let found = stores.remove(at);
    let store = found.1.get().map(Arc::clone);
    stores.push(found);
    store
}

/// The environment has options and credentials: a store that was opened under another one is not used again.
#[expect(clippy::disallowed_methods, reason = "only compared, never read")]
fn environment_hash() -> u64 {
    // pytest changes its variables with every test.
    let mut variables: Vec<_> =
        std::env::vars_os().filter(|(key, _)| !key.to_string_lossy().starts_with("PYTEST_")).collect();
    variables.sort_unstable();
    let mut hasher = DefaultHasher::new();
    variables.hash(&mut hasher);
    hasher.finish()
}

/// Keyword arguments as options, and `workers`. A key is written with its dots or, as a Python name, with `_` instead.
/// `None` leaves an option at its default.
pub(crate) fn read_options(given: Option<&Bound<'_, PyDict>>) -> PyResult<(Vec<(String, String)>, u32)> {
    let (mut options, mut workers) = (Vec::new(), 1);
    if given.is_none() {
        return Ok((options, workers));
    }
    let known = headstart::options();
    for (key, value) in given.into_iter().flatten() {
        let key: String = key.extract()?;
        if value.is_none() {
            continue;
        }
        if key == "workers" {
            let refuse = |_| PyValueError::new_err("workers: expected the number of worker processes, at least 1");
            workers = value.extract::<u32>().map_err(refuse)?.max(1);
            continue;
        }
        let full = known.iter().find(|(full, _)| *full == key || full.replace('.', "_") == key);
        let key = full.map_or(key, |(full, _)| full.clone());
        options.push((key.clone(), text_of(&key, &value)?));
    }
    // Equal options are an equal recipe, in whatever order they were given.
    options.sort();
    Ok((options, workers))
}

fn text_of(key: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(on) = value.cast::<PyBool>() {
        return Ok(if on.is_true() { "on" } else { "off" }.to_owned());
    }
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        return Ok(value.str()?.to_string());
    }
    let as_path = value.py().import("os")?.call_method1("fspath", (value,));
    match as_path.and_then(|path| path.extract::<String>()) {
        Ok(path) => Ok(path),
        Err(_) => Err(PyTypeError::new_err(format!("{key}: expected a string, a number, a bool, a path or None"))),
    }
}
