//! The settings of a `GcsBackend`: from options and the provider's environment variables, which only this file reads.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use headstart_fetch_core::options::{format_duration, parse_duration, parse_switch};
use headstart_fetch_core::{ConfigError, OptionSpec, Options};
use url::Url;

/// The settings of a [`crate::GcsBackend`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcsConfig {
    /// The bucket, where no URL names it. Default: none.
    pub bucket: Option<String>,
    /// Where requests go, without a slash at the end. `http://` means an emulator. Default: Google.
    pub endpoint: Option<String>,
    /// Who asks. Default: [`Credentials::ApplicationDefault`].
    pub credentials: Credentials,
    /// The project that pays for requests to a requester-pays bucket. Default: none.
    pub user_project: Option<String>,
    /// How long a connection may take to be made. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a body may be silent. There is no limit on a whole body. Default: 30 s.
    pub read_timeout: Duration,
    /// A PEM file of certificate authorities to trust besides the system's. Not an option: it is not of Google alone.
    /// Default: none.
    pub ca_certificate: Option<PathBuf>,
}

/// An endpoint that cannot be used is not shown: it may hold a password.
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

/// Who asks. Secrets are not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Application default credentials: the file named, else the one that `gcloud auth application-default login` wrote,
    /// else the machine's own account. Never sent to an emulator, which gets a placeholder token.
    ApplicationDefault(Option<PathBuf>),
    /// A service account's key file.
    ServiceAccountFile(PathBuf),
    /// A service account's key, as JSON.
    ServiceAccountKey(String),
    /// A bearer token that is never refreshed.
    Token(String),
    /// Nobody: for public buckets.
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

/// The variables and the options they stand for, the strongest first.
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

/// Options that say who asks: one of them at a time.
const CREDENTIALS: &[&str] =
    &["anonymous", "token", "service_account_key", "service_account", "application_credentials"];

/// What is shown in place of a secret.
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
        let mut config = Self::default();
        // The strongest variable is set last and stays.
        for (variable, key) in ENVIRONMENT.iter().rev() {
            if let Some(value) = environment(variable).filter(|value| !value.is_empty()) {
                config.set(key, &value).map_err(|error| naming(variable, error))?;
            }
        }
        let mut credential = None;
        for (key, value) in options {
            let (key, value) = (key.as_ref(), value.as_ref());
            config.set(key, value)?;
            let says_who = CREDENTIALS.iter().find(|name| **name == key);
            if let Some(name) = says_who.filter(|_| key != "anonymous" || config.credentials == Credentials::Anonymous)
                && let Some(other) = credential.replace(name)
                && other != name
            {
                return Err(ConfigError::bad(key, REDACTED, format!("'{other}' is given too; give one of them")));
            }
        }
        config.check()?;
        Ok(config)
    }

    /// Whether the option `key` says who asks: of these, one at a time may be given.
    #[must_use]
    pub fn is_credential_key(key: &str) -> bool {
        CREDENTIALS.contains(&key)
    }

    /// The variables that are read, each with the option it stands for, the strongest first.
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

/// The error of an option, told of the variable that set it.
fn naming(variable: &str, error: ConfigError) -> ConfigError {
    match error {
        ConfigError::BadValue { value, allowed, .. } => ConfigError::bad(variable, value, allowed),
        other => other,
    }
}

impl Options for GcsConfig {
    const SPECS: &'static [OptionSpec] = &[
        OptionSpec { key: "bucket", takes: "a name", what: "the bucket, where no URL names it" },
        OptionSpec {
            key: "endpoint",
            takes: "a URL or host:port",
            what: "where requests go; http:// means an emulator",
        },
        OptionSpec { key: "anonymous", takes: "on or off", what: "ask without credentials" },
        OptionSpec { key: "token", takes: "a secret", what: "a bearer token that is never refreshed" },
        OptionSpec { key: "service_account", takes: "a path", what: "a service account's key file" },
        OptionSpec { key: "service_account_key", takes: "a secret", what: "a service account's key, as JSON" },
        OptionSpec { key: "application_credentials", takes: "a path", what: "an application default credentials file" },
        OptionSpec { key: "user_project", takes: "a name", what: "the project that pays, for requester-pays buckets" },
        OptionSpec { key: "connect_timeout", takes: "a time", what: "how long a connection may take to be made" },
        OptionSpec { key: "read_timeout", takes: "a time", what: "how long a body may be silent" },
    ];

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let text = || match value.is_empty() {
            true => Err(ConfigError::bad(key, value, "expected a value that is not empty")),
            false => Ok(value.to_owned()),
        };
        match key {
            "bucket" => self.bucket = Some(text()?),
            "endpoint" => self.endpoint = Some(parse_endpoint(key, value)?),
            "anonymous" => match parse_switch(key, value)? {
                true => self.credentials = Credentials::Anonymous,
                false if self.credentials == Credentials::Anonymous => {
                    self.credentials = Credentials::ApplicationDefault(None);
                }
                false => {}
            },
            "token" => {
                let token = text()?;
                if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(ConfigError::bad(key, REDACTED, "expected visible ASCII characters"));
                }
                self.credentials = Credentials::Token(token);
            }
            "service_account" | "application_credentials" if value.trim_start().starts_with('{') => {
                let allowed = "expected a path; a service account's key as JSON is given as service_account_key";
                return Err(ConfigError::bad(key, REDACTED, allowed));
            }
            "service_account" => self.credentials = Credentials::ServiceAccountFile(text()?.into()),
            "service_account_key" => self.credentials = Credentials::ServiceAccountKey(text()?),
            "application_credentials" => {
                self.credentials = Credentials::ApplicationDefault(Some(text()?.into()));
            }
            "user_project" => {
                if !text()?.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(ConfigError::bad(key, value, "expected a project's name or number"));
                }
                self.user_project = Some(value.to_owned());
            }
            "connect_timeout" => self.connect_timeout = parse_timeout(key, value)?,
            "read_timeout" => self.read_timeout = parse_timeout(key, value)?,
            _ => return Err(ConfigError::unknown(key, Self::SPECS.iter().map(|spec| spec.key))),
        }
        Ok(())
    }

    /// Secrets are shown as `***`; what is not set as nothing.
    fn value(&self, key: &str) -> Option<String> {
        let credentials = &self.credentials;
        let value = match key {
            "bucket" => self.bucket.clone(),
            "endpoint" => self.shown_endpoint(),
            "anonymous" => Some(if *credentials == Credentials::Anonymous { "on" } else { "off" }.to_owned()),
            "token" => matches!(credentials, Credentials::Token(_)).then(|| REDACTED.to_owned()),
            "service_account_key" => {
                matches!(credentials, Credentials::ServiceAccountKey(_)).then(|| REDACTED.to_owned())
            }
            "service_account" => match credentials {
                Credentials::ServiceAccountFile(path) => Some(path.display().to_string()),
                _ => None,
            },
            "application_credentials" => match credentials {
                Credentials::ApplicationDefault(Some(path)) => Some(path.display().to_string()),
                _ => None,
            },
            "user_project" => self.user_project.clone(),
            "connect_timeout" => Some(format_duration(self.connect_timeout)),
            "read_timeout" => Some(format_duration(self.read_timeout)),
            _ => return None,
        };
        Some(value.unwrap_or_default())
    }

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

fn parse_timeout(key: &str, value: &str) -> Result<Duration, ConfigError> {
    match parse_duration(key, value)? {
        Duration::ZERO => Err(ConfigError::bad(key, value, "expected more than no time")),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves `options` and `environment` and shows what came of it, or the error.
    fn resolve(options: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<GcsConfig, String> {
        let lookup =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        GcsConfig::resolve(options.iter().copied(), lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn option_beats_environment_beats_default() {
        let environment = [("STORAGE_EMULATOR_HOST", "localhost:4443"), ("GOOGLE_BUCKET", "theirs")];
        let config = resolve(&[("endpoint", "https://storage.example/")], &environment).unwrap();
        assert_eq!(config.endpoint.as_deref(), Some("https://storage.example"));
        assert_eq!(config.bucket.as_deref(), Some("theirs"));
        assert_eq!(resolve(&[], &environment).unwrap().endpoint.as_deref(), Some("http://localhost:4443"));
        assert_eq!(resolve(&[], &[]).unwrap(), GcsConfig::default());
    }

    #[test]
    fn the_strongest_credential_wins_and_an_option_hides_them_all() {
        let environment = [
            ("GOOGLE_APPLICATION_CREDENTIALS", "/adc.json"),
            ("GOOGLE_SERVICE_ACCOUNT", "/account.json"),
            ("GOOGLE_BEARER_TOKEN", ""),
        ];
        let of = |options: &[(&str, &str)]| resolve(options, &environment).unwrap().credentials;
        assert_eq!(of(&[]), Credentials::ServiceAccountFile("/account.json".into()));
        assert_eq!(of(&[("token", "t")]), Credentials::Token("t".into()));
        assert_eq!(of(&[("anonymous", "on")]), Credentials::Anonymous);
        assert_eq!(of(&[("anonymous", "off"), ("token", "t")]), Credentials::Token("t".into()));
    }

    #[test]
    fn errors_name_the_option_or_the_variable() {
        for (options, environment, expected) in [
            (&[("endpiont", "x")][..], &[][..], "unknown option 'endpiont'; did you mean 'endpoint'?"),
            (&[("read_timeout", "0")], &[], "option 'read_timeout' is '0': expected more than no time"),
            (&[("anonymous", "maybe")], &[], "option 'anonymous' is 'maybe': expected on or off"),
            (&[], &[("GOOGLE_SKIP_SIGNATURE", "2")], "option 'GOOGLE_SKIP_SIGNATURE' is '2': expected on or off"),
            (
                &[("token", "a"), ("anonymous", "1")],
                &[],
                "option 'anonymous' is '***': 'token' is given too; give one of them",
            ),
            (&[("bucket", "")], &[], "option 'bucket' is '': expected a value that is not empty"),
            (&[("bucket", "a/b")], &[], "option 'bucket' is 'a/b': expected a bucket's name alone"),
        ] {
            assert_eq!(resolve(options, environment).unwrap_err(), expected);
        }
        for endpoint in ["ftp://host", "http://", "https://host?query", "https://me:hunter2@host", "", "a b"] {
            let error = resolve(&[("endpoint", endpoint)], &[]).expect_err(endpoint);
            assert!(error.starts_with("option 'endpoint' is ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for key in ["token", "service_account_key"] {
            let config = resolve(&[(key, "hunter2")], &[]).unwrap();
            assert_eq!(config.value(key).as_deref(), Some("***"));
            let shown =
                format!("{config:?} {:?}", GcsConfig::SPECS.iter().map(|s| config.value(s.key)).collect::<Vec<_>>());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let error = resolve(&[("token", "hunter2\n")], &[]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn every_option_is_known_to_both_sides() {
        let config = GcsConfig::default();
        for spec in GcsConfig::SPECS {
            assert!(config.value(spec.key).is_some(), "{}", spec.key);
        }
        for (variable, key) in ENVIRONMENT {
            assert!(GcsConfig::SPECS.iter().any(|spec| spec.key == *key), "{variable}");
        }
        for key in CREDENTIALS {
            assert!(GcsConfig::SPECS.iter().any(|spec| spec.key == *key), "{key}");
        }
    }
    #[test]
    fn no_time_is_refused_in_a_struct_too() {
        let connect = GcsConfig { connect_timeout: Duration::ZERO, ..GcsConfig::default() };
        let read = GcsConfig { read_timeout: Duration::ZERO, ..GcsConfig::default() };
        for (key, config) in [("connect_timeout", connect), ("read_timeout", read)] {
            let error = config.check().expect_err(key).to_string();
            assert_eq!(error, format!("option '{key}' is '0s': expected more than no time"));
        }
    }
}
