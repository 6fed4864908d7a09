//! The interface of a system: opening and reading objects.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use headstart_sim::SimStore;
use object_store::ObjectStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A system, as one process uses it.
#[async_trait]
pub trait ReadSource: Send + Sync + 'static {
    /// Opens an object of `size` bytes.
    async fn open(&self, key: &str, size: u64) -> Result<Box<dyn Handle>>;

    /// The store for calls of a recorded trace; `None` if the system is not a store.
    fn store(&self) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    /// Whether `error` reports that the object changed.
    fn is_change_error(&self, error: &anyhow::Error) -> bool {
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<object_store::Error>())
            .any(|error| matches!(error, object_store::Error::Precondition { .. }))
    }
}

/// An open object; closed when it is dropped.
#[async_trait]
pub trait Handle: Send {
    /// Reads `range`, which lies within the object; returns its bytes in pieces.
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>>;
}

/// Overwrites objects during a run.
#[async_trait]
pub trait Overwriter: Send + Sync + 'static {
    /// Writes a new version of the object, of the same size; returns its number.
    async fn overwrite(&self, key: &str) -> Result<u64>;
}

/// Overwrites objects of a simulated store in this process.
pub struct LocalOverwriter(pub SimStore);

#[async_trait]
impl Overwriter for LocalOverwriter {
    async fn overwrite(&self, key: &str) -> Result<u64> {
        Ok(self.0.overwrite(key, None)?.number)
    }
}

/// Overwrites objects of a simulated server by its `/_sim/overwrite`. Keys must not need escaping.
pub struct HttpOverwriter {
    /// The server's address, such as `http://127.0.0.1:1234`.
    pub endpoint: String,
}

#[async_trait]
impl Overwriter for HttpOverwriter {
    async fn overwrite(&self, key: &str) -> Result<u64> {
        let address = self.endpoint.strip_prefix("http://").context("the server speaks plain HTTP")?;
        let mut stream = TcpStream::connect(address).await.context("the server is gone")?;
        let request = format!(
            "POST /_sim/overwrite?key={key} HTTP/1.1\r\nHost: {address}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
        body.trim().parse().with_context(|| format!("the server did not overwrite {key}: {answer}"))
    }
}
