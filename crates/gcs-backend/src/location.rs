//! Parses `gs://` URLs into bucket, object and generation.

use headstart_fetch_core::{ConfigError, internal::path_in_bucket};
use object_store::path::Path;
use url::{Position, Url};

/// The parts of a `gs://` URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GcsLocation {
    pub(crate) bucket: Option<String>,
    pub(crate) path: Path,
    pub(crate) generation: Option<String>,
}

impl GcsLocation {
    /// Parses `gs://bucket/key#generation`.
    ///
    /// `?` belongs to the key, and so does `#` unless an integer follows.
    pub(crate) fn of(url: &Url) -> Result<Self, ConfigError> {
        // The errors leave out the URL, which may contain a password.
        if url.scheme() != "gs" {
            return Err(ConfigError::bad("url", format!("{}:…", url.scheme()), "expected gs://bucket/key"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return Err(ConfigError::bad("url", "gs://…", "a bucket has no user, password or port"));
        }
        let generation = url.fragment().filter(|text| is_generation(text)).map(str::to_owned);
        let key = match generation {
            Some(_) => &url[Position::BeforePath..Position::AfterQuery],
            None => &url[Position::BeforePath..],
        };
        Ok(Self {
            bucket: url.host_str().filter(|host| !host.is_empty()).map(str::to_owned),
            path: path_in_bucket(key)?,
            generation,
        })
    }
}

/// Generations are positive 64-bit integers.
fn is_generation(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok_and(|number| number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    #[track_caller]
    fn check(url: &str, key: &str, generation: Option<&str>) {
        let location = GcsLocation::of(&url.parse().expect("a URL")).expect("a location");
        assert_eq!((location.path.as_ref(), location.generation.as_deref()), (key, generation), "{url}");
        assert_eq!(location.bucket.as_deref(), Some("bucket_1.eu"));
    }

    #[test]
    fn generations_and_keys() {
        check("gs://bucket_1.eu/a/b", "a/b", None);
        check("gs://bucket_1.eu/a/b#17", "a/b", Some("17"));
        check("gs://bucket_1.eu/a?b#17", "a?b", Some("17"));
        check("gs://bucket_1.eu/a%2317", "a#17", None);
        check("gs://bucket_1.eu/a#b", "a#b", None);
        check("gs://bucket_1.eu/a#-1", "a#-1", None);
        check("gs://bucket_1.eu/a#0", "a#0", None);
        check("gs://bucket_1.eu/a#99999999999999999999", "a#99999999999999999999", None);
        check("gs://bucket_1.eu/a#", "a#", None);
        check("gs://bucket_1.eu/a?", "a?", None);
        check("gs://bucket_1.eu/a b//ü", "a b//ü", None);
        check("gs://bucket_1.eu/100%", "100%", None);
        check("gs://bucket_1.eu", "", None);
        check("gs://bucket_1.eu/dir/", "dir", None);
    }

    #[test]
    fn not_a_bucket() {
        for url in ["s3://b/k", "gs://user:hunter2@b/k", "gs://b:80/k", "gs://b//k"] {
            let error = GcsLocation::of(&url.parse().expect("a URL")).expect_err(url).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(GcsLocation::of(&"gs:///k".parse().expect("a URL")).expect("a location").bucket, None);
    }

    /// Keys without `.` and `..` segments.
    fn keys() -> impl Strategy<Value = String> {
        "[a-z#?%~ é日+&=]{1,6}(/{1,2}[a-z#?%~ é日.+&=]{1,6}){0,3}"
            .prop_filter("relative", |key| key.split('/').all(|segment| segment != "." && segment != ".."))
    }

    proptest! {
        #[test]
        fn an_escaped_key_comes_back(key in keys(), generation in prop::option::of(1_i64..)) {
            let mut url = format!("gs://bucket/{}", utf8_percent_encode(&key, NON_ALPHANUMERIC));
            let generation = generation.map(|number| number.to_string());
            if let Some(number) = &generation {
                url.push('#');
                url.push_str(number);
            }
            let location = GcsLocation::of(&url.parse().expect("a URL")).expect("a location");
            prop_assert_eq!(location.path.as_ref(), key);
            prop_assert_eq!(location.generation, generation);
        }

        /// Typed by hand, only `%`, spaces at the end, `#` before an integer, and `?` and `#` after `/.` need escapes.
        #[test]
        fn a_typed_key_comes_back(key in keys()) {
            prop_assume!(!key.contains('%') && key.trim() == key);
            prop_assume!(key.split(['/', '?', '#']).all(|segment| segment != "." && segment != ".."));
            let url: Url = format!("gs://bucket/{key}").parse().expect("a URL");
            let location = GcsLocation::of(&url).expect("a location");
            let typed = match &location.generation {
                Some(number) => format!("{}#{number}", location.path),
                None => location.path.to_string(),
            };
            prop_assert_eq!(typed, key);
        }
    }
}
