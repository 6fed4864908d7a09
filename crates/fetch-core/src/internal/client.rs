//! Parts of an HTTP client for adapters whose reads are retried here, not in `object_store` (feature `client`).
//!
//! The clients of `object_store` retry by themselves: they ignore `Retry-After`, hide the status, and resume bodies
//! silently. An adapter for a [`FetchStore`](crate::FetchStore) builds two clients, one for reads, with
//! [`RetryConfig::max_retries`](object_store::RetryConfig::max_retries) 0 and a [`ThrottleConnector`], and one for
//! everything else, and combines them as [`ReadWriteClients`].

use std::{fmt, path::Path as FilePath, time::Duration};

use async_trait::async_trait;
use chrono::DateTime;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{Certificate, ClientConfigKey, ClientOptions, ObjectStore, Result};

use crate::error::Throttled;
use crate::internal::forward_object_store;
use crate::options::ConfigError;
use crate::protocol::extensions::Crc32c;

/// The user agent of our requests.
const USER_AGENT: &str = concat!("headstart/", env!("CARGO_PKG_VERSION"));

/// Idle connections kept: as many GETs as a `FetchStore` may have in flight.
const POOL_CONNECTIONS: usize = 4096;

/// Timeouts for connecting, and for the silence of an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The options of every client: many connections of HTTP/1.1 (one of HTTP/2 to Google reaches only a few hundred
/// MB/s), and no limit on the duration of a body. The authorities in the PEM file `ca_certificate` are trusted in
/// addition to those of the system.
///
/// # Errors
/// [`ConfigError::BadValue`] if the file cannot be read or has no usable certificate.
pub fn client_options(allow_http: bool, ca_certificate: Option<&FilePath>) -> Result<ClientOptions, ConfigError> {
    let options = ClientOptions::new()
        .with_config(ClientConfigKey::UserAgent, USER_AGENT)
        .with_http1_only()
        .with_pool_max_idle_per_host(POOL_CONNECTIONS)
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_allow_http(allow_http);
    let Some(path) = ca_certificate else { return Ok(options) };
    let bad = |why: &str| {
        let allowed = format!("expected a PEM file of certificate authorities: {why}");
        ConfigError::bad("ca_certificate", path.display(), allowed)
    };
    let pem = std::fs::read(path).map_err(|error| bad(&error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
    let trusting = found.map(|found| found.into_iter().fold(options, ClientOptions::with_root_certificate));
    // A PEM block that is no certificate is found only when a client is built.
    let usable = trusting.filter(|options| ReqwestConnector::default().connect(options).is_ok());
    usable.ok_or_else(|| bad("it has no certificate that can be used"))
}

/// Finds the checksum of the whole object in the headers of an answer.
type FindCrc32c = fn(&HeaderMap) -> Option<Crc32c>;

/// Connects as `object_store` does by default. In addition, an answer with status 429 or 503 is an error with
/// [`Throttled`] among its sources, and the checksum of the object is an extension of the answer.
#[derive(Debug)]
pub struct ThrottleConnector {
    inner: Box<dyn HttpConnector>,
    find_crc32c: FindCrc32c,
}

impl ThrottleConnector {
    /// `find_crc32c` reads the checksum of the whole object from the headers of this store.
    pub fn new(find_crc32c: FindCrc32c) -> Self {
        Self::over(ReqwestConnector::default(), find_crc32c)
    }

    /// The same over another connector.
    pub fn over(inner: impl HttpConnector, find_crc32c: FindCrc32c) -> Self {
        Self { inner: Box::new(inner), find_crc32c }
    }
}

impl HttpConnector for ThrottleConnector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let inner = self.inner.connect(options)?;
        Ok(HttpClient::new(ThrottleService { inner, find_crc32c: self.find_crc32c }))
    }
}

#[derive(Debug)]
struct ThrottleService {
    inner: HttpClient,
    find_crc32c: FindCrc32c,
}

#[async_trait]
impl HttpService for ThrottleService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut answer = self.inner.execute(request).await?;
        if matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let throttled = Throttled { status: answer.status().as_u16(), retry_after: retry_after(answer.headers()) };
            // The connection can be reused once the body has been read.
            drop(answer.into_body().bytes().await);
            return Err(HttpError::new(HttpErrorKind::Unknown, throttled));
        }
        if let Some(crc32c) = (self.find_crc32c)(answer.headers()) {
            answer.extensions_mut().insert(crc32c);
        }
        Ok(answer)
    }
}

/// The pause that `Retry-After` demands: a number of seconds, or a date, compared with the date of the server.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let said = |name| headers.get(name)?.to_str().ok();
    let date = |text| DateTime::parse_from_rfc2822(text).ok();
    let when = said(RETRY_AFTER)?;
    match when.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => (date(when)? - date(said(DATE)?)?).to_std().ok(),
    }
}

/// Two clients of one bucket: GET and HEAD use one, everything else the other.
#[derive(Clone)]
pub struct ReadWriteClients<S> {
    reads: S,
    others: S,
    name: Option<String>,
}

impl<S> ReadWriteClients<S> {
    /// `reads` for reads, `others` for writes and lists.
    pub fn new(reads: S, others: S) -> Self {
        Self { reads, others, name: None }
    }

    /// The same, shown as `name`, for clients whose `Display` does not identify the store. A download into a
    /// file resumes only in a store that shows the same name. The name must hold no secret.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name: Some(name), ..self }
    }
}

/// Shows one store, although there are two clients.
impl<S: fmt::Display> fmt::Display for ReadWriteClients<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.reads.fmt(f),
        }
    }
}

/// As `Display`: the `Debug` of clients may print credentials.
impl<S: fmt::Display> fmt::Debug for ReadWriteClients<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadWriteClients({self})")
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for ReadWriteClients<S> {
    forward_object_store!(self => self.reads; reads);
    forward_object_store!(self => self.others; writes, lists);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let said = |after: &str, date: &str| {
            let header = |text: &str| text.parse().unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, header(after)), (DATE, header(date))]))
        };
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(said("7", now), Some(Duration::from_secs(7)));
        assert_eq!(said("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(said("Sun, 06 Nov 1994 08:49:07 GMT", now), None, "it is over");
        assert_eq!(said("soon", now), None);
        assert_eq!(said("-1", now), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
