//! `docs/configuration.md` says what the code does: its tables are made here, from the code.

#![cfg(all(feature = "gcp", feature = "aws"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
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

/// `text` with what stands between the markers of each table replaced by it.
fn with_tables(text: &str, tables: &BTreeMap<&'static str, String>) -> String {
    tables.iter().fold(text.to_owned(), |text, (name, table)| {
        let (begin, end) = (
            format!("<!-- {name}: made by crates/headstart/tests/configuration.rs -->\n"),
            format!("<!-- end of {name} -->"),
        );
        let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
        format!("{before}{begin}{table}{end}{after}")
    })
}

#[tokio::test]
async fn the_configuration_page_says_what_the_code_does() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let written = std::fs::read_to_string(&page).unwrap();
    let right = with_tables(&written, &tables().await);
    if written != right {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration.md");
        std::fs::write(&new, right).unwrap();
        panic!(
            "docs/configuration.md is out of date; after a look at the difference: cp {} {}",
            new.display(),
            page.display()
        );
    }
}
