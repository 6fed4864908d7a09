//! `SimServer`: a bucket of the simulated cloud behind real HTTP on 127.0.0.1.
//!
//! One thread with a runtime of its own serves all connections. Requests are read in `request`, carried out in
//! `operations`, delayed and paced in `exchange`, on the same model as [`SimStore`](crate::SimStore).
//!
//! What is simulated of each dialect is what `object_store`'s clients use; any credentials do. For copies that must not
//! overwrite, its S3 client has to be told how: `S3CopyIfNotExists::Multipart`, as with S3 itself, or
//! `Header("if-none-match", "*")`. Conditional writes work with its default.
//!
//! The GCS dialect also has the reading half of the JSON API, for gcsfs and OpenDAL: the paths that begin with
//! `/storage/v1/b/` and `/download/storage/v1/b/` (`json_api`). An object's resource is logged and delayed as a HEAD, its
//! bytes as a GET. What writes there is refused.
//!
//! With the feature `tls`, a `TlsIdentity` in the configuration makes the server speak TLS.
//!
//! Another process reads the log and changes objects through `/_sim/`: `GET /_sim/log` (counts), `GET /_sim/requests`,
//! `POST /_sim/reset`, `POST /_sim/overwrite?key=…[&size=…]`.

mod bucket;
mod control;
mod dialect;
mod exchange;
mod json;
mod json_api;
mod reply;
mod request;
#[cfg(feature = "tls")]
mod tls;
mod xml;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

pub use dialect::Dialect;
#[cfg(feature = "tls")]
pub use tls::TlsIdentity;

use crate::cloud::SimCloud;
use crate::cloud::catalog::{Catalog, Versioning};
use crate::cloud::log::RequestLog;
use crate::policy::connections::Connections;
use crate::policy::faults::{FaultPlan, Faults};
use crate::policy::profile::LinkProfile;
use crate::policy::rng::Dice;
use bucket::ServedBucket;
use exchange::{ServedConnection, ServerShared};

/// What a server simulates.
#[derive(Debug, Clone)]
pub struct SimServerConfig {
    /// The link between the clients and the bucket. Default: `loopback`.
    pub profile: LinkProfile,
    /// The protocol. Default: [`Dialect::Gcs`].
    pub dialect: Dialect,
    /// The bucket's name. Default: `bucket`.
    pub bucket: String,
    /// Whether older versions stay readable. Default: yes.
    pub versioned: bool,
    /// What goes wrong. Default: nothing.
    pub faults: FaultPlan,
    /// Decides how first bytes vary, where they do. Default: 0.
    pub seed: u64,
    /// The port to listen on; 0 takes a free one. Default: 0.
    pub port: u16,
    /// What the server shows to clients over TLS. Default: none, plain HTTP.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsIdentity>,
}

impl Default for SimServerConfig {
    fn default() -> Self {
        Self {
            profile: LinkProfile::loopback(),
            dialect: Dialect::default(),
            bucket: "bucket".to_owned(),
            versioned: true,
            faults: FaultPlan::default(),
            seed: 0,
            port: 0,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// The server; see [`SimServer::start`].
#[derive(Debug)]
pub struct SimServer;

/// A running server, which stops, its connections with it, when this is dropped.
#[derive(Debug)]
pub struct SimServerHandle {
    url: String,
    service: Arc<ServerShared>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl SimServer {
    /// Listens, and serves on a thread of its own.
    ///
    /// # Errors
    /// Where the port is taken, the bucket's name is one that the dialect's paths begin with, or no thread can be had.
    pub fn start(config: SimServerConfig) -> io::Result<SimServerHandle> {
        if config.dialect == Dialect::Gcs && json_api::RESERVED.contains(&config.bucket.as_str()) {
            let why = format!("no bucket can be called '{}': paths of the JSON API begin so", config.bucket);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port))?;
        listener.set_nonblocking(true)?;
        let security = Transport::of(&config);
        let url = format!("{}://{}", security.scheme(), listener.local_addr()?);
        // A task copies many bytes at a time: with the usual 61 of them between two looks at timers and sockets, due
        // times would pass.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(7).build()?;
        let catalog = Arc::new(Catalog::new(if config.versioned { Versioning::Kept } else { Versioning::Off }));
        let (faults, dice) = (Faults::new(config.faults), Dice::new(config.seed));
        let cloud = {
            // The clock is this runtime's, even where the caller's is paused.
            let _inside = runtime.enter();
            SimCloud::new(config.profile, Arc::clone(&catalog), faults, Connections::default(), dice)
        };
        let bucket = ServedBucket { name: config.bucket, url: url.clone(), dialect: config.dialect, catalog };
        let service = Arc::new(ServerShared { cloud, bucket });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&service);
        let thread = std::thread::Builder::new().name("sim-server".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, serving, security) => {
                        if let Err(error) = served { tracing::error!(%error, "the simulated server stopped"); }
                    }
                    _ = stopped => {}
                }
            });
        })?;
        Ok(SimServerHandle { url, service, stop: Some(stop), thread: Some(thread) })
    }

    /// Serves as a process of its own: prints the server's URL as one line on stdout, then serves until stdin is closed,
    /// so that no server outlives whoever started it.
    ///
    /// # Errors
    /// As [`SimServer::start`], and where stdin or stdout cannot be used.
    pub fn run_until_stdin_closes(config: SimServerConfig) -> io::Result<()> {
        let server = Self::start(config)?;
        println!("{}", server.url());
        io::copy(&mut io::stdin().lock(), &mut io::sink())?;
        Ok(())
    }
}

impl SimServerHandle {
    /// Where the server listens, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is in the bucket.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.service.cloud.catalog
    }

    /// What was asked of the server.
    #[must_use]
    pub fn log(&self) -> &Arc<RequestLog> {
        &self.service.cloud.log
    }
}

impl Drop for SimServerHandle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed already.
            let _ = thread.join();
        }
    }
}

/// Whether connections are in the clear or over TLS.
#[derive(Clone)]
enum Transport {
    Clear,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

impl Transport {
    #[cfg(feature = "tls")]
    fn of(config: &SimServerConfig) -> Self {
        config.tls.as_ref().map_or(Self::Clear, |identity| Self::Tls(identity.acceptor()))
    }

    #[cfg(not(feature = "tls"))]
    fn of(_: &SimServerConfig) -> Self {
        Self::Clear
    }

    fn scheme(&self) -> &'static str {
        match self {
            Self::Clear => "http",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "https",
        }
    }
}

async fn serve(listener: TcpListener, service: Arc<ServerShared>, security: Transport) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // A client that is gone already, or too many open files: neither is the end of the server.
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            }
        };
        stream.set_nodelay(true)?;
        let (connection, security) = (Arc::new(ServedConnection::new(&service)), security.clone());
        tokio::spawn(async move {
            match security {
                Transport::Clear => answer(stream, connection).await,
                #[cfg(feature = "tls")]
                Transport::Tls(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => answer(stream, connection).await,
                    // A client that does not trust the certificate says so.
                    Err(error) => tracing::debug!(%error, "handshake"),
                },
            }
        });
    }
}

/// Answers the requests of one connection until it ends.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, connection: Arc<ServedConnection>) {
    let answer = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "connection");
    }
}
