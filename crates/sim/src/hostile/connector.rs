//! An `HttpConnector` for servers in the same process: hyper over an in-memory pipe, on tokio's clock.
//!
//! Under a paused clock all delays and timeouts are exact and take no wall time. Like `object_store`'s default
//! connector, it reuses connections, follows redirects, and fails a request after 30 s without data.

use std::task::{Context, Poll};
use std::{error::Error, fmt, io, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt};
use futures::stream;
use http::{Method, Uri, header::LOCATION};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, rt::ReadBufCursor};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use tokio::{io::DuplexStream, time::timeout};

use super::{HostileServer, ServedConnections};

/// Capacity of a connection's buffers.
const PIPE_BYTES: usize = 64 * 1024;

/// The longest time without data within a request.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The most redirects that the client follows, as in reqwest.
const MAX_REDIRECTS: usize = 10;

/// Connects every URL to one server.
#[derive(Debug, Clone)]
pub struct InMemoryConnector {
    server: Arc<HostileServer>,
}

impl InMemoryConnector {
    /// A connector to `server`.
    pub fn new(server: Arc<HostileServer>) -> Self {
        Self { server }
    }
}

impl HttpConnector for InMemoryConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(Dial(Arc::clone(&self.server)));
        Ok(HttpClient::new(InMemoryClient(client)))
    }
}

/// Opens connections for hyper's client.
#[derive(Clone)]
struct Dial(Arc<HostileServer>);

impl tower_service::Service<Uri> for Dial {
    type Response = Pipe;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Pipe>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let server = Arc::clone(&self.0);
        async move {
            if server.served == ServedConnections::None {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(server.serve(theirs));
            Ok(Pipe(TokioIo::new(ours)))
        }
        .boxed()
    }
}

/// The client's end of a connection.
struct Pipe(TokioIo<DuplexStream>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct InMemoryClient(Client<Dial, HttpRequestBody>);

impl fmt::Debug for InMemoryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemoryClient")
    }
}

#[async_trait]
impl HttpService for InMemoryClient {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        for _ in 0..=MAX_REDIRECTS {
            let answered = timeout(READ_TIMEOUT, self.0.request(request.clone())).await;
            let answer =
                answered.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?.map_err(client_error)?;
            match redirected(&request, &answer) {
                Some(uri) => *request.uri_mut() = uri,
                None => return Ok(answer.map(timed)),
            }
        }
        Err(HttpError::new(HttpErrorKind::Unknown, io::Error::other("too many redirects")))
    }
}

/// The target of a redirect of a read.
fn redirected(request: &HttpRequest, answer: &http::Response<Incoming>) -> Option<Uri> {
    let is_redirect = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    if !is_redirect || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    if location.starts_with('/') {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(location.parse().ok()?);
        return Uri::from_parts(parts).ok();
    }
    location.parse().ok()
}

/// The body, which fails after [`READ_TIMEOUT`] without data.
fn timed(body: Incoming) -> HttpResponseBody {
    let frames = stream::try_unfold(body, |mut body| async {
        let late = |_| HttpError::new(HttpErrorKind::Timeout, io::Error::from(io::ErrorKind::TimedOut));
        let frame = timeout(READ_TIMEOUT, body.frame()).await.map_err(late)?;
        Ok(frame.transpose().map_err(http_error)?.map(|frame| (frame, body)))
    });
    HttpResponseBody::new(StreamBody::new(frames))
}

fn client_error(error: ClientError) -> HttpError {
    if error.is_connect() { HttpError::new(HttpErrorKind::Connect, error) } else { http_error(error) }
}

/// Converts an error as `object_store` does: the first of its sources with a kind decides the kind.
fn http_error(error: impl Error + Send + Sync + 'static) -> HttpError {
    let kind =
        std::iter::successors(Some(&error as &(dyn Error + 'static)), |cause| (*cause).source()).find_map(kind_of);
    HttpError::new(kind.unwrap_or(HttpErrorKind::Unknown), error)
}

fn kind_of(cause: &(dyn Error + 'static)) -> Option<HttpErrorKind> {
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        if error.is_closed() || error.is_incomplete_message() || error.is_body_write_aborted() {
            return Some(HttpErrorKind::Request);
        }
        if error.is_timeout() {
            return Some(HttpErrorKind::Timeout);
        }
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::TimedOut => Some(HttpErrorKind::Timeout),
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(HttpErrorKind::Interrupted),
        _ => None,
    }
}
