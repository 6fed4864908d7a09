//! `HostileServer`: an HTTP server with one object that violates HTTP, S3 or GCS as some real servers do.
//!
//! For each request a [`Script`] alters the answer of a correct server ([`Reply::to`]). [`behaviours`] is a table of
//! scripts, each from a report about a real server. Clients reach the server over TCP ([`HostileServer::listen`]) or
//! through an [`InMemoryConnector`], which makes delays exact and free under tokio's paused clock.
//!
//! ```
//! use std::sync::Arc;
//! use headstart_sim::hostile::{HostileObject, HostileServer, InMemoryConnector};
//! use object_store::{ObjectStoreExt, http::HttpBuilder};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let object = HostileObject::new("data.bin", 1000);
//! let server = HostileServer::new(object, |_, reply| reply.without("etag"));
//! let client = HttpBuilder::new()
//!     .with_url("http://server.test")
//!     .with_http_connector(InMemoryConnector::new(Arc::clone(&server)))
//!     .build()?;
//! assert_eq!(client.head(&"data.bin".into()).await?.e_tag, None);
//! assert_eq!(server.requests().len(), 1);
//! # Ok(())
//! # }
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::{fmt, io, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::policy::content::Content;

pub mod behaviours;
mod connection;
mod connector;
mod reply;
mod request;

pub use connector::InMemoryConnector;
pub use reply::{BodyStep, Reply};
pub use request::AskedRequest;

/// Alters the answer of a correct server to a request.
pub type Script = dyn Fn(&AskedRequest, Reply) -> Reply + Send + Sync;

/// Time from a request to its answer.
const LATENCY: Duration = Duration::from_millis(20);

/// The object of a server.
#[derive(Debug, Clone)]
pub struct HostileObject {
    /// Its key. The path of a request ends with it.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its entity tag, quotes included.
    pub e_tag: String,
    /// When it was last modified, in the format of the header.
    pub last_modified: String,
    /// Its generation or version id.
    pub version: String,
}

impl HostileObject {
    /// An object of `size` bytes with a modification date years ago.
    #[must_use]
    pub fn new(key: &str, size: u64) -> Self {
        Self {
            key: key.to_owned(),
            size,
            e_tag: "\"5d41402a\"".to_owned(),
            last_modified: "Wed, 21 Oct 2020 07:28:00 GMT".to_owned(),
            version: "1600000000000001".to_owned(),
        }
    }

    /// Its content.
    #[must_use]
    pub fn content(&self) -> Content {
        Content::new(&self.key, 1)
    }
}

/// The connections that a server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServedConnections {
    /// Every connection.
    #[default]
    All,
    /// One at a time: a connection waits until the client closes the one before.
    OneAtATime,
    /// None: every connection is refused.
    None,
}

/// A server whose script alters its answers.
pub struct HostileServer {
    object: HostileObject,
    script: Box<Script>,
    served: ServedConnections,
    one_at_a_time: Semaphore,
    connections: AtomicUsize,
    requests: Mutex<Vec<AskedRequest>>,
}

impl fmt::Debug for HostileServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostileServer").field("object", &self.object).finish_non_exhaustive()
    }
}

impl HostileServer {
    /// A server of `object` whose answers `script` alters.
    pub fn new(
        object: HostileObject,
        script: impl Fn(&AskedRequest, Reply) -> Reply + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::with_connections(object, ServedConnections::All, script)
    }

    /// The same, with a limit on connections.
    pub fn with_connections(
        object: HostileObject,
        served: ServedConnections,
        script: impl Fn(&AskedRequest, Reply) -> Reply + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            object,
            script: Box::new(script),
            served,
            one_at_a_time: Semaphore::new(1),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
        })
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> &HostileObject {
        &self.object
    }

    /// The requests so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<AskedRequest> {
        self.requests.lock().clone()
    }

    /// Number of requests so far.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.requests.lock().len()
    }

    /// Serves over TCP on 127.0.0.1 in the current runtime until the returned handle is dropped.
    ///
    /// # Errors
    /// The port cannot be bound.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn listen(self: &Arc<Self>) -> io::Result<Listening> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = Arc::clone(self);
        // Dropping a set aborts its tasks, which closes their connections.
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let server = Arc::clone(&server);
                connections.spawn(async move { server.serve(stream).await });
            }
        });
        Ok(Listening { address, _task: task })
    }
}

/// A listening server. Dropping the handle stops it.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Listening {
    /// Base URL of the server, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
