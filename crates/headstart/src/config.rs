//! Every option of the stack and where its value came from; alone reads `HEADSTART_*`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use headstart_cache::CacheConfig;
use headstart_fetch_core::internal::byte_range;
use headstart_fetch_core::levels::{self, Levels, Pair, Sections, Source};
use headstart_fetch_core::options::{format_bytes, parse_bytes};
use headstart_fetch_core::{ConfigError, FetchConfig, OptionSpec, Options};
#[cfg(feature = "gcp")]
use headstart_gcs_backend::GcsConfig;
use headstart_prefetch::PrefetchConfig;
#[cfg(feature = "aws")]
use headstart_s3_backend::S3Config;

const MIB: u64 = 1 << 20;

/// What must be left of `memory_bytes` beside the cache for bytes on their way: one part of the largest size.
const MIN_BUDGET_BYTES: u64 = 16 * MIB;

/// More memory than any machine has: a value beyond it is a slip of the pen.
const MAX_MEMORY_BYTES: u64 = 1 << 44;

/// What all variables of ours begin with.
const PREFIX: &str = "HEADSTART_";

/// The switches, and how each mode sets them.
const SWITCHES: [&str; 3] = ["fetch", "prefetch", "cache"];
const MODES: &[(&str, [&str; 3])] = &[
    ("none", ["off", "off", "off"]),
    ("fetch", ["on", "off", "off"]),
    ("adaptive", ["on", "on", "off"]),
    ("cached", ["on", "on", "on"]),
];

/// Every option there is: its full key, what it takes and does.
#[must_use]
pub fn options() -> Vec<(String, OptionSpec)> {
    levels::all(&Settings::default().sections().0)
}

/// The environment of this process.
#[expect(clippy::disallowed_methods, reason = "this file is where HEADSTART_* is read")]
pub(crate) fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// The options of the stack itself.
#[derive(Debug)]
pub(crate) struct StackConfig {
    mode: &'static str,
    memory_bytes: u64,
    pub(crate) ca_certificate: Option<PathBuf>,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self { mode: "adaptive", memory_bytes: 512 * MIB, ca_certificate: None }
    }
}

impl Options for StackConfig {
    const SPECS: &'static [OptionSpec] = &[
        OptionSpec { key: "mode", takes: "none, fetch, adaptive or cached", what: "which layers work, in a word" },
        OptionSpec { key: "memory_bytes", takes: "16MiB to 16TiB", what: "the memory of all layers together" },
        OptionSpec { key: "ca_certificate", takes: "a path", what: "a PEM file of CAs to trust besides the system's" },
    ];

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        match key {
            "mode" => self.mode = mode(value)?.0,
            "memory_bytes" => match parse_bytes(key, value)? {
                bytes @ MIN_BUDGET_BYTES..=MAX_MEMORY_BYTES => self.memory_bytes = bytes,
                _ => return Err(ConfigError::bad(key, value, "expected 16MiB to 16TiB")),
            },
            // What is pasted in place of a path is not repeated: a private key may stand beside the certificate.
            "ca_certificate" if value.is_empty() || value.contains("-----BEGIN") => {
                return Err(ConfigError::bad(key, "***", "expected the path of a PEM file"));
            }
            "ca_certificate" => self.ca_certificate = Some(value.into()),
            _ => return Err(ConfigError::unknown(key, Self::SPECS.iter().map(|spec| spec.key))),
        }
        Ok(())
    }

    fn value(&self, key: &str) -> Option<String> {
        match key {
            "mode" => Some(self.mode.to_owned()),
            "memory_bytes" => Some(format_bytes(self.memory_bytes)),
            "ca_certificate" => Some(self.ca_certificate.iter().map(|path| path.display().to_string()).collect()),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// A mode's name, and what it sets the switches to.
fn mode(value: &str) -> Result<(&'static str, [&'static str; 3]), ConfigError> {
    let mode = MODES.iter().copied().find(|(name, _)| *name == value);
    mode.ok_or_else(|| ConfigError::bad("mode", value, "expected none, fetch, adaptive or cached"))
}

/// The settings of every layer and backend, and who gave them.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) stack: StackConfig,
    pub(crate) fetch: FetchConfig,
    pub(crate) prefetch: PrefetchConfig,
    pub(crate) cache: CacheConfig,
    #[cfg(feature = "gcp")]
    pub(crate) gcs: GcsConfig,
    #[cfg(feature = "aws")]
    pub(crate) s3: S3Config,
    pub(crate) levels: Levels,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stack: StackConfig::default(),
            fetch: FetchConfig::default(),
            prefetch: PrefetchConfig::default(),
            cache: CacheConfig { enabled: false, ..CacheConfig::default() },
            #[cfg(feature = "gcp")]
            gcs: GcsConfig::default(),
            #[cfg(feature = "aws")]
            s3: S3Config::default(),
            levels: Levels::default(),
        }
    }
}

impl Settings {
    /// All options under their names, and who gave them.
    pub(crate) fn sections(&mut self) -> (Sections<'_>, &mut Levels) {
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
        (sections, &mut self.levels)
    }

    /// Takes in one level, the weakest first; `mode` before the switches that refine it.
    pub(crate) fn read(&mut self, pairs: &[Pair], source: Source) -> Result<(), ConfigError> {
        let mut ordered = Vec::new();
        // A mode that there is not is refused below, in its turn.
        for (_, on) in pairs.iter().filter(|(key, _)| key == "mode").filter_map(|(_, value)| mode(value).ok()) {
            let switches = SWITCHES.into_iter().zip(on);
            ordered.extend(switches.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        ordered.extend_from_slice(pairs);
        let (mut sections, levels) = self.sections();
        levels.read(&mut sections, &ordered, source)
    }

    /// Notes that `layer` was given as a struct.
    pub(crate) fn given(&mut self, layer: &str) {
        let (sections, levels) = self.sections();
        levels.given_whole(&sections, layer, Source::Explicit);
    }

    /// Takes in the variables of ours.
    pub(crate) fn read_environment(&mut self, environment: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let pairs = levels::from_environment(&self.sections().0, PREFIX, environment)?;
        let variable = |error| levels::renamed(error, |key| levels::variable(PREFIX, key));
        self.read(&pairs, Source::Environment).map_err(variable)
    }

    /// Divides the memory: returns what is left for bytes on their way once the cache has its share. A cache whose
    /// size nobody gave takes at most half.
    pub(crate) fn divide_memory(&mut self) -> Result<usize, ConfigError> {
        let total = self.stack.memory_bytes;
        if !self.cache.enabled {
            return Ok(byte_range::in_memory(total));
        }
        if self.levels.source("cache.memory_bytes") == Source::Default {
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
