//! The settings of a `FetchStore`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::budget::MemoryBudget;
use crate::options::{ConfigError, OptionSpec, Options, format_switch, parse_count, parse_switch};
use crate::profile::BackendProfile;

/// The settings of a [`crate::FetchStore`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchConfig {
    /// Whether ranges are split at all. Off, every call is one request. Default: on.
    pub enabled: bool,
    /// The most GETs in flight at once through this store. Default: 32.
    pub concurrency: usize,
    /// What the store is like before anything has been measured. Default: [`BackendProfile::default`].
    pub profile: BackendProfile,
    /// The memory that parts in flight are charged to. Default: a budget of 512 MiB of its own.
    #[serde(skip)]
    pub budget: Option<Arc<MemoryBudget>>,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { enabled: true, concurrency: 32, profile: BackendProfile::default(), budget: None }
    }
}

impl Options for FetchConfig {
    const SPECS: &'static [OptionSpec] = &[
        OptionSpec { key: "enabled", takes: "on or off", what: "split ranges and fetch the parts in parallel" },
        OptionSpec { key: "concurrency", takes: "1 to 4096", what: "the most GETs in flight at once" },
    ];

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let mut changed = self.clone();
        match key {
            "enabled" => changed.enabled = parse_switch(key, value)?,
            "concurrency" => changed.concurrency = parse_count(key, value)?,
            _ => return Err(ConfigError::unknown(key, Self::SPECS.iter().map(|spec| spec.key))),
        }
        changed.check()?;
        *self = changed;
        Ok(())
    }

    fn value(&self, key: &str) -> Option<String> {
        match key {
            "enabled" => Some(format_switch(self.enabled)),
            "concurrency" => Some(self.concurrency.to_string()),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if !(1..=4096).contains(&self.concurrency) {
            return Err(ConfigError::bad("concurrency", self.concurrency, "expected 1 to 4096"));
        }
        let profile = &self.profile;
        if profile.min_part_bytes == 0 || profile.max_part_bytes < profile.min_part_bytes {
            return Err(ConfigError::bad(
                "profile.min_part_bytes",
                profile.min_part_bytes,
                "expected 1 to profile.max_part_bytes",
            ));
        }
        Ok(())
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
        assert_eq!(config.concurrency, 32);
        config.set("concurrency", "8").expect("8 is allowed");
        assert_eq!(config.value("concurrency").as_deref(), Some("8"));
    }
}
