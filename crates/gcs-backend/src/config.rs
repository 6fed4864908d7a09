//! The settings of a `GcsBackend`, from options and the provider's environment variables. Only this file reads those.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use headstart_fetch_core::options::{OptionRow, assign, format_duration, format_switch, parse_duration, parse_switch};
use headstart_fetch_core::{ConfigError, Options};
use url::Url;

/// The settings of a [`crate::GcsBackend`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcsConfig {
    /// The bucket, where no URL names it. Default: none.
    pub bucket: Option<String>,
    /// Where requests go, without a slash at the end. `http://` means an emulator. Default: Google.
    pub endpoint: Option<String>,
    /// The credentials of all requests. Default: [`Credentials::ApplicationDefault`].
    pub credentials: Credentials,
    /// The project that pays for requests to a requester-pays bucket. Default: none.
    pub user_project: Option<String>,
    /// How long a connection may take to be made. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a body may be silent. There is no limit on a whole body. Default: 30 s.
    pub read_timeout: Duration,
    /// A PEM file of certificate authorities to trust besides the system's. It is an option of the whole stack, not of
    /// GCS. Default: none.
    pub ca_certificate: Option<PathBuf>,
}

/// An invalid endpoint is not shown: it may contain a password.
impl fmt::Debug for GcsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, endpoint: _, credentials, user_project, connect_timeout, read_timeout, ca_certificate } =
            self;
        let mut shown = f.debug_struct("GcsConfig");
        shown.field("bucket", bucket).field("endpoint", &self.shown_endpoint()).field("credentials", credentials);
        shown.field("user_project", user_project).field("connect_timeout", connect_timeout);
        shown.field("read_timeout", read_timeout).field("ca_certificate", ca_certificate).finish()
    }
}

/// The credentials of all requests. `Debug` does not show secrets.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Application default credentials: the named file, else the file written by `gcloud auth application-default
    /// login`, else the service account of the machine. Never sent to an emulator, which gets a placeholder token.
    ApplicationDefault(Option<PathBuf>),
    /// A service account's key file.
    ServiceAccountFile(PathBuf),
    /// A service account's key, as JSON.
    ServiceAccountKey(String),
    /// A bearer token that is never refreshed.
    Token(String),
    /// No credentials: for public buckets.
    Anonymous,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplicationDefault(path) => f.debug_tuple("ApplicationDefault").field(path).finish(),
            Self::ServiceAccountFile(path) => f.debug_tuple("ServiceAccountFile").field(path).finish(),
            Self::ServiceAccountKey(_) => f.write_str("ServiceAccountKey(***)"),
            Self::Token(_) => f.write_str("Token(***)"),
            Self::Anonymous => f.write_str("Anonymous"),
        }
    }
}

impl Default for GcsConfig {
    fn default() -> Self {
        Self {
            bucket: None,
            endpoint: None,
            credentials: Credentials::ApplicationDefault(None),
            user_project: None,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            ca_certificate: None,
        }
    }
}

/// The variables and the options that they set, in order of precedence.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("GOOGLE_SKIP_SIGNATURE", "anonymous"),
    ("GOOGLE_BEARER_TOKEN", "token"),
    ("GOOGLE_SERVICE_ACCOUNT_KEY", "service_account_key"),
    ("GOOGLE_SERVICE_ACCOUNT", "service_account"),
    ("GOOGLE_SERVICE_ACCOUNT_PATH", "service_account"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "application_credentials"),
    ("STORAGE_EMULATOR_HOST", "endpoint"),
    ("GOOGLE_BASE_URL", "endpoint"),
    ("GOOGLE_BUCKET", "bucket"),
    ("GOOGLE_BUCKET_NAME", "bucket"),
    ("GOOGLE_CLOUD_QUOTA_PROJECT", "user_project"),
];

/// Options that give credentials. Only one may be given.
const CREDENTIALS: &[&str] =
    &["anonymous", "token", "service_account_key", "service_account", "application_credentials"];

/// The text shown in place of a secret.
const REDACTED: &str = "***";

impl GcsConfig {
    /// Settings from `options`, then `environment` (a variable's value by its name), then the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] naming the option or the variable.
    pub fn resolve<K: AsRef<str>, V: AsRef<str>>(
        options: impl IntoIterator<Item = (K, V)>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let options: Vec<(K, V)> = options.into_iter().collect();
        // `anonymous=off` uncovers the environment's other credentials.
        let is_signed = options.iter().any(|(key, value)| {
            key.as_ref() == "anonymous" && parse_switch("anonymous", value.as_ref()).is_ok_and(|is_on| !is_on)
        });
        let mut config = Self::default();
        // In reverse order of precedence: the last one set wins.
        for (variable, key) in ENVIRONMENT.iter().rev().filter(|(_, key)| !is_signed || *key != "anonymous") {
            if let Some(value) = environment(variable).filter(|value| !value.is_empty()) {
                config.set(key, &value).map_err(|error| naming(variable, error))?;
            }
        }
        let mut credential = None;
        for (key, value) in options {
            let (key, value) = (key.as_ref(), value.as_ref());
            config.set(key, value)?;
            let is_credential = CREDENTIALS.iter().find(|name| **name == key);
            if let Some(name) =
                is_credential.filter(|_| key != "anonymous" || config.credentials == Credentials::Anonymous)
                && let Some(other) = credential.replace(name)
                && other != name
            {
                return Err(ConfigError::bad(key, REDACTED, format!("'{other}' is given too; give one of them")));
            }
        }
        config.check()?;
        Ok(config)
    }

    /// The bucket, for use without a URL. Default: none.
    #[must_use]
    pub fn with_bucket(mut self, bucket: impl Into<String>) -> Self {
        self.bucket = Some(bucket.into());
        self
    }

    /// Where requests go; `http://` means an emulator. Default: Google.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The credentials of all requests. Default: [`Credentials::ApplicationDefault`].
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// The project that pays for requests to a requester-pays bucket. Default: none.
    #[must_use]
    pub fn with_user_project(mut self, project: impl Into<String>) -> Self {
        self.user_project = Some(project.into());
        self
    }

    /// Whether the option `key` gives credentials. Only one of these options may be given.
    #[must_use]
    pub fn is_credential_key(key: &str) -> bool {
        CREDENTIALS.contains(&key)
    }

    /// The variables that are read, each with the option it sets, in order of precedence.
    #[must_use]
    pub fn variables() -> &'static [(&'static str, &'static str)] {
        ENVIRONMENT
    }

    /// The process's environment, for [`GcsConfig::resolve`].
    #[expect(clippy::disallowed_methods, reason = "this file is where the provider's variables are read")]
    #[must_use]
    pub fn process_environment(variable: &str) -> Option<String> {
        std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
    }

    fn shown_endpoint(&self) -> Option<String> {
        let endpoint = self.endpoint.as_ref()?;
        Some(parse_endpoint("endpoint", endpoint).unwrap_or_else(|_| REDACTED.to_owned()))
    }

    /// Whether requests go to an emulator: in the clear, without real credentials.
    #[must_use]
    pub fn is_emulator(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

/// The error of an option, naming the variable that set it.
fn naming(variable: &str, error: ConfigError) -> ConfigError {
    match error {
        ConfigError::BadValue { value, allowed, .. } => ConfigError::bad(variable, value, allowed),
        other => other,
    }
}

impl Options for GcsConfig {
    const ROWS: &'static [OptionRow<Self>] = &[
        OptionRow {
            key: "bucket",
            takes: "a name",
            what: "the bucket, where no URL names it",
            get: |config| config.bucket.clone().unwrap_or_default(),
            set: |config, key, value| assign(&mut config.bucket, parse_text(key, value).map(Some)),
        },
        OptionRow {
            key: "endpoint",
            takes: "a URL or host:port",
            what: "where requests go; http:// means an emulator",
            get: |config| config.shown_endpoint().unwrap_or_default(),
            set: |config, key, value| assign(&mut config.endpoint, parse_endpoint(key, value).map(Some)),
        },
        OptionRow {
            key: "anonymous",
            takes: "on or off",
            what: "send requests without credentials",
            get: |config| format_switch(config.credentials == Credentials::Anonymous),
            set: set_anonymous,
        },
        OptionRow {
            key: "token",
            takes: "a secret",
            what: "a bearer token that is never refreshed",
            get: |config| shown_secret(matches!(config.credentials, Credentials::Token(_))),
            set: |config, key, value| assign(&mut config.credentials, parse_token(key, value).map(Credentials::Token)),
        },
        OptionRow {
            key: "service_account",
            takes: "a path",
            what: "a service account's key file",
            get: |config| match &config.credentials {
                Credentials::ServiceAccountFile(path) => path.display().to_string(),
                _ => String::new(),
            },
            set: |config, key, value| {
                assign(&mut config.credentials, parse_path(key, value).map(Credentials::ServiceAccountFile))
            },
        },
        OptionRow {
            key: "service_account_key",
            takes: "a secret",
            what: "a service account's key, as JSON",
            get: |config| shown_secret(matches!(config.credentials, Credentials::ServiceAccountKey(_))),
            set: |config, key, value| {
                assign(&mut config.credentials, parse_text(key, value).map(Credentials::ServiceAccountKey))
            },
        },
        OptionRow {
            key: "application_credentials",
            takes: "a path",
            what: "an application default credentials file",
            get: |config| match &config.credentials {
                Credentials::ApplicationDefault(Some(path)) => path.display().to_string(),
                _ => String::new(),
            },
            set: |config, key, value| {
                let path = parse_path(key, value).map(Some);
                assign(&mut config.credentials, path.map(Credentials::ApplicationDefault))
            },
        },
        OptionRow {
            key: "user_project",
            takes: "a name",
            what: "the project that pays, for requester-pays buckets",
            get: |config| config.user_project.clone().unwrap_or_default(),
            set: |config, key, value| assign(&mut config.user_project, parse_project(key, value).map(Some)),
        },
        OptionRow {
            key: "connect_timeout",
            takes: "a time",
            what: "how long a connection may take to be made",
            get: |config| format_duration(config.connect_timeout),
            set: |config, key, value| assign(&mut config.connect_timeout, parse_timeout(key, value)),
        },
        OptionRow {
            key: "read_timeout",
            takes: "a time",
            what: "how long a body may be silent",
            get: |config| format_duration(config.read_timeout),
            set: |config, key, value| assign(&mut config.read_timeout, parse_timeout(key, value)),
        },
    ];

    fn check(&self) -> Result<(), ConfigError> {
        for (key, time) in [("connect_timeout", self.connect_timeout), ("read_timeout", self.read_timeout)] {
            if time.is_zero() {
                return Err(ConfigError::bad(key, "0s", "expected more than no time"));
            }
        }
        if let Some(endpoint) = &self.endpoint {
            parse_endpoint("endpoint", endpoint)?;
        }
        match &self.bucket {
            Some(bucket) if bucket.contains('/') => {
                Err(ConfigError::bad("bucket", bucket, "expected a bucket's name alone"))
            }
            _ => Ok(()),
        }
    }
}

/// `https://host[:port][/prefix]`, or an emulator's `http://…` or bare `host:port`; without a slash at the end.
fn parse_endpoint(key: &str, value: &str) -> Result<String, ConfigError> {
    let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    match url {
        Some(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        // The value is not repeated: it may hold a password.
        None => Err(ConfigError::bad(key, REDACTED, "expected https://host[:port], http://host[:port] or host:port")),
    }
}

fn parse_text(key: &str, value: &str) -> Result<String, ConfigError> {
    match value {
        "" => Err(ConfigError::bad(key, value, "expected a value that is not empty")),
        _ => Ok(value.to_owned()),
    }
}

fn set_anonymous(config: &mut GcsConfig, key: &str, value: &str) -> Result<(), ConfigError> {
    match parse_switch(key, value)? {
        true => config.credentials = Credentials::Anonymous,
        false if config.credentials == Credentials::Anonymous => {
            config.credentials = Credentials::ApplicationDefault(None);
        }
        false => {}
    }
    Ok(())
}

fn parse_token(key: &str, value: &str) -> Result<String, ConfigError> {
    let token = parse_text(key, value)?;
    match token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(token),
        false => Err(ConfigError::bad(key, REDACTED, "expected visible ASCII characters")),
    }
}

fn parse_project(key: &str, value: &str) -> Result<String, ConfigError> {
    let project = parse_text(key, value)?;
    match project.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(project),
        false => Err(ConfigError::bad(key, value, "expected a project's name or number")),
    }
}

fn parse_path(key: &str, value: &str) -> Result<PathBuf, ConfigError> {
    if value.trim_start().starts_with('{') {
        let allowed = "expected a path; a service account's key as JSON is given as service_account_key";
        return Err(ConfigError::bad(key, REDACTED, allowed));
    }
    parse_text(key, value).map(PathBuf::from)
}

/// `***` for a secret that is set.
fn shown_secret(is_set: bool) -> String {
    if is_set { REDACTED.to_owned() } else { String::new() }
}

fn parse_timeout(key: &str, value: &str) -> Result<Duration, ConfigError> {
    match parse_duration(key, value)? {
        Duration::ZERO => Err(ConfigError::bad(key, value, "expected more than no time")),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests;
