//! Precedence of option sources: who set each option, and how variables and option strings are read.

use std::collections::BTreeMap;
use std::fmt;

use headstart_fetch_core::{ConfigError, OptionSpec, Options};
use serde::Serialize;

/// Where the value of an option came from. A later variant overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The default.
    Default,
    /// A configuration file.
    File,
    /// An environment variable.
    Environment,
    /// The option string ([`HeadstartBuilder::options_str`](crate::HeadstartBuilder::options_str)), or the URL where it
    /// names the bucket.
    Url,
    /// A call of the builder.
    Explicit,
}

/// One option with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The full key, such as `fetch.concurrency`.
    pub key: String,
    /// The value, in a form that can be set. Secrets are shown as `***`.
    pub value: String,
    /// Where the value came from.
    pub source: Source,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({:?})", self.key, self.value, self.source)
    }
}

/// [`Options`] as a trait object.
pub(crate) trait Section {
    fn specs(&self) -> Vec<OptionSpec>;
    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError>;
    fn value(&self, key: &str) -> Option<String>;
    fn check(&self) -> Result<(), ConfigError>;
}

impl<T: Options> Section for T {
    fn specs(&self) -> Vec<OptionSpec> {
        T::specs()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        Options::set(self, key, value)
    }

    fn value(&self, key: &str) -> Option<String> {
        Options::value(self, key)
    }

    fn check(&self) -> Result<(), ConfigError> {
        Options::check(self)
    }
}

/// Config structs with their names. The full key of an option is `name.key`, or `key` in the section without a name.
pub(crate) type Sections<'a> = Vec<(&'static str, &'a mut dyn Section)>;

/// A key and its value.
pub(crate) type Pair = (String, String);

/// What was given for each option, and by which source. Sources are read in order, the overriding ones last.
#[derive(Clone, Default)]
pub(crate) struct GivenOptions {
    /// By full key: the last given text and its source. The text is `None` if a whole struct was given.
    by_key: BTreeMap<String, (Option<String>, Source)>,
}

/// Shows no values, because some are secrets.
impl fmt::Debug for GivenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_key.iter().map(|(key, (_, source))| (key, source))).finish()
    }
}

impl GivenOptions {
    /// Sets `pairs`, which come from `source`.
    ///
    /// # Errors
    /// [`ConfigError`] with the option's full key.
    pub(crate) fn read(
        &mut self,
        sections: &mut Sections<'_>,
        pairs: &[Pair],
        source: Source,
    ) -> Result<(), ConfigError> {
        let mut after_secret = false;
        for (key, value) in pairs {
            let (name, spec) = find(sections, key).ok_or_else(|| unknown(key, keys(sections)))?;
            let set = sections
                .iter_mut()
                .find(|(section, _)| *section == name)
                .map(|(_, section)| section.set(spec.key, value));
            // The value may be the rest of a secret that contains a comma.
            let shown = |error| if after_secret && source == Source::Url { without_value(error) } else { error };
            set.unwrap_or(Ok(())).map_err(|error| renamed(shown(error), |option| full_key(name, option)))?;
            after_secret |= spec.may_hold_a_secret();
            self.by_key.insert(key.clone(), (Some(value.clone()), source));
        }
        Ok(())
    }

    /// Records that the whole section `name` was given.
    pub(crate) fn given_whole(&mut self, sections: &Sections<'_>, name: &str, source: Source) {
        for (section, spec) in specs(sections).filter(|(section, _)| *section == name) {
            self.by_key.insert(full_key(section, spec.key), (None, source));
        }
    }

    /// Records that `source` set `key`, unless another source has.
    #[cfg(any(feature = "gcp", feature = "aws"))]
    pub(crate) fn found(&mut self, key: String, source: Source) {
        self.by_key.entry(key).or_insert((None, source));
    }

    /// Forgets what a file says about the options that `is_overridden` names.
    #[cfg(any(feature = "gcp", feature = "aws"))]
    pub(crate) fn forget_file(&mut self, is_overridden: impl Fn(&str) -> bool) {
        self.by_key.retain(|key, (_, source)| *source != Source::File || !is_overridden(key));
    }

    /// The texts given for the section `name`, by keys without that name.
    #[cfg(any(feature = "gcp", feature = "aws", test))]
    pub(crate) fn given_for<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.by_key
            .iter()
            .filter_map(move |(key, (value, _))| Some((key.strip_prefix(name)?.strip_prefix('.')?, value.as_deref()?)))
    }

    /// The source of the option `key`.
    #[must_use]
    pub(crate) fn source(&self, key: &str) -> Source {
        self.by_key.get(key).map_or(Source::Default, |(_, source)| *source)
    }

    /// Every option with its value and source.
    #[must_use]
    pub(crate) fn effective(&self, sections: &Sections<'_>) -> Vec<Setting> {
        let of_section = |(name, section): &(&'static str, &mut dyn Section)| {
            let setting = |spec: OptionSpec| {
                let key = full_key(name, spec.key);
                Some(Setting { value: section.value(spec.key)?, source: self.source(&key), key })
            };
            section.specs().into_iter().filter_map(setting).collect::<Vec<_>>()
        };
        sections.iter().flat_map(of_section).collect()
    }
}

/// Checks every section.
///
/// # Errors
/// [`ConfigError`] with the option's full key.
pub(crate) fn check(sections: &Sections<'_>) -> Result<(), ConfigError> {
    sections
        .iter()
        .try_for_each(|(name, section)| section.check().map_err(|error| renamed(error, |key| full_key(name, key))))
}

/// Every option's full key and what it takes.
#[must_use]
pub(crate) fn all(sections: &Sections<'_>) -> Vec<(String, OptionSpec)> {
    specs(sections).map(|(name, spec)| (full_key(name, spec.key), spec)).collect()
}

/// The options that `environment` sets by variables called `PREFIX_SECTION_KEY`.
///
/// # Errors
/// [`ConfigError::UnknownKey`] for a variable with the prefix that is no option. Empty variables, and those that
/// Kubernetes sets for a service of that name, are skipped.
pub(crate) fn from_environment(
    sections: &Sections<'_>,
    prefix: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<Pair>, ConfigError> {
    let keys: BTreeMap<String, String> = keys(sections).map(|key| (variable(prefix, &key), key)).collect();
    // Shells and manifests unset a variable by making it empty.
    let ours = environment.iter().filter(|(name, value)| name.starts_with(prefix) && !value.is_empty());
    let pair = |(name, value): (&String, &String)| match keys.get(name) {
        Some(key) => Some(Ok((key.clone(), value.clone()))),
        None if is_service_variable(&name[prefix.len()..]) => None,
        None => Some(Err(unknown(name, keys.keys().cloned()))),
    };
    ours.filter_map(pair).collect()
}

/// Whether Kubernetes sets variables with this ending for a service whose name begins with the prefix: `SERVICE_HOST`,
/// `SERVICE_PORT`, `SERVICE_PORT_HTTP`, `PORT`, `PORT_80_TCP`, `PORT_80_TCP_ADDR`, possibly after the rest of the name.
fn is_service_variable(rest: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");
    (0..words.len()).any(|at| match &words[at..] {
        ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] | ["PORT"] => true,
        ["PORT", number, protocol] => is_number(number) && is_protocol(protocol),
        ["PORT", number, protocol, "PROTO" | "PORT" | "ADDR"] => is_number(number) && is_protocol(protocol),
        _ => false,
    })
}

/// The variable that sets the option `key`.
#[must_use]
pub(crate) fn variable(prefix: &str, key: &str) -> String {
    format!("{prefix}{}", key.to_ascii_uppercase().replace('.', "_"))
}

/// Reads `key=value,key=value`.
///
/// # Errors
/// [`ConfigError::UnknownKey`]. [`ConfigError::UnusablePiece`], which does not repeat the text, for a piece without `=`
/// and for an unknown key after an option that may hold a secret: that key may be the rest of the secret.
pub(crate) fn from_text(sections: &Sections<'_>, text: &str) -> Result<Vec<Pair>, ConfigError> {
    let mut after_secret = false;
    let pieces = text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
    let pair = |(n, piece): (usize, &str)| {
        let unusable = |what| ConfigError::UnusablePiece { number: n + 1, what };
        let (key, value) = piece.split_once('=').ok_or_else(|| unusable("has no '='"))?;
        let key = key.trim();
        match find(sections, key) {
            Some((_, spec)) => after_secret |= spec.may_hold_a_secret(),
            None if after_secret => return Err(unusable("names no option")),
            None => return Err(unknown(key, keys(sections))),
        }
        Ok((key.to_owned(), value.trim().to_owned()))
    };
    pieces.enumerate().map(pair).collect()
}

fn without_value(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::BadValue { key, allowed, .. } => ConfigError::BadValue { key, value: "***".to_owned(), allowed },
        other => other,
    }
}

/// `error` with another name of the option.
#[must_use]
pub(crate) fn renamed(error: ConfigError, name: impl FnOnce(&str) -> String) -> ConfigError {
    match error {
        ConfigError::BadValue { key, value, allowed } => ConfigError::BadValue { key: name(&key), value, allowed },
        other => other,
    }
}

fn specs(sections: &Sections<'_>) -> impl Iterator<Item = (&'static str, OptionSpec)> {
    sections.iter().flat_map(|(name, section)| section.specs().into_iter().map(|spec| (*name, spec)))
}

fn keys(sections: &Sections<'_>) -> impl Iterator<Item = String> {
    specs(sections).map(|(name, spec)| full_key(name, spec.key))
}

/// The section and option called `key`.
fn find(sections: &Sections<'_>, key: &str) -> Option<(&'static str, OptionSpec)> {
    specs(sections).find(|(name, spec)| full_key(name, spec.key) == key)
}

fn full_key(name: &str, option: &str) -> String {
    match (name, option) {
        ("", option) => option.to_owned(),
        (name, option) => format!("{name}.{option}"),
    }
}

fn unknown(key: &str, known: impl Iterator<Item = String>) -> ConfigError {
    let known: Vec<String> = known.collect();
    ConfigError::unknown(key, known.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_fetch_core::FetchConfig;
    use headstart_fetch_core::options::{OptionRow, parse_count};

    fn pairs(pairs: &[(&str, &str)]) -> Vec<Pair> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_last_level_read_counts_and_is_named() {
        let mut fetch = FetchConfig::default();
        let mut sections: Sections<'_> = vec![("fetch", &mut fetch)];
        let mut given = GivenOptions::default();
        given
            .read(&mut sections, &pairs(&[("fetch.hedge", "off"), ("fetch.concurrency", "7")]), Source::Environment)
            .unwrap();
        given.read(&mut sections, &pairs(&[("fetch.concurrency", "8")]), Source::Explicit).unwrap();
        let shown: Vec<_> = given.effective(&sections).iter().map(ToString::to_string).collect();
        for expected in ["fetch.hedge = off (Environment)", "fetch.concurrency = 8 (Explicit)"] {
            assert!(shown.iter().any(|setting| setting == expected), "{shown:?}");
        }
        assert_eq!(given.given_for("fetch").collect::<Vec<_>>(), [("concurrency", "8"), ("hedge", "off")]);
    }

    #[test]
    fn errors_speak_of_full_keys_and_variables() {
        let mut fetch = FetchConfig::default();
        let mut sections: Sections<'_> = vec![("fetch", &mut fetch)];
        let mut read = |key, value| {
            let error = GivenOptions::default().read(&mut sections, &pairs(&[(key, value)]), Source::Url);
            error.expect_err(key).to_string()
        };
        assert_eq!(read("fetch.concurrency", "0"), "option 'fetch.concurrency' is '0': expected 1 to 4096");
        assert_eq!(
            read("fetch.concurency", "1"),
            "unknown option 'fetch.concurency'; did you mean 'fetch.concurrency'?"
        );
        assert_eq!(read("fetch.hedge", "perhaps"), "option 'fetch.hedge' is 'perhaps': expected on or off");
        let environment =
            BTreeMap::from([("H_FETCH_CONCURENCY".to_owned(), "1".to_owned()), ("HOME".into(), "/".into())]);
        let error = from_environment(&sections, "H_", &environment).expect_err("a slip").to_string();
        assert_eq!(error, "unknown option 'H_FETCH_CONCURENCY'; did you mean 'H_FETCH_CONCURRENCY'?");
        let read = from_text(&sections, " fetch.hedge = 1 ,, fetch.retries=2=3 ").unwrap();
        assert_eq!(read, pairs(&[("fetch.hedge", "1"), ("fetch.retries", "2=3")]));
    }

    /// Holds a secret.
    #[derive(Clone, Default)]
    struct Login;

    impl Options for Login {
        const ROWS: &'static [OptionRow<Self>] = &[
            OptionRow { key: "token", takes: "a secret", what: "", get: |_| String::new(), set: |_, _, _| Ok(()) },
            OptionRow {
                key: "count",
                takes: "a number",
                what: "",
                get: |_| String::new(),
                set: |_, key, value| parse_count(key, value).map(drop),
            },
        ];

        fn check(&self) -> Result<(), ConfigError> {
            Ok(())
        }
    }

    #[test]
    fn the_rest_of_a_secret_that_has_a_comma_is_not_repeated() {
        let how = "expected key=value,key=value; give a value that has a comma with .option(key, value)";
        for (text, expected) in [
            ("in.count=1,hunter2", format!("piece 2 of the option string has no '=': {how}")),
            ("hunter2", format!("piece 1 of the option string has no '=': {how}")),
            ("in.token=a,,hunter2", format!("piece 2 of the option string has no '=': {how}")),
            ("in.token=a,in.count=1,hunter2==", format!("piece 3 of the option string names no option: {how}")),
            ("in.token=a,in.count=hunter2", "option 'in.count' is '***': expected a whole number".to_owned()),
            ("in.conut=1,in.token=a", "unknown option 'in.conut'; did you mean 'in.count'?".to_owned()),
            ("in.count=many", "option 'in.count' is 'many': expected a whole number".to_owned()),
        ] {
            let mut login = Login;
            let mut sections: Sections<'_> = vec![("in", &mut login)];
            let read = from_text(&sections, text)
                .and_then(|pairs| GivenOptions::default().read(&mut sections, &pairs, Source::Url));
            assert_eq!(read.expect_err(text).to_string(), expected);
        }
    }
}
