//! Every option of the stack and where its value came from. This file alone reads `HEADSTART_*`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use headstart_cache::CacheConfig;
use headstart_fetch_core::internal::byte_range;
use headstart_fetch_core::options::{OptionRow, assign, format_bytes, format_switch, parse_bytes, parse_switch};
use headstart_fetch_core::{ConfigError, FetchConfig, OptionSpec, Options};
#[cfg(feature = "gcp")]
use headstart_gcs_backend::GcsConfig;
use headstart_prefetch::PrefetchConfig;
#[cfg(feature = "aws")]
use headstart_s3_backend::S3Config;
use serde::{Deserialize, Serialize};

use crate::precedence::{self, GivenOptions, Pair, Sections, Source};

const MIB: u64 = 1 << 20;

/// The least share of `memory_bytes` for bytes in flight: one part of the largest size.
const MIN_BUDGET_BYTES: u64 = 16 * MIB;

/// More memory than any machine has. A larger value is a typing error.
const MAX_MEMORY_BYTES: u64 = 1 << 44;

/// The prefix of our variables.
const PREFIX: &str = "HEADSTART_";

/// Which layers work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// None: calls go to the store as they are.
    None,
    /// Fetch: parallel, resumed, hedged requests.
    Fetch,
    /// Fetch and read-ahead.
    #[default]
    Adaptive,
    /// Fetch, read-ahead and the cache.
    Cached,
}

impl Mode {
    const ALL: [Self; 4] = [Self::None, Self::Fetch, Self::Adaptive, Self::Cached];

    fn switches(self) -> Switches {
        Switches {
            fetch: self != Self::None,
            prefetch: matches!(self, Self::Adaptive | Self::Cached),
            cache: self == Self::Cached,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Fetch => "fetch",
            Self::Adaptive => "adaptive",
            Self::Cached => "cached",
        })
    }
}

impl FromStr for Mode {
    type Err = ConfigError;

    fn from_str(value: &str) -> Result<Self, ConfigError> {
        let mode = Self::ALL.into_iter().find(|mode| mode.to_string() == value);
        mode.ok_or_else(|| ConfigError::bad("mode", value, "expected none, fetch, adaptive or cached"))
    }
}

/// Every option: its full key, the values it takes and what it does.
#[must_use]
pub fn options() -> Vec<(String, OptionSpec)> {
    precedence::all(&Settings::default().sections().0)
}

/// The environment of this process.
#[expect(clippy::disallowed_methods, reason = "this file is where HEADSTART_* is read")]
pub(crate) fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Which layers are on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switches {
    pub(crate) fetch: bool,
    pub(crate) prefetch: bool,
    pub(crate) cache: bool,
}

/// The options of the stack itself.
#[derive(Debug, Clone)]
pub(crate) struct StackConfig {
    mode: Mode,
    pub(crate) is_on: Switches,
    memory_bytes: u64,
    pub(crate) ca_certificate: Option<PathBuf>,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self { mode: Mode::default(), is_on: Mode::default().switches(), memory_bytes: 512 * MIB, ca_certificate: None }
    }
}

impl Options for StackConfig {
    const ROWS: &'static [OptionRow<Self>] = &[
        OptionRow {
            key: "mode",
            takes: "none, fetch, adaptive or cached",
            what: "which layers work",
            get: |config| config.mode.to_string(),
            set: |config, _, value| assign(&mut config.mode, value.parse()),
        },
        OptionRow {
            key: "memory_bytes",
            takes: "16MiB to 16TiB",
            what: "the memory of all layers together",
            get: |config| format_bytes(config.memory_bytes),
            set: |config, key, value| assign(&mut config.memory_bytes, parse_memory(key, value)),
        },
        OptionRow {
            key: "fetch",
            takes: "on or off",
            what: "fetch: split, parallel, hedged, retried requests",
            get: |config| format_switch(config.is_on.fetch),
            set: |config, key, value| assign(&mut config.is_on.fetch, parse_switch(key, value)),
        },
        OptionRow {
            key: "prefetch",
            takes: "on or off",
            what: "read-ahead",
            get: |config| format_switch(config.is_on.prefetch),
            set: |config, key, value| assign(&mut config.is_on.prefetch, parse_switch(key, value)),
        },
        OptionRow {
            key: "cache",
            takes: "on or off",
            what: "the page cache",
            get: |config| format_switch(config.is_on.cache),
            set: |config, key, value| assign(&mut config.is_on.cache, parse_switch(key, value)),
        },
        OptionRow {
            key: "ca_certificate",
            takes: "a path",
            what: "a PEM file of CAs to trust besides the system's",
            get: |config| config.ca_certificate.iter().map(|path| path.display().to_string()).collect(),
            set: |config, key, value| assign(&mut config.ca_certificate, parse_certificate(key, value).map(Some)),
        },
    ];

    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

fn parse_memory(key: &str, value: &str) -> Result<u64, ConfigError> {
    match parse_bytes(key, value)? {
        bytes @ MIN_BUDGET_BYTES..=MAX_MEMORY_BYTES => Ok(bytes),
        _ => Err(ConfigError::bad(key, value, "expected 16MiB to 16TiB")),
    }
}

/// The error does not repeat a value pasted instead of a path: it may contain a private key.
fn parse_certificate(key: &str, value: &str) -> Result<PathBuf, ConfigError> {
    match value.is_empty() || value.contains("-----BEGIN") {
        true => Err(ConfigError::bad(key, "***", "expected the path of a PEM file")),
        false => Ok(value.into()),
    }
}

/// The settings of every layer and backend, and their sources.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) stack: StackConfig,
    pub(crate) fetch: FetchConfig,
    pub(crate) prefetch: PrefetchConfig,
    pub(crate) cache: CacheConfig,
    #[cfg(feature = "gcp")]
    pub(crate) gcs: GcsConfig,
    #[cfg(feature = "aws")]
    pub(crate) s3: S3Config,
    pub(crate) given: GivenOptions,
}

impl Settings {
    /// All options by section, and their sources.
    pub(crate) fn sections(&mut self) -> (Sections<'_>, &mut GivenOptions) {
        let sections: Sections<'_> = vec![
            ("", &mut self.stack),
            ("fetch", &mut self.fetch),
            ("prefetch", &mut self.prefetch),
            ("cache", &mut self.cache),
            #[cfg(feature = "gcp")]
            ("gcs", &mut self.gcs),
            #[cfg(feature = "aws")]
            ("s3", &mut self.s3),
        ];
        (sections, &mut self.given)
    }

    /// Applies the options of one source. `mode` goes before the switches that refine it.
    pub(crate) fn read(&mut self, pairs: &[Pair], source: Source) -> Result<(), ConfigError> {
        let mut ordered = Vec::new();
        // An unknown mode is refused below, in the order of the options.
        let modes = pairs.iter().filter(|(key, _)| key == "mode").filter_map(|(_, value)| value.parse::<Mode>().ok());
        for on in modes.map(Mode::switches) {
            for (key, on) in [("fetch", on.fetch), ("prefetch", on.prefetch), ("cache", on.cache)] {
                ordered.push((key.to_owned(), format_switch(on)));
            }
        }
        ordered.extend_from_slice(pairs);
        let (mut sections, given) = self.sections();
        given.read(&mut sections, &ordered, source)
    }

    /// Records that `layer` was given as a struct.
    pub(crate) fn given(&mut self, layer: &str) {
        let (sections, given) = self.sections();
        given.given_whole(&sections, layer, Source::Explicit);
    }

    /// Applies our environment variables.
    pub(crate) fn read_environment(&mut self, environment: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let pairs = precedence::from_environment(&self.sections().0, PREFIX, environment)?;
        let variable = |error| precedence::renamed(error, |key| precedence::variable(PREFIX, key));
        self.read(&pairs, Source::Environment).map_err(variable)
    }

    /// Divides the memory: returns the bytes left for requests in flight after the share of the cache. A cache of
    /// default size takes at most half.
    pub(crate) fn divide_memory(&mut self) -> Result<usize, ConfigError> {
        let total = self.stack.memory_bytes;
        if !self.stack.is_on.cache {
            return Ok(byte_range::in_memory(total));
        }
        if self.given.source("cache.memory_bytes") == Source::Default {
            self.cache.memory_bytes = self.cache.memory_bytes.min(byte_range::in_memory(total / 2));
        }
        let cached = self.cache.memory_bytes as u64;
        let left = total.checked_sub(cached).filter(|left| *left >= MIN_BUDGET_BYTES);
        left.map(byte_range::in_memory).ok_or_else(|| {
            let needed = format_bytes(cached.saturating_add(MIN_BUDGET_BYTES));
            let allowed = format!("expected at least {needed}: cache.memory_bytes and 16MiB");
            ConfigError::bad("memory_bytes", format_bytes(total), allowed)
        })
    }
}
