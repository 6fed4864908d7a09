//! The step `package`: every published crate can be packaged, and its package is complete.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::metadata::{self, Package};

/// Files that users of a published crate look for.
const FILES: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Packages all published crates, and fails if one of them lacks files or fields.
///
/// The crates are packaged together, so that they find each other without a registry. Nothing is built: the steps
/// before this one have built the same code.
pub(super) fn run() -> Result<()> {
    let root = crate::workspace_root();
    let packages = metadata::read(root)?.packages;
    let unpublished = packages.iter().filter(|package| !package.is_published());
    let excluded: Vec<&str> = unpublished.flat_map(|package| ["--exclude", &*package.name]).collect();
    super::run_cargo(
        Command::new("cargo").args(["package", "--workspace", "--no-verify", "--offline"]).args(excluded),
    )?;
    let mut lacking = 0;
    for package in packages.iter().filter(|package| package.is_published()) {
        let lacks = lacks(package, &files(&package.name)?);
        if !lacks.is_empty() {
            eprintln!("{} lacks {}", package.name, lacks.join(", "));
            lacking += 1;
        }
    }
    ensure!(lacking == 0, "{lacking} crates are not ready to be published");
    Ok(())
}

fn files(name: &str) -> Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["package", "--list", "--offline", "--package", name])
        .current_dir(crate::workspace_root())
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cannot list the package of {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// What a package with these `files` lacks.
fn lacks(package: &Package, files: &[String]) -> Vec<String> {
    let missing = FILES.iter().filter(|name| !files.iter().any(|file| file == *name));
    let mut lacks: Vec<String> = missing.map(|name| format!("the file {name}")).collect();
    let fields = [
        ("description", &package.description),
        ("license", &package.license),
        ("repository", &package.repository),
        ("readme", &package.readme),
    ];
    lacks.extend(fields.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| format!("`{name}` in Cargo.toml")));
    if package.metadata["docs"]["rs"]["all-features"] != true {
        lacks.push("`all-features = true` in `[package.metadata.docs.rs]`".to_owned());
    }
    if !files.iter().any(|file| file.starts_with("examples/")) {
        lacks.push("an example in examples/".to_owned());
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_package_lacks_is_named() {
        let some = || Some("some".to_owned());
        let complete = Package {
            description: some(),
            license: some(),
            repository: some(),
            readme: some(),
            metadata: json!({ "docs": { "rs": { "all-features": true } } }),
            ..Package::default()
        };
        let files = ["README.md", "LICENSE-APACHE", "LICENSE-MIT", "examples/a.rs"].map(str::to_owned);
        assert_eq!(lacks(&complete, &files), [""; 0]);
        assert_eq!(lacks(&complete, &files[1..3]), ["the file README.md", "an example in examples/"]);
        let bare = Package { license: some(), ..Package::default() };
        let fields = [
            "`description` in Cargo.toml",
            "`repository` in Cargo.toml",
            "`readme` in Cargo.toml",
            "`all-features = true` in `[package.metadata.docs.rs]`",
        ];
        assert_eq!(lacks(&bare, &files), fields);
    }
}
