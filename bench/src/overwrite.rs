//! Somebody else, who overwrites objects: of a simulated store in this process, or behind HTTP.

use anyhow::{Context, Result};
use async_trait::async_trait;
use headstart_sim::SimStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::source::Overwriter;

/// In this process.
pub struct LocalOverwriter(pub SimStore);

#[async_trait]
impl Overwriter for LocalOverwriter {
    async fn overwrite(&self, key: &str) -> Result<u64> {
        Ok(self.0.overwrite(key, None)?.number)
    }
}

/// Behind HTTP: the simulated server's `/_sim/overwrite`, whose keys need no escapes.
pub struct HttpOverwriter {
    /// Where the server listens, as `http://127.0.0.1:1234`.
    pub endpoint: String,
}

#[async_trait]
impl Overwriter for HttpOverwriter {
    async fn overwrite(&self, key: &str) -> Result<u64> {
        let address = self.endpoint.strip_prefix("http://").context("the server speaks plain HTTP")?;
        let mut stream = TcpStream::connect(address).await.context("the server is gone")?;
        let request = format!(
            "POST /_sim/overwrite?key={key} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
        body.trim().parse().with_context(|| format!("the server did not overwrite {key}: {answer}"))
    }
}
