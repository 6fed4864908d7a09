//! What a request to `serve` names, and which addresses and hosts it may be served at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// An address of this machine.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

const EXPECTED: &str = "expected 127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:PATH; port 0 picks a free one";

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = socket_path(text, EXPECTED)? {
            return Ok(Self::Unix(path));
        }
        let port_of_localhost = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        let address = match port_of_localhost {
            Some(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            None => text.parse().map_err(|_| format!("'{text}' is no address: {EXPECTED}"))?,
        };
        Ok(Self::Tcp(address))
    }
}

impl ListenAddress {
    /// Checks that only this machine reaches the address.
    ///
    /// # Errors
    /// Others do. The text says so, and `advice`.
    pub(crate) fn check_local(&self, advice: &str) -> Result<(), String> {
        match self {
            Self::Tcp(address) if !address.ip().is_loopback() => Err(format!(
                "Other machines can reach {address}: {advice}, or listen at 127.0.0.1:{} or unix:PATH.",
                address.port()
            )),
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}

/// The path of `unix:PATH`; `None` for addresses of other kinds.
///
/// # Errors
/// The path is missing. The text says so, and what was `expected`.
pub(crate) fn socket_path(text: &str, expected: &str) -> Result<Option<PathBuf>, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err(format!("the path of the socket is missing: {expected}")),
        path => Ok(path.map(PathBuf::from)),
    }
}

/// The headers of a request by which a browser says for whom it asks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AskedFor<'a> {
    pub(crate) host: Option<&'a str>,
    pub(crate) origin: Option<&'a str>,
    /// `Sec-Fetch-Site`, of the Fetch Metadata specification.
    pub(crate) fetch_site: Option<&'a str>,
}

impl AskedFor<'_> {
    /// Why a request to this machine's loopback is refused; `None` where no web page has sent it.
    ///
    /// A web page may let its own name lead to 127.0.0.1 (DNS rebinding), and its script would then read what is
    /// served. And any page may send a `POST` or load a script from here, without reading the answer.
    pub(crate) fn refusal(self) -> Option<&'static str> {
        let host = self.host.unwrap_or_default();
        if self.host.is_some() && !is_local_host(host) {
            return Some("The Host header names no address of this machine: ask for 127.0.0.1 or localhost");
        }
        let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| authority == host);
        let is_foreign = self.fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
        (is_foreign || self.origin.is_some_and(|origin| !is_own(origin)))
            .then_some("The request comes from a web page of another origin, and is refused")
    }
}

/// Whether a `Host` header names this machine's loopback.
fn is_local_host(host: &str) -> bool {
    let name = without_port(host);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| name == "localhost" || bucket_of_host(host).is_some(), |address| address.is_loopback())
}

/// The bucket of `BUCKET.localhost`: some clients put it there.
pub(crate) fn bucket_of_host(host: &str) -> Option<&str> {
    without_port(host).strip_suffix(".localhost").filter(|bucket| !bucket.is_empty())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// What the path of a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServedName {
    /// All buckets.
    Buckets,
    Bucket(String),
    Object {
        bucket: String,
        key: String,
    },
    /// A resource of the JSON API of Google Cloud Storage.
    Json(JsonName),
}

/// A resource of the JSON API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonName {
    Buckets,
    Bucket(String),
    Objects(String),
    /// An object; `is_media` where the path asks for its bytes.
    Object {
        bucket: String,
        key: String,
        is_media: bool,
    },
    /// What is not served.
    Other,
}

/// Paths of the JSON API. The first segments are no buckets, unless the served bucket has such a name.
const JSON_PATHS: [&str; 3] = ["/storage/v1/b", "/download/storage/v1/b", "/upload/storage/v1/b"];

impl ServedName {
    /// Reads the path of a request, `None` where it is not valid UTF-8. `served` is the bucket that is served, `host`
    /// the `Host` header.
    pub(crate) fn parse(path: &str, host: Option<&str>, served: &str) -> Option<Self> {
        let is_bucket_of_json = matches!(served, "storage" | "download" | "upload");
        if !is_bucket_of_json {
            for (at, prefix) in JSON_PATHS.iter().enumerate() {
                match path.strip_prefix(prefix) {
                    Some("") => return Some(Self::Json(if at == 0 { JsonName::Buckets } else { JsonName::Other })),
                    Some(rest) if rest.starts_with('/') => return JsonName::parse(at, &rest[1..]).map(Self::Json),
                    _ => {}
                }
            }
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = match host.and_then(bucket_of_host) {
            Some(bucket) => (bucket.to_owned(), path),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                (decode(bucket)?, key)
            }
        };
        Some(match (bucket.is_empty(), key.is_empty()) {
            (true, true) => Self::Buckets,
            (_, true) => Self::Bucket(bucket),
            (_, false) => Self::Object { bucket, key: decode(key)? },
        })
    }
}

impl JsonName {
    /// Reads what follows `JSON_PATHS[at]`.
    fn parse(at: usize, rest: &str) -> Option<Self> {
        let (bucket, inside) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = decode(bucket)?;
        let is_resource = at == 0;
        Some(match inside.split_once('/').unwrap_or((inside, "")) {
            ("", _) if is_resource => Self::Bucket(bucket),
            ("o", "") if is_resource => Self::Objects(bucket),
            ("o", key) if !key.is_empty() && at < 2 => Self::Object { bucket, key: decode(key)?, is_media: at == 1 },
            _ => Self::Other,
        })
    }
}

fn decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_local_or_are_said_not_to_be() {
        for (text, says) in [
            ("127.0.0.1:9000", None),
            ("127.1.2.3:0", None),
            ("[::1]:9000", None),
            ("localhost:9000", None),
            ("unix:/run/x.sock", None),
            ("0.0.0.0:9000", Some("Other machines")),
            ("10.0.0.1:80", Some("127.0.0.1:80")),
            ("[::]:9000", Some("use keys, or listen")),
            ("9000", Some("expected 127.0.0.1:PORT")),
            ("example.com:80", Some("no address")),
            ("unix:", Some("missing")),
        ] {
            let checked = text.parse().and_then(|address: ListenAddress| address.check_local("use keys"));
            match (checked, says) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => assert!(error.contains(says), "{text}: {error}"),
                (checked, _) => panic!("{text}: {checked:?}"),
            }
        }
    }

    #[test]
    fn hosts_of_other_names_are_refused() {
        for host in ["127.0.0.1", "127.0.0.1:9000", "[::1]:9000", "localhost", "localhost:1", "data.localhost:1"] {
            assert!(is_local_host(host), "{host}");
        }
        for host in ["evil.example:9000", "10.0.0.1", "localhost.evil.example", "evillocalhost", ".localhost", ""] {
            assert!(!is_local_host(host), "{host}");
        }
    }

    #[test]
    fn requests_of_web_pages_are_refused() {
        for (origin, fetch_site, is_refused) in [
            (None, None, false),
            (None, Some("none"), false),
            (Some("http://127.0.0.1:9090"), Some("same-origin"), false),
            (Some("https://evil.example"), None, true),
            (Some("http://127.0.0.1:8888"), Some("same-site"), true),
            (Some("null"), None, true),
            (None, Some("cross-site"), true),
        ] {
            let asked = AskedFor { host: Some("127.0.0.1:9090"), origin, fetch_site };
            assert_eq!(asked.refusal().is_some(), is_refused, "{asked:?}");
        }
    }

    #[test]
    fn paths_name_buckets_objects_and_resources() {
        let object = |bucket: &str, key: &str| ServedName::Object { bucket: bucket.into(), key: key.into() };
        let media =
            |key: &str, is_media| ServedName::Json(JsonName::Object { bucket: "b".into(), key: key.into(), is_media });
        for (path, expected) in [
            ("/", ServedName::Buckets),
            ("/b", ServedName::Bucket("b".into())),
            ("/b/", ServedName::Bucket("b".into())),
            ("/b/k", object("b", "k")),
            ("/b/a%20b/c%2Fd", object("b", "a b/c/d")),
            ("/b//k", object("b", "/k")),
            ("/storage/v1/b", ServedName::Json(JsonName::Buckets)),
            ("/storage/v1/b/b", ServedName::Json(JsonName::Bucket("b".into()))),
            ("/storage/v1/b/b/o", ServedName::Json(JsonName::Objects("b".into()))),
            ("/storage/v1/b/b/o/", ServedName::Json(JsonName::Objects("b".into()))),
            ("/storage/v1/b/b/o/a%2Fb", media("a/b", false)),
            ("/download/storage/v1/b/b/o/a%2Fb", media("a/b", true)),
            ("/upload/storage/v1/b/b/o/k", ServedName::Json(JsonName::Other)),
            ("/storage/v1/b/b/iam", ServedName::Json(JsonName::Other)),
            ("/storage/v1", object("storage", "v1")),
        ] {
            assert_eq!(ServedName::parse(path, Some("127.0.0.1:1"), "b"), Some(expected), "{path}");
        }
        assert_eq!(ServedName::parse("/k/l", Some("b.localhost:1"), "b"), Some(object("b", "k/l")));
        assert_eq!(ServedName::parse("/storage/v1/b", None, "storage"), Some(object("storage", "v1/b")));
        assert_eq!(ServedName::parse("/b/%FF", None, "b"), None);
    }
}
