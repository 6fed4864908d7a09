//! `GcsBackend`: builds the client for a bucket.

use std::path::{Path as FilePath, PathBuf};
use std::{fmt, fs::File, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use headstart_fetch_core::internal::client::{self, ReadWriteClients, ThrottleConnector};
use headstart_fetch_core::{BackendProfile, ConfigError, Options, PinBy, Prices, internal::Crc32c};
use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::{ClientOptions, CredentialProvider, ObjectStore, RetryConfig, StaticCredentialProvider, path::Path};
use url::Url;

use crate::config::{Credentials, GcsConfig};
use crate::location::GcsLocation;

/// The token sent to emulators. Some refuse writes without a token; none checks it.
const EMULATOR_TOKEN: &str = "emulator";

/// A client for a bucket, and the object that a URL names.
#[derive(Clone)]
pub struct GcsBackend {
    store: Arc<GoogleCloudStorage>,
    for_fetch: Arc<ReadWriteClients<GoogleCloudStorage>>,
    config: GcsConfig,
    path: Path,
    generation: Option<String>,
}

/// Why a bucket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcsError {
    /// A URL, option or environment variable is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Neither the URL nor the option `bucket` nor the environment names a bucket.
    #[error("no bucket: expected gs://bucket/key, the option 'bucket' or the variable GOOGLE_BUCKET")]
    MissingBucket,
    /// A key file cannot be opened.
    #[error("cannot open the key file {}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// A key or key file is invalid. The error of the parser is left out, since it quotes the secret.
    #[error(
        "{origin} is an invalid service-account key: expected the JSON of a service account{}",
        if *default { " or of application default credentials" } else { "" }
    )]
    Key {
        /// Source of the key.
        origin: String,
        /// Whether application default credentials are valid here too.
        default: bool,
    },
    /// The client rejects the settings.
    #[error("the client cannot be built")]
    Client(#[source] object_store::Error),
}

impl From<GcsError> for object_store::Error {
    fn from(error: GcsError) -> Self {
        Self::Generic { store: "GCS", source: Box::new(error) }
    }
}

impl GcsBackend {
    /// Opens `gs://bucket[/key[#generation]]` with `options` (see [`GcsConfig`]) and the process's environment.
    ///
    /// Sends no request: the first read shows whether the bucket exists.
    ///
    /// # Errors
    /// [`GcsError`]: the URL, an option, a variable or a key is invalid, or a key file cannot be opened.
    pub fn from_url<K: AsRef<str>, V: AsRef<str>>(
        url: &Url,
        options: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, GcsError> {
        Self::open(Some(url), GcsConfig::resolve(options, GcsConfig::process_environment)?)
    }

    /// Opens the bucket that the environment names (`GOOGLE_BUCKET`).
    ///
    /// # Errors
    /// As [`GcsBackend::from_url`].
    pub fn from_env() -> Result<Self, GcsError> {
        let no_options: [(&str, &str); 0] = [];
        Self::open(None, GcsConfig::resolve(no_options, GcsConfig::process_environment)?)
    }

    /// Opens `url`, or the bucket of `config` if `url` is `None` or names no bucket.
    ///
    /// # Errors
    /// As [`GcsBackend::from_url`].
    pub fn open(url: Option<&Url>, mut config: GcsConfig) -> Result<Self, GcsError> {
        config.check()?;
        let location = url.map(GcsLocation::of).transpose()?;
        let GcsLocation { bucket, path, generation } = location.unwrap_or_default();
        let bucket = bucket.or_else(|| config.bucket.clone()).ok_or(GcsError::MissingBucket)?;
        let (store, reads) = clients(&bucket, &config)?;
        let for_fetch = Arc::new(ReadWriteClients::new(reads, store.clone()));
        config.bucket = Some(bucket);
        Ok(Self { store: Arc::new(store), for_fetch, config, path, generation })
    }

    /// The store for reads and writes. The client retries failed requests.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as _
    }

    /// The store for a [`FetchStore`](headstart_fetch_core::FetchStore), which retries reads itself: reads are not
    /// retried by the client, and their results report throttling and the checksum of the object.
    #[must_use]
    pub fn store_for_fetch(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.for_fetch) as _
    }

    /// The starting profile of the link.
    #[must_use]
    pub fn profile(&self) -> BackendProfile {
        gcs_profile()
    }

    /// The settings in force, including the name of the bucket.
    #[must_use]
    pub fn config(&self) -> &GcsConfig {
        &self.config
    }

    /// The object that the URL names; the root if the URL names a bucket only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The generation that the URL names.
    #[must_use]
    pub fn generation(&self) -> Option<&str> {
        self.generation.as_deref()
    }
}

/// Leaves out the client's `Debug`, which prints credentials.
impl fmt::Debug for GcsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("GcsBackend");
        shown.field("store", &format_args!("{}", self.store)).field("config", &self.config);
        shown.field("path", &self.path).field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl fmt::Display for GcsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

fn client_options(config: &GcsConfig) -> Result<ClientOptions, ConfigError> {
    let options = client::client_options(config.is_emulator(), config.ca_certificate.as_deref())?;
    let mut options = options.with_connect_timeout(config.connect_timeout).with_read_timeout(config.read_timeout);
    if let Some(project) = &config.user_project
        && let Ok(project) = HeaderValue::from_str(project)
    {
        options = options.with_default_headers(HeaderMap::from_iter([(USER_PROJECT, project)]));
    }
    Ok(options)
}

/// Header that names the project billed for a request.
const USER_PROJECT: http::HeaderName = http::HeaderName::from_static("x-goog-user-project");

/// A client with retries, and a client without retries for reads.
fn clients(bucket: &str, config: &GcsConfig) -> Result<(GoogleCloudStorage, GoogleCloudStorage), GcsError> {
    let mut builder =
        GoogleCloudStorageBuilder::new().with_bucket_name(bucket).with_client_options(client_options(config)?);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    // Anonymous clients get an empty token: without a token the client would ask the metadata server on writes.
    let token = |token: &str| Arc::new(StaticCredentialProvider::new(GcpCredential { bearer: token.to_owned() })) as _;
    let (builder, credentials): (_, GcpCredentialProvider) = match &config.credentials {
        Credentials::Token(secret) => (builder, token(secret)),
        Credentials::Anonymous => (builder.with_skip_signature(true), token("")),
        Credentials::ApplicationDefault(_) if config.is_emulator() => (builder, token(EMULATOR_TOKEN)),
        Credentials::ApplicationDefault(None) => refreshed(builder, "the application default credentials file", true)?,
        Credentials::ApplicationDefault(Some(path)) => {
            let builder = builder.with_application_credentials(readable(path)?);
            refreshed(builder, &path.display().to_string(), true)?
        }
        Credentials::ServiceAccountFile(path) => {
            let builder = builder.with_service_account_path(readable(path)?);
            refreshed(builder, &path.display().to_string(), false)?
        }
        Credentials::ServiceAccountKey(key) => {
            refreshed(builder.with_service_account_key(key), "the option 'service_account_key'", false)?
        }
    };
    let builder = builder.with_credentials(Arc::new(RedactedCredentials(credentials)));
    let reads = builder
        .clone()
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_http_connector(ThrottleConnector::new(crc32c_of));
    Ok((builder.build().map_err(GcsError::Client)?, reads.build().map_err(GcsError::Client)?))
}

/// Credentials that the client creates from its settings and refreshes.
fn refreshed(
    builder: GoogleCloudStorageBuilder,
    origin: &str,
    default: bool,
) -> Result<(GoogleCloudStorageBuilder, GcpCredentialProvider), GcsError> {
    match builder.clone().build() {
        Ok(store) => Ok((builder, Arc::clone(store.credentials()))),
        Err(_) => Err(GcsError::Key { origin: origin.to_owned(), default }),
    }
}

/// Checks that the file can be opened and returns its path as a string for the client.
fn readable(path: &FilePath) -> Result<String, GcsError> {
    let opened = File::open(path).and_then(|file| file.metadata()).and_then(|file| match file.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(path.to_string_lossy().into_owned()),
    });
    opened.map_err(|source| GcsError::KeyFile { path: path.to_owned(), source })
}

/// Hides credentials in `Debug` output, where the client's own prints tokens and refresh secrets.
struct RedactedCredentials(GcpCredentialProvider);

impl fmt::Debug for RedactedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[async_trait]
impl CredentialProvider for RedactedCredentials {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        self.0.get_credential().await
    }
}

/// The profile of a regional bucket, read from a machine in its region.
///
/// The first byte comes after about 30 ms; a stream has 60 MB/s; all streams together have the machine's network,
/// assumed as 1,000 MB/s. Class B operations cost $0.0004 per 1,000; bytes are free within the region. Readers
/// elsewhere set `prices.per_gb` themselves: the price of egress depends on the destination.
///
/// Requests are pinned by generation, which needs no permission beyond reading the object.
#[must_use]
pub fn gcs_profile() -> BackendProfile {
    BackendProfile {
        ttfb: Duration::from_millis(30),
        stream_bytes_per_s: 60e6,
        aggregate_bytes_per_s: 1e9,
        pin: PinBy::Version,
        prices: Prices { per_1000_requests: 0.0004, per_gb: 0.0 },
        ..BackendProfile::default()
    }
}

/// The CRC32C of the whole object, from the headers of an answer with any range of it.
fn crc32c_of(headers: &HeaderMap) -> Option<Crc32c> {
    // The checksum is that of the stored bytes. GCS decompresses stored gzip for clients that do not accept it.
    let stored_gzip = headers.get("x-goog-stored-content-encoding").is_some_and(|encoding| encoding == "gzip");
    if stored_gzip && !headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let hashes = headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
    let crc32c = hashes.flat_map(|value| value.split(',')).find_map(|hash| hash.trim().strip_prefix("crc32c="))?;
    Some(Crc32c(u32::from_be_bytes(BASE64_STANDARD.decode(crc32c).ok()?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use object_store::ClientConfigKey;
    use std::io::Write;

    fn open(url: &str, options: &[(&str, &str)]) -> Result<GcsBackend, GcsError> {
        let config = GcsConfig::resolve(options.iter().copied(), |_| None)?;
        GcsBackend::open(Some(&url.parse().unwrap()), config)
    }

    #[test]
    fn a_url_names_bucket_object_and_generation() {
        let backend = open("gs://b/dir/a%23b#17", &[("anonymous", "on")]).unwrap();
        assert_eq!(backend.config().bucket.as_deref(), Some("b"));
        assert_eq!((backend.path().as_ref(), backend.generation()), ("dir/a#b", Some("17")));
        assert_eq!(backend.to_string(), "GoogleCloudStorage(b)");
        assert!(matches!(open("gs:///key", &[]), Err(GcsError::MissingBucket)));
        let named = open("gs:///k", &[("bucket", "b"), ("anonymous", "1")]).unwrap();
        assert_eq!(named.to_string(), "GoogleCloudStorage(b)");
    }

    #[test]
    fn the_client_is_set_up_for_long_bodies_and_many_connections() {
        use ClientConfigKey as K;
        let https = client_options(&GcsConfig::default()).unwrap();
        let value = |key| https.get_config_value(&key);
        assert_eq!(value(K::Http1Only).as_deref(), Some("true"));
        assert_eq!(value(K::AllowHttp).as_deref(), Some("false"));
        assert_eq!(value(K::PoolMaxIdlePerHost).as_deref(), Some("4096"));
        assert_eq!(value(K::Timeout), None);
        assert_eq!(value(K::ReadTimeout).as_deref(), Some("30s"));
        assert_eq!(value(K::UserAgent).as_deref(), Some(concat!("headstart/", env!("CARGO_PKG_VERSION"))));
        let emulator = GcsConfig { endpoint: Some("http://localhost:1".into()), ..GcsConfig::default() };
        assert_eq!(client_options(&emulator).unwrap().get_config_value(&K::AllowHttp).as_deref(), Some("true"));
    }

    #[test]
    fn invalid_keys_are_refused_without_quoting_them() {
        let missing = open("gs://b/k", &[("service_account", "/nowhere/key.json")]).unwrap_err();
        assert!(matches!(&missing, GcsError::KeyFile { path, .. } if path.ends_with("key.json")), "{missing}");
        let directory = std::env::temp_dir();
        let error = open("gs://b/k", &[("application_credentials", directory.to_str().unwrap())]).unwrap_err();
        assert!(matches!(error, GcsError::KeyFile { .. }), "{error}");

        // The errors of both parsers would quote this text.
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"\"hunter2\"").unwrap();
        for (key, value) in [
            ("service_account", file.path().to_str().unwrap()),
            ("application_credentials", file.path().to_str().unwrap()),
            ("service_account_key", "\"hunter2\""),
        ] {
            let error = object_store::Error::from(open("gs://b/k", &[(key, value)]).unwrap_err());
            assert!(matches!(&error, object_store::Error::Generic { .. }));
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        let refresh =
            r#"{"type":"authorized_user","client_id":"me","client_secret":"hunter2","refresh_token":"hunter2"}"#;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(refresh.as_bytes()).unwrap();
        for (key, value) in [("token", "hunter2"), ("application_credentials", file.path().to_str().unwrap())] {
            let backend = open("gs://b/k", &[(key, value)]).unwrap();
            assert!(!format!("{backend:?} {:?} {backend}", backend.store()).contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn an_emulator_gets_a_placeholder_not_the_real_credentials() {
        for (options, bearer) in [
            (&[("endpoint", "localhost:1")][..], "emulator"),
            (&[("endpoint", "localhost:1"), ("application_credentials", "/secret.json")], "emulator"),
            (&[("endpoint", "localhost:1"), ("token", "t")], "t"),
            (&[("anonymous", "on")], ""),
        ] {
            let backend = open("gs://b/k", options).unwrap();
            assert_eq!(backend.store.credentials().get_credential().await.unwrap().bearer, bearer, "{options:?}");
        }
    }

    #[track_caller]
    fn check_checksum(headers: &[(&'static str, &'static str)], expected: Option<u32>) {
        let header = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        let mut map = HeaderMap::new();
        headers.iter().map(header).for_each(|(name, value)| {
            map.append(name, value);
        });
        assert_eq!(crc32c_of(&map), expected.map(Crc32c), "{headers:?}");
    }

    #[test]
    fn the_checksum_is_found_among_others_and_only_for_the_bytes_sent() {
        // The CRC32C of "123456789" is E3069283.
        check_checksum(&[("x-goog-hash", "crc32c=4waSgw==")], Some(0xE306_9283));
        check_checksum(
            &[("x-goog-hash", "md5=JfnnlDI7RTiF9RgfG2JNCw=="), ("x-goog-hash", "crc32c=4waSgw==")],
            Some(0xE306_9283),
        );
        check_checksum(&[("x-goog-hash", "md5=JfnnlDI7RTiF9RgfG2JNCw==, crc32c=4waSgw==")], Some(0xE306_9283));
        for broken in ["", "md5=JfnnlDI7RTiF9RgfG2JNCw==", "crc32c=", "crc32c=4waSgwAA", "crc32c=?"] {
            check_checksum(&[("x-goog-hash", broken)], None);
        }
        let gzip = [("x-goog-hash", "crc32c=4waSgw=="), ("x-goog-stored-content-encoding", "gzip")];
        check_checksum(&gzip, None);
        check_checksum(&[gzip[0], gzip[1], ("content-encoding", "gzip")], Some(0xE306_9283));
    }
}
