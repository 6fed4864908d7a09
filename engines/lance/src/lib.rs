//! Reads the data sets of Lance 14 by Headstart.
//!
//! ```text
//!  Dataset      scan · take · indexes
//!      │ get_opts of ranges that Lance's scheduler has merged
//!  HeadstartWrapper → headstart        a cache · parallel ranges · resumed and hedged requests
//!      │
//!  the store that Lance has opened for the URL
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use headstart_lance::HeadstartWrapper;
//! use lance::{Result, dataset::builder::DatasetBuilder, io::ObjectStoreParams};
//!
//! # async fn open() -> Result<()> {
//! let store_params =
//!     ObjectStoreParams { object_store_wrapper: Some(Arc::new(HeadstartWrapper::default())), ..Default::default() };
//! let trips = DatasetBuilder::from_uri("s3://my-bucket/trips.lance").with_store_params(store_params).load().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # One wrapper for all data sets
//! Lance wraps a store once for as long as it is in use, if the data sets of a bucket are opened with the same wrapper
//! (the same `Arc`) and with the same `Session`. Otherwise each has its own estimate of the link, memory and cache.
//!
//! # What it does not do
//! Lance's own retries, limits and caches stay as they are. Writes and lists pass through unchanged.
//!
//! # Memory
//! Each wrapped store has its own `memory_bytes` (512 MiB by default), which Lance does not know of.
//! `HeadstartBuilder::budget` shares one budget.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use headstart::object_store::list::PaginatedListStore;
use headstart::object_store::{ObjectStore, memory::InMemory};
use headstart::{Error, Headstart, HeadstartBuilder, Mode};
use lance_io::object_store::WrappingObjectStore;

pub use headstart;

/// Makes Lance read each store that it opens by a [`Headstart`].
#[derive(Clone)]
pub struct HeadstartWrapper {
    builder: Arc<dyn Fn() -> HeadstartBuilder + Send + Sync>,
}

impl HeadstartWrapper {
    /// Wraps with what `builder` builds over a store. It is called once for each store, and must name neither a URL nor
    /// a store itself.
    ///
    /// ```
    /// use headstart_lance::{HeadstartWrapper, headstart::Headstart, headstart::Mode};
    ///
    /// # fn main() -> Result<(), headstart_lance::headstart::Error> {
    /// let wrapper = HeadstartWrapper::new(|| Headstart::builder().mode(Mode::Cached).memory_bytes(4 << 30))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`]: an option or variable cannot be used.
    pub fn new(builder: impl Fn() -> HeadstartBuilder + Send + Sync + 'static) -> Result<Self, Error> {
        let wrapper = Self { builder: Arc::new(builder) };
        wrapper.build(Arc::new(InMemory::new()))?;
        Ok(wrapper)
    }

    fn build(&self, store: Arc<dyn ObjectStore>) -> Result<Headstart, Error> {
        let built = (self.builder)().store(store).build().now_or_never();
        built.unwrap_or_else(|| unreachable!("building a stack over a given store awaits nothing"))
    }
}

/// `mode=cached`, which never sent more requests than Lance alone, and the defaults of all other options.
impl Default for HeadstartWrapper {
    fn default() -> Self {
        Self { builder: Arc::new(|| Headstart::builder().mode(Mode::Cached)) }
    }
}

impl fmt::Debug for HeadstartWrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadstartWrapper").field("builder", &(self.builder)()).finish()
    }
}

impl WrappingObjectStore for HeadstartWrapper {
    /// A store that cannot be wrapped, because a variable of the process was changed to an invalid value since the
    /// wrapper was made, is read without Headstart. An event of level `ERROR` tells so.
    fn wrap(&self, store_prefix: &str, original: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        match self.build(Arc::clone(&original)) {
            Ok(headstart) => {
                tracing::debug!(target: "headstart::lance", store = store_prefix, "a store was wrapped");
                Arc::new(headstart)
            }
            Err(error) => {
                tracing::error!(target: "headstart::lance", store = store_prefix, %error, "a store was not wrapped");
                original
            }
        }
    }

    /// Lists pass through Headstart unchanged, so Lance may go on asking the store for single pages.
    fn wrap_paginated(
        &self,
        _store_prefix: &str,
        original: Arc<dyn PaginatedListStore>,
    ) -> Option<Arc<dyn PaginatedListStore>> {
        Some(original)
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
