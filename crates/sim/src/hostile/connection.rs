//! Serves a connection: reads requests and writes the answers of the script.

use std::io;
use std::sync::{Arc, atomic::Ordering};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{AskedRequest, BodyStep, HostileServer, Reply, ServedConnections};

/// The most headers that a request may have.
const MAX_HEADERS: usize = 64;

/// Size of the buffer in which the object's bytes are generated and sent.
const PIECE_BYTES: u64 = 256 * 1024;

impl HostileServer {
    /// Serves a connection until either side closes it.
    pub(super) async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let _permit = match self.served {
            ServedConnections::All => None,
            ServedConnections::OneAtATime => self.one_at_a_time.acquire().await.ok(),
            ServedConnections::None => return,
        };
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        // The only errors are a client that has disconnected, or one that does not speak HTTP.
        let _ = self.exchange(connection, stream).await;
    }

    async fn exchange(&self, connection: usize, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut received = BytesMut::new();
        while let Some(mut asked) = next_request(&mut received, &mut stream).await? {
            asked.connection = connection;
            {
                let mut requests = self.requests.lock();
                asked.number = requests.len();
                requests.push(asked.clone());
            }
            let reply = (self.script)(&asked, Reply::to(&self.object, &asked));
            let Some(after) = reply.after else { return std::future::pending().await };
            tokio::time::sleep(after).await;
            if !self.answer(&mut stream, &asked, reply).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends `reply`; returns false where the connection is to be closed.
    async fn answer(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        asked: &AskedRequest,
        reply: Reply,
    ) -> io::Result<bool> {
        match &reply.garbage {
            Some(garbage) => stream.write_all(garbage).await?,
            None => {
                let headers: String =
                    reply.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                stream.write_all(format!("HTTP/1.1 {} Answer\r\n{headers}\r\n", reply.status).as_bytes()).await?;
            }
        }
        stream.flush().await?;
        let steps = if asked.is_head() || matches!(reply.status, 204 | 304) { Vec::new() } else { reply.body };
        let chunked = reply.chunked && !asked.is_head();
        for step in steps {
            match step {
                BodyStep::Object(range) => {
                    let mut at = range.start;
                    while at < range.end {
                        let end = range.end.min(at + PIECE_BYTES);
                        send(stream, &self.object.content().bytes(at..end), chunked).await?;
                        at = end;
                    }
                }
                BodyStep::Bytes(bytes) => send(stream, &bytes, chunked).await?,
                BodyStep::Pause(pause) => tokio::time::sleep(pause).await,
                BodyStep::Close => return Ok(false),
                BodyStep::Endless => loop {
                    send(stream, &[b'x'; 4096], chunked).await?;
                    tokio::task::yield_now().await;
                },
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").await?;
            stream.flush().await?;
        }
        Ok(!reply.closes)
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], chunked: bool) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    if chunked {
        stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    }
    stream.write_all(bytes).await?;
    if chunked {
        stream.write_all(b"\r\n").await?;
    }
    stream.flush().await
}

/// Reads the next request and discards its body; returns `None` once the client has closed the connection.
async fn next_request(buf: &mut BytesMut, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<AskedRequest>> {
    loop {
        if let Some((asked, head_bytes)) = parse(buf)? {
            let body_bytes = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if buf.len() - head_bytes >= body_bytes {
                buf.advance(head_bytes + body_bytes);
                return Ok(Some(asked));
            }
        }
        if stream.read_buf(buf).await? == 0 {
            return Ok(None);
        }
    }
}

/// Parses the request at the start of `received` and returns the length of its head; `None` while the head is
/// incomplete.
fn parse(received: &BytesMut) -> io::Result<Option<(AskedRequest, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(received).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let httparse::Status::Complete(head_bytes) = status else { return Ok(None) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = request.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value)));
    let asked = AskedRequest {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers: headers.collect(),
        number: 0,
        connection: 0,
    };
    Ok(Some((asked, head_bytes)))
}
