//! The backends of the suite: stores of this process, the simulated cloud, and third-party servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use clap::ValueEnum;
use headstart::{BackendProfile, Headstart, HeadstartBuilder};
use headstart_fetch_core::PinBy;
use headstart_gcs_backend::{GcsBackend, GcsConfig};
use headstart_local_backend::LocalBackend;
use headstart_s3_backend::{S3Backend, S3Config};
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use object_store::{ObjectStore, memory::InMemory, prefix::PrefixStore};
use tempfile::TempDir;

use super::NativeWriteStore;
use crate::servers::{LinkShape, RunningServer, ServerKind};

pub(super) type Store = Arc<dyn ObjectStore>;

/// A kind of store, and the client that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Backend {
    /// `object_store`'s `InMemory`
    Memory,
    /// Local files
    Local,
    /// The simulated GCS
    SimGcs,
    /// The simulated S3
    SimS3,
    /// fake-gcs-server, by the GCS client
    FakeGcs,
    /// moto, by the S3 client
    MotoS3,
    /// moto, by the GCS client
    MotoGcs,
    /// hadro, by the GCS client
    HadroGcs,
    /// hadro, by the S3 client
    HadroS3,
    /// Azurite, by the Azure client
    Azurite,
}

impl Backend {
    /// The third-party server that the backend needs.
    pub(super) fn server(self) -> Option<ServerKind> {
        match self {
            Self::Memory | Self::Local | Self::SimGcs | Self::SimS3 => None,
            Self::FakeGcs => Some(ServerKind::FakeGcs),
            Self::MotoS3 | Self::MotoGcs => Some(ServerKind::Moto),
            Self::HadroGcs | Self::HadroS3 => Some(ServerKind::Hadro),
            Self::Azurite => Some(ServerKind::Azurite),
        }
    }

    /// The dialect of the simulated cloud that matches the backend.
    fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Memory | Self::Local | Self::Azurite => None,
            Self::SimGcs | Self::FakeGcs | Self::MotoGcs | Self::HadroGcs => Some(Dialect::Gcs),
            Self::SimS3 | Self::MotoS3 | Self::HadroS3 => Some(Dialect::S3),
        }
    }

    /// How versions are pinned: as by the adapters, unless the server has no generations.
    pub(super) fn pin(self) -> PinBy {
        match self {
            Self::Local => PinBy::Unpinned,
            Self::SimGcs | Self::FakeGcs => PinBy::Version,
            _ => PinBy::ETag,
        }
    }

    /// Whether clients can write. Other servers are written by an API of their own.
    pub(super) fn is_written_by_client(self) -> bool {
        !matches!(self.server(), Some(ServerKind::FakeGcs | ServerKind::Hadro))
    }

    /// Whether the client supports suffix ranges. Azure's API has none.
    pub(super) fn has_suffixes(self) -> bool {
        self != Self::Azurite
    }
}

display_as_argument!(Backend);

#[derive(Debug)]
pub(super) struct BackendServer {
    pub(super) backend: Backend,
    runs: HostedBy,
    buckets: AtomicUsize,
}

#[derive(Debug)]
enum HostedBy {
    Here,
    Sim,
    Third(Arc<RunningServer>),
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) store: Store,
    /// What the facade is built over.
    opens: FacadeInput,
    pub(super) profile: BackendProfile,
    /// Whether a request takes milliseconds of CPU time.
    pub(super) is_slow: bool,
    _alive: Alive,
}

#[derive(Debug)]
enum FacadeInput {
    /// The store that a URL opens below a `FetchStore`: for servers, a client without retries.
    Store(Store),
    /// A URL and the variables that it needs, for stores without an adapter.
    Url(String, Vec<(String, String)>),
}

#[derive(Debug)]
#[expect(dead_code, reason = "dropping it is its use")]
enum Alive {
    Nothing,
    Folder(TempDir),
    Sim(SimServerHandle),
}

impl BackendServer {
    pub(super) async fn start(backend: Backend) -> Result<Self> {
        let runs = match (backend.server(), backend.dialect()) {
            (Some(kind), _) => HostedBy::Third(Arc::new(RunningServer::start(kind, LinkShape::default()).await?)),
            (None, Some(_)) => HostedBy::Sim,
            (None, None) => HostedBy::Here,
        };
        Ok(Self { backend, runs, buckets: AtomicUsize::new(0) })
    }

    pub(super) async fn bucket(&self) -> Result<Bucket> {
        let dialect = self.backend.dialect();
        let (name, endpoint, alive) = match &self.runs {
            HostedBy::Here if self.backend == Backend::Local => {
                let folder = tempfile::tempdir().context("no room for a folder")?;
                // The store that a `file://` URL opens, with the folder as its root.
                let backend = LocalBackend::from_url(&format!("file://{}", folder.path().display()).parse()?)?;
                let store: Store = Arc::new(PrefixStore::new(backend.store(), backend.path().clone()));
                return Ok(Bucket::here(store, backend.profile(), Alive::Folder(folder)));
            }
            HostedBy::Here => {
                let profile = BackendProfile { pin: PinBy::ETag, ..BackendProfile::local() };
                return Ok(Bucket::here(Arc::new(InMemory::new()), profile, Alive::Nothing));
            }
            HostedBy::Sim => {
                let dialect = dialect.expect("the simulated cloud speaks one");
                let server = SimServer::start(SimServerConfig { dialect, ..SimServerConfig::default() })?;
                ("bucket".to_owned(), server.url().to_owned(), Alive::Sim(server))
            }
            HostedBy::Third(server) => {
                let name = format!("bucket{}", self.buckets.fetch_add(1, Ordering::Relaxed));
                server.make_bucket(&name).await?;
                (name, server.url(), Alive::Nothing)
            }
        };
        let is_slow = matches!(self.runs, HostedBy::Third(_));
        if let (Backend::Azurite, HostedBy::Third(server)) = (self.backend, &self.runs) {
            let (store, opens) = azure(&name, server)?;
            let profile = BackendProfile { pin: self.backend.pin(), ..BackendProfile::default() };
            return Ok(Bucket { store, opens, profile, is_slow, _alive: alive });
        }
        let (mut store, mut for_fetch, profile) = match dialect {
            Some(Dialect::S3) => s3(&name, &endpoint)?,
            _ => gcs(&name, &endpoint)?,
        };
        if let (HostedBy::Third(server), false) = (&self.runs, self.backend.is_written_by_client()) {
            let door = |store| Arc::new(NativeWriteStore::new(store, Arc::clone(server), name.clone())) as Store;
            (store, for_fetch) = (door(store), door(for_fetch));
        }
        let profile = BackendProfile { pin: self.backend.pin(), ..profile };
        Ok(Bucket { store, opens: FacadeInput::Store(for_fetch), profile, is_slow, _alive: alive })
    }
}

impl Bucket {
    fn here(store: Store, profile: BackendProfile, alive: Alive) -> Self {
        Self { opens: FacadeInput::Store(Arc::clone(&store)), store, profile, is_slow: false, _alive: alive }
    }

    /// A builder of the facade over the bucket, with fetching enabled.
    pub(super) fn headstart(&self) -> HeadstartBuilder {
        match &self.opens {
            FacadeInput::Store(store) => Headstart::builder().environment([]).store(Arc::clone(store)),
            FacadeInput::Url(url, variables) => Headstart::builder().environment(variables.clone()).url(url),
        }
    }
}

/// The client, the client for a `FetchStore`, and the profile.
type Clients = (Store, Store, BackendProfile);

fn gcs(bucket: &str, endpoint: &str) -> Result<Clients> {
    let config = GcsConfig::resolve([("endpoint", endpoint)], |_| None)?;
    let backend = GcsBackend::open(Some(&format!("gs://{bucket}").parse()?), config)?;
    Ok((backend.store(), backend.store_for_fetch(), backend.profile()))
}

fn s3(bucket: &str, endpoint: &str) -> Result<Clients> {
    // S3 has no other way to copy only if the target does not exist.
    let environment =
        [("AWS_COPY_IF_NOT_EXISTS", "multipart"), ("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")];
    let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let backend =
        S3Backend::open(&format!("s3://{bucket}").parse()?, S3Config::resolve([("endpoint", endpoint)], environment)?)?;
    Ok((backend.store(), backend.store_for_fetch(), backend.profile()))
}

fn azure(container: &str, server: &RunningServer) -> Result<(Store, FacadeInput)> {
    let read = server.how_to_read(container, "").into_iter().next().context("Azurite is read by no URL")?;
    let variables = read.variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok((Arc::new(server.azure_client(container)?), FacadeInput::Url(read.url, variables)))
}
