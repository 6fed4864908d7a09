//! Converts the key in the URL of an object to a `Path`.

use object_store::path::{Path, PathPart};
use percent_encoding::percent_decode_str;

use crate::options::ConfigError;

/// Why the parser of URLs would read another key than `text` says; `None` where it reads that key. It resolves segments
/// `.` and `..`, also encoded ones, which only keys of a bucket may contain, and drops tabs, line breaks and what is
/// blank at the end.
pub fn changed_by_url_parser(text: &str, in_bucket: bool) -> Option<&'static str> {
    let is_dots = |segment: &str| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..");
    if in_bucket && text.split(['/', '?', '#']).any(is_dots) {
        return Some("a key with a segment '.' or '..' cannot be read");
    }
    (text.contains(['\t', '\n', '\r']) || text.ends_with(|last| last <= ' '))
        .then_some("in a key, write a tab as %09, a line break as %0A or %0D, and a space at the end as %20")
}

/// The path of the object whose URL continues with `text` after `scheme://bucket`: the key after a slash, or nothing.
///
/// # Errors
/// As [`path_of_url_key`].
pub fn path_in_bucket(text: &str) -> Result<Path, ConfigError> {
    path_of_url_key(text.strip_prefix('/').unwrap_or(text))
}

/// The path of the object whose URL continues with `text` after `scheme://bucket/`. Percent escapes are decoded;
/// `?` and `#` are part of the key.
///
/// `Path::parse` refuses a key with `//`, and `Path::from` silently names another object (`a/b` for `a//b`,
/// `a%2523` for `a%23`), so the segments are joined one by one. One slash at the end is dropped, as in
/// `Path::parse`: `dir/` is a prefix.
///
/// # Errors
/// [`ConfigError::BadValue`] of `url` if no `Path` can name the key: it is not UTF-8, begins with `/`, or has a
/// control character or a segment `.` or `..`.
pub fn path_of_url_key(text: &str) -> Result<Path, ConfigError> {
    // The query may hold a signature.
    let shown = match text.split_once('?') {
        Some((before, _)) => format!("{before}?…"),
        None => text.to_owned(),
    };
    let bad = |why: &str| ConfigError::bad("url", &shown, why);
    let key = percent_decode_str(text).decode_utf8().map_err(|_| bad("the object's key is not UTF-8"))?;
    let key = key.strip_suffix('/').unwrap_or(&key);
    if key.is_empty() {
        return Ok(Path::ROOT);
    }
    if key.starts_with('/') {
        return Err(bad("a key that begins with '/' cannot be read"));
    }
    key.split('/').try_fold(Path::ROOT, |path, segment| match PathPart::parse(segment) {
        Ok(part) => Ok(path.join(part)),
        Err(_) => Err(bad("a key with a control character or a segment '.' or '..' cannot be read")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    #[test]
    fn what_no_path_can_name_is_refused() {
        for bad in ["/a", "a/../b", "./a", "a%00", "a%0Ab", "%FF", "%2Fa"] {
            assert!(path_of_url_key(bad).is_err(), "{bad}");
        }
        for (text, key) in
            [("", ""), ("/", ""), ("dir/", "dir"), ("a//b", "a//b"), ("100%", "100%"), ("a%2541", "a%41")]
        {
            assert_eq!(path_of_url_key(text).expect(text).as_ref(), key);
        }
    }

    proptest! {
        #[test]
        fn keys_survive_escaping(key in "[^/[:cntrl:]]{1,6}(/{1,2}[a-z#?%~ é日+&=*\\\\\\[\\]{}]{1,6}){0,3}") {
            prop_assume!(key.split('/').all(|segment| segment != "." && segment != ".."));
            let escaped = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string();
            let path = path_of_url_key(&escaped).expect("a key that a path can name");
            prop_assert_eq!(path.as_ref(), &key);
        }
    }
}
