//! `TopAddress`: where a process answers with its metrics.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::policy::served_name::socket_path;
use crate::policy::text;

/// Where `headstart serve --metrics` is told to listen by its documentation.
pub(crate) const USUAL_ADDRESS: &str = "127.0.0.1:9464";

/// Where metrics are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TopAddress {
    Http(Url),
    /// The path of a Unix socket, at which the metrics are at /metrics.
    Unix(PathBuf),
}

const EXPECTED: &str = "expected HOST:PORT, http://HOST:PORT/PATH or unix:PATH";

impl TopAddress {
    /// The URL of the request.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Http(url) => url.as_str(),
            Self::Unix(_) => "http://localhost/metrics",
        }
    }
}

impl FromStr for TopAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = socket_path(text, EXPECTED)? {
            return Ok(Self::Unix(path));
        }
        let has_scheme = text.contains("://");
        let url = if has_scheme { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
        let mut url = url.map_err(|error| format!("{error}: {EXPECTED}"))?;
        // Without a scheme, a port tells an address from a mistyped word.
        if !matches!(url.scheme(), "http" | "https") || !has_scheme && !has_port(text) {
            return Err(format!("{EXPECTED}; headstart serve prints it, if --metrics is given"));
        }
        if url.path() == "/" {
            url.set_path("/metrics");
        }
        Ok(Self::Http(url))
    }
}

/// Whether `HOST:PORT` or `HOST:PORT/PATH` has its port.
fn has_port(text: &str) -> bool {
    let host = text.split('/').next().unwrap_or_default();
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for TopAddress {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => {
                let mut shown = url.clone();
                // A URL with a host can be without a user.
                let _ = shown.set_username("").and_then(|()| shown.set_password(None));
                f.write_str(shown.as_str())
            }
            Self::Unix(path) => write!(f, "unix:{}", text::name(&path.display().to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_short_or_urls() {
        for (text, shown) in [
            (USUAL_ADDRESS, "http://127.0.0.1:9464/metrics"),
            ("localhost:1", "http://localhost:1/metrics"),
            ("[::1]:9464", "http://[::1]:9464/metrics"),
            ("http://127.0.0.1:9464", "http://127.0.0.1:9464/metrics"),
            ("http://127.0.0.1:9464/metrics", "http://127.0.0.1:9464/metrics"),
            ("host:80/a/b?c", "http://host/a/b?c"),
            ("https://me:secret@host/m", "https://host/m"),
            ("unix:/run/x", "unix:/run/x"),
        ] {
            assert_eq!(text.parse::<TopAddress>().map(|address| address.to_string()), Ok(shown.to_owned()), "{text}");
        }
        assert_eq!("unix:x".parse::<TopAddress>().unwrap().url(), "http://localhost/metrics");
    }

    #[test]
    fn others_are_refused() {
        for text in ["", "host", "9464", ":9464", "unix:", "gs://bucket", "host:port", "host:99999", "a b:1", "http://"]
        {
            let error = text.parse::<TopAddress>().unwrap_err();
            assert!(error.contains("HOST:PORT"), "{text}: {error}");
        }
    }
}
