//! The checksum of a whole object, where a store names one: how an adapter tells the engine.

/// The CRC32C (Castagnoli) of a whole object, as the store knows it.
///
/// Travels upwards in `GetResult::extensions`: `object_store` has no attribute for it, but hands on the extensions of
/// the client's HTTP response, so an adapter's connector can put it there. GCS names it in every answer
/// (`x-goog-hash`); S3 only in answers to requests that ask for it with a signed header, which `object_store` cannot send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crc32c(pub u32);
