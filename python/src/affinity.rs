//! Which worker of a cluster reads which file: the crate `headstart-affinity`, for `headstart.affinity`.
//!
//! Keys are hashed here, so that Python and Rust agree on them.

use headstart_affinity::{FileKey, FileTask, Workers};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(affinity_key, module)?)?;
    module.add_function(wrap_pyfunction!(affinity_ranking, module)?)?;
    module.add_function(wrap_pyfunction!(affinity_assign, module)?)?;
    module.add("AFFINITY_BALANCE", headstart_affinity::BALANCE)
}

/// The hash of a file's key.
#[pyfunction]
fn affinity_key(store: &str, path: &str, version: &str, start: u64) -> u64 {
    FileKey { store, path, version, start }.hash()
}

/// The workers, from the owner of a key to the last that would take it.
#[pyfunction]
fn affinity_ranking(workers: Vec<String>, key: u64) -> Vec<String> {
    let workers = Workers::new(workers);
    workers.ranking(key).into_iter().map(|worker| workers.ids()[worker].clone()).collect()
}

/// The worker of each task of `(key, bytes)`. Other threads run meanwhile.
///
/// # Errors
/// `ValueError` without workers, and for a balance below 1.
#[pyfunction]
fn affinity_assign(
    py: Python<'_>,
    workers: Vec<String>,
    tasks: Vec<(u64, u64)>,
    balance: f64,
) -> PyResult<Vec<String>> {
    check(&workers, balance)?;
    Ok(py.detach(|| {
        let workers = Workers::new(workers);
        let tasks: Vec<FileTask> = tasks.into_iter().map(|(key, bytes)| FileTask { key, bytes }).collect();
        let name = |worker: usize| workers.ids()[worker].clone();
        workers.assign(&tasks, balance).into_iter().map(name).collect()
    }))
}

/// Refuses what the crate regards as a mistake of its caller.
fn check(workers: &[String], balance: f64) -> PyResult<()> {
    if workers.is_empty() {
        return Err(PyValueError::new_err("there is no worker to assign tasks to"));
    }
    // NaN fails this too.
    if balance >= 1.0 {
        Ok(())
    } else {
        let what = format!("a balance of {balance} leaves tasks over: it must be at least 1");
        Err(PyValueError::new_err(what))
    }
}
