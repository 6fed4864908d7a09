//! Builds the client that settings describe, and what the engine needs to know of it.

use std::fmt;
use std::fs::File;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use headstart_fetch_core::internal::client::{self, ReadWriteClients, ThrottleConnector};
use headstart_fetch_core::{BackendProfile, ConfigError, Options};
use http::{HeaderMap, HeaderValue};
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{ClientOptions, CredentialProvider, ObjectStore, RetryConfig, StaticCredentialProvider};
use url::Url;

use crate::checksum::crc32c_of;
use crate::config::{Credentials, GcsConfig};
use crate::location::Location;
use crate::profile::gcs_profile;

/// What an emulator is sent: some refuse writes without a token, none looks at it.
const EMULATOR_TOKEN: &str = "emulator";

/// A bucket, ready to be read.
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
    /// A URL, option or variable cannot be used.
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
        /// Why not.
        source: std::io::Error,
    },
    /// A key file or key is not one. The parser's own words are withheld: they quote the secret.
    #[error("{origin} is an invalid service-account key: expected the JSON of a service account{}", if *default { " or of application default credentials" } else { "" })]
    Key {
        /// Where the key came from.
        origin: String,
        /// Whether application default credentials would have done.
        default: bool,
    },
    /// The client refuses the settings.
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
    /// Nothing is sent yet; whether the bucket exists shows with the first read.
    ///
    /// # Errors
    /// [`GcsError`]: the URL, an option or a variable cannot be used, a key file cannot be opened.
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

    /// Opens `url`, or the bucket of `config` where there is none. A bucket in the URL goes before one from the environment.
    ///
    /// # Errors
    /// As [`GcsBackend::from_url`].
    pub fn open(url: Option<&Url>, mut config: GcsConfig) -> Result<Self, GcsError> {
        config.check()?;
        let location = url.map(Location::of).transpose()?;
        let (bucket, path, generation) = match location {
            Some(location) => (location.bucket, location.path, location.generation),
            None => (None, Path::ROOT, None),
        };
        let bucket = bucket.or_else(|| config.bucket.clone()).ok_or(GcsError::MissingBucket)?;
        let (store, reads) = clients(&bucket, &config)?;
        let for_fetch = Arc::new(ReadWriteClients::new(reads, store.clone()));
        config.bucket = Some(bucket);
        Ok(Self { store: Arc::new(store), for_fetch, config, path, generation })
    }

    /// The store to read from and write to. The client retries by itself.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as _
    }

    /// The same for a [`FetchStore`](headstart_fetch_core::FetchStore), which retries reads better than the client does: reads
    /// fail at the first fault, and report throttling and which checksum the object has.
    #[must_use]
    pub fn store_for_fetch(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.for_fetch) as _
    }

    /// What the store is like before anything has been measured.
    #[must_use]
    pub fn profile(&self) -> BackendProfile {
        gcs_profile()
    }

    /// The settings in force, the bucket's name included.
    #[must_use]
    pub fn config(&self) -> &GcsConfig {
        &self.config
    }

    /// The object that the URL names; the root where it names a bucket only.
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

/// Without the client's own `Debug`.
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

/// Names the project that pays for a request.
const USER_PROJECT: http::HeaderName = http::HeaderName::from_static("x-goog-user-project");

/// The client that retries, and one for reads that does not.
fn clients(bucket: &str, config: &GcsConfig) -> Result<(GoogleCloudStorage, GoogleCloudStorage), GcsError> {
    let mut builder =
        GoogleCloudStorageBuilder::new().with_bucket_name(bucket).with_client_options(client_options(config)?);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    // A static token is given to the anonymous too: without one the client asks the metadata server on writes.
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
    let builder = builder.with_credentials(Arc::new(Quiet(credentials)));
    let reads = builder
        .clone()
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_http_connector(ThrottleConnector::new(crc32c_of));
    Ok((builder.build().map_err(GcsError::Client)?, reads.build().map_err(GcsError::Client)?))
}

/// The credentials that the client makes of its settings: tokens it refreshes itself.
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

/// `path` as the client takes it, once it is known that it can be opened.
fn readable(path: &FilePath) -> Result<String, GcsError> {
    let opened = File::open(path).and_then(|file| file.metadata()).and_then(|file| match file.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(path.to_string_lossy().into_owned()),
    });
    opened.map_err(|source| GcsError::KeyFile { path: path.to_owned(), source })
}

/// Credentials whose `Debug` does not show them: the client's own prints tokens and refresh secrets.
struct Quiet(GcpCredentialProvider);

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[async_trait]
impl CredentialProvider for Quiet {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        self.0.get_credential().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(
            open("gs:///k", &[("bucket", "b"), ("anonymous", "1")]).unwrap().to_string(),
            "GoogleCloudStorage(b)"
        );
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
    fn keys_that_are_none() {
        let missing = open("gs://b/k", &[("service_account", "/nowhere/key.json")]).unwrap_err();
        assert!(matches!(&missing, GcsError::KeyFile { path, .. } if path.ends_with("key.json")), "{missing}");
        let directory = std::env::temp_dir();
        let error = open("gs://b/k", &[("application_credentials", directory.to_str().unwrap())]).unwrap_err();
        assert!(matches!(error, GcsError::KeyFile { .. }), "{error}");

        // Both parsers would quote this.
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
}
