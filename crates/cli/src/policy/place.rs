//! What an argument names: a URL of a store, perhaps with a pattern or a generation, a path, or a standard stream.

/// What an argument of a command names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `-`: standard input or output.
    Stream,
    /// A file or directory of this machine.
    Local(String),
    /// A URL.
    Remote(RemotePlace),
}

/// A URL of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemotePlace {
    /// The URL of the object or prefix; of a pattern, the part before it.
    pub(crate) url: String,
    /// The pattern below `url`, with percent-escapes decoded.
    pub(crate) pattern: Option<String>,
    /// The generation of Google Cloud Storage.
    pub(crate) generation: Option<String>,
}

/// Reads an argument.
pub(crate) fn parse(text: &str) -> Place {
    if text == "-" {
        return Place::Stream;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Place::Local(text.to_owned()) };
    if scheme.eq_ignore_ascii_case("file") {
        let is_of_this_host = rest.starts_with('/');
        if is_of_this_host {
            return Place::Local(decode(rest));
        }
    }
    let (text, generation) = match text.rsplit_once('#') {
        Some((url, digits)) if scheme == "gs" && is_generation(digits) => (url, Some(digits.to_owned())),
        _ => (text, None),
    };
    // Web servers have no listing that a pattern could be matched with.
    let has_listing = !matches!(scheme, "http" | "https");
    let (url, pattern) = match split_pattern(text) {
        Some((url, pattern)) if has_listing && generation.is_none() => (url, Some(pattern)),
        _ => (text, None),
    };
    Place::Remote(RemotePlace { url: url.to_owned(), pattern: pattern.map(decode_pattern), generation })
}

fn is_generation(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '?' | '[')
}

/// Splits a URL before the first segment of its key that has a wildcard.
fn split_pattern(text: &str) -> Option<(&str, &str)> {
    let key_at = text.find("://")? + 3;
    let wildcard = key_at + text[key_at..].find(is_wildcard)?;
    let segment = text[..wildcard].rfind('/')? + 1;
    // Where the bucket's name has the wildcard, the URL is refused later.
    (segment > key_at).then(|| text.split_at(segment))
}

/// Decodes percent-escapes that are valid UTF-8.
pub(crate) fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Into::into)
}

/// Decodes the percent-escapes of a pattern. A decoded wildcard stands for itself.
fn decode_pattern(pattern: &str) -> String {
    let mut decoded = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let escape = rest.get(at..at + 3).unwrap_or(&rest[at..=at]);
        let is_special = ["%2A", "%2a", "%3F", "%3f", "%5B", "%5b", "%7B", "%7b", "%5C", "%5c"].contains(&escape);
        match is_special {
            true => decoded.push_str(&format!("[{}]", decode(escape))),
            // Bytes of one character are decoded together, below.
            false => decoded.push_str(escape),
        }
        rest = &rest[at + escape.len()..];
    }
    decoded.push_str(rest);
    decode(&decoded)
}

/// The characters of a key that a URL, a pattern or a terminal would take for something else.
const ESCAPED: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b'%').add(b'#').add(b'?').add(b'*').add(b'[').add(b' ').add(b'\\');

/// The URL of the object `key` in the store `store_url`, which ends with a slash. It can be pasted into a command.
pub(crate) fn url_of(store_url: &str, key: &str) -> String {
    format!("{store_url}{}", percent_encoding::utf8_percent_encode(key, ESCAPED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str, pattern: Option<&str>, generation: Option<&str>) -> Place {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Place::Remote(RemotePlace { url: url.to_owned(), pattern: owned(pattern), generation: owned(generation) })
    }

    #[test]
    fn arguments_name_streams_files_objects_patterns_and_generations() {
        for (text, expected) in [
            ("-", Place::Stream),
            ("a/b", Place::Local("a/b".to_owned())),
            ("a*b", Place::Local("a*b".to_owned())),
            ("file:///a%20b", Place::Local("/a b".to_owned())),
            ("gs://b", remote("gs://b", None, None)),
            ("gs://b/k", remote("gs://b/k", None, None)),
            ("gs://b/k#17", remote("gs://b/k", None, Some("17"))),
            ("gs://b/k#x", remote("gs://b/k#x", None, None)),
            ("s3://b/k#17", remote("s3://b/k#17", None, None)),
            ("s3://b/logs/2*/x.gz", remote("s3://b/logs/", Some("2*/x.gz"), None)),
            ("s3://b/*", remote("s3://b/", Some("*"), None)),
            ("s3://b/a%2A", remote("s3://b/a%2A", None, None)),
            ("s3://b/a%2A*%20%C3%A4", remote("s3://b/", Some("a[*]* ä"), None)),
            ("s3://b*/x", remote("s3://b*/x", None, None)),
            ("https://h/a[1]", remote("https://h/a[1]", None, None)),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn urls_of_keys_name_the_key_again() {
        for key in ["a/b", "a b", "a%b", "a#1", "a*[x]?", "ä\u{1b}[31m"] {
            let url = url_of("s3://b/", key);
            let Place::Remote(place) = parse(&url) else { panic!("{url}") };
            assert_eq!((place.pattern, decode(&place.url)), (None, format!("s3://b/{key}")), "{url}");
        }
        assert_eq!(url_of("s3://b/", "\u{1b}[31m"), "s3://b/%1B%5B31m");
    }
}
