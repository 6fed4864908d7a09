//! The checksum of an object, as Google's answers name it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use headstart_fetch_core::internal::Crc32c;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// The CRC32C of the whole object, whatever range of it `headers` answer for.
pub(crate) fn crc32c_of(headers: &HeaderMap) -> Option<Crc32c> {
    // Stored compressed and decompressed on its way, it is not what the checksum is of.
    let stored_gzip = headers.get("x-goog-stored-content-encoding").is_some_and(|encoding| encoding == "gzip");
    if stored_gzip && !headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let hashes = headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
    let crc32c = hashes.flat_map(|value| value.split(',')).find_map(|hash| hash.trim().strip_prefix("crc32c="))?;
    Some(Crc32c(u32::from_be_bytes(BASE64_STANDARD.decode(crc32c).ok()?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: Option<u32>) {
        let header = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        let mut map = HeaderMap::new();
        headers.iter().map(header).for_each(|(name, value)| {
            map.append(name, value);
        });
        assert_eq!(crc32c_of(&map), expected.map(Crc32c), "{headers:?}");
    }

    #[test]
    fn found_among_other_hashes_and_only_where_it_is_of_these_bytes() {
        // The CRC32C of "123456789" is E3069283.
        check(&[("x-goog-hash", "crc32c=4waSgw==")], Some(0xE306_9283));
        check(
            &[("x-goog-hash", "md5=JfnnlDI7RTiF9RgfG2JNCw=="), ("x-goog-hash", "crc32c=4waSgw==")],
            Some(0xE306_9283),
        );
        check(&[("x-goog-hash", "md5=JfnnlDI7RTiF9RgfG2JNCw==, crc32c=4waSgw==")], Some(0xE306_9283));
        for broken in ["", "md5=JfnnlDI7RTiF9RgfG2JNCw==", "crc32c=", "crc32c=4waSgwAA", "crc32c=?"] {
            check(&[("x-goog-hash", broken)], None);
        }
        let gzip = [("x-goog-hash", "crc32c=4waSgw=="), ("x-goog-stored-content-encoding", "gzip")];
        check(&gzip, None);
        check(&[gzip[0], gzip[1], ("content-encoding", "gzip")], Some(0xE306_9283));
    }
}
