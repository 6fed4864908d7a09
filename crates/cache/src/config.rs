//! The settings of a `CacheStore`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use headstart_fetch_core::options::{
    format_bytes, format_duration, format_switch, parse_bytes, parse_duration, parse_switch,
};
use headstart_fetch_core::{ConfigError, LinkEstimate, MemoryBudget, OptionSpec, Options, PinBy, byte_range};
use serde::{Deserialize, Serialize};

use crate::policy::page::PageSize;

/// More memory than any machine of today has: a slip of the pen.
const MAX_MEMORY_BYTES: usize = 1 << 44;

/// An eighth of the memory holds four of them.
const LEAST_PAGES_WITH_EDGES: usize = 32;

/// How long the cache trusts what it knows of an object.
///
/// Bytes are always served under the version they were fetched with, so no setting mixes two versions in one answer.
/// This is about *which* version is taken for the present one, after somebody else has overwritten the object. A write
/// through the cache itself is seen at once with every setting.
///
/// Times are measured by tokio's clock, which stands still while the machine is suspended (`CLOCK_MONOTONIC` on Linux): an hour of
/// sleep does not count, and a version that was confirmed just before is trusted after it. Where that matters, use
/// [`Freshness::EveryRead`] or [`Freshness::OnOpen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Freshness {
    /// Objects never change: no version is ever validated, and objects without a validator are cached too.
    Immutable,
    /// A version is taken for the present one for this long after the request that showed it was sent.
    Ttl(Duration),
    /// Every read asks the store: by its own GET where bytes are missing, by one HEAD where they are all here.
    EveryRead,
    /// An object's version is settled when it is opened: by every `head`, and by a read of an object that is not known
    /// (yet, or any more). Reads in between trust it. A store has no handles, so nothing else counts as opening;
    /// whoever wants the newest version asks for the `head` first, as with close-to-open file systems.
    OnOpen,
}

impl Default for Freshness {
    /// One minute: what gcsfuse and mountpoint-s3 do where caching is turned on.
    fn default() -> Self {
        Self::Ttl(Duration::from_secs(60))
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immutable => f.write_str("immutable"),
            Self::Ttl(ttl) => f.write_str(&format_duration(*ttl)),
            Self::EveryRead => f.write_str("every-read"),
            Self::OnOpen => f.write_str("on-open"),
        }
    }
}

impl FromStr for Freshness {
    type Err = ConfigError;

    fn from_str(value: &str) -> Result<Self, ConfigError> {
        match value.trim().to_ascii_lowercase().as_str() {
            "immutable" => Ok(Self::Immutable),
            "every-read" => Ok(Self::EveryRead),
            "on-open" => Ok(Self::OnOpen),
            time => parse_duration("freshness", time).map(Self::Ttl).map_err(|_| {
                ConfigError::bad("freshness", value, "expected immutable, every-read, on-open or a time such as 60s")
            }),
        }
    }
}

impl TryFrom<String> for Freshness {
    type Error = ConfigError;

    fn try_from(value: String) -> Result<Self, ConfigError> {
        value.parse()
    }
}

impl From<Freshness> for String {
    fn from(freshness: Freshness) -> Self {
        freshness.to_string()
    }
}

/// The settings of a [`crate::CacheStore`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Whether anything is cached at all. Off, every call goes straight to the inner store. Default: on.
    pub enabled: bool,
    /// Bytes of pages to keep, overhead included. Default: 256 MiB.
    pub memory_bytes: usize,
    /// Bytes a page: a power of two from 16 KiB to 4 MiB. Default: 64 KiB.
    pub page_bytes: usize,
    /// Where more than 0, pages of the first and last so many bytes of an object have an eighth of the memory to
    /// themselves: headers and footers, which are read most, outlive scans. Objects hardly longer than both ends are all ends, and
    /// have that eighth alone. Default: 0, all pages are alike.
    pub edge_bytes: usize,
    /// How long a version is taken for the present one. Default: 60 s.
    pub freshness: Freshness,
    /// How fills are pinned to the version they belong to. Default: [`PinBy::ETag`].
    pub pin: PinBy,
    /// How long a caller waits for another's fetch from which nothing arrives before it fetches itself. A fetch of its own it waits for
    /// as long as the layer below does. Default: 60 s.
    pub stall_timeout: Duration,
    /// What the link is like: holes that cost less than a round trip are fetched along with their neighbours.
    /// Default: none; only neighbouring pages share a request then.
    #[serde(skip)]
    pub link: Option<Arc<LinkEstimate>>,
    /// The memory that fills in flight are charged to, unless the caller has reserved it. Default: none; they are not charged.
    #[serde(skip)]
    pub budget: Option<Arc<MemoryBudget>>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            memory_bytes: 256 << 20,
            page_bytes: 64 << 10,
            edge_bytes: 0,
            freshness: Freshness::default(),
            pin: PinBy::ETag,
            stall_timeout: Duration::from_secs(60),
            link: None,
            budget: None,
        }
    }
}

impl Options for CacheConfig {
    const SPECS: &'static [OptionSpec] = &[
        OptionSpec { key: "enabled", takes: "on or off", what: "keep pages of what was read" },
        OptionSpec { key: "memory_bytes", takes: "bytes", what: "pages to keep, overhead included" },
        OptionSpec { key: "page_bytes", takes: "bytes, a power of two from 16KiB to 4MiB", what: "size of a page" },
        OptionSpec { key: "edge_bytes", takes: "bytes", what: "each end of an object that is kept longer; 0: none" },
        OptionSpec {
            key: "freshness",
            takes: "immutable, every-read, on-open or a time",
            what: "how long a version is taken for the present one",
        },
        OptionSpec { key: "pin", takes: "e_tag, version or unpinned", what: "how fills are pinned to a version" },
        OptionSpec { key: "stall_timeout", takes: "a time", what: "how long to wait for another's silent fetch" },
    ];

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let mut changed = self.clone();
        match key {
            "enabled" => changed.enabled = parse_switch(key, value)?,
            "memory_bytes" => changed.memory_bytes = parse_size(key, value)?,
            "page_bytes" => changed.page_bytes = parse_size(key, value)?,
            "edge_bytes" => changed.edge_bytes = parse_size(key, value)?,
            "freshness" => changed.freshness = value.parse()?,
            "pin" => changed.pin = parse_pin(key, value)?,
            "stall_timeout" => changed.stall_timeout = parse_duration(key, value)?,
            _ => return Err(ConfigError::unknown(key, Self::SPECS.iter().map(|spec| spec.key))),
        }
        changed.check()?;
        *self = changed;
        Ok(())
    }

    fn value(&self, key: &str) -> Option<String> {
        match key {
            "enabled" => Some(format_switch(self.enabled)),
            "memory_bytes" => Some(format_bytes(self.memory_bytes as u64)),
            "page_bytes" => Some(format_bytes(self.page_bytes as u64)),
            "edge_bytes" => Some(format_bytes(self.edge_bytes as u64)),
            "freshness" => Some(self.freshness.to_string()),
            "pin" => Some(format_pin(self.pin).to_owned()),
            "stall_timeout" => Some(format_duration(self.stall_timeout)),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if PageSize::new(self.page_bytes).is_none() {
            return Err(ConfigError::bad("page_bytes", self.page_bytes, "expected a power of two from 16KiB to 4MiB"));
        }
        if self.edge_bytes > 0 && self.memory_bytes < LEAST_PAGES_WITH_EDGES * self.page_bytes {
            let allowed = "expected 0, or memory_bytes of at least 32 pages beside it";
            return Err(ConfigError::bad("edge_bytes", self.edge_bytes, allowed));
        }
        if self.memory_bytes < 4 * self.page_bytes || self.memory_bytes > MAX_MEMORY_BYTES {
            return Err(ConfigError::bad(
                "memory_bytes",
                self.memory_bytes,
                "expected at least four pages, at most 16 TiB",
            ));
        }
        if self.stall_timeout.is_zero() {
            return Err(ConfigError::bad("stall_timeout", "0s", "expected more than zero"));
        }
        Ok(())
    }
}

fn parse_size(key: &str, value: &str) -> Result<usize, ConfigError> {
    let bytes = parse_bytes(key, value)?;
    if bytes > MAX_MEMORY_BYTES as u64 {
        return Err(ConfigError::bad(key, value, "expected at most 16 TiB"));
    }
    Ok(byte_range::in_memory(bytes))
}

fn parse_pin(key: &str, value: &str) -> Result<PinBy, ConfigError> {
    [PinBy::ETag, PinBy::Version, PinBy::Unpinned]
        .into_iter()
        .find(|pin| format_pin(*pin) == value.trim())
        .ok_or_else(|| ConfigError::bad(key, value, "expected e_tag, version or unpinned"))
}

fn format_pin(pin: PinBy) -> &'static str {
    match pin {
        PinBy::ETag => "e_tag",
        PinBy::Version => "version",
        PinBy::Unpinned => "unpinned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reads_back_what_it_shows() {
        let mut config = CacheConfig::default();
        for (key, value) in [
            ("enabled", "off"),
            ("memory_bytes", "64MiB"),
            ("page_bytes", "1MiB"),
            ("edge_bytes", "2MiB"),
            ("freshness", "every-read"),
            ("pin", "version"),
            ("stall_timeout", "5s"),
        ] {
            config.set(key, value).expect(key);
            assert_eq!(config.value(key).as_deref(), Some(value));
        }
        assert_eq!(CacheConfig::SPECS.iter().filter(|spec| config.value(spec.key).is_none()).count(), 0);
        config.set("freshness", "1500ms").expect("a time");
        assert_eq!(config.freshness, Freshness::Ttl(Duration::from_millis(1500)));
    }

    #[test]
    fn bad_values_are_told_and_change_nothing() {
        let mut config = CacheConfig::default();
        for (key, value) in [
            ("memory_bytes", "0"),
            ("memory_bytes", "64KiB"),
            ("memory_bytes", "99999TB"),
            ("page_bytes", "0"),
            ("page_bytes", "100000"),
            ("page_bytes", "8KiB"),
            ("page_bytes", "8MiB"),
            ("edge_bytes", "some"),
            ("freshness", "sometimes"),
            ("pin", "hope"),
            ("stall_timeout", "0"),
            ("page_byte", "64KiB"),
        ] {
            let error = config.set(key, value).expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
        assert_eq!(config.page_bytes, CacheConfig::default().page_bytes);
        assert_eq!(config.memory_bytes, CacheConfig::default().memory_bytes);
    }
}
