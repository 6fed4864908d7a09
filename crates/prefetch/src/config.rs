//! The settings of a `PrefetchStore`.

use std::sync::Arc;
use std::time::Duration;

use headstart_fetch_core::options::{
    OptionRow, assign, duration_text, format_bytes, format_duration, format_switch, parse_bytes, parse_count,
    parse_duration, parse_switch,
};
use headstart_fetch_core::{ConfigError, LinkEstimate, MemoryBudget, Options, PinBy};
use serde::{Deserialize, Serialize};

/// No request is larger: a tebibyte.
const MAX_PART_BYTES: u64 = 1 << 40;

/// The settings of a [`crate::PrefetchStore`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrefetchConfig {
    /// The number of sequential reads before read-ahead starts. Default: 2.
    pub start_after: u64,
    /// The most bytes ahead of the readers of one object, whatever the window. 0 turns read-ahead off. Default: 1 TiB,
    /// so that the memory budget decides.
    pub max_prefetch_bytes: u64,
    /// The most requests in flight ahead of the readers of one object; fewer where fewer fill the link. Default: 1,024.
    pub concurrency: usize,
    /// The most bytes per second requested ahead by all readers together. Default: no limit.
    pub max_bytes_per_s: Option<u64>,
    /// How long prefetched bytes may serve calls without a `Reader`, and how recently a version must have been
    /// confirmed for a new `Reader` to share the bytes of others. 0 turns both off. Where a cache below trusts its
    /// versions for a time of its own, that time counts instead. Time during which the machine is suspended does not
    /// count, because tokio's clock stops (`CLOCK_MONOTONIC` on Linux). Default: 10 s.
    #[serde(with = "duration_text")]
    pub max_age: Duration,
    /// Whether objects never change under their names. On, read-ahead also works over stores whose answers identify no
    /// version (no entity tag, version or date). Default: off; such an object takes one request per read.
    pub immutable: bool,
    /// How requests after the first answer are pinned to its version. Default: by entity tag.
    pub pin: Option<PinBy>,
    /// The smallest request ahead in bytes, once a run is long. Default: 1 MiB.
    pub min_part_bytes: Option<u64>,
    /// The largest request ahead in bytes. Default: 16 MiB.
    pub max_part_bytes: Option<u64>,
    /// The link estimate. Default: that of the layer below, if it has one; else measured from answers.
    #[serde(skip)]
    pub link: Option<Arc<LinkEstimate>>,
    /// The memory budget for prefetched bytes. Default: a budget of its own of 512 MiB.
    #[serde(skip)]
    pub budget: Option<Arc<MemoryBudget>>,
}

impl Default for PrefetchConfig {
    fn default() -> Self {
        Self {
            start_after: 2,
            max_prefetch_bytes: 1 << 40,
            concurrency: 1024,
            max_bytes_per_s: None,
            max_age: Duration::from_secs(10),
            immutable: false,
            pin: None,
            min_part_bytes: None,
            max_part_bytes: None,
            link: None,
            budget: None,
        }
    }
}

impl PrefetchConfig {
    /// The smallest and the largest request ahead, in bytes.
    pub(crate) fn part_bytes(&self) -> (u64, u64) {
        (self.min_part_bytes.unwrap_or(1 << 20), self.max_part_bytes.unwrap_or(16 << 20))
    }
}

impl Options for PrefetchConfig {
    const ROWS: &'static [OptionRow<Self>] = &[
        OptionRow {
            key: "start_after",
            takes: "1 to 1000",
            what: "reads in a row before anything is read ahead",
            get: |config| config.start_after.to_string(),
            set: |config, key, value| {
                assign(&mut config.start_after, parse_count(key, value).map(|count| count as u64))
            },
        },
        OptionRow {
            key: "max_prefetch_bytes",
            takes: "bytes",
            what: "the most bytes ahead of one object's readers",
            get: |config| format_bytes(config.max_prefetch_bytes),
            set: |config, key, value| assign(&mut config.max_prefetch_bytes, parse_bytes(key, value)),
        },
        OptionRow {
            key: "concurrency",
            takes: "1 to 4096",
            what: "the most requests in flight ahead of one object's readers",
            get: |config| config.concurrency.to_string(),
            set: |config, key, value| assign(&mut config.concurrency, parse_count(key, value)),
        },
        OptionRow {
            key: "max_bytes_per_s",
            takes: "bytes, or off",
            what: "the most bytes a second requested ahead, for all readers together",
            get: |config| config.max_bytes_per_s.map_or_else(|| "off".to_owned(), format_bytes),
            set: |config, key, value| assign(&mut config.max_bytes_per_s, parse_limit(key, value)),
        },
        OptionRow {
            key: "max_age",
            takes: "a time",
            what: "how long get_range and other calls of the store may be served bytes fetched ahead",
            get: |config| format_duration(config.max_age),
            set: |config, key, value| assign(&mut config.max_age, parse_duration(key, value)),
        },
        OptionRow {
            key: "immutable",
            takes: "on or off",
            what: "objects never change: read ahead in stores without versions too",
            get: |config| format_switch(config.immutable),
            set: |config, key, value| assign(&mut config.immutable, parse_switch(key, value)),
        },
    ];

    fn check(&self) -> Result<(), ConfigError> {
        if !(1..=1000).contains(&self.start_after) {
            return Err(ConfigError::bad("start_after", self.start_after, "expected 1 to 1000"));
        }
        if !(1..=4096).contains(&self.concurrency) {
            return Err(ConfigError::bad("concurrency", self.concurrency, "expected 1 to 4096"));
        }
        let (min_part_bytes, max_part_bytes) = self.part_bytes();
        if min_part_bytes == 0 || max_part_bytes < min_part_bytes {
            return Err(ConfigError::bad("min_part_bytes", min_part_bytes, "expected 1 to max_part_bytes"));
        }
        if max_part_bytes > MAX_PART_BYTES {
            return Err(ConfigError::bad("max_part_bytes", max_part_bytes, "expected at most 1TiB"));
        }
        if self.max_bytes_per_s == Some(0) {
            return Err(ConfigError::bad(
                "max_bytes_per_s",
                0,
                "expected 1 or more, or off; prefetch=off reads nothing ahead",
            ));
        }
        Ok(())
    }
}

/// Bytes a second, or `None` for no limit.
fn parse_limit(key: &str, value: &str) -> Result<Option<u64>, ConfigError> {
    if matches!(value.trim(), "off" | "false" | "0") { Ok(None) } else { parse_bytes(key, value).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reads_back_what_it_wrote() {
        for (key, value) in [
            ("start_after", "5"),
            ("max_prefetch_bytes", "64MiB"),
            ("concurrency", "7"),
            ("max_bytes_per_s", "100MiB"),
            ("max_age", "250ms"),
            ("immutable", "on"),
        ] {
            let mut config = PrefetchConfig::default();
            config.set(key, value).expect(key);
            assert_eq!(config.value(key).as_deref(), Some(value));
        }
        assert_eq!(PrefetchConfig::ROWS.len(), 6, "an option was added: list it above");
    }

    #[test]
    fn bad_values_say_what_is_allowed() {
        let mut config = PrefetchConfig::default();
        for (key, value) in [("start_after", "0"), ("concurrency", "many"), ("max_age", "-1s"), ("start_afer", "1")] {
            let error = config.set(key, value).expect_err(key).to_string();
            assert!(error.contains("expected") || error.contains("did you mean 'start_after'"), "{error}");
        }
    }
    #[test]
    fn values_that_nothing_can_follow_from_are_refused_by_the_name_of_the_field() {
        type Spoil = fn(&mut PrefetchConfig);
        let spoils: [(&str, Spoil); 5] = [
            ("min_part_bytes", |config| config.min_part_bytes = Some(0)),
            ("min_part_bytes", |config| config.max_part_bytes = Some(0)),
            ("max_part_bytes", |config| config.max_part_bytes = Some(u64::MAX)),
            ("max_bytes_per_s", |config| config.max_bytes_per_s = Some(0)),
            ("concurrency", |config| config.concurrency = 0),
        ];
        for (key, spoil) in spoils {
            let mut config = PrefetchConfig::default();
            spoil(&mut config);
            let error = config.check().expect_err(key).to_string();
            assert!(error.starts_with(&format!("option '{key}' is '")), "{error}");
        }
        assert!(PrefetchConfig::default().set("max_bytes_per_s", "0KiB").is_err());
    }
}
