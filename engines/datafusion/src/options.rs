//! Which options a store is opened with: those of the session's namespace `headstart.*`, and of its URL.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::error::{DataFusionError, Result};

/// Options by name.
type Values = BTreeMap<String, String>;

/// What has been set, for all stores and for some.
#[derive(Default)]
pub(crate) struct StoreOptions {
    everywhere: Values,
    /// By the key of a store (`s3://bucket`) or of a scheme (`s3://`).
    by_prefix: BTreeMap<String, Values>,
}

impl StoreOptions {
    /// Sets an option of all stores.
    pub(crate) fn set(&mut self, option: &str, value: &str) -> Result<()> {
        check(option)?;
        self.everywhere.insert(option.to_owned(), value.to_owned());
        Ok(())
    }

    /// Sets an option of the stores below `prefix`.
    pub(crate) fn set_for(&mut self, prefix: &str, option: &str, value: &str) -> Result<()> {
        check(option)?;
        let prefix = checked_prefix(prefix)?;
        self.by_prefix.entry(prefix).or_default().insert(option.to_owned(), value.to_owned());
        Ok(())
    }

    /// The options of the store with this key: those of the store override those of its scheme, which override those
    /// of all stores.
    pub(crate) fn of(&self, key: &str) -> Values {
        let scheme = key.find("://").map_or(key, |at| &key[..at + 3]);
        let mut values = self.everywhere.clone();
        for prefix in [scheme, key] {
            values.extend(self.by_prefix.get(prefix).cloned().unwrap_or_default());
        }
        values
    }
}

/// Without values, because some of them are secrets.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_prefix = self.by_prefix.iter().map(|(prefix, values)| (prefix, values.keys().collect::<Vec<_>>()));
        let by_prefix: BTreeMap<_, _> = by_prefix.collect();
        let everywhere: Vec<_> = self.everywhere.keys().collect();
        f.debug_struct("StoreOptions").field("everywhere", &everywhere).field("by_prefix", &by_prefix).finish()
    }
}

fn check(option: &str) -> Result<()> {
    if headstart::options().iter().any(|(known, _)| known == option) {
        return Ok(());
    }
    let what = format!("headstart has no option '{option}'; docs/configuration.md and headstart::options() list all");
    Err(DataFusionError::Configuration(what))
}

/// The prefix as [`StoreOptions::of`] looks it up.
fn checked_prefix(prefix: &str) -> Result<String> {
    let store = prefix.strip_suffix('/').filter(|store| !store.ends_with(":/")).unwrap_or(prefix);
    match store.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() && !rest.contains('/') => Ok(store.to_owned()),
        _ => {
            let what =
                format!("options cannot be set for '{prefix}': expected a store (s3://bucket) or a scheme (s3://)");
            Err(DataFusionError::Configuration(what))
        }
    }
}

/// The namespace `headstart.*` of a session's configuration: `SET headstart.mode = 'cached'`.
///
/// It belongs to a [`HeadstartRegistry`](crate::HeadstartRegistry), and so do its clones: an option is set for all
/// sessions of the registry, and applies to the stores that are opened later.
#[derive(Debug, Clone, Default)]
pub struct HeadstartOptions {
    shared: Arc<Mutex<StoreOptions>>,
}

impl HeadstartOptions {
    /// What has been set. Each change is a single call, so what a panic leaves behind is complete.
    pub(crate) fn lock(&self) -> MutexGuard<'_, StoreOptions> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigExtension for HeadstartOptions {
    const PREFIX: &'static str = "headstart";
}

impl ExtensionOptions for HeadstartOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.lock().set(key, value)
    }

    /// All options that were set for all stores; values that may be secrets as `***`.
    fn entries(&self) -> Vec<ConfigEntry> {
        let set = self.lock();
        let known = headstart::options().into_iter();
        let entries = known.map(|(option, spec)| {
            let shown = |value: &String| if spec.may_hold_a_secret() { "***".to_owned() } else { value.clone() };
            let value = set.everywhere.get(&option).map(shown);
            ConfigEntry { key: format!("{}.{option}", Self::PREFIX), value, description: spec.what }
        });
        entries.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_prefix_wins() {
        let mut options = StoreOptions::default();
        options.set("mode", "fetch").unwrap();
        options.set("memory_bytes", "64MiB").unwrap();
        options.set_for("s3://", "mode", "adaptive").unwrap();
        options.set_for("s3://bucket/", "mode", "cached").unwrap();
        let mode = |key: &str| options.of(key)["mode"].clone();
        assert_eq!(mode("gs://bucket"), "fetch");
        assert_eq!(mode("s3://other"), "adaptive");
        assert_eq!(mode("s3://bucket2"), "adaptive", "a store's name is not a prefix of another's");
        assert_eq!(mode("s3://bucket"), "cached");
        assert_eq!(options.of("s3://bucket")["memory_bytes"], "64MiB");
    }

    #[test]
    fn prefixes_name_a_store_or_a_scheme() {
        for (prefix, expected) in [
            ("s3://", Some("s3://")),
            ("s3://bucket", Some("s3://bucket")),
            ("s3://bucket/", Some("s3://bucket")),
            ("https://host:8080", Some("https://host:8080")),
            ("file:///", Some("file://")),
            ("s3://bucket/folder", None),
            ("bucket", None),
            ("://bucket", None),
        ] {
            let found = checked_prefix(prefix);
            match expected {
                Some(expected) => assert_eq!(found.unwrap(), expected, "{prefix}"),
                None => assert!(found.unwrap_err().to_string().contains(prefix), "{prefix}"),
            }
        }
    }

    #[test]
    fn unknown_options_are_refused_and_secrets_not_shown() {
        let mut options = HeadstartOptions::default();
        assert!(options.set("modus", "cached").unwrap_err().to_string().contains("no option 'modus'"));
        options.set("s3.secret_access_key", "hidden").unwrap();
        options.set("mode", "cached").unwrap();
        let entries = options.entries();
        let value = |key: &str| entries.iter().find(|entry| entry.key == key).unwrap().value.clone();
        assert_eq!(value("headstart.mode").as_deref(), Some("cached"));
        assert_eq!(value("headstart.s3.secret_access_key").as_deref(), Some("***"));
        assert_eq!(value("headstart.fetch.concurrency"), None);
        assert!(!format!("{options:?} {entries:?}").contains("hidden"));
    }
}
