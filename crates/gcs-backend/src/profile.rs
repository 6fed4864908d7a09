//! Properties of Google Cloud Storage: the starting profile of the link, and the checksum header.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use headstart_fetch_core::{BackendProfile, PinBy, Prices, internal::Crc32c};
use http::{HeaderMap, header::CONTENT_ENCODING};

/// The profile of a regional bucket, read from a machine in its region.
///
/// The first byte comes after about 30 ms; a stream has 60 MB/s; all streams together have the machine's network,
/// assumed as 1,000 MB/s. Class B operations cost $0.0004 per 1,000; bytes are free within the region. Readers
/// elsewhere set `prices.per_gb` themselves: the price of egress depends on the destination.
///
/// Requests are pinned by generation, which needs no permission beyond reading the object.
#[must_use]
pub fn gcs_profile() -> BackendProfile {
    BackendProfile {
        ttfb: Duration::from_millis(30),
        stream_bytes_per_s: 60e6,
        aggregate_bytes_per_s: 1e9,
        pin: PinBy::Version,
        prices: Prices { per_1000_requests: 0.0004, per_gb: 0.0 },
        ..BackendProfile::default()
    }
}

/// The CRC32C of the whole object, from the headers of an answer with any range of it.
pub(crate) fn crc32c_of(headers: &HeaderMap) -> Option<Crc32c> {
    // The checksum is that of the stored bytes. GCS decompresses stored gzip for clients that do not accept it.
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
    fn the_checksum_is_found_among_others_and_only_for_the_bytes_sent() {
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
