//! One version of an object: its metadata and its bytes.

use std::{ops::Range, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use headstart_fetch_core::{internal::byte_range::in_memory, options::parse_bytes};
use object_store::{Attributes, ObjectMeta, path};

use crate::policy::content::Content;

/// The generation of synthetic objects that were never written to. Later generations count up from here.
pub const FIRST_GENERATION: u64 = 1_700_000_000_000_000;

/// The date of objects that exist from the start: 2024-01-01 00:00:00 UTC.
pub const EPOCH: DateTime<Utc> = DateTime::from_timestamp(1_704_067_200, 0).expect("a date that exists");

/// One generation of one object.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its number, larger than that of every generation written before.
    pub number: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Its entity tag, quotes included. Each generation of an object has a different tag.
    pub e_tag: String,
    /// When it was written, in whole seconds as in HTTP headers.
    pub last_modified: DateTime<Utc>,
    /// The attributes given when it was written.
    pub attributes: Attributes,
    /// Its CRC32C; `None` for synthetic objects, whose bytes would have to be generated first.
    pub crc32c: Option<u32>,
    pub(crate) body: GenerationBytes,
}

#[derive(Debug, Clone)]
pub(crate) enum GenerationBytes {
    /// Bytes that were written.
    Stored(Bytes),
    /// Bytes that are generated on request.
    Synthetic(Content),
}

impl Generation {
    pub(crate) fn new(
        number: u64,
        size: u64,
        body: GenerationBytes,
        attributes: Attributes,
        now: DateTime<Utc>,
    ) -> Arc<Self> {
        let last_modified = now.duration_trunc(TimeDelta::seconds(1)).unwrap_or(now);
        let crc32c = match &body {
            GenerationBytes::Stored(bytes) => Some(crc32c::crc32c(bytes)),
            GenerationBytes::Synthetic(_) => None,
        };
        Arc::new(Self { crc32c, number, size, e_tag: format!("\"{number:x}\""), last_modified, attributes, body })
    }

    /// The first generation of a synthetic object, which exists because of its name.
    pub(crate) fn by_name(key: &str) -> Option<Arc<Self>> {
        let (size, _) = key.strip_prefix("synthetic/")?.split_once('/')?;
        let size = parse_bytes("size", size).ok()?;
        let body = GenerationBytes::Synthetic(Content::new(key, FIRST_GENERATION));
        Some(Self::new(FIRST_GENERATION, size, body, Attributes::default(), EPOCH))
    }

    /// Its CRC32C in the form of Google's APIs.
    pub(crate) fn crc32c_base64(&self) -> Option<String> {
        self.crc32c.map(|crc32c| BASE64_STANDARD.encode(crc32c.to_be_bytes()))
    }

    /// The bytes of `range`.
    ///
    /// # Panics
    /// Where `range` is not within `0..size`.
    #[must_use]
    pub fn bytes(&self, range: Range<u64>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.size, "{range:?} of {} bytes", self.size);
        match &self.body {
            GenerationBytes::Stored(bytes) => bytes.slice(in_memory(range.start)..in_memory(range.end)),
            GenerationBytes::Synthetic(content) => content.bytes(range),
        }
    }

    /// Its metadata in `object_store`'s form, for an object at `location`.
    #[must_use]
    pub fn meta(&self, location: path::Path) -> ObjectMeta {
        ObjectMeta {
            location,
            last_modified: self.last_modified,
            size: self.size,
            e_tag: Some(self.e_tag.clone()),
            version: Some(self.number.to_string()),
        }
    }
}
