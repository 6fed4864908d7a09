//! `docs/configuration.md` says what the code does: its tables are made here, from the code.

#![cfg(all(feature = "gcp", feature = "aws"))]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use headstart::{Headstart, Source};
use headstart_gcs_backend::GcsConfig;
use headstart_s3_backend::S3Config;
use object_store::memory::InMemory;

use crate::common;

/// The tables, by the name between their markers.
async fn tables() -> BTreeMap<&'static str, String> {
    let headstart = Headstart::builder().store(Arc::new(InMemory::new())).environment([]).build().await.unwrap();
    let defaults: BTreeMap<_, _> =
        headstart.effective_config().iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect();
    let mut options = String::from("| option | variable | default | takes | what it does |\n|---|---|---|---|---|\n");
    for (key, spec) in headstart::options() {
        let variable = format!("HEADSTART_{}", key.replace('.', "_").to_ascii_uppercase());
        let default = match defaults[&key].as_str() {
            "" => "not set".to_owned(),
            value => format!("`{value}`"),
        };
        writeln!(options, "| `{key}` | `{variable}` | {default} | {} | {} |", spec.takes, spec.what).unwrap();
    }
    let mut variables = String::from("| variable | stands for |\n|---|---|\n");
    for (variable, key) in GcsConfig::variables() {
        writeln!(variables, "| `{variable}` | `gcs.{key}` |").unwrap();
    }
    for (variable, key) in S3Config::variables() {
        writeln!(variables, "| `{variable}` | `s3.{key}` |").unwrap();
    }
    writeln!(variables, "| `AWS_CA_BUNDLE` | `ca_certificate`, for `s3://` |").unwrap();
    BTreeMap::from([("options", options), ("variables", variables)])
}

#[tokio::test]
async fn the_configuration_page_says_what_the_code_does() {
    common::check_page("configuration.md", "crates/headstart/tests/all/configuration.rs", &tables().await);
}

/// A file is weaker than the provider's own variables. Of credentials, all come from one level.
#[tokio::test]
async fn the_providers_variables_override_a_file() {
    const KEYS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", "other")];
    for (url, file, variables, key, expected) in [
        ("s3://b/k", &[("s3.region", "file-1")][..], &[][..], "s3.region", ("file-1", Source::File)),
        (
            "s3://b/k",
            &[("s3.region", "file-1")],
            &[("AWS_REGION", "env-1")],
            "s3.region",
            ("env-1", Source::Environment),
        ),
        (
            "s3://b/k",
            &[("s3.region", "file-1")],
            &[("HEADSTART_S3_REGION", "env-2")],
            "s3.region",
            ("env-2", Source::Environment),
        ),
        ("s3://b/k", &[("s3.region", "file-1")], KEYS, "s3.region", ("file-1", Source::File)),
        ("s3://b/k", &[("s3.session_token", "old")], KEYS, "s3.session_token", ("", Source::Default)),
        ("s3://b/k", &[("s3.session_token", "old")], &[], "s3.session_token", ("***", Source::File)),
        (
            "gs://b/k",
            &[("gcs.token", "old")],
            &[("GOOGLE_SKIP_SIGNATURE", "1")],
            "gcs.anonymous",
            ("on", Source::Environment),
        ),
        ("gs://b/k", &[("gcs.token", "old")], &[("GOOGLE_SKIP_SIGNATURE", "1")], "gcs.token", ("", Source::Default)),
        (
            "gs://b/k",
            &[("gcs.token", "old")],
            &[("GOOGLE_CLOUD_QUOTA_PROJECT", "p")],
            "gcs.token",
            ("***", Source::File),
        ),
        (
            "gs://b/k",
            &[("gcs.anonymous", "on")],
            &[("STORAGE_EMULATOR_HOST", "h:1")],
            "gcs.endpoint",
            ("http://h:1", Source::Environment),
        ),
    ] {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let builder = Headstart::builder().url(url).file_options("config.toml", owned(file));
        let headstart = builder.environment(owned(variables)).build().await.unwrap();
        let setting = headstart.effective_config().iter().find(|setting| setting.key == key).unwrap();
        assert_eq!((setting.value.as_str(), setting.source), expected, "{url} {file:?} {variables:?}");
    }
}
