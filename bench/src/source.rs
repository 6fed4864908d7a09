//! What is compared: a way of opening and reading objects.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;

/// A way of reading, as one process uses it.
#[async_trait]
pub trait ReadSource: Send + Sync + 'static {
    /// Opens an object of `size` bytes.
    async fn open(&self, key: &str, size: u64) -> Result<Box<dyn Handle>>;

    /// The store that calls of a recorded trace go to; `None` where this way of reading is none.
    fn store(&self) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    /// Whether `error` says that the object has changed.
    fn tells_of_change(&self, error: &anyhow::Error) -> bool {
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<object_store::Error>())
            .any(|error| matches!(error, object_store::Error::Precondition { .. }))
    }
}

/// An open object; closed when it is dropped.
#[async_trait]
pub trait Handle: Send {
    /// Reads `range`, which is within the object: its bytes, in pieces.
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>>;
}

/// Somebody else, who overwrites objects.
#[async_trait]
pub trait Overwriter: Send + Sync + 'static {
    /// Writes a new version of the object, of the same size, and says its number.
    async fn overwrite(&self, key: &str) -> Result<u64>;
}
