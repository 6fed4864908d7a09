//! The Rust half of the Python package `headstart`: the module `headstart._headstart`.
//!
//! ```text
//!  headstart (Python)   open · File · Store · fsspec, zarr, arrow, torch
//!      │
//!  Reader · Store       Python classes; each call is waited for (wait.rs) or awaited (asyncio.rs)
//!  recipe.rs            URL and options → a store, one in each process
//!  process.rs           runtime, stores and memory of this process; a forked child gets new ones
//!      │
//!  crate headstart
//! ```
//!
//! I/O threads never run Python code and never wait for the GIL.

use pyo3::prelude::*;

mod affinity;
mod answers;
mod asyncio;
mod buffer;
mod cat;
mod download;
mod errors;
mod exit;
mod get;
mod list;
mod objects;
mod process;
mod reader;
mod recipe;
mod store;
mod upload;
mod wait;

/// Every option: its key, the values it takes and what it does.
#[pyfunction]
fn options() -> Vec<(String, &'static str, &'static str)> {
    headstart::options().into_iter().map(|(key, spec)| (key, spec.takes, spec.what)).collect()
}

/// Bytes copied between Rust and Python so far, for tests.
#[pyfunction]
fn copied_bytes() -> u64 {
    buffer::copied_bytes()
}

#[pymodule]
fn _headstart(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<buffer::Buffer>()?;
    module.add_class::<get::Answered>()?;
    module.add_class::<list::ListStream>()?;
    module.add_class::<objects::ObjectIterator>()?;
    module.add_class::<reader::Reader>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<upload::Upload>()?;
    module.add_function(wrap_pyfunction!(options, module)?)?;
    module.add_function(wrap_pyfunction!(copied_bytes, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    exit::register(module)?;
    affinity::register(module)?;
    errors::register(module)
}
