//! The body of a write: decoded, and compared with the checksums that the client gives.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use hyper::header::HeaderMap;
use s3s::TrailingHeaders;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum, Md5};

use super::object::header_text;
use super::refusal::RefusedRequest;
use crate::policy::chunked_body::ChunkDecoder;

/// The headers of checksums, in base64, of the whole body.
const CHECKSUMS: [&str; 6] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "content-md5",
];

/// The body of a write.
pub(super) struct ReceivedBody<S> {
    body: S,
    /// What has arrived and is not decoded yet.
    arrived: Bytes,
    decoder: Option<ChunkDecoder>,
    checks: Option<Checks>,
    /// The MD5 checksum of the whole body, where one was asked for.
    md5: Option<[u8; 16]>,
}

/// What the client says of the body.
struct Checks {
    hasher: ChecksumHasher,
    md5: Option<Md5>,
    /// Checksums by the names of their headers.
    given: Vec<(String, String)>,
    /// Headers after the body, which `s3s` has read.
    trailers: Option<TrailingHeaders>,
}

impl<S, E> ReceivedBody<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    /// A body whose chunks and signature `s3s` has read already if it was signed: `trailers` are the headers after it.
    pub(super) fn new(headers: &HeaderMap, body: S, is_signed: bool, trailers: Option<TrailingHeaders>) -> Self {
        let kind = header_text(headers, "x-amz-content-sha256").filter(|_| !is_signed).unwrap_or_default();
        let decoder = kind.starts_with("STREAMING-").then(ChunkDecoder::default);
        let value = |name: &&str| Some(((*name).to_owned(), header_text(headers, *name)?.to_owned()));
        let mut given: Vec<_> = CHECKSUMS.iter().filter_map(value).collect();
        let announced = header_text(headers, "x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
        let is_used = |name: &str| given.iter().any(|(given, _)| given == name) || announced.contains(name);
        let mut hasher = ChecksumHasher {
            crc32: is_used(CHECKSUMS[0]).then(Checksum::new),
            crc32c: is_used(CHECKSUMS[1]).then(Checksum::new),
            crc64nvme: is_used(CHECKSUMS[2]).then(Checksum::new),
            sha1: is_used(CHECKSUMS[3]).then(Checksum::new),
            sha256: is_used(CHECKSUMS[4]).then(Checksum::new),
        };
        if let Some(sha256) = from_hex(kind) {
            hasher.sha256.get_or_insert_with(Checksum::new);
            given.push((CHECKSUMS[4].to_owned(), BASE64_STANDARD.encode(sha256)));
        }
        let md5 = headers.contains_key(CHECKSUMS[5]).then(Md5::new);
        let checks = Some(Checks { hasher, md5, given, trailers });
        Self { body, arrived: Bytes::new(), decoder, checks, md5: None }
    }

    /// The next piece; `None` at the end, where all checksums are right.
    ///
    /// # Errors
    /// The body ends early, is no body of chunks where it should be one, or differs from a checksum.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RefusedRequest> {
        loop {
            let piece = match &mut self.decoder {
                Some(decoder) => decoder.next(&mut self.arrived).map_err(malformed)?,
                None => Some(std::mem::take(&mut self.arrived)).filter(|piece| !piece.is_empty()),
            };
            if let Some(piece) = piece {
                if let Some(checks) = &mut self.checks {
                    checks.hasher.update(&piece);
                    checks.md5.iter_mut().for_each(|md5| md5.update(&piece));
                }
                return Ok(Some(piece));
            }
            match self.body.next().await {
                Some(Ok(arrived)) => self.arrived = arrived,
                Some(Err(error)) => return Err(RefusedRequest::invalid(format!("The body cannot be read: {error}"))),
                None => {
                    self.check()?;
                    return Ok(None);
                }
            }
        }
    }

    /// All of the body, of about `size` bytes, and its MD5 checksum in hexadecimal.
    ///
    /// # Errors
    /// Those of [`ReceivedBody::next`]; more than `most` bytes.
    pub(super) async fn read_all(mut self, size: u64, most: u64) -> Result<(Vec<u8>, String), RefusedRequest> {
        if let Some(checks) = &mut self.checks {
            checks.md5.get_or_insert_with(Md5::new);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(most)).unwrap_or_default());
        while let Some(piece) = self.next().await? {
            if (bytes.len() + piece.len()) as u64 > most {
                return Err(RefusedRequest::part_too_large(most));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, to_hex(&self.md5.unwrap_or_default())))
    }

    /// Compares the whole body with its checksums, once.
    fn check(&mut self) -> Result<(), RefusedRequest> {
        let Some(Checks { hasher, md5, mut given, trailers }) = self.checks.take() else { return Ok(()) };
        if let Some(decoder) = self.decoder.take() {
            given.extend(decoder.finish().map_err(malformed)?);
        }
        if let Some(trailers) = trailers.and_then(|trailers| trailers.take()) {
            let texts =
                trailers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
            given.extend(texts);
        }
        self.md5 = md5.map(Checksum::finalize);
        let sums = hasher.finalize();
        let sums = [
            sums.checksum_crc32,
            sums.checksum_crc32c,
            sums.checksum_crc64nvme,
            sums.checksum_sha1,
            sums.checksum_sha256,
            self.md5.map(|md5| BASE64_STANDARD.encode(md5)),
        ];
        for (name, sum) in CHECKSUMS.iter().zip(sums) {
            let differs =
                given.iter().any(|(given, value)| given == name && sum.as_ref().is_some_and(|sum| sum != value));
            if differs {
                return Err(RefusedRequest::bad_digest(name));
            }
        }
        Ok(())
    }
}

fn malformed(why: &str) -> RefusedRequest {
    RefusedRequest::invalid(format!("The body is not in the chunks that x-amz-content-sha256 names: {why}"))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of 64 hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = (text.len() == 64 && text.is_ascii()).then(|| text.as_bytes().chunks(2))?;
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "123456789";

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    async fn read(given: &[(&'static str, &'static str)], body: &str) -> Result<String, String> {
        let pieces: Vec<_> =
            body.as_bytes().chunks(4).map(|piece| Ok::<_, String>(Bytes::copy_from_slice(piece))).collect();
        let body = ReceivedBody::new(&headers(given), futures::stream::iter(pieces), false, None);
        match body.read_all(9, 100).await {
            Ok((bytes, md5)) => {
                assert_eq!(md5, "25f9e794323b453885f5181f1b624d0b");
                Ok(String::from_utf8(bytes).expect("text"))
            }
            Err(refusal) => Err(refusal.message().to_owned()),
        }
    }

    #[tokio::test]
    async fn checksums_in_headers_are_compared() {
        // The checksums of "123456789" in the catalogue of CRCs, and of openssl.
        for (name, right) in [
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-checksum-crc32c", "4waSgw=="),
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
            ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
            ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
            ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
            ("x-amz-content-sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            assert_eq!(read(&[(name, right)], TEXT).await.as_deref(), Ok(TEXT), "{name}");
            assert!(read(&[(name, right)], "123456780").await.is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn chunks_are_decoded_and_their_trailer_is_compared() {
        let kind = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let given = [kind, ("x-amz-trailer", "x-amz-checksum-crc32")];
        let chunks = |sum: &str| format!("4\r\n1234\r\n5\r\n56789\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n");
        assert_eq!(read(&given, &chunks("y/Q5Jg==")).await.as_deref(), Ok(TEXT));
        let differs = read(&given, &chunks("AAAAAA==")).await.expect_err("no error");
        assert!(differs.contains("x-amz-checksum-crc32"), "{differs}");
        let cut = read(&[kind], "9\r\n123456789\r\n").await.expect_err("no error");
        assert!(cut.contains("last chunk is missing"), "{cut}");
    }

    #[tokio::test]
    async fn long_bodies_are_refused() {
        let body = futures::stream::iter([Ok::<_, String>(Bytes::from_static(b"12345"))]);
        let read = ReceivedBody::new(&HeaderMap::new(), body, false, None).read_all(5, 4).await;
        assert_eq!(read.map(|_| ()).map_err(|refusal| refusal.status.as_u16()), Err(413));
    }
}
