//! `HeadstartRegistry`: opens the stores of URLs on first use.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::object_store::ObjectStore;
use futures::FutureExt;
use headstart::Headstart;
use url::Url;

use crate::options::HeadstartOptions;
use crate::scans::HeadstartScans;
use crate::stores::{OpenStore, OpenStores, key};

/// Opens the stores of URLs by Headstart, each on its first use: `gs://`, `s3://`, `az://`, `abfss://`, `https://`,
/// `file://` and `memory://`.
///
/// A store that is registered otherwise is used as it is: by
/// [`SessionContext::register_object_store`](datafusion::prelude::SessionContext::register_object_store).
#[derive(Default)]
pub struct HeadstartRegistry {
    opened: Arc<OpenStores>,
    registered: RwLock<BTreeMap<String, Arc<dyn ObjectStore>>>,
    options: HeadstartOptions,
    environment: Option<Vec<(String, String)>>,
}

impl HeadstartRegistry {
    /// A registry without open stores.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option of all stores. Default: the environment's, and those of [`headstart::options`].
    ///
    /// # Errors
    /// [`DataFusionError::Configuration`]: there is no such option. A value is checked when a store is opened.
    pub fn with_option(self, option: &str, value: &str) -> Result<Self> {
        self.options.lock().set(option, value)?;
        Ok(self)
    }

    /// Sets an option of the store `prefix` (`s3://bucket`), or of all stores of the scheme `prefix` (`s3://`).
    /// Default: that of all stores.
    ///
    /// # Errors
    /// [`DataFusionError::Configuration`]: there is no such option, or the prefix names neither a store nor a scheme.
    pub fn with_store_option(self, prefix: &str, option: &str, value: &str) -> Result<Self> {
        self.options.lock().set_for(prefix, option, value)?;
        Ok(self)
    }

    /// Environment variables to read instead of those of the process. Default: those of the process.
    #[must_use]
    pub fn with_environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment = Some(variables.into_iter().collect());
        self
    }

    /// The namespace `headstart.*` for the configuration of a session; [`with_headstart`](crate::with_headstart) adds
    /// it.
    #[must_use]
    pub fn options(&self) -> HeadstartOptions {
        self.options.clone()
    }

    /// The store of `url`, for its statistics, or to read from it without DataFusion. Opens it if it is not open.
    ///
    /// # Errors
    /// [`DataFusionError::External`] with a [`headstart::Error`]: the URL, an option or a variable cannot be used.
    pub fn headstart(&self, url: &Url) -> Result<Headstart> {
        Ok(self.open(url)?.files.store().clone())
    }

    /// The rule that makes scans read by the stores that this registry has opened, for plans that did not pass the
    /// optimizer of a session with it: those that arrive on a worker of a distributed engine.
    #[must_use]
    pub fn scans(&self) -> HeadstartScans {
        HeadstartScans::new(self.opened())
    }

    /// Reads `url` from `store`, instead of what is or would be opened for it.
    pub fn register(&self, url: &Url, store: Headstart) {
        self.registered_mut().remove(&key(url));
        self.opened.insert(url, store);
    }

    pub(crate) fn opened(&self) -> Arc<OpenStores> {
        Arc::clone(&self.opened)
    }

    fn open(&self, url: &Url) -> Result<Arc<OpenStore>> {
        self.opened.get_or_open(url, |key| {
            let options = self.options.lock().of(key);
            let builder = Headstart::builder().url(format!("{key}/"));
            let mut builder = options.into_iter().fold(builder, |builder, (key, value)| builder.option(key, value));
            if let Some(variables) = &self.environment {
                builder = builder.environment(variables.iter().cloned());
            }
            let opened = builder.build().now_or_never();
            let opened = opened.ok_or_else(|| {
                let what = format!("'{key}' cannot be opened at once; build a Headstart, and give it to register()");
                DataFusionError::Configuration(what)
            })?;
            let opened = opened.map_err(|error| DataFusionError::External(error.into()));
            let opened = opened.map_err(|error| error.context(format!("headstart cannot open '{key}'")))?;
            tracing::debug!(target: "headstart::datafusion", store = key, "a store was opened");
            Ok(opened)
        })
    }

    // A panic leaves nothing half done: each change of the map is a single call.
    fn registered(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<dyn ObjectStore>>> {
        self.registered.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn registered_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<dyn ObjectStore>>> {
        self.registered.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without variables, values of options and stores of others, which may show secrets.
impl fmt::Debug for HeadstartRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registered: Vec<_> = self.registered().keys().cloned().collect();
        let mut shown = f.debug_struct("HeadstartRegistry");
        shown.field("opened", &self.opened).field("registered", &registered).field("options", &self.options);
        shown.finish_non_exhaustive()
    }
}

impl ObjectStoreRegistry for HeadstartRegistry {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        let opened = self.opened.get(url).filter(|opened| !opened.is(&store));
        if opened.is_some() {
            // Scans must not read from the store that is replaced.
            self.opened.remove(url);
        }
        let before = self.registered_mut().insert(key(url), store);
        before.or_else(|| opened.map(|opened| Arc::clone(&opened.adapter)))
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let registered = self.registered_mut().remove(&key(url));
        let opened = self.opened.remove(url).map(|opened| Arc::clone(&opened.adapter));
        registered.or(opened).ok_or_else(|| DataFusionError::Execution(format!("no store is open for {url}")))
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let registered = self.registered().get(&key(url)).cloned();
        match registered {
            Some(store) => Ok(store),
            None => Ok(Arc::clone(&self.open(url)?.adapter)),
        }
    }
}
