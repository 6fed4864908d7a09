//! Accepts connections at an address or a Unix socket.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::failure::{Failure, FailureKind};
use crate::policy::served_name::ListenAddress;

/// A connection of a client.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// How long to wait where the system has no file descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come in.
pub(super) enum Listener {
    Tcp {
        listener: TcpListener,
        address: SocketAddr,
        /// Whether its clients speak TLS.
        has_tls: bool,
    },
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, SocketFile),
}

/// The file of a Unix socket, removed when it is dropped.
#[cfg(unix)]
pub(super) struct SocketFile(PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody can be told.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Begins to listen. Whether its clients speak TLS matters for the URL alone.
    ///
    /// # Errors
    /// The address is in use, or this system has no Unix sockets.
    pub(super) async fn bind(address: &ListenAddress, has_tls: bool) -> Result<Self, Failure> {
        match address {
            ListenAddress::Tcp(address) => {
                let failed = |error| cannot_listen(&address.to_string(), &error);
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                Ok(Self::Tcp { listener, address, has_tls })
            }
            ListenAddress::Unix(path) => Self::bind_unix(path.clone()),
        }
    }

    #[cfg(unix)]
    fn bind_unix(path: PathBuf) -> Result<Self, Failure> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        let failed = |error: io::Error| cannot_listen(&path.display().to_string(), &error);
        let is_socket = std::fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket && std::os::unix::net::UnixStream::connect(&path).is_err() {
            // Left behind by a process that was killed.
            std::fs::remove_file(&path).map_err(failed)?;
        }
        let listener = tokio::net::UnixListener::bind(&path).map_err(failed)?;
        let file = SocketFile(path.clone());
        // Other users of this machine are kept out.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self::Unix(listener, file))
    }

    #[cfg(not(unix))]
    fn bind_unix(_: PathBuf) -> Result<Self, Failure> {
        Err(Failure::usage("This system has no Unix sockets. Listen at 127.0.0.1:PORT."))
    }

    /// The URL of the address, or `unix:PATH`.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Tcp { address, has_tls: false, .. } => format!("http://{address}"),
            Self::Tcp { address, has_tls: true, .. } => format!("https://{address}"),
            #[cfg(unix)]
            Self::Unix(_, SocketFile(path)) => format!("unix:{}", path.display()),
        }
    }

    /// Whether it is an address, and not a file.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// Whether only programs and web pages of this machine reach it.
    pub(super) fn is_loopback(&self) -> bool {
        matches!(self, Self::Tcp { address, .. } if address.ip().is_loopback())
    }

    /// The next connection. Goes on where one fails.
    ///
    /// # Cancel safety
    /// Cancel safe: no connection is lost.
    pub(super) async fn accept(&self) -> Box<dyn ByteStream> {
        loop {
            let accepted: io::Result<Box<dyn ByteStream>> = match self {
                Self::Tcp { listener, .. } => listener.accept().await.map(|(stream, _)| {
                    // The answers of small reads wait for nothing.
                    let _ = stream.set_nodelay(true);
                    Box::new(stream) as Box<dyn ByteStream>
                }),
                #[cfg(unix)]
                Self::Unix(listener, _) => {
                    listener.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn ByteStream>)
                }
            };
            match accepted {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

fn cannot_listen(at: &str, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "Another program listens there: choose another address.",
        _ => "Choose another address.",
    };
    Failure::new(FailureKind::Other, format!("Cannot listen at {at}: {error}. {advice}"))
}
