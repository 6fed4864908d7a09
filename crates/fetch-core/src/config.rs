//! The settings of a `FetchStore`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::budget::MemoryBudget;
use crate::options::{
    ConfigError, OptionRow, Options, assign, duration_text, format_duration, format_switch, parse_count,
    parse_duration, parse_switch,
};
use crate::policy::profile::BackendProfile;
use crate::protocol::link_estimate::LinkEstimate;

/// The default of [`FetchConfig::concurrency`].
const DEFAULT_CONCURRENCY: usize = 1024;

/// The settings of a [`crate::FetchStore`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchConfig {
    /// The most GETs in flight through this store; fewer while the store throttles. It bounds sockets and memory of the
    /// client; it need not be fitted to the link, since the store finds out how many requests fill it. Default: 1,024,
    /// which at 30 ms are 34,000 requests a second, several times what a prefix of GCS or S3 answers at first.
    pub concurrency: usize,
    /// How often a failed request is sent again, and how often in a row a broken body is resumed. 0 leaves retries,
    /// resumption and stalls to the inner store. Default: 10.
    pub retries: usize,
    /// No retry begins later than this after the first try, or after the last progress of a body. Default: 180 s.
    #[serde(with = "duration_text")]
    pub retry_timeout: Duration,
    /// Whether a demanded GET is sent a second time when its first byte is late. Default: on.
    pub hedge: bool,
    /// Whether objects never change under their names. On, reads are also split and resumed over stores whose answers
    /// identify no version (no entity tag, version or date). Default: off.
    pub immutable: bool,
    /// Seed of the jitter of pauses between retries, for reproducible runs. Default: a random seed.
    #[serde(skip)]
    pub jitter_seed: Option<u64>,
    /// What to assume of the store before anything is measured. Default: [`BackendProfile::default`].
    pub profile: Option<BackendProfile>,
    /// The estimate of the link, shared with other stores of the same host: they divide one bandwidth × delay product.
    /// Default: an estimate of its own, which starts from `profile`.
    #[serde(skip)]
    pub link: Option<Arc<LinkEstimate>>,
    /// The memory budget for parts in flight. Default: a budget of its own of 512 MiB.
    #[serde(skip)]
    pub budget: Option<Arc<MemoryBudget>>,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_CONCURRENCY,
            retries: 10,
            retry_timeout: Duration::from_secs(180),
            hedge: true,
            immutable: false,
            jitter_seed: None,
            profile: None,
            link: None,
            budget: None,
        }
    }
}

impl Options for FetchConfig {
    const ROWS: &'static [OptionRow<Self>] = &[
        OptionRow {
            key: "concurrency",
            takes: "1 to 4096",
            what: "the most GETs in flight at once",
            get: |config| config.concurrency.to_string(),
            set: |config, key, value| assign(&mut config.concurrency, parse_count(key, value)),
        },
        OptionRow {
            key: "retries",
            takes: "0 to 100",
            what: "retries of a failed request, and resumptions of a broken body",
            get: |config| config.retries.to_string(),
            set: |config, key, value| assign(&mut config.retries, parse_count(key, value)),
        },
        OptionRow {
            key: "retry_timeout",
            takes: "a time",
            what: "no retry begins later than this after the first try",
            get: |config| format_duration(config.retry_timeout),
            set: |config, key, value| assign(&mut config.retry_timeout, parse_duration(key, value)),
        },
        OptionRow {
            key: "hedge",
            takes: "on or off",
            what: "send a demanded GET once more when its answer is late",
            get: |config| format_switch(config.hedge),
            set: |config, key, value| assign(&mut config.hedge, parse_switch(key, value)),
        },
        OptionRow {
            key: "immutable",
            takes: "on or off",
            what: "objects never change: split reads of stores without versions too",
            get: |config| format_switch(config.immutable),
            set: |config, key, value| assign(&mut config.immutable, parse_switch(key, value)),
        },
    ];

    fn check(&self) -> Result<(), ConfigError> {
        if !(1..=4096).contains(&self.concurrency) {
            return Err(ConfigError::bad("concurrency", self.concurrency, "expected 1 to 4096"));
        }
        if self.retries > 100 {
            return Err(ConfigError::bad("retries", self.retries, "expected 0 to 100"));
        }
        self.profile.as_ref().map_or(Ok(()), BackendProfile::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_changes_nothing() {
        let mut config = FetchConfig::default();
        assert!(config.set("concurrency", "0").is_err());
        assert!(config.set("concurency", "8").is_err());
        assert_eq!(config.concurrency, DEFAULT_CONCURRENCY);
        config.set("concurrency", "8").expect("8 is allowed");
        assert_eq!(config.value("concurrency").as_deref(), Some("8"));
    }

    #[test]
    fn every_option_reads_back_what_it_was_set_to() {
        let mut config = FetchConfig::default();
        for (key, value) in
            [("concurrency", "7"), ("retries", "0"), ("retry_timeout", "90s"), ("hedge", "off"), ("immutable", "on")]
        {
            assert_ne!(config.value(key).as_deref(), Some(value), "{key}");
            config.set(key, value).expect(key);
            assert_eq!(config.value(key).as_deref(), Some(value), "{key}");
        }
        assert!(FetchConfig::ROWS.iter().all(|row| config.value(row.key).is_some()));
        assert!(config.set("retries", "101").is_err());
    }
    #[test]
    fn a_profile_that_nothing_can_follow_from_is_refused_by_the_name_of_the_field() {
        type Spoil = fn(&mut BackendProfile, f64);
        let rates: [(&str, Spoil); 2] = [
            ("profile.stream_bytes_per_s", |profile, rate| profile.stream_bytes_per_s = rate),
            ("profile.aggregate_bytes_per_s", |profile, rate| profile.aggregate_bytes_per_s = rate),
        ];
        let refused = |key: &str, spoil: &dyn Fn(&mut BackendProfile)| {
            let mut config = FetchConfig::default();
            spoil(config.profile.get_or_insert_default());
            let error = config.check().expect_err(key).to_string();
            assert!(error.starts_with(&format!("option '{key}' is '")) && error.contains("expected "), "{error}");
        };
        for (key, spoil) in rates {
            for rate in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX] {
                refused(key, &|profile| spoil(profile, rate));
            }
        }
        refused("profile.min_part_bytes", &|profile| profile.min_part_bytes = 0);
        refused("profile.min_part_bytes", &|profile| profile.max_part_bytes = 0);
        refused("profile.max_part_bytes", &|profile| profile.max_part_bytes = u64::MAX);
        refused("profile.ttfb", &|profile| profile.ttfb = Duration::MAX);
        refused("profile.prices.per_gb", &|profile| profile.prices.per_gb = f64::NAN);
        refused("profile.prices.per_1000_requests", &|profile| profile.prices.per_1000_requests = -1.0);
        let free = BackendProfile { ttfb: Duration::ZERO, ..BackendProfile::local() };
        FetchConfig { profile: Some(free), ..FetchConfig::default() }.check().expect("memory takes no time");
    }
}
