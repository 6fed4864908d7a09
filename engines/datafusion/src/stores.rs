//! The stores that Headstart has opened, by the key of their URL.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use datafusion::error::Result;
use datafusion::object_store::ObjectStore;
use headstart::Headstart;
use headstart_object_store_013::Store013;
use headstart_parquet::ParquetFiles;
use url::{Position, Url};

use crate::layer_metrics::StoreMetrics;

/// A store that is read by Headstart.
pub(crate) struct OpenStore {
    /// The store, for Parquet files.
    pub(crate) files: ParquetFiles,
    /// The store, as DataFusion knows stores.
    pub(crate) adapter: Arc<dyn ObjectStore>,
    pub(crate) metrics: StoreMetrics,
}

impl OpenStore {
    pub(crate) fn new(store: Headstart) -> Arc<Self> {
        let adapter = Arc::new(Store013::new(Arc::new(store.clone())));
        Arc::new(Self { files: ParquetFiles::new(store), adapter, metrics: StoreMetrics::default() })
    }

    /// Whether `store` is this store as DataFusion knows it.
    pub(crate) fn is(&self, store: &Arc<dyn ObjectStore>) -> bool {
        Arc::ptr_eq(&self.adapter, store)
    }
}

impl fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStore").field("files", &self.files).finish_non_exhaustive()
    }
}

type Stores = BTreeMap<String, Arc<OpenStore>>;

/// Stores by [`key()`].
#[derive(Debug, Default)]
pub(crate) struct OpenStores(RwLock<Stores>);

impl OpenStores {
    pub(crate) fn get(&self, url: &Url) -> Option<Arc<OpenStore>> {
        self.read().get(&key(url)).cloned()
    }

    /// The store of `url`, opened if it is not open yet. Of several callers at once, one opens it.
    pub(crate) fn get_or_open(
        &self,
        url: &Url,
        open: impl FnOnce(&str) -> Result<Headstart>,
    ) -> Result<Arc<OpenStore>> {
        if let Some(store) = self.get(url) {
            return Ok(store);
        }
        let (key, mut stores) = (key(url), self.write());
        if let Some(store) = stores.get(&key) {
            return Ok(Arc::clone(store));
        }
        let store = OpenStore::new(open(&key)?);
        stores.insert(key, Arc::clone(&store));
        Ok(store)
    }

    /// Replaces the store of `url`.
    pub(crate) fn insert(&self, url: &Url, store: Headstart) -> Arc<OpenStore> {
        let store = OpenStore::new(store);
        self.write().insert(key(url), Arc::clone(&store));
        store
    }

    /// Forgets the store of `url`.
    pub(crate) fn remove(&self, url: &Url) -> Option<Arc<OpenStore>> {
        self.write().remove(&key(url))
    }

    // A panic leaves nothing half done: each change of the map is a single call.
    fn read(&self) -> RwLockReadGuard<'_, Stores> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Stores> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a URL that names its store: scheme, host and port. Of an `abfss://container@account` also the
/// container, which stands in the place of a user. No other user and no password, which DataFusion leaves out too.
pub(crate) fn key(url: &Url) -> String {
    let container = match url.scheme() {
        "abfs" | "abfss" if !url.username().is_empty() => format!("{}@", url.username()),
        _ => String::new(),
    };
    format!("{}://{container}{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_stores() {
        for (url, expected) in [
            ("s3://bucket/a/b", "s3://bucket"),
            ("s3://user:secret@bucket/a", "s3://bucket"),
            ("https://host:8080/a?b", "https://host:8080"),
            ("file:///a/b", "file://"),
            ("abfss://container@account.dfs.core.windows.net/a", "abfss://container@account.dfs.core.windows.net"),
        ] {
            assert_eq!(key(&url.parse().unwrap()), expected);
        }
    }
}
