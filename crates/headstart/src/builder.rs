//! Builds the stack: its layers, their order and what they share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchStore, MemoryBudget};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::config::{Mode, Settings, options, process_environment};
use crate::precedence::{self, Source};
use crate::schemes::{self, Backend};
use crate::shared_links;
use crate::{Error, Headstart};

/// Builds a [`Headstart`]; see [`Headstart::builder`].
///
/// An explicit call overrides the option string, which overrides the environment, which overrides a configuration
/// file, which overrides the default.
#[derive(Default)]
#[must_use]
pub struct HeadstartBuilder {
    url: Option<String>,
    store: Option<Arc<dyn ObjectStore>>,
    string: String,
    options: Vec<(String, String)>,
    file: Option<(String, Vec<(String, String)>)>,
    environment: Option<BTreeMap<String, String>>,
    fetch: Option<FetchConfig>,
    cache: Option<CacheConfig>,
    prefetch: Option<PrefetchConfig>,
    budget: Option<Arc<MemoryBudget>>,
}

/// Shows keys without values, because some values are secrets, and nothing of the environment.
impl fmt::Debug for HeadstartBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = options();
        let is_known = |key: &&str| known.iter().any(|(known, _)| known == key);
        let in_string = self.string.split(',').filter_map(|piece| Some(piece.split_once('=')?.0.trim()));
        let mut shown = f.debug_struct("HeadstartBuilder");
        shown.field("url", &self.url.as_deref().map(schemes::without_secrets));
        shown.field("store", &self.store.as_ref().map(ToString::to_string));
        shown.field("options", &self.options.iter().map(|(key, _)| key).collect::<Vec<_>>());
        // An unknown key may be the rest of a secret.
        shown.field("options_str", &in_string.filter(is_known).collect::<Vec<_>>());
        shown.field("fetch", &self.fetch).field("cache", &self.cache).field("prefetch", &self.prefetch);
        shown.finish_non_exhaustive()
    }
}

impl HeadstartBuilder {
    /// The store to read from, and the object in it: `gs://bucket/key`, `s3://…`, `az://…`, `https://…`,
    /// `file:///…`, `memory:///…`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The store to read from, instead of a URL.
    pub fn store(mut self, store: Arc<dyn ObjectStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets one option (see [`crate::options`]).
    pub fn option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((key.into(), value.into()));
        self
    }

    /// Sets options from one string, `key=value,key=value`. [`HeadstartBuilder::option`] overrides it; it overrides the
    /// environment. A value that contains a comma needs [`HeadstartBuilder::option`].
    pub fn options_str(mut self, options: impl Into<String>) -> Self {
        self.string = options.into();
        self
    }

    /// Sets options that were read from the configuration file called `file`, which errors name. Everything else
    /// overrides them, except the defaults. This crate itself reads no file.
    pub fn file_options(mut self, file: impl Into<String>, options: Vec<(String, String)>) -> Self {
        self.file = Some((file.into(), options));
        self
    }

    /// Environment variables to read instead of those of the process. Default: those of the process.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment = Some(variables.into_iter().collect());
        self
    }

    /// All settings of fetch at once.
    pub fn fetch(mut self, config: FetchConfig) -> Self {
        self.fetch = Some(config);
        self
    }

    /// Sets all settings of the cache, and switches it on unless an explicit mode or option says otherwise.
    pub fn cache(mut self, config: CacheConfig) -> Self {
        self.cache = Some(config);
        self
    }

    /// All settings of read-ahead at once.
    pub fn prefetch(mut self, config: PrefetchConfig) -> Self {
        self.prefetch = Some(config);
        self
    }

    /// Shares this budget with other stacks: bytes in flight and ahead of readers are reserved there, instead of within
    /// `memory_bytes`. Default: a budget of its own.
    pub fn budget(mut self, budget: Arc<MemoryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Which layers work. Default: [`Mode::Adaptive`].
    pub fn mode(self, mode: Mode) -> Self {
        self.option("mode", mode.to_string())
    }

    /// The memory of all layers together, in bytes, the cache's included. Default: 512 MiB.
    pub fn memory_bytes(self, bytes: u64) -> Self {
        self.option("memory_bytes", bytes.to_string())
    }

    /// Builds the stack. Sends no request.
    ///
    /// # Errors
    /// [`Error`]: an option, variable or URL cannot be used.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing outlives the future.
    pub async fn build(self) -> Result<Headstart, Error> {
        let environment = self.environment.unwrap_or_else(process_environment);
        let mut settings = Settings::default();
        if let Some((file, pairs)) = self.file {
            settings.read(&pairs, Source::File).map_err(|source| Error::File { file, source })?;
        }
        settings.read_environment(&environment)?;
        let pairs = precedence::from_text(&settings.sections().0, &self.string)?;
        settings.read(&pairs, Source::Url)?;
        if let Some(config) = self.fetch {
            settings.fetch = config;
            settings.given("fetch");
        }
        if let Some(config) = self.prefetch {
            settings.prefetch = config;
            settings.given("prefetch");
        }
        if let Some(config) = self.cache {
            settings.cache = config;
            settings.given("cache");
            // An explicit mode or the option `cache` may switch it off again.
            settings.read(&[("cache".to_owned(), "on".to_owned())], Source::Explicit)?;
        }
        settings.read(&self.options, Source::Explicit)?;
        precedence::check(&settings.sections().0)?;
        let budget_bytes = settings.divide_memory()?;
        let shown = self.url.as_deref().map(schemes::without_secrets);
        let backend = match (self.url, self.store) {
            (Some(url), None) => schemes::open(&url, &mut settings, &environment)?,
            (None, Some(store)) => Backend::new(store, BackendProfile::default(), Path::ROOT),
            (Some(_), Some(_)) => return Err(Error::UrlAndStore),
            (None, None) => return Err(Error::NoSource),
        };
        let budget = self.budget.unwrap_or_else(|| MemoryBudget::new(budget_bytes));
        stack(backend, shown, settings, budget)
    }
}

/// Stacks read-ahead over cache over fetch over the backend, with one memory budget and one link estimate. Calls on
/// local files go to fetch directly: the upper layers would pass them through, at a cost.
fn stack(
    backend: Backend,
    url: Option<String>,
    mut settings: Settings,
    budget: Arc<MemoryBudget>,
) -> Result<Headstart, Error> {
    let is_given = |key: &str| settings.given.source(key) != Source::Default;
    let immutable_given = [is_given("fetch.immutable"), is_given("prefetch.immutable")];
    let is_on = settings.stack.is_on;
    let (fetch, cache, prefetch) = (&mut settings.fetch, &mut settings.cache, &mut settings.prefetch);
    // A stack with a profile of its own measures for itself.
    let host = backend.host.filter(|_| fetch.profile.is_none());
    let profile = fetch.profile.get_or_insert(backend.profile);
    if let Some(host) = host {
        fetch.link.get_or_insert_with(|| shared_links::link_to(&host, profile));
    }
    prefetch.pin.get_or_insert(profile.pin);
    prefetch.min_part_bytes.get_or_insert(profile.min_part_bytes);
    prefetch.max_part_bytes.get_or_insert(profile.max_part_bytes);
    cache.pin.get_or_insert(profile.pin);
    // `cache.freshness=immutable` holds for all layers.
    let never_change = cache.freshness == Freshness::Immutable;
    fetch.immutable |= never_change && !immutable_given[0];
    prefetch.immutable |= never_change && !immutable_given[1];
    // Calls without a handle get bytes no older than the cache allows.
    match cache.freshness {
        Freshness::Ttl(ttl) if is_on.cache => prefetch.max_age = prefetch.max_age.min(ttl),
        Freshness::EveryRead if is_on.cache => prefetch.max_age = Duration::ZERO,
        _ => {}
    }
    for shared in [&mut fetch.budget, &mut cache.budget, &mut prefetch.budget] {
        shared.get_or_insert_with(|| Arc::clone(&budget));
    }

    let mut store = backend.store;
    let fetching = FetchStore::new(Arc::clone(&store), fetch.clone())?;
    if is_on.fetch {
        store = Arc::new(fetching.clone());
        cache.link.get_or_insert_with(|| fetching.link());
        prefetch.link.get_or_insert_with(|| fetching.link());
    }
    let mut caching = None;
    if is_on.cache && !backend.is_local {
        let layer = CacheStore::new(store, cache.clone());
        let layer = Arc::new(layer.map_err(|error| precedence::renamed(error, |key| format!("cache.{key}")))?);
        store = Arc::clone(&layer) as _;
        caching = Some(layer);
    }
    // Readers always go through this store. Without read-ahead they fetch what they are asked for.
    let max_prefetch_bytes = if is_on.prefetch { prefetch.max_prefetch_bytes } else { 0 };
    let prefetching =
        PrefetchStore::new(Arc::clone(&store), PrefetchConfig { max_prefetch_bytes, ..prefetch.clone() })?;
    if is_on.prefetch && !backend.is_local {
        store = Arc::new(prefetching.clone());
    }
    let (sections, given) = settings.sections();
    Ok(Headstart {
        store,
        fetching,
        fetch_is_on: is_on.fetch,
        caching,
        prefetching,
        budget,
        url,
        path: backend.path,
        generation: backend.generation,
        effective: given.effective(&sections),
    })
}
