//! Opens the store of a URL: one function for each scheme.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

#[cfg(any(feature = "azure", feature = "http"))]
use headstart_fetch_core::internal::client::{ReadWriteClients, ThrottleConnector, client_options};
use headstart_fetch_core::internal::{changed_by_url_parser, path_in_bucket, path_of_url_key};
use headstart_fetch_core::{BackendProfile, ConfigError};
use headstart_local_backend::LocalBackend;
use object_store::ObjectStore;
#[cfg(any(feature = "azure", feature = "http"))]
use object_store::RetryConfig;
use object_store::memory::InMemory;
use object_store::path::Path;
use url::{Position, Url};

use crate::Error;
use crate::config::Settings;
#[cfg(any(feature = "gcp", feature = "aws"))]
use crate::precedence::Source;
#[cfg(any(feature = "gcp", feature = "aws"))]
use crate::shared_links::host_of;

/// A store and what its URL names.
pub(crate) struct Backend {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) profile: BackendProfile,
    pub(crate) path: Path,
    /// The host that it reads from; `None` for local stores, and for stores that the caller has made.
    pub(crate) host: Option<String>,
    pub(crate) generation: Option<String>,
    /// Local files, which the kernel caches and reads ahead.
    pub(crate) is_local: bool,
}

impl Backend {
    /// A store that is not local, without a generation.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, profile: BackendProfile, path: Path) -> Self {
        Self { store, profile, path, host: None, generation: None, is_local: false }
    }
}

/// The objects of `memory:///`. All `memory:///` URLs of a process share them; a store of their own would always be
/// empty.
static MEMORY: LazyLock<Arc<InMemory>> = LazyLock::new(Arc::default);

const SIGNATURE: &str = "a signature in a URL is not used, it would be part of the key; \
                         give credentials as options or variables, and write a '?' of a key as %3F";

/// Opens the store that `text` names.
pub(crate) fn open(
    text: &str,
    settings: &mut Settings,
    environment: &BTreeMap<String, String>,
) -> Result<Backend, Error> {
    let url = parse(text)?;
    let opened = match url.scheme() {
        "file" => local(&url),
        "memory" => memory(&url),
        "gs" => gcs(&url, settings, environment),
        "s3" | "s3a" => s3(&url, settings, environment),
        "az" | "azure" | "abfs" | "abfss" => azure(&url, settings, environment),
        "http" | "https" => http(&url, settings),
        scheme => Err(Error::UnknownScheme { scheme: scheme.to_owned() }),
    }?;
    // Tells the store from all others, in every process; nothing does so for one in memory.
    if !matches!(url.scheme(), "memory" | "file") {
        let endpoints: String = settings.sections().0.iter().filter_map(|(_, all)| all.value("endpoint")).collect();
        let disk = &mut settings.cache.disk;
        disk.name_unless_given(|| format!("{} {} {endpoints}", &url[..Position::BeforePath], opened.store));
    }
    Ok(opened)
}

/// Splits the URL of an object into the URL of its store and the object's path. Opens nothing.
///
/// A program that opens many objects of a store builds one [`Headstart`](crate::Headstart) and a reader for each path.
/// A generation (`gs://bucket/key#17`) counts as a part of the key here.
///
/// # Errors
/// [`Error`]: the URL cannot be opened, or its scheme is not supported.
pub fn split_url(url: &str) -> Result<(String, Path), Error> {
    let parsed = parse(url)?;
    let path = match parsed.scheme() {
        "http" | "https" => path_of_url_key(http_key(&parsed)?)?,
        "file" | "memory" => path_of_url_key(parsed[Position::BeforePath..].trim_start_matches('/'))?,
        "gs" | "s3" | "s3a" | "az" | "azure" | "abfs" | "abfss" => path_in_bucket(&parsed[Position::BeforePath..])?,
        scheme => return Err(Error::UnknownScheme { scheme: scheme.to_owned() }),
    };
    Ok((format!("{}/", &parsed[..Position::BeforePath]), path))
}

/// Parses a URL and refuses what no store may be asked for.
fn parse(text: &str) -> Result<Url, Error> {
    let bad = |allowed: &str| Error::from(ConfigError::bad("url", without_secrets(text), allowed));
    let url = Url::parse(text).map_err(|_| bad("expected a URL, such as gs://bucket/key or file:///path"))?;
    let in_bucket = matches!(url.scheme(), "gs" | "s3" | "s3a" | "az" | "azure" | "abfs" | "abfss");
    if matches!(url.scheme(), "file" | "memory") && url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(bad("expected three slashes and a path: there is no host"));
    }
    if let Some(why) = changed_by_url_parser(text, in_bucket) {
        return Err(bad(why));
    }
    if in_bucket && url.query_pairs().any(|(name, _)| is_signature(&name)) {
        return Err(bad(SIGNATURE));
    }
    Ok(url)
}

/// Whether a parameter of this name signs a request. A pasted signed URL is never meant as a key.
fn is_signature(name: &str) -> bool {
    ["sig", "x-goog-signature", "x-amz-signature", "x-amz-security-token"].contains(&&*name.to_ascii_lowercase())
}

/// The part of `text` without secrets: the part before a query or fragment, or the scheme alone if there may be a
/// password.
pub(crate) fn without_secrets(text: &str) -> String {
    match text.split_once(':') {
        Some((scheme, rest)) if rest.contains(['@', '\\']) => format!("{scheme}:…"),
        _ => match text.find(['?', '#']) {
            Some(end) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        },
    }
}

fn local(url: &Url) -> Result<Backend, Error> {
    let backend = LocalBackend::from_url(url)?;
    let opened = Backend::new(backend.store(), backend.profile(), backend.path().clone());
    Ok(Backend { is_local: true, ..opened })
}

fn memory(url: &Url) -> Result<Backend, Error> {
    let path = path_of_url_key(url[Position::BeforePath..].trim_start_matches('/'))?;
    Ok(Backend::new(Arc::clone(&MEMORY) as _, BackendProfile::local(), path))
}

/// Records which options of a provider were set by its own variables.
#[cfg(any(feature = "gcp", feature = "aws"))]
fn note_found<T: headstart_fetch_core::Options>(settings: &mut Settings, name: &str, config: &T) {
    let default = T::default();
    for row in T::ROWS.iter().filter(|row| (row.get)(config) != (row.get)(&default)) {
        let source = if row.key == "bucket" { Source::Url } else { Source::Environment };
        settings.given.found(format!("{name}.{}", row.key), source);
    }
}

/// Forgets what a file says about options that the provider's own variables set too, by `variables`: these override
/// it. Credentials are overridden together.
#[cfg(any(feature = "gcp", feature = "aws"))]
fn variables_override_file<T: headstart_fetch_core::Options>(
    settings: &mut Settings,
    name: &str,
    variables: &T,
    is_credential: fn(&str) -> bool,
) {
    let default = T::default();
    let is_set = |key: &str| variables.value(key) != default.value(key);
    let has_credentials = T::ROWS.iter().any(|row| is_credential(row.key) && is_set(row.key));
    let is_overridden = |key: &str| is_set(key) || has_credentials && is_credential(key);
    let key = |full: &str| Some(full.strip_prefix(name)?.strip_prefix('.')?.to_owned());
    settings.given.forget_file(|full| key(full).is_some_and(|key| is_overridden(&key)));
}

/// What was given for the section `name`. Of the options that give credentials only those of the overriding source
/// count: keys of two sources do not belong together. `anonymous = off` gives none.
#[cfg(any(feature = "gcp", feature = "aws"))]
fn with_strongest_credentials<'a>(
    settings: &'a Settings,
    name: &'a str,
    is_credential: fn(&str) -> bool,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    use headstart_fetch_core::options::parse_switch;
    // What a credential came from; `None` for other options.
    let source = move |(key, value): (&str, &str)| {
        let is_off = key == "anonymous" && parse_switch(key, value).is_ok_and(|is_on| !is_on);
        (is_credential(key) && !is_off).then(|| settings.given.source(&format!("{name}.{key}")))
    };
    let strongest = settings.given.given_for(name).filter_map(source).max();
    settings.given.given_for(name).filter(move |option| source(*option).is_none_or(|source| Some(source) == strongest))
}

#[cfg(feature = "gcp")]
fn gcs(url: &Url, settings: &mut Settings, environment: &BTreeMap<String, String>) -> Result<Backend, Error> {
    use headstart_gcs_backend::{GcsBackend, GcsConfig};
    let variables = GcsConfig::resolve([] as [(&str, &str); 0], |name| environment.get(name).cloned())?;
    variables_override_file(settings, "gcs", &variables, GcsConfig::is_credential_key);
    let options = with_strongest_credentials(settings, "gcs", GcsConfig::is_credential_key);
    let mut config = GcsConfig::resolve(options, |name| environment.get(name).cloned())?;
    config.ca_certificate.clone_from(&settings.stack.ca_certificate);
    let backend = GcsBackend::open(Some(url), config)?;
    settings.gcs = backend.config().clone();
    note_found(settings, "gcs", backend.config());
    let store = if settings.stack.is_on.fetch { backend.store_for_fetch() } else { backend.store() };
    let opened = Backend::new(store, backend.profile(), backend.path().clone());
    let host = Some(host_of("gs", backend.config(), &["endpoint"]));
    Ok(Backend { generation: backend.generation().map(str::to_owned), host, ..opened })
}

#[cfg(not(feature = "gcp"))]
fn gcs(_: &Url, _: &mut Settings, _: &BTreeMap<String, String>) -> Result<Backend, Error> {
    Err(Error::MissingFeature { scheme: "gs", feature: "gcp" })
}

#[cfg(feature = "aws")]
fn s3(url: &Url, settings: &mut Settings, environment: &BTreeMap<String, String>) -> Result<Backend, Error> {
    use headstart_s3_backend::{S3Backend, S3Config};
    let variables = S3Config::resolve([] as [(&str, &str); 0], environment.clone())?;
    variables_override_file(settings, "s3", &variables, S3Config::is_credential_key);
    let options = with_strongest_credentials(settings, "s3", S3Config::is_credential_key);
    let mut config = S3Config::resolve(options, environment.clone())?;
    // `AWS_CA_BUNDLE` sets the option unless another source but a file has.
    if let Some(path) = config.ca_certificate.take() {
        if settings.given.source("ca_certificate") == Source::File {
            settings.stack.ca_certificate = None;
            settings.given.forget_file(|key| key == "ca_certificate");
        }
        settings.given.found("ca_certificate".to_owned(), Source::Environment);
        settings.stack.ca_certificate.get_or_insert(path);
    }
    config.ca_certificate.clone_from(&settings.stack.ca_certificate);
    let backend = S3Backend::open(url, config)?;
    settings.s3 = backend.config().clone();
    note_found(settings, "s3", backend.config());
    let store = if settings.stack.is_on.fetch { backend.store_for_fetch() } else { backend.store() };
    let opened = Backend::new(store, backend.profile(), backend.path().clone());
    Ok(Backend { host: Some(host_of("s3", backend.config(), &["endpoint", "region"])), ..opened })
}

#[cfg(not(feature = "aws"))]
fn s3(_: &Url, _: &mut Settings, _: &BTreeMap<String, String>) -> Result<Backend, Error> {
    Err(Error::MissingFeature { scheme: "s3", feature: "aws" })
}

/// The client that `build` makes. Below a `FetchStore` there are two: one without retries for reads, which `FetchStore`
/// retries itself, and one for everything else. `name` is for clients whose `Display` names no store.
#[cfg(any(feature = "azure", feature = "http"))]
fn one_or_two<S: ObjectStore>(
    settings: &Settings,
    name: Option<String>,
    build: impl Fn(Option<(RetryConfig, ThrottleConnector)>) -> object_store::Result<S>,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let others = build(None)?;
    if !settings.stack.is_on.fetch {
        return Ok(Arc::new(others));
    }
    let no_retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let reads = build(Some((no_retries, ThrottleConnector::new(|_| None))))?;
    let clients = ReadWriteClients::new(reads, others);
    Ok(Arc::new(match name {
        Some(name) => clients.named(name),
        None => clients,
    }))
}

/// Azure, configured by the client's own `AZURE_*` variables, with the default profile.
#[cfg(feature = "azure")]
fn azure(url: &Url, settings: &Settings, environment: &BTreeMap<String, String>) -> Result<Backend, Error> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    if url.password().is_some() || url.port().is_some() {
        let allowed = "a container has no password or port";
        return Err(ConfigError::bad("url", format!("{}:…", url.scheme()), allowed).into());
    }
    let ours = environment.iter().filter(|(name, value)| name.starts_with("AZURE_") && !value.is_empty());
    // The client ignores variables that it does not know.
    let known = ours.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)));
    let builder = known.fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| builder.with_config(key, value));
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    for key in [AzureConfigKey::Endpoint, AzureConfigKey::AuthorityHost, AzureConfigKey::MsiEndpoint] {
        if builder.get_config_value(&key).is_some_and(|server| server.contains(['@', '?'])) {
            let allowed = "expected a URL without user, password and query: errors would repeat them";
            return Err(ConfigError::bad(&key.as_ref().to_ascii_uppercase(), "***", allowed).into());
        }
    }
    let emulator = builder.get_config_value(&AzureConfigKey::UseEmulator).is_some_and(|on| on == "true");
    let host = endpoint.clone().or_else(|| builder.get_config_value(&AzureConfigKey::AccountName));
    let host = host.map(|host| format!("az {host}"));
    let plain = emulator || endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let path = path_in_bucket(&url[Position::BeforePath..])?;
    let builder = builder
        .with_url(&url[..Position::BeforePath])
        .with_client_options(client_options(plain, settings.stack.ca_certificate.as_deref())?);
    let store = one_or_two(settings, None, |reads| match reads {
        Some((retry, connector)) => builder.clone().with_retry(retry).with_http_connector(connector).build(),
        None => builder.clone().build(),
    })?;
    Ok(Backend { host, ..Backend::new(store, BackendProfile::default(), path) })
}

#[cfg(not(feature = "azure"))]
fn azure(_: &Url, _: &Settings, _: &BTreeMap<String, String>) -> Result<Backend, Error> {
    Err(Error::MissingFeature { scheme: "az", feature: "azure" })
}

/// The key of a web server's URL. A query, fragment, user or password is refused: it cannot be sent.
fn http_key(url: &Url) -> Result<&str, Error> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ConfigError::bad("url", format!("{}:…", url.scheme()), "a query or fragment cannot be sent").into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let allowed = "a user and a password cannot be sent";
        return Err(ConfigError::bad("url", format!("{}:…", url.scheme()), allowed).into());
    }
    Ok(url.path().trim_start_matches('/'))
}

#[cfg(feature = "http")]
fn http(url: &Url, settings: &Settings) -> Result<Backend, Error> {
    let key = http_key(url)?;
    let builder = object_store::http::HttpBuilder::new().with_url(&url[..Position::BeforePath]);
    let builder =
        builder.with_client_options(client_options(url.scheme() == "http", settings.stack.ca_certificate.as_deref())?);
    let path = path_of_url_key(key)?;
    // Safe to show: a user, password or query is an error above.
    let name = format!("HttpStore({})", &url[..Position::BeforePath]);
    let store = one_or_two(settings, Some(name), |reads| match reads {
        Some((retry, connector)) => builder.clone().with_retry(retry).with_http_connector(connector).build(),
        None => builder.clone().build(),
    })?;
    let host = Some(url[..Position::BeforePath].to_owned());
    Ok(Backend { host, ..Backend::new(store, BackendProfile::default(), path) })
}

#[cfg(not(feature = "http"))]
fn http(_: &Url, _: &Settings) -> Result<Backend, Error> {
    Err(Error::MissingFeature { scheme: "https", feature: "http" })
}
