//! A link on loopback between the command and a server: it counts bytes, and slows them down when it is told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Duration;

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A listener that passes connections on. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct CountedLink {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes from the server.
    down_bytes: AtomicU64,
    /// Bytes to the server.
    up_bytes: AtomicU64,
    /// Bytes per second of all connections together; 0 for no limit.
    bytes_per_s: AtomicU64,
    /// Held for as long as a chunk takes.
    turn: Mutex<()>,
}

impl CountedLink {
    /// Listens at a free port of loopback, and leads to the server at `url`.
    pub(super) async fn start(url: &str) -> Result<Self> {
        let server = url.strip_prefix("http://").context("not an http:// URL")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::<Shared>::default();
        let of_connections = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, shared) = (server.clone(), of_connections.clone());
                tokio::spawn(async move {
                    // An error closes both connections, as a link that breaks does.
                    let _ = pass_on(client, &server, &shared).await;
                });
            }
        });
        Ok(Self { url, shared, task })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sets the rate of all connections together; 0 for no limit.
    pub(super) fn set_bytes_per_s(&self, rate: u64) {
        self.shared.bytes_per_s.store(rate, Relaxed);
    }

    /// Bytes that the server has sent.
    pub(super) fn down_bytes(&self) -> u64 {
        self.shared.down_bytes.load(Relaxed)
    }

    /// Bytes that the server was sent.
    pub(super) fn up_bytes(&self) -> u64 {
        self.shared.up_bytes.load(Relaxed)
    }
}

impl Drop for CountedLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(client: TcpStream, server: &str, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let up = forward(from_client, to_server, shared, &shared.up_bytes);
    let down = forward(from_server, to_client, shared, &shared.down_bytes);
    tokio::try_join!(up, down).map(|((), ())| ())
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let rate = shared.bytes_per_s.load(Relaxed);
        if rate > 0 {
            let _turn = shared.turn.lock().await;
            tokio::time::sleep(Duration::from_secs_f64(read as f64 / rate as f64)).await;
        }
        counter.fetch_add(read as u64, Relaxed);
        to.write_all(&chunk[..read]).await?;
    }
}
