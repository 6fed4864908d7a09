//! `object_store`'s own suite over every backend, bare, through each layer alone, and stacked: one test for each pair.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use headstart::{BackendProfile, CacheConfig, FetchConfig, Freshness, Headstart, PrefetchConfig};
use headstart_cache::CacheStore;
use headstart_fetch_core::{FetchStore, PinBy};
use headstart_gcs_backend::{GcsBackend, GcsConfig};
use headstart_prefetch::PrefetchStore;
use headstart_s3_backend::{S3Backend, S3Config};
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{Error, ObjectStore, ObjectStoreExt, integration};

type Store = Arc<dyn ObjectStore>;

/// What the suite has to know of a backend.
#[derive(Debug, Clone, Copy)]
struct Backend {
    kind: Kind,
    /// Whether a put may be conditional on a version. Local files have nothing of the kind.
    updates: bool,
    pin: PinBy,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Memory,
    Local,
    Server(Dialect),
}

const MEMORY: Backend = Backend { kind: Kind::Memory, updates: true, pin: PinBy::ETag };
const LOCAL: Backend = Backend { kind: Kind::Local, updates: false, pin: PinBy::Unpinned };
const GCS: Backend = Backend { kind: Kind::Server(Dialect::Gcs), pin: PinBy::Version, ..MEMORY };
const S3: Backend = Backend { kind: Kind::Server(Dialect::S3), ..MEMORY };

/// Keeps a backend alive.
#[derive(Debug)]
#[expect(dead_code, reason = "dropping it is its use")]
enum Alive {
    Nothing,
    Folder(tempfile::TempDir),
    Server(SimServerHandle),
}

impl Backend {
    /// An empty store.
    fn open(self) -> (Store, Alive) {
        match self.kind {
            Kind::Memory => (Arc::new(InMemory::new()), Alive::Nothing),
            Kind::Local => {
                let folder = tempfile::tempdir().unwrap();
                (Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()), Alive::Folder(folder))
            }
            Kind::Server(dialect) => {
                let server = SimServer::start(SimServerConfig { dialect, ..SimServerConfig::default() }).unwrap();
                let endpoint = [("endpoint", server.url())];
                let store = match dialect {
                    Dialect::Gcs => {
                        let config = GcsConfig::resolve(endpoint, |_| None).unwrap();
                        GcsBackend::open(Some(&"gs://bucket".parse().unwrap()), config).unwrap().store()
                    }
                    Dialect::S3 => {
                        // S3 itself has no other way to copy only where nothing is yet.
                        let environment = [
                            ("AWS_COPY_IF_NOT_EXISTS", "multipart"),
                            ("AWS_ACCESS_KEY_ID", "any"),
                            ("AWS_SECRET_ACCESS_KEY", "any"),
                        ];
                        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
                        let config = S3Config::resolve(endpoint, environment).unwrap();
                        S3Backend::open(&"s3://bucket".parse().unwrap(), config).unwrap().store()
                    }
                };
                (store, Alive::Server(server))
            }
        }
    }

    /// Parts so small that nearly every read is split; larger ones for the objects of 15 MiB and more.
    fn splitting(self, large: bool) -> FetchConfig {
        let part_bytes = if large { 256 * 1024 } else { 4 };
        let profile = BackendProfile {
            ttfb: Duration::from_millis(1),
            stream_bytes_per_s: 1e3,
            aggregate_bytes_per_s: 1e9,
            min_part_bytes: part_bytes,
            max_part_bytes: part_bytes,
            pin: self.pin,
            ..BackendProfile::default()
        };
        FetchConfig { profile, ..FetchConfig::default() }
    }
}

/// How a store is wrapped.
#[derive(Debug, Clone, Copy)]
enum Stack {
    Bare,
    Fetch,
    Cache,
    CacheEveryRead,
    Prefetch,
    /// The facade's order, every layer on.
    All,
    /// The facade with everything off.
    Nothing,
    /// The other way round.
    Reversed,
}

impl Stack {
    async fn over(self, store: Store, backend: Backend, large: bool) -> Store {
        let fetch = backend.splitting(large);
        let cache = CacheConfig { pin: backend.pin, ..CacheConfig::default() };
        let prefetch = PrefetchConfig { pin: backend.pin, start_after: 1, ..PrefetchConfig::default() };
        match self {
            Self::Bare => store,
            Self::Fetch => Arc::new(FetchStore::new(store, fetch)),
            Self::Cache => Arc::new(CacheStore::new(store, cache).unwrap()),
            Self::CacheEveryRead => {
                let config = CacheConfig { freshness: Freshness::EveryRead, ..cache };
                Arc::new(CacheStore::new(store, config).unwrap())
            }
            Self::Prefetch => Arc::new(PrefetchStore::new(store, prefetch)),
            Self::All => {
                let builder = Headstart::builder().environment([]).store(store);
                Arc::new(builder.fetch(fetch).cache(cache).prefetch(prefetch).build().await.unwrap())
            }
            Self::Nothing => {
                let builder = Headstart::builder().environment([]).store(store);
                Arc::new(builder.option("mode", "none").build().await.unwrap())
            }
            Self::Reversed => {
                let store = Arc::new(PrefetchStore::new(store, prefetch));
                let store = Arc::new(CacheStore::new(store, cache).unwrap());
                Arc::new(FetchStore::new(store, fetch))
            }
        }
    }
}

/// A function of the suite: its name, whether its objects are large, and how it is called.
type Function = (&'static str, bool, fn(Store, Backend) -> BoxFuture<'static, ()>);

macro_rules! functions {
    ($($name:ident $large:literal |$store:ident, $backend:ident| $call:expr;)*) => {
        &[$((stringify!($name), $large, |$store: Store, $backend: Backend| {
            async move { let $store = &*$store; $call; let _ = $backend; }.boxed()
        })),*]
    };
}

/// The functions of the suite that take a `dyn ObjectStore`, all of them.
const SUITE: &[Function] = functions! {
    put_get_delete_list false |store, backend| integration::put_get_delete_list(store).await;
    put_get_attributes false |store, backend| integration::put_get_attributes(store).await;
    get_opts false |store, backend| integration::get_opts(store).await;
    put_opts false |store, backend| integration::put_opts(store, backend.updates).await;
    stream_get true |store, backend| integration::stream_get(store).await;
    list_uses_directories_correctly false |store, backend| integration::list_uses_directories_correctly(store).await;
    list_with_delimiter false |store, backend| integration::list_with_delimiter(store).await;
    get_nonexistent_object false |store, backend| {
        let error = integration::get_nonexistent_object(store, None).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    };
    rename_and_copy false |store, backend| integration::rename_and_copy(store).await;
    copy_if_not_exists false |store, backend| integration::copy_if_not_exists(store).await;
    copy_rename_nonexistent_object false |store, backend| integration::copy_rename_nonexistent_object(store).await;
    multipart_race_condition true |store, backend| {
        integration::multipart_race_condition(store, true).await;
    };
    multipart_out_of_order true |store, backend| integration::multipart_out_of_order(store).await;
    list_with_offset_exclusivity false |store, backend| integration::list_with_offset_exclusivity(store).await;
};

/// Runs the whole suite, each function on a store of its own, and names those that fail.
async fn conforms(backend: Backend, stack: Stack) {
    assert_eq!(SUITE.len(), 14);
    let mut failed = Vec::new();
    for (name, large, function) in SUITE {
        let (store, _alive) = backend.open();
        let store = stack.over(store, backend, *large).await;
        if tokio::spawn(function(store, backend)).await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{backend:?} {stack:?} fails {failed:?}");
}

macro_rules! conformance {
    ($($module:ident = $backend:ident: $($name:ident = $stack:ident),*;)*) => {$(
        mod $module {
            $(
                #[tokio::test]
                async fn $name() {
                    super::conforms(super::$backend, super::Stack::$stack).await;
                }
            )*
        }
    )*};
}

conformance! {
    memory = MEMORY: bare = Bare, fetch = Fetch, cache = Cache, cache_every_read = CacheEveryRead, prefetch = Prefetch,
        all = All, nothing = Nothing, reversed = Reversed;
    local = LOCAL: bare = Bare, fetch = Fetch, cache = Cache, cache_every_read = CacheEveryRead, prefetch = Prefetch,
        all = All, nothing = Nothing, reversed = Reversed;
    gcs = GCS: bare = Bare, fetch = Fetch, cache = Cache, cache_every_read = CacheEveryRead, prefetch = Prefetch,
        all = All, nothing = Nothing, reversed = Reversed;
    s3 = S3: bare = Bare, fetch = Fetch, cache = Cache, cache_every_read = CacheEveryRead, prefetch = Prefetch,
        all = All, nothing = Nothing, reversed = Reversed;
}

/// The parts are as small as this file believes: a suite that splits nothing would prove nothing.
#[tokio::test]
async fn small_objects_are_split() {
    let store = FetchStore::new(Arc::new(InMemory::new()), MEMORY.splitting(false));
    store.put(&"key".into(), vec![1; 100].into()).await.unwrap();
    assert_eq!(store.get_range(&"key".into(), 0..100).await.unwrap().len(), 100);
    assert!(store.stats().gets() >= 10, "{:?}", store.stats());
}
