//! `S3Backend`: builds the client for a bucket.

use std::{fmt, sync::Arc, time::Duration};

use headstart_fetch_core::internal::client::{ReadWriteClients, ThrottleConnector, client_options};
use headstart_fetch_core::internal::path_in_bucket;
use headstart_fetch_core::{BackendProfile, ConfigError, PinBy, Prices};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, RetryConfig, path::Path};
use url::{Position, Url};

use crate::config::S3Config;

/// A client for a bucket, and the object that a URL names.
#[derive(Clone)]
pub struct S3Backend {
    store: Arc<AmazonS3>,
    for_fetch: Arc<ReadWriteClients<AmazonS3>>,
    config: S3Config,
    path: Path,
}

/// Why a bucket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum S3Error {
    /// A URL or option is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The URL names no bucket.
    #[error("no bucket: expected s3://bucket/key")]
    MissingBucket,
    /// The client rejects the settings.
    #[error("the client cannot be built")]
    Client(#[source] object_store::Error),
}

impl From<S3Error> for object_store::Error {
    fn from(error: S3Error) -> Self {
        Self::Generic { store: "S3", source: Box::new(error) }
    }
}

impl S3Backend {
    /// Opens `s3://bucket[/key]` with `options` (see [`S3Config`]) and the process's environment.
    ///
    /// Sends no request: the first read shows whether the bucket exists.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn from_url<K: AsRef<str>, V: AsRef<str>>(
        url: &Url,
        options: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, S3Error> {
        Self::open(url, S3Config::resolve(options, S3Config::process_environment())?)
    }

    /// Opens `url` with `config`.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn open(url: &Url, config: S3Config) -> Result<Self, S3Error> {
        // The errors leave out the URL, which may contain a password.
        if !matches!(url.scheme(), "s3" | "s3a") {
            return Err(ConfigError::bad("url", format!("{}:…", url.scheme()), "expected s3://bucket/key").into());
        }
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return Err(ConfigError::bad("url", "s3://…", "a bucket has no user, password or port").into());
        }
        let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or(S3Error::MissingBucket)?;
        let path = path_in_bucket(&url[Position::BeforePath..])?;
        let builder = config.apply(AmazonS3Builder::new()).with_bucket_name(bucket);
        let builder =
            builder.with_client_options(client_options(config.is_emulator(), config.ca_certificate.as_deref())?);
        let store = builder.clone().build().map_err(S3Error::Client)?;
        // No checksum: S3 sends checksums only if a signed request header asks for them, and the client cannot send it.
        let reads = builder
            .with_credentials(Arc::clone(store.credentials()))
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(ThrottleConnector::new(|_| None));
        let reads = reads.build().map_err(S3Error::Client)?;
        let for_fetch = Arc::new(ReadWriteClients::new(reads, store.clone()));
        Ok(Self { store: Arc::new(store), for_fetch, config, path })
    }

    /// The store for reads and writes. The client retries failed requests.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as _
    }

    /// The store for a [`FetchStore`](headstart_fetch_core::FetchStore), which retries reads itself: reads are not
    /// retried by the client, and their errors report throttling.
    #[must_use]
    pub fn store_for_fetch(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.for_fetch) as _
    }

    /// The starting profile of the link.
    #[must_use]
    pub fn profile(&self) -> BackendProfile {
        s3_profile()
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &S3Config {
        &self.config
    }

    /// The object that the URL names; the root if the URL names a bucket only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Leaves out the client's `Debug`, which prints credentials.
impl fmt::Debug for S3Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("S3Backend");
        shown.field("store", &format_args!("{}", self.store)).field("config", &self.config);
        shown.field("path", &self.path).finish_non_exhaustive()
    }
}

/// The profile of a bucket, read from a machine in its region.
///
/// The first byte comes after about 25 ms; a stream has 90 MB/s; all streams together have the machine's network,
/// assumed as 1,000 MB/s. GETs cost $0.0004 per 1,000; bytes are free within the region, and readers elsewhere set
/// `prices.per_gb` themselves.
///
/// Requests are pinned by entity tag, since requests with a `versionId` need a permission that many readers lack.
#[must_use]
pub fn s3_profile() -> BackendProfile {
    BackendProfile {
        ttfb: Duration::from_millis(25),
        stream_bytes_per_s: 90e6,
        aggregate_bytes_per_s: 1e9,
        pin: PinBy::ETag,
        prices: Prices { per_1000_requests: 0.0004, per_gb: 0.0 },
        ..BackendProfile::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, options: &[(&str, &str)]) -> Result<S3Backend, S3Error> {
        S3Backend::open(&url.parse().unwrap(), S3Config::resolve(options.iter().copied(), [])?)
    }

    #[test]
    fn a_url_names_bucket_and_object() {
        for (url, key) in [("s3://b/dir/a?b#1", "dir/a?b#1"), ("s3://b/a%20b//%25", "a b//%"), ("s3a://b", "")] {
            let backend = open(url, &[("anonymous", "on")]).unwrap();
            assert_eq!((backend.path().as_ref(), backend.store().to_string().as_str()), (key, "AmazonS3(b)"), "{url}");
        }
        assert!(matches!(open("s3:///key", &[]), Err(S3Error::MissingBucket)));
        for url in ["gs://b/k", "s3://me:hunter2@b/k", "s3://b//k"] {
            let error = open(url, &[]).unwrap_err();
            assert!(matches!(&error, S3Error::Config(_)) && !error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        let secrets = [("access_key_id", "me"), ("secret_access_key", "hunter2"), ("session_token", "hunter2")];
        let backend = open("s3://b/k", &secrets).unwrap();
        assert!(!format!("{backend:?} {:?}", backend.store()).contains("hunter2"));
    }
}
