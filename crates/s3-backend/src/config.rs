//! The settings of an `S3Backend`, from options and the client's `AWS_*` variables. Only this file reads those.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use headstart_fetch_core::options::{OptionRow, format_switch, parse_switch};
use headstart_fetch_core::{ConfigError, Options};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

/// The settings of a [`crate::S3Backend`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Config {
    /// Values by the client's own keys, secrets included.
    settings: BTreeMap<String, String>,
    /// A PEM file of certificate authorities to trust besides the system's. It is an option of the whole stack, not of
    /// S3. Default: what `AWS_CA_BUNDLE` says, which object_store's client does not read.
    pub ca_certificate: Option<PathBuf>,
}

/// Names only: some values are secrets.
impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.settings.keys()).finish()
    }
}

/// The text shown in place of a secret.
const REDACTED: &str = "***";

/// Options that give credentials.
const CREDENTIALS: &[&str] = &["anonymous", "access_key_id", "secret_access_key", "session_token"];

const SWITCH: &str = "on or off";
const SECRET: &str = "a secret";

impl S3Config {
    /// Settings from `options`, then the `AWS_*` variables among `environment`, then the client's defaults. Options
    /// that give credentials override all credentials of the variables: those of two sources do not belong together.
    ///
    /// # Errors
    /// [`ConfigError`] naming the option.
    pub fn resolve<K: AsRef<str>, V: AsRef<str>>(
        options: impl IntoIterator<Item = (K, V)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        // By name, whatever the order of the environment: `AWS_ENDPOINT_URL` overrides `AWS_ENDPOINT`.
        for (variable, value) in environment.into_iter().collect::<BTreeMap<_, _>>() {
            if variable == "AWS_CA_BUNDLE" && !value.is_empty() {
                config.ca_certificate = Some(value.into());
            } else if variable.starts_with("AWS_") && !value.is_empty()
                // The client ignores variables that it does not know.
                && let Ok(key) = variable.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()
            {
                let is_endpoint = matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint);
                // The client's errors repeat other URLs too, such as that of the metadata service.
                let is_server = key.as_ref().contains("endpoint") || key.as_ref().ends_with("_uri");
                if is_endpoint || is_server && value.contains('@') {
                    check_endpoint(&variable, &value)?;
                }
                config.settings.insert(key.as_ref().to_owned(), value);
            }
        }
        let options: Vec<_> = options.into_iter().collect();
        let gives_credentials = |(key, value): &(K, V)| match key.as_ref() {
            "anonymous" => parse_switch("anonymous", value.as_ref()).is_ok_and(|is_on| is_on),
            key => Self::is_credential_key(key),
        };
        if options.iter().any(gives_credentials) {
            let keys = CREDENTIALS.iter().filter_map(|key| client_key(key));
            keys.for_each(|key| drop(config.settings.remove(key.as_ref())));
        }
        for (key, value) in options {
            config.set(key.as_ref(), value.as_ref())?;
        }
        Ok(config)
    }

    /// Whether the option `key` gives credentials, or says that there are none.
    #[must_use]
    pub fn is_credential_key(key: &str) -> bool {
        CREDENTIALS.contains(&key)
    }

    /// The client's variables that have an option here. The client's other variables are read too.
    pub fn variables() -> impl Iterator<Item = (String, &'static str)> {
        let variable = |key: &'static str| Some((client_key(key)?.as_ref().to_ascii_uppercase(), key));
        let service = (AmazonS3ConfigKey::S3Endpoint.as_ref().to_ascii_uppercase(), "endpoint");
        // A second name of the client's `AWS_ENDPOINT`, and the one that AWS's own libraries know.
        let url = ("AWS_ENDPOINT_URL".to_owned(), "endpoint");
        [service, url].into_iter().chain(Self::ROWS.iter().filter_map(move |row| variable(row.key)))
    }

    /// The process's environment, for [`S3Config::resolve`].
    #[expect(clippy::disallowed_methods, reason = "this file is where the client's variables are read")]
    pub fn process_environment() -> impl Iterator<Item = (String, String)> {
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
    }

    /// Whether requests go to an emulator: in the clear.
    #[must_use]
    pub fn is_emulator(&self) -> bool {
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
            .iter()
            .find_map(|key| self.settings.get(key.as_ref()));
        endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    /// What was given for the option `key`.
    fn given(&self, key: &str) -> Option<&String> {
        let service = self.settings.get(AmazonS3ConfigKey::S3Endpoint.as_ref()).filter(|_| key == "endpoint");
        service.or_else(|| self.settings.get(client_key(key)?.as_ref()))
    }

    fn shown_switch(&self, key: &str) -> String {
        format_switch(self.given(key).is_some_and(|value| parse_switch(key, value).unwrap_or(true)))
    }

    fn shown_secret(&self, key: &str) -> String {
        self.given(key).map(|_| REDACTED.to_owned()).unwrap_or_default()
    }

    fn set_text(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        if value.is_empty() {
            return Err(ConfigError::bad(key, value, "expected a value that is not empty"));
        }
        if let Some(client) = client_key(key) {
            self.settings.insert(client.as_ref().to_owned(), value.to_owned());
        }
        Ok(())
    }

    fn set_endpoint(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        check_endpoint(key, value)?;
        self.settings.remove(AmazonS3ConfigKey::S3Endpoint.as_ref());
        self.set_text(key, value)
    }

    fn set_switch(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        // `requester` is the value of the header, and what other tools and the client take for `AWS_REQUEST_PAYER`.
        let is_on = key == "request_payer" && value.eq_ignore_ascii_case("requester") || parse_switch(key, value)?;
        self.set_text(key, &is_on.to_string())
    }

    /// Applies the settings to the client's builder.
    pub(crate) fn apply(&self, builder: AmazonS3Builder) -> AmazonS3Builder {
        self.settings.iter().fold(builder, |builder, (key, value)| match key.parse() {
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        })
    }
}

/// The client's key for the option `key`.
fn client_key(key: &str) -> Option<AmazonS3ConfigKey> {
    S3Config::ROWS.iter().find(|row| row.key == key)?;
    (if key == "anonymous" { "skip_signature" } else { key }).parse().ok()
}

fn check_endpoint(key: &str, value: &str) -> Result<(), ConfigError> {
    let plain = |url: &url::Url| url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match url::Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && plain(&url) => Ok(()),
        // The value is not repeated: it may hold a password.
        _ => Err(ConfigError::bad(key, REDACTED, "expected https://host[:port] or http://host[:port]")),
    }
}

impl Options for S3Config {
    const ROWS: &'static [OptionRow<Self>] = &[
        OptionRow {
            key: "endpoint",
            takes: "a URL",
            what: "where requests go; http:// means an emulator",
            get: |config| config.given("endpoint").cloned().unwrap_or_default(),
            set: S3Config::set_endpoint,
        },
        OptionRow {
            key: "region",
            takes: "a name",
            what: "the bucket's region",
            get: |config| config.given("region").cloned().unwrap_or_default(),
            set: S3Config::set_text,
        },
        OptionRow {
            key: "anonymous",
            takes: SWITCH,
            what: "send requests without credentials",
            get: |config| config.shown_switch("anonymous"),
            set: S3Config::set_switch,
        },
        OptionRow {
            key: "access_key_id",
            takes: "a name",
            what: "access key ID",
            get: |config| config.given("access_key_id").cloned().unwrap_or_default(),
            set: S3Config::set_text,
        },
        OptionRow {
            key: "secret_access_key",
            takes: SECRET,
            what: "secret access key",
            get: |config| config.shown_secret("secret_access_key"),
            set: S3Config::set_text,
        },
        OptionRow {
            key: "session_token",
            takes: SECRET,
            what: "session token of temporary credentials",
            get: |config| config.shown_secret("session_token"),
            set: S3Config::set_text,
        },
        OptionRow {
            key: "virtual_hosted_style_request",
            takes: SWITCH,
            what: "put the bucket in the host's name",
            get: |config| config.shown_switch("virtual_hosted_style_request"),
            set: S3Config::set_switch,
        },
        OptionRow {
            key: "request_payer",
            takes: SWITCH,
            what: "pay for requests to a requester-pays bucket",
            get: |config| config.shown_switch("request_payer"),
            set: S3Config::set_switch,
        },
    ];

    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(options: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<S3Config, String> {
        let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        S3Config::resolve(options.iter().copied(), environment).map_err(|error| error.to_string())
    }

    #[test]
    fn option_beats_environment_beats_default() {
        let environment =
            [("AWS_ENDPOINT_URL_S3", "http://localhost:9000"), ("AWS_REGION", "eu-west-1"), ("AWS_PAGER", "less")];
        let config = resolve(&[], &environment).unwrap();
        assert!(config.is_emulator());
        assert_eq!(config.value("endpoint").as_deref(), Some("http://localhost:9000"));
        assert_eq!(config.value("region").as_deref(), Some("eu-west-1"));
        let config = resolve(&[("endpoint", "https://s3.example"), ("anonymous", "1")], &environment).unwrap();
        assert!(!config.is_emulator());
        assert_eq!(config.value("endpoint").as_deref(), Some("https://s3.example"));
        assert_eq!(config.value("anonymous").as_deref(), Some("on"));
        assert_eq!(resolve(&[], &[]).unwrap(), S3Config::default());
    }

    #[test]
    fn of_several_variables_the_first_of_the_list_counts() {
        let endpoints = S3Config::variables().filter(|(_, key)| *key == "endpoint");
        let names: Vec<String> = endpoints.map(|(name, _)| name).collect();
        assert_eq!(names, ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]);
        let urls = ["http://localhost:1", "http://localhost:2", "http://localhost:3"];
        let mut given: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(urls).collect();
        while let Some((_, first)) = given.first() {
            for order in [given.clone(), given.iter().rev().copied().collect()] {
                assert_eq!(resolve(&[], &order).unwrap().value("endpoint").as_deref(), Some(*first), "{order:?}");
            }
            given.remove(0);
        }
    }

    #[test]
    fn credentials_of_options_replace_those_of_variables() {
        let environment = [("AWS_ACCESS_KEY_ID", "me"), ("AWS_SESSION_TOKEN", "old"), ("AWS_SKIP_SIGNATURE", "true")];
        for (option, value, shown) in [
            ("access_key_id", "you", ["you", "", "off"]),
            ("anonymous", "on", ["", "", "on"]),
            ("anonymous", "off", ["me", "***", "off"]),
            ("region", "eu-west-1", ["me", "***", "on"]),
        ] {
            let config = resolve(&[(option, value)], &environment).unwrap();
            let values = ["access_key_id", "session_token", "anonymous"].map(|key| config.value(key).unwrap());
            assert_eq!(values, shown, "{option} = {value}");
        }
    }

    #[test]
    fn who_pays_is_a_switch_or_the_word_of_the_header() {
        for (value, shown) in [("on", "on"), ("requester", "on"), ("Requester", "on"), ("off", "off")] {
            for config in [resolve(&[("request_payer", value)], &[]), resolve(&[], &[("AWS_REQUEST_PAYER", value)])] {
                assert_eq!(config.unwrap().value("request_payer").as_deref(), Some(shown), "{value}");
            }
        }
        let error = resolve(&[("request_payer", "me")], &[]).unwrap_err();
        assert_eq!(error, "option 'request_payer' is 'me': expected on or off");
    }

    #[test]
    fn errors_name_the_option_and_show_no_secret() {
        for (key, value, expected) in [
            ("regoin", "x", "unknown option 'regoin'; did you mean 'region'?"),
            ("region", "", "option 'region' is '': expected a value that is not empty"),
            ("anonymous", "2", "option 'anonymous' is '2': expected on or off"),
            ("endpoint", "hunter2", "option 'endpoint' is '***': expected https://host[:port] or http://host[:port]"),
        ] {
            assert_eq!(resolve(&[(key, value)], &[]).unwrap_err(), expected);
        }
        for endpoint in ["http://u:hunter2@h", "http://:hunter2@h", "https://h?token=hunter2"] {
            for outcome in [resolve(&[("endpoint", endpoint)], &[]), resolve(&[], &[("AWS_ENDPOINT", endpoint)])] {
                let error = outcome.unwrap_err();
                assert!(!error.contains("hunter2") && error.contains("expected https://host[:port]"), "{error}");
            }
        }
        let config = resolve(&[("session_token", "hunter2"), ("secret_access_key", "hunter2")], &[]).unwrap();
        let values: Vec<_> = S3Config::ROWS.iter().map(|row| config.value(row.key)).collect();
        assert!(!format!("{config:?} {values:?}").contains("hunter2"));
        assert_eq!(config.value("secret_access_key").as_deref(), Some("***"));
    }
}
