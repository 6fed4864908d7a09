//! Options: config structs that string keys and values can fill, and how values are written.

use std::time::Duration;

/// What an option is called, takes and does: for documentation and error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// The key, without the name of the layer.
    pub key: &'static str,
    /// The values that the option takes: `bytes`, `on or off`, …
    pub takes: &'static str,
    /// What the option does, in one line.
    pub what: &'static str,
}

impl OptionSpec {
    /// Whether a value may be a secret or contain one: a key pasted in place of its file, a password in a URL.
    #[must_use]
    pub fn may_hold_a_secret(&self) -> bool {
        ["secret", "URL", "path"].iter().any(|word| self.takes.contains(word))
    }
}

/// One option of the config struct `C`: a row of [`Options::ROWS`].
#[derive(Debug)]
pub struct OptionRow<C> {
    /// See [`OptionSpec::key`].
    pub key: &'static str,
    /// See [`OptionSpec::takes`].
    pub takes: &'static str,
    /// See [`OptionSpec::what`].
    pub what: &'static str,
    /// The present value, in a form that `set` takes. Secrets are shown as `***`.
    pub get: fn(&C) -> String,
    /// Sets the value, given the key (for errors) and the text.
    pub set: fn(&mut C, &str, &str) -> Result<(), ConfigError>,
}

impl<C> OptionRow<C> {
    /// The row without its functions.
    #[must_use]
    pub fn spec(&self) -> OptionSpec {
        OptionSpec { key: self.key, takes: self.takes, what: self.what }
    }
}

/// A config struct that string keys and values can fill. A new option is one more row.
pub trait Options: Clone + Default + Sized + 'static {
    /// Every option, in the order the documentation shows them.
    const ROWS: &'static [OptionRow<Self>];

    /// Checks the whole.
    ///
    /// # Errors
    /// [`ConfigError`] where a value, or values together, make no sense.
    fn check(&self) -> Result<(), ConfigError>;

    /// Every option without its functions.
    #[must_use]
    fn specs() -> Vec<OptionSpec> {
        Self::ROWS.iter().map(OptionRow::spec).collect()
    }

    /// Sets the option `key`.
    ///
    /// # Errors
    /// [`ConfigError`] where the key is unknown or the value is not allowed; nothing is changed then.
    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let row = Self::ROWS.iter().find(|row| row.key == key);
        let row = row.ok_or_else(|| ConfigError::unknown(key, Self::ROWS.iter().map(|row| row.key)))?;
        let mut changed = self.clone();
        (row.set)(&mut changed, key, value)?;
        changed.check()?;
        *self = changed;
        Ok(())
    }

    /// The present value of `key`, in a form that [`Options::set`] takes; `None` for an unknown key.
    #[must_use]
    fn value(&self, key: &str) -> Option<String> {
        Self::ROWS.iter().find(|row| row.key == key).map(|row| (row.get)(self))
    }
}

/// Puts a parsed value into its field: the last step of most [`OptionRow::set`] functions.
///
/// # Errors
/// That of `value`; the field keeps what it has then.
pub fn assign<T>(field: &mut T, value: Result<T, ConfigError>) -> Result<(), ConfigError> {
    *field = value?;
    Ok(())
}

/// A config value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the description of a variant names its fields")]
#[non_exhaustive]
pub enum ConfigError {
    /// No option is called `key`; `nearest` is the most similar name there is.
    #[error("unknown option '{key}'{}", nearest.as_ref().map(|n| format!("; did you mean '{n}'?")).unwrap_or_default())]
    UnknownKey { key: String, nearest: Option<String> },
    /// Piece `number` of an option string, counted from 1 without empty ones, sets no option; `what` says why. The text
    /// of the piece is not repeated: it may be the rest of a secret that has a comma.
    #[error(
        "piece {number} of the option string {what}: expected key=value,key=value; \
         give a value that has a comma with .option(key, value)"
    )]
    UnusablePiece { number: usize, what: &'static str },
    /// The option `key` does not take `value`; `allowed` says what it takes.
    #[error("option '{key}' is '{value}': {allowed}")]
    BadValue { key: String, value: String, allowed: String },
}

impl ConfigError {
    /// The option `key` does not take `value`; `allowed` says what it takes.
    pub fn bad(key: &str, value: impl ToString, allowed: impl Into<String>) -> Self {
        Self::BadValue { key: key.into(), value: value.to_string(), allowed: allowed.into() }
    }

    /// No option is called `key`; the most similar of `known` is offered.
    pub fn unknown<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let nearest = known
            .into_iter()
            .map(|name| (edit_distance(key, name), name))
            .filter(|(distance, name)| *distance <= name.len().max(key.len()) / 2)
            .min()
            .map(|(_, name)| name.to_owned());
        Self::UnknownKey { key: key.into(), nearest }
    }
}

/// Reads a number of bytes: `65536`, `64KiB`, `8 MiB`, `1GB`. Units of 1,000 end in `B`, of 1,024 in `iB`.
///
/// # Errors
/// [`ConfigError::BadValue`] naming `key`.
pub fn parse_bytes(key: &str, value: &str) -> Result<u64, ConfigError> {
    let bad = || ConfigError::bad(key, value, "expected a number of bytes, such as 65536, 64KiB or 512MiB");
    let text = value.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| bad())?;
    let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" | "t" => 1 << 40,
        _ => return Err(bad()),
    };
    number.checked_mul(unit).ok_or_else(bad)
}

/// Reads a time: `500ms`, `10s`, `5m`, `1h`; a bare number is seconds.
///
/// # Errors
/// [`ConfigError::BadValue`] naming `key`.
pub fn parse_duration(key: &str, value: &str) -> Result<Duration, ConfigError> {
    let bad = || ConfigError::bad(key, value, "expected a time, such as 500ms, 10s or 5m");
    let text = value.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| bad())?;
    let unit = match text[digits..].trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| bad())
}

/// Reads a switch: `on`, `true`, `1`, `yes` or `off`, `false`, `0`, `no`, `none`.
///
/// # Errors
/// [`ConfigError::BadValue`] naming `key`.
pub fn parse_switch(key: &str, value: &str) -> Result<bool, ConfigError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" | "none" => Ok(false),
        _ => Err(ConfigError::bad(key, value, "expected on or off")),
    }
}

/// Reads a whole number.
///
/// # Errors
/// [`ConfigError::BadValue`] naming `key`.
pub fn parse_count(key: &str, value: &str) -> Result<usize, ConfigError> {
    value.trim().parse().map_err(|_| ConfigError::bad(key, value, "expected a whole number"))
}

/// Writes bytes the way [`parse_bytes`] reads them.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// Writes a time the way [`parse_duration`] reads it.
#[must_use]
pub fn format_duration(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if time.subsec_nanos() == 0 { format!("{}s", time.as_secs()) } else { format!("{ms}ms") }
}

/// Writes a switch the way [`parse_switch`] reads it.
#[must_use]
pub fn format_switch(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

/// Durations in serde, written as in options: `"10s"`. For `#[serde(with = "duration_text")]`.
pub mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `"10s"`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*time))
    }

    /// Reads `"10s"`.
    ///
    /// # Errors
    /// Those of the deserializer, and for a text that is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse_duration("duration", &String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_people_write() {
        assert_eq!(parse_bytes("k", "64KiB"), Ok(65536));
        assert_eq!(parse_bytes("k", " 8 MiB "), Ok(8 << 20));
        assert_eq!(parse_bytes("k", "1GB"), Ok(1_000_000_000));
        assert_eq!(parse_duration("k", "1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("k", "2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_switch("k", "Off"), Ok(false));
        for bad in ["", "-1", "lots", "1 parsec", "99999999999GiB"] {
            assert!(parse_bytes("k", bad).is_err(), "{bad}");
            assert!(parse_duration("k", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_typo_is_told_the_nearest_name() {
        let error = ConfigError::unknown("page_byte", ["memory_bytes", "page_bytes"]);
        assert_eq!(error.to_string(), "unknown option 'page_byte'; did you mean 'page_bytes'?");
        let error = ConfigError::unknown("zzz", ["memory_bytes"]);
        assert_eq!(error.to_string(), "unknown option 'zzz'");
    }

    proptest! {
        #[test]
        fn written_values_read_back(bytes in 0_u64..1 << 50, ms in 0_u64..10_000_000) {
            prop_assert_eq!(parse_bytes("k", &format_bytes(bytes)), Ok(bytes));
            let time = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration("k", &format_duration(time)), Ok(time));
        }
    }
}
