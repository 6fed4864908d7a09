//! From a URL to a store: one function a scheme.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use headstart_fetch_core::{BackendProfile, ConfigError, path_of_url_key};
use headstart_local_backend::LocalBackend;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use url::{Position, Url};

use crate::Error;
use crate::config::Settings;

/// A store, and what a URL says of it.
pub(crate) struct Backend {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) profile: BackendProfile,
    pub(crate) path: Path,
    pub(crate) generation: Option<String>,
    /// Files of this machine, which the kernel caches and reads ahead of.
    pub(crate) is_local: bool,
}

/// Objects of `memory:///`, which all of a process's `memory:///` URLs share: one that nobody can write to would be empty.
static MEMORY: LazyLock<Arc<InMemory>> = LazyLock::new(Arc::default);

/// Opens the store that `text` names.
pub(crate) fn open(
    text: &str,
    settings: &mut Settings,
    environment: &BTreeMap<String, String>,
) -> Result<Backend, Error> {
    let bad = |allowed: &str| Error::from(ConfigError::bad("url", without_secrets(text), allowed));
    let url = Url::parse(text).map_err(|_| bad("expected a URL, such as gs://bucket/key or file:///path"))?;
    match url.scheme() {
        "file" | "memory" if url.host_str().is_some_and(|host| !host.is_empty()) => {
            Err(bad("expected three slashes and a path: there is no host"))
        }
        "file" => local(&url),
        "memory" => memory(&url),
        // A URL parser resolves these before anyone sees them: another object would be read.
        "gs" | "s3" | "s3a" | "az" | "azure" | "abfs" | "abfss"
            if text.split(['/', '?', '#']).any(|segment| segment == "." || segment == "..") =>
        {
            Err(bad("a key with a segment '.' or '..' cannot be read"))
        }
        "gs" | "s3" | "s3a" | "az" | "azure" | "abfs" | "abfss"
            if url.query_pairs().any(|(name, _)| is_signature(&name)) =>
        {
            Err(bad(
                "a signature in a URL is not used, it would be part of the key; give credentials as options or variables, and write a '?' of a key as %3F",
            ))
        }
        "gs" => gcs(&url, settings, environment),
        "s3" | "s3a" => s3(&url, settings, environment),
        "az" | "azure" | "abfs" | "abfss" => azure(&url, settings, environment),
        "http" | "https" => http(&url, settings),
        scheme => Err(Error::UnknownScheme { scheme: scheme.to_owned() }),
    }
}

/// Whether a parameter of this name signs a request: whoever pastes such a URL does not mean a key with a secret in it.
fn is_signature(name: &str) -> bool {
    ["sig", "x-goog-signature", "x-amz-signature", "x-amz-security-token"].contains(&&*name.to_ascii_lowercase())
}

/// What of `text` may be repeated: what stands before a query or fragment, and of a URL that may have a password the scheme alone.
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
    Ok(Backend {
        store: backend.store(),
        profile: backend.profile(),
        path: backend.path().clone(),
        generation: None,
        is_local: true,
    })
}

fn memory(url: &Url) -> Result<Backend, Error> {
    let path = path_of_url_key(url[Position::BeforePath..].trim_start_matches('/'))?;
    Ok(Backend {
        store: Arc::clone(&MEMORY) as _,
        profile: BackendProfile::local(),
        path,
        generation: None,
        is_local: false,
    })
}

/// Notes which options of a provider its own variables have set.
#[cfg(any(feature = "gcp", feature = "aws"))]
fn note_found<T: headstart_fetch_core::Options>(
    levels: &mut headstart_fetch_core::levels::Levels,
    name: &str,
    config: &T,
) {
    use headstart_fetch_core::levels::Source;
    let default = T::default();
    for spec in T::SPECS.iter().filter(|spec| config.value(spec.key) != default.value(spec.key)) {
        let source = if spec.key == "bucket" { Source::Url } else { Source::Environment };
        levels.found(format!("{name}.{}", spec.key), source);
    }
}

#[cfg(feature = "gcp")]
fn gcs(url: &Url, settings: &mut Settings, environment: &BTreeMap<String, String>) -> Result<Backend, Error> {
    use headstart_gcs_backend::{GcsBackend, GcsConfig};
    // Of options that say who asks, the strongest level counts alone.
    let source = |key: &str| settings.levels.source(&format!("gcs.{key}"));
    let given = || settings.levels.given_for("gcs");
    let strongest = given().filter(|(key, _)| GcsConfig::says_who_asks(key)).map(|(key, _)| source(key)).max();
    let options = given().filter(|(key, _)| !GcsConfig::says_who_asks(key) || Some(source(key)) == strongest);
    let config = GcsConfig::resolve(options, |name| environment.get(name).cloned())?;
    let backend = GcsBackend::open(Some(url), config)?;
    settings.gcs = backend.config().clone();
    note_found(&mut settings.levels, "gcs", &settings.gcs);
    let generation = backend.generation().map(str::to_owned);
    let store = if settings.fetch.enabled { backend.store_for_fetch() } else { backend.store() };
    Ok(Backend { store, profile: backend.profile(), path: backend.path().clone(), generation, is_local: false })
}

#[cfg(not(feature = "gcp"))]
fn gcs(_: &Url, _: &mut Settings, _: &BTreeMap<String, String>) -> Result<Backend, Error> {
    Err(Error::MissingFeature { scheme: "gs", feature: "gcp" })
}

#[cfg(feature = "aws")]
fn s3(url: &Url, settings: &mut Settings, environment: &BTreeMap<String, String>) -> Result<Backend, Error> {
    use headstart_s3_backend::{S3Backend, S3Config};
    let config = S3Config::resolve(settings.levels.given_for("s3"), environment.clone())?;
    let backend = S3Backend::open(url, config)?;
    settings.s3 = backend.config().clone();
    note_found(&mut settings.levels, "s3", &settings.s3);
    let store = if settings.fetch.enabled { backend.store_for_fetch() } else { backend.store() };
    Ok(Backend { store, profile: backend.profile(), path: backend.path().clone(), generation: None, is_local: false })
}

#[cfg(not(feature = "aws"))]
fn s3(_: &Url, _: &mut Settings, _: &BTreeMap<String, String>) -> Result<Backend, Error> {
    Err(Error::MissingFeature { scheme: "s3", feature: "aws" })
}

/// What every client of ours is told, that has no adapter of its own: many connections of HTTP/1.1, and a long body is fine while
/// bytes come.
#[cfg(any(feature = "azure", feature = "http"))]
fn client_options(allow_http: bool) -> object_store::ClientOptions {
    use std::time::Duration;
    object_store::ClientOptions::new()
        .with_config(object_store::ClientConfigKey::UserAgent, concat!("headstart/", env!("CARGO_PKG_VERSION")))
        .with_http1_only()
        .with_pool_max_idle_per_host(4096)
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(5))
        .with_read_timeout(Duration::from_secs(30))
        .with_allow_http(allow_http)
}

/// The client that `build` makes; below a `FetchStore` two of them, for that retries reads better than the client does. `name` is
/// for clients that do not show which store they are of.
#[cfg(any(feature = "azure", feature = "http"))]
fn one_or_two<S: ObjectStore>(
    settings: &Settings,
    name: Option<String>,
    build: impl Fn(bool) -> object_store::Result<S>,
) -> Result<Arc<dyn ObjectStore>, Error> {
    use headstart_fetch_core::client::TwoClients;
    let others = build(false)?;
    if !settings.fetch.enabled {
        return Ok(Arc::new(others));
    }
    let clients = TwoClients::new(build(true)?, others);
    Ok(Arc::new(match name {
        Some(name) => clients.named(name),
        None => clients,
    }))
}

#[cfg(any(feature = "azure", feature = "http"))]
fn no_retries() -> object_store::RetryConfig {
    object_store::RetryConfig { max_retries: 0, ..Default::default() }
}

#[cfg(any(feature = "azure", feature = "http"))]
fn telling() -> headstart_fetch_core::client::TellingConnector {
    headstart_fetch_core::client::TellingConnector::new(|_| None)
}

/// Azure, by the client's own `AZURE_*` variables, as a cloud store of which nothing is known.
#[cfg(feature = "azure")]
fn azure(url: &Url, settings: &Settings, environment: &BTreeMap<String, String>) -> Result<Backend, Error> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    if url.password().is_some() || url.port().is_some() {
        return Err(
            ConfigError::bad("url", format!("{}:…", url.scheme()), "a container has no password or port").into()
        );
    }
    let ours = environment.iter().filter(|(name, value)| name.starts_with("AZURE_") && !value.is_empty());
    // As with the client, a variable that it does not know is somebody else's.
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
    let plain = emulator || endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let key = &url[Position::BeforePath..];
    let path = path_of_url_key(key.strip_prefix('/').unwrap_or(key))?;
    let builder = builder.with_url(&url[..Position::BeforePath]).with_client_options(client_options(plain));
    let store = one_or_two(settings, None, |reads| match reads {
        true => builder.clone().with_retry(no_retries()).with_http_connector(telling()).build(),
        false => builder.clone().build(),
    })?;
    Ok(Backend { store, profile: BackendProfile::default(), path, generation: None, is_local: false })
}

#[cfg(not(feature = "azure"))]
fn azure(_: &Url, _: &Settings, _: &BTreeMap<String, String>) -> Result<Backend, Error> {
    Err(Error::MissingFeature { scheme: "az", feature: "azure" })
}

#[cfg(feature = "http")]
fn http(url: &Url, settings: &Settings) -> Result<Backend, Error> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ConfigError::bad("url", format!("{}:…", url.scheme()), "a query or fragment cannot be sent").into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            ConfigError::bad("url", format!("{}:…", url.scheme()), "a user and a password cannot be sent").into()
        );
    }
    let builder = object_store::http::HttpBuilder::new().with_url(&url[..Position::BeforePath]);
    let builder = builder.with_client_options(client_options(url.scheme() == "http"));
    let path = path_of_url_key(url.path().trim_start_matches('/'))?;
    // Its user, password and query are refused above.
    let name = format!("HttpStore({})", &url[..Position::BeforePath]);
    let store = one_or_two(settings, Some(name), |reads| match reads {
        true => builder.clone().with_retry(no_retries()).with_http_connector(telling()).build(),
        false => builder.clone().build(),
    })?;
    Ok(Backend { store, profile: BackendProfile::default(), path, generation: None, is_local: false })
}

#[cfg(not(feature = "http"))]
fn http(_: &Url, _: &Settings) -> Result<Backend, Error> {
    Err(Error::MissingFeature { scheme: "https", feature: "http" })
}
