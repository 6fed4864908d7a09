//! Finds and reads the configuration file, and the variables that say where it is. Only this file reads them.

use std::path::{Path, PathBuf};

use toml::Value;

use crate::failure::{Failure, FailureKind};

/// Options that were read from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// Full keys and their values.
    pub(crate) options: Vec<(String, String)>,
}

/// Reads the file that the user names, or the one in the usual place, if there is one.
///
/// # Errors
/// The file that the user names does not exist, or a file cannot be used.
pub(crate) fn load(named: Option<&Path>) -> Result<Option<ConfigFile>, Failure> {
    let (path, is_named) = match (named, usual_path()) {
        (Some(path), _) => (path.to_owned(), true),
        (None, Some(path)) => (path, false),
        (None, None) => return Ok(None),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => return Ok(None),
        Err(error) => return Err(Failure::file("read the configuration file", &path, &error)),
    };
    let options = parse(&text).map_err(|why| {
        Failure::new(FailureKind::Usage, format!("The configuration file {} cannot be used: {why}", path.display()))
    })?;
    Ok(Some(ConfigFile { path, options }))
}

/// Where the file is looked for.
pub(crate) fn usual_path() -> Option<PathBuf> {
    // A relative path is invalid, says the XDG specification, and is ignored.
    let home = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")))?;
    Some(home.join("headstart/config.toml"))
}

#[expect(clippy::disallowed_methods, reason = "only this file reads these variables")]
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether a service of AWS gives credentials to this process: the variables that the client looks for.
pub(crate) fn has_aws_service() -> bool {
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        .into_iter()
        .any(|name| variable(name).is_some())
}

/// Whether requests go through a proxy.
pub(crate) fn has_proxy() -> bool {
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .any(|name| variable(name).is_some())
}

/// Whether this user has logged in with gcloud: the file that the client looks for.
pub(crate) fn has_google_login() -> bool {
    let file = if cfg!(windows) { "gcloud/application_default_credentials.json" } else { GCLOUD_FILE };
    let home = variable(if cfg!(windows) { "APPDATA" } else { "HOME" }).map(PathBuf::from);
    home.is_some_and(|home| home.join(file).is_file())
}

const GCLOUD_FILE: &str = ".config/gcloud/application_default_credentials.json";

/// The `host:port` of the metadata service that the user has named for a cloud, in the variables that its client reads.
pub(crate) fn metadata_address(is_google: bool) -> Option<String> {
    let names: &[&str] = match is_google {
        true => &["GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"],
        false => &["AWS_METADATA_ENDPOINT"],
    };
    let named = names.iter().find_map(|name| variable(name))?.into_string().ok()?;
    let text = if named.contains("://") { named } else { format!("http://{named}") };
    let url = url::Url::parse(&text).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// The options of a file, in its order. A table is a section.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // Not `Display`: it repeats the line, which may have a secret.
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("line {line} is not TOML: {}.", error.message())
    })?;
    let mut options = Vec::new();
    for (key, value) in &table {
        match value {
            Value::Table(section) => {
                for (name, value) in section {
                    options.push((format!("{key}.{name}"), text_of(&format!("{key}.{name}"), value)?));
                }
            }
            value => options.push((key.clone(), text_of(key, value)?)),
        }
    }
    Ok(options)
}

fn text_of(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(is_on) => Ok(is_on.to_string()),
        other => Err(format!(
            "'{key}' is a {}, expected a string, a number, or true or false, such as \"512MiB\".",
            other.type_str()
        )),
    }
}

/// Splits `-o KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        // Not repeated: it may be a part of a secret.
        None => Err(Failure::usage("An option has no '=': write -o KEY=VALUE, such as -o mode=cached.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sections_and_values_become_text() {
        let text =
            "mode = 'cached'\n\"cache.edge_bytes\" = 65536\n[fetch]\nhedge = false\nretries = 3\n[s3]\nregion='x'";
        let expected = [
            ("mode", "cached"),
            ("cache.edge_bytes", "65536"),
            ("fetch.hedge", "false"),
            ("fetch.retries", "3"),
            ("s3.region", "x"),
        ];
        let mut parsed = parse(text).expect("TOML");
        parsed.sort();
        let mut expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        expected.sort();
        assert_eq!(parsed, expected);
    }

    #[test]
    fn errors_name_the_line_or_the_key_and_repeat_no_value() {
        for (text, says) in [
            ("a = 1\ntoken = hunter2", "line 2"),
            ("[s3]\nkeys = ['hunter2']", "'s3.keys' is a array"),
            ("[a.b]\nc = 'hunter2'", "'a.b' is a table"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
        assert!(!pair("hunter2").expect_err("no =").message.contains("hunter2"));
    }
}
