//! `docs/configuration.md` says what the code does: its tables are made here, from the code.

#![cfg(all(feature = "gcp", feature = "aws"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use headstart::Headstart;
use headstart_gcs_backend::GcsConfig;
use headstart_s3_backend::S3Config;
use object_store::memory::InMemory;

/// The tables, by the name between their markers.
async fn tables() -> BTreeMap<&'static str, String> {
    let headstart = Headstart::builder().store(Arc::new(InMemory::new())).environment([]).build().await.unwrap();
    let defaults: BTreeMap<_, _> =
        headstart.effective_config().iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect();
    let mut options = String::from(
        "| option, and in an option string | variable | default | takes | what it does |\n|---|---|---|---|---|\n",
    );
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
    common::check_page("configuration.md", "crates/headstart/tests/configuration.rs", &tables().await);
}
