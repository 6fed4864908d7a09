//! `SimServer`: a bucket of the simulated cloud behind real HTTP on 127.0.0.1.
//!
//! One thread with its own runtime serves all connections. `request` parses requests, `bucket` executes them, and
//! `exchange` delays and paces the answers with the same model as [`SimStore`](crate::SimStore).
//!
//! Each dialect supports the requests of `object_store`'s clients, with any credentials. The S3 client copies without
//! overwriting only if it is configured to: `S3CopyIfNotExists::Multipart`, as with S3 itself, or
//! `Header("if-none-match", "*")`. Conditional writes work with its default.
//!
//! The GCS dialect also has the reading part of the JSON API, for gcsfs and OpenDAL: paths that begin with
//! `/storage/v1/b/` or `/download/storage/v1/b/` (`json_api`). An object's resource is logged and delayed as a HEAD,
//! its bytes as a GET. Writes are refused.
//!
//! With the feature `tls` and a `TlsIdentity` in the configuration the server speaks TLS.
//!
//! Another process reads the log and changes objects through `/_sim/`, neither delayed nor logged:
//!
//! - `GET /_sim/log`: the `RequestCounts` as JSON. `GET /_sim/requests`: every `RequestRecord` as JSON.
//! - `POST /_sim/reset`: clears the log.
//! - `POST /_sim/overwrite?key=…[&size=…]`: writes a new synthetic generation, by default of the same size, and answers
//!   with its number.

mod bucket;
mod exchange;
mod json;
mod json_api;
mod reply;
mod request;
#[cfg(feature = "tls")]
mod tls;
mod xml;

use std::net::{Ipv4Addr, TcpListener};
use std::{convert::Infallible, io, sync::Arc, thread::JoinHandle};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

pub use bucket::Dialect;
#[cfg(feature = "tls")]
pub use tls::TlsIdentity;

use crate::cloud::{SimCloud, catalog::Catalog, log::RequestLog};
use crate::policy::{faults::FaultPlan, profile::LinkProfile};
use bucket::ServedBucket;
use exchange::{ClientConnection, ServerShared};

/// Configuration of a [`SimServer`].
#[derive(Debug, Clone)]
pub struct SimServerConfig {
    /// The link between the clients and the bucket. Default: `loopback`.
    pub profile: LinkProfile,
    /// The protocol. Default: [`Dialect::Gcs`].
    pub dialect: Dialect,
    /// Name of the bucket. Default: `bucket`.
    pub bucket: String,
    /// Whether older versions can still be read. Default: yes.
    pub versioned: bool,
    /// The faults. Default: none.
    pub faults: FaultPlan,
    /// Seed of the variation of first-byte times. Default: 0.
    pub seed: u64,
    /// The port to listen on; 0 picks a free port. Default: 0.
    pub port: u16,
    /// The TLS certificate. Default: none, plain HTTP.
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

/// A running server. Dropping the handle stops the server and closes its connections.
#[derive(Debug)]
pub struct SimServerHandle {
    url: String,
    shared: Arc<ServerShared>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl SimServer {
    /// Starts a server on a new thread.
    ///
    /// # Errors
    /// The port is in use, the bucket has a reserved name, or the thread or its runtime cannot be created.
    pub fn start(config: SimServerConfig) -> io::Result<SimServerHandle> {
        if config.dialect == Dialect::Gcs && json_api::RESERVED.contains(&config.bucket.as_str()) {
            let why = format!("the bucket name '{}' is reserved for the JSON API", config.bucket);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port))?;
        listener.set_nonblocking(true)?;
        let transport = Transport::of(&config);
        let url = format!("{}://{}", transport.scheme(), listener.local_addr()?);
        // A task copies many bytes per poll. With the default interval of 61 polls, timers would fire late.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(7).build()?;
        let cloud = {
            // Uses the clock of this runtime, since the caller's may be paused.
            let _inside = runtime.enter();
            SimCloud::new(config.profile, config.versioned, config.faults, 0, config.seed)
        };
        let catalog = Arc::clone(&cloud.catalog);
        let bucket = ServedBucket { name: config.bucket, url: url.clone(), dialect: config.dialect, catalog };
        let shared = Arc::new(ServerShared { cloud, bucket });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sim-server".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, serving, transport) => {
                        if let Err(error) = served { tracing::error!(%error, "the simulated server stopped"); }
                    }
                    _ = stopped => {}
                }
            });
        })?;
        Ok(SimServerHandle { url, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs a server as a process of its own: prints its URL as one line to stdout and serves until stdin is closed, so
    /// that the server does not outlive its parent process.
    ///
    /// # Errors
    /// As [`SimServer::start`], and errors of stdin.
    pub fn run_until_stdin_closes(config: SimServerConfig) -> io::Result<()> {
        let server = Self::start(config)?;
        println!("{}", server.url());
        io::copy(&mut io::stdin().lock(), &mut io::sink())?;
        Ok(())
    }
}

impl SimServerHandle {
    /// Base URL of the server, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The objects of the bucket.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.shared.cloud.catalog
    }

    /// The requests so far.
    #[must_use]
    pub fn log(&self) -> &Arc<RequestLog> {
        &self.shared.cloud.log
    }
}

impl Drop for SimServerHandle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error is a panic of the server, which has been printed already.
            let _ = thread.join();
        }
    }
}

/// Plain HTTP or TLS.
#[derive(Clone)]
enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

impl Transport {
    #[cfg(feature = "tls")]
    fn of(config: &SimServerConfig) -> Self {
        config.tls.as_ref().map_or(Self::Plain, |identity| Self::Tls(identity.acceptor()))
    }

    #[cfg(not(feature = "tls"))]
    fn of(_: &SimServerConfig) -> Self {
        Self::Plain
    }

    fn scheme(&self) -> &'static str {
        match self {
            Self::Plain => "http",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "https",
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<ServerShared>, transport: Transport) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The client has disconnected, or there are too many open files. The server goes on.
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            }
        };
        stream.set_nodelay(true)?;
        let (connection, transport) = (Arc::new(ClientConnection::new(&shared)), transport.clone());
        tokio::spawn(async move {
            match transport {
                Transport::Plain => answer(stream, connection).await,
                #[cfg(feature = "tls")]
                Transport::Tls(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => answer(stream, connection).await,
                    // For example, the client does not trust the certificate.
                    Err(error) => tracing::debug!(%error, "handshake"),
                },
            }
        });
    }
}

/// Answers the requests of one connection until it ends.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, connection: Arc<ClientConnection>) {
    let answer = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "connection");
    }
}
