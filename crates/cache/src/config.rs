//! The settings of a `CacheStore`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use headstart_fetch_core::internal::byte_range;
use headstart_fetch_core::options::{
    OptionRow, assign, duration_text, format_bytes, format_duration, parse_bytes, parse_duration,
};
use headstart_fetch_core::{ConfigError, LinkEstimate, MemoryBudget, Options, PinBy};
use serde::{Deserialize, Serialize};

use crate::disk::DiskConfig;
use crate::policy::page::PageSize;

/// More memory than any machine has. A larger value is a typing error.
const MAX_MEMORY_BYTES: usize = 1 << 44;

/// The least number of pages for which an eighth of the memory holds four.
const LEAST_PAGES_WITH_EDGES: usize = 32;

/// How long the cache serves a version without asking the store whether it is current.
///
/// Every answer consists of one version, whatever the setting: this decides only how soon the overwrite of an object by
/// another program is seen. A write through the cache itself is seen at once.
///
/// Times are measured by tokio's clock, which stops while the machine is suspended (`CLOCK_MONOTONIC` on Linux): a
/// version confirmed just before an hour of sleep is still trusted after it. Where this matters, use
/// [`Freshness::EveryRead`] or [`Freshness::OnOpen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Freshness {
    /// Objects never change: versions are never validated, and objects without a validator are cached too.
    Immutable,
    /// A version is current for this long, counted from when the request was sent whose answer showed it.
    Ttl(Duration),
    /// Every read asks the store: with its own GET if bytes are missing, else with one HEAD.
    EveryRead,
    /// Every `head`, and the first read of an unknown object, asks the store; other reads trust its answer. A store has
    /// no handles, so nothing else counts as opening: send a `head` first for the newest version, as close-to-open file
    /// systems do.
    OnOpen,
}

impl Default for Freshness {
    /// One minute, as gcsfuse and mountpoint-s3 when caching is on.
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
    /// The memory for pages in bytes, overhead included. Default: 256 MiB.
    pub memory_bytes: usize,
    /// The size of a page in bytes: a power of two from 16 KiB to 4 MiB. Default: 64 KiB.
    pub page_bytes: usize,
    /// If more than 0, an eighth of the memory is reserved for pages of the first and last `edge_bytes` of each object.
    /// Headers and footers are read most often, so they survive scans. An object of at most twice this length uses that
    /// eighth only. Default: 0, no reservation.
    pub edge_bytes: usize,
    /// How long a version counts as current without being validated. Default: 60 s.
    pub freshness: Freshness,
    /// How the requests that fill pages are pinned to a version. Default: [`PinBy::ETag`].
    pub pin: Option<PinBy>,
    /// How long a caller waits for another caller's fetch that makes no progress before it fetches itself. Its own
    /// fetch may take as long as the layer below allows. Default: 60 s.
    #[serde(with = "duration_text")]
    pub stall_timeout: Duration,
    /// The disk tier. Default: none.
    pub disk: DiskConfig,
    /// The link estimate: a hole that costs less than a round trip is fetched together with its neighbours. Default:
    /// the estimate of the layer below, if it has one; else only adjacent pages share a request.
    #[serde(skip)]
    pub link: Option<Arc<LinkEstimate>>,
    /// The memory budget for fills in flight, unless the caller has reserved memory. Default: none.
    #[serde(skip)]
    pub budget: Option<Arc<MemoryBudget>>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            page_bytes: 64 << 10,
            edge_bytes: 0,
            freshness: Freshness::default(),
            pin: None,
            stall_timeout: Duration::from_secs(60),
            disk: DiskConfig::default(),
            link: None,
            budget: None,
        }
    }
}

impl CacheConfig {
    pub(crate) fn pin(&self) -> PinBy {
        self.pin.unwrap_or_default()
    }
}

impl Options for CacheConfig {
    const ROWS: &'static [OptionRow<Self>] = &[
        OptionRow {
            key: "memory_bytes",
            takes: "bytes",
            what: "pages to keep, overhead included",
            get: |config| format_bytes(config.memory_bytes as u64),
            set: |config, key, value| assign(&mut config.memory_bytes, parse_size(key, value)),
        },
        OptionRow {
            key: "page_bytes",
            takes: "bytes, a power of two from 16KiB to 4MiB",
            what: "size of a page",
            get: |config| format_bytes(config.page_bytes as u64),
            set: |config, key, value| assign(&mut config.page_bytes, parse_size(key, value)),
        },
        OptionRow {
            key: "edge_bytes",
            takes: "bytes",
            what: "each end of an object that is kept longer; 0: none",
            get: |config| format_bytes(config.edge_bytes as u64),
            set: |config, key, value| assign(&mut config.edge_bytes, parse_size(key, value)),
        },
        OptionRow {
            key: "freshness",
            takes: "immutable, every-read, on-open or a time",
            what: "how long a version is trusted before the store is asked again",
            get: |config| config.freshness.to_string(),
            set: |config, _, value| assign(&mut config.freshness, value.parse()),
        },
        OptionRow {
            key: "pin",
            takes: "e_tag, version or unpinned",
            what: "which version the requests of the cache name: by ETag, by version, or none",
            get: |config| format_pin(config.pin()).to_owned(),
            set: |config, key, value| assign(&mut config.pin, parse_pin(key, value).map(Some)),
        },
        OptionRow {
            key: "stall_timeout",
            takes: "a time",
            what: "how long to wait for another caller's fetch from which no bytes arrive",
            get: |config| format_duration(config.stall_timeout),
            set: |config, key, value| assign(&mut config.stall_timeout, parse_duration(key, value)),
        },
        OptionRow {
            key: "disk_directory",
            takes: "a path",
            what: "where pages outlive the process, unencrypted; processes may share it; needs cache=on",
            get: |config| config.disk.directory.iter().map(|path| path.display().to_string()).collect(),
            set: |config, _, value| {
                config.disk.directory = (!value.is_empty()).then(|| value.into());
                Ok(())
            },
        },
        OptionRow {
            key: "disk_bytes",
            takes: "bytes, at least 16MiB",
            what: "the most bytes in that directory, plus one segment for each process",
            get: |config| format_bytes(config.disk.bytes),
            set: |config, key, value| assign(&mut config.disk.bytes, parse_bytes(key, value)),
        },
        OptionRow {
            key: "disk_floor_bytes",
            takes: "bytes",
            what: "the least free space of that file system: with less, pages are deleted",
            get: |config| format_bytes(config.disk.floor_bytes),
            set: |config, key, value| assign(&mut config.disk.floor_bytes, parse_bytes(key, value)),
        },
        OptionRow {
            key: "disk_name",
            takes: "a name",
            what: "tells this store's objects from others in that directory; by default the URL, required without one",
            get: |config| config.disk.name.clone(),
            set: |config, _, value| {
                value.clone_into(&mut config.disk.name);
                Ok(())
            },
        },
    ];

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
        self.disk.check(self.page_bytes)
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
            ("memory_bytes", "64MiB"),
            ("page_bytes", "1MiB"),
            ("edge_bytes", "2MiB"),
            ("freshness", "every-read"),
            ("pin", "version"),
            ("stall_timeout", "5s"),
            ("disk_directory", "/var/cache/headstart"),
            ("disk_bytes", "64GiB"),
            ("disk_floor_bytes", "2GiB"),
            ("disk_name", "gs://bucket"),
        ] {
            config.set(key, value).expect(key);
            assert_eq!(config.value(key).as_deref(), Some(value));
        }
        assert_eq!(CacheConfig::ROWS.iter().filter(|row| config.value(row.key).is_none()).count(), 0);
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
            ("disk_bytes", "1MiB"),
            ("disk_floor_bytes", "much"),
            ("page_byte", "64KiB"),
        ] {
            let error = config.set(key, value).expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
        assert_eq!(config.page_bytes, CacheConfig::default().page_bytes);
        assert_eq!(config.memory_bytes, CacheConfig::default().memory_bytes);
    }
}
