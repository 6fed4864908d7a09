//! Who may depend on whom inside the workspace.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Problem;

/// What each package may depend on: `(package, in its code, besides in its tests)`.
///
/// `fetch-core ← {prefetch, cache, gcs-backend, s3-backend, local-backend} ← headstart ← xtask`; siblings never name each other.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("headstart-fetch-core", &[], &["headstart-sim"]),
    ("headstart-sim", &["headstart-fetch-core"], &[]),
    ("headstart-cache", &["headstart-fetch-core"], &["headstart-sim"]),
    ("headstart-prefetch", &["headstart-fetch-core"], &["headstart-sim"]),
    ("headstart-gcs-backend", &["headstart-fetch-core"], &["headstart-sim"]),
    ("headstart-s3-backend", &["headstart-fetch-core"], &["headstart-sim"]),
    ("headstart-local-backend", &["headstart-fetch-core"], &[]),
    (
        "headstart",
        &[
            "headstart-fetch-core",
            "headstart-cache",
            "headstart-prefetch",
            "headstart-gcs-backend",
            "headstart-s3-backend",
            "headstart-local-backend",
        ],
        &["headstart-sim"],
    ),
    ("headstart-trace", &[], &["headstart-sim"]),
    ("headstart-bench", &["headstart", "headstart-fetch-core", "headstart-sim", "headstart-trace"], &[]),
    ("headstart-peers", &["headstart-bench", "headstart-gcs-backend"], &["headstart-cache"]),
    (
        "xtask",
        &[
            "headstart",
            "headstart-bench",
            "headstart-trace",
            "headstart-fetch-core",
            "headstart-cache",
            "headstart-prefetch",
            "headstart-gcs-backend",
            "headstart-s3-backend",
            "headstart-local-backend",
            "headstart-sim",
        ],
        &[],
    ),
];

/// The part of `cargo metadata` that tells who depends on whom.
#[derive(Debug, Deserialize)]
pub(super) struct Workspace {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing for the code's own.
    kind: Option<String>,
}

/// Asks cargo.
pub(super) fn read(root: &Path) -> Result<Workspace> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let mut workspace: Workspace =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not as expected")?;
    let prefix = format!("{}/", root.display());
    for package in &mut workspace.packages {
        package.manifest_path = package.manifest_path.trim_start_matches(&prefix).to_owned();
    }
    Ok(workspace)
}

/// Every dependency between the workspace's packages points the way the design says.
pub(super) fn check(workspace: &Workspace) -> Vec<Problem> {
    let members: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let Some((_, in_code, in_tests)) = ALLOWED.iter().find(|(name, ..)| *name == package.name) else {
            let what =
                format!("nobody has said what `{}` may depend on; add it to ALLOWED in xtask's tidy", package.name);
            problems.push(Problem::new(&package.manifest_path, what));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let test_only = dependency.kind.as_deref() == Some("dev");
            if members.contains(&name) && !in_code.contains(&name) && !(test_only && in_tests.contains(&name)) {
                let (how, advice) = if in_tests.contains(&name) {
                    ("", "only its tests may: make it a dev-dependency")
                } else if test_only {
                    ("tests ", "tests of several layers live in crates/headstart/tests")
                } else {
                    ("", "dependencies point from xtask down to fetch-core, never sideways or up")
                };
                let what = format!("`{}` {how}must not depend on `{name}`; {advice}", package.name);
                problems.push(Problem::new(&package.manifest_path, what));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package and its dependencies, each with its kind.
    type Packed<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    /// What is wrong with a workspace of these packages.
    fn wrong(packages: &[Packed<'_>]) -> Vec<String> {
        let packages = packages
            .iter()
            .map(|(name, dependencies)| Package {
                name: (*name).into(),
                manifest_path: "Cargo.toml".into(),
                dependencies: dependencies
                    .iter()
                    .map(|(name, kind)| Dependency { name: (*name).into(), kind: kind.map(Into::into) })
                    .collect(),
            })
            .collect();
        check(&Workspace { packages }).into_iter().map(|problem| problem.what).collect()
    }

    const CORE: Packed<'_> = ("headstart-fetch-core", &[("tokio", None), ("headstart-sim", Some("dev"))]);
    const SIM: Packed<'_> = ("headstart-sim", &[("headstart-fetch-core", None)]);

    #[test]
    fn the_right_way_is_allowed() {
        let cache: &[_] = &[("headstart-fetch-core", None), ("headstart-sim", Some("dev"))];
        assert_eq!(wrong(&[CORE, SIM, ("headstart-cache", cache)]), [""; 0]);
    }

    #[test]
    fn up_sideways_and_unknown_are_not() {
        let prefetch: Packed<'_> = ("headstart-prefetch", &[("headstart-fetch-core", None)]);
        for (package, dependency, kind, says) in [
            ("headstart-cache", "headstart-prefetch", None, "sideways"),
            ("headstart-cache", "headstart-prefetch", Some("dev"), "crates/headstart/tests"),
            ("headstart-cache", "headstart-sim", None, "dev-dependency"),
            ("headstart-sim", "headstart-prefetch", None, "sideways"),
            ("headstart-new", "headstart-prefetch", None, "ALLOWED"),
        ] {
            let dependencies: &[_] = &[(dependency, kind)];
            let found = match package {
                "headstart-sim" => wrong(&[CORE, prefetch, (package, dependencies)]),
                _ => wrong(&[CORE, SIM, prefetch, (package, dependencies)]),
            };
            assert!(found.len() == 1 && found[0].contains(says), "{package} → {dependency}: {found:?}");
        }
    }
}
