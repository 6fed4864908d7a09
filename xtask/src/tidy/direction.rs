//! Dependencies between the workspace's packages point one way.

use super::Problem;
use crate::metadata::Workspace;

const CORE: &str = "headstart-fetch-core";
const SIM: &str = "headstart-sim";

/// The libraries that the facade joins.
const LAYERS: &[&str] = &[
    CORE,
    "headstart-cache",
    "headstart-prefetch",
    "headstart-gcs-backend",
    "headstart-s3-backend",
    "headstart-local-backend",
    "headstart-metrics",
];

/// What each package may depend on: `(package, in its code, also in its tests)`.
///
/// `fetch-core ← {prefetch, cache ← metrics, *-backend} ← headstart ← xtask`; siblings do not depend on each other.
/// xtask, the last in this order, may depend on every package but peers.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    // The tests of a package may name the package itself, to switch on features.
    (CORE, &[], &[CORE, SIM]),
    (SIM, &[CORE], &[]),
    ("headstart-cache", &[CORE], &[SIM]),
    ("headstart-prefetch", &[CORE], &[SIM]),
    ("headstart-gcs-backend", &[CORE], &[SIM]),
    ("headstart-s3-backend", &[CORE], &[SIM]),
    ("headstart-local-backend", &[CORE], &[]),
    ("headstart-metrics", &[CORE, "headstart-cache", "headstart-prefetch"], &[SIM]),
    ("headstart", LAYERS, &[SIM]),
    ("headstart-python", &["headstart", CORE, "headstart-affinity"], &[]),
    (
        "headstart-cli",
        &["headstart", "headstart-bench", CORE, "headstart-gcs-backend", "headstart-s3-backend", "headstart-trace"],
        &[SIM],
    ),
    ("headstart-trace", &[], &[SIM]),
    ("headstart-affinity", &[], &[]),
    ("headstart-object-store-013", &[], &["headstart", SIM]),
    ("headstart-parquet", &["headstart"], &["headstart-object-store-013", SIM]),
    ("headstart-bench", &["headstart", CORE, SIM, "headstart-trace"], &[]),
    ("headstart-peers", &["headstart-bench", "headstart-gcs-backend"], &["headstart-cache"]),
];

/// Dependencies between the workspace's packages that are not allowed.
pub(super) fn check(workspace: &Workspace) -> Vec<Problem> {
    let members: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in &workspace.packages {
        if package.name == "xtask" {
            continue;
        }
        let Some((_, in_code, in_tests)) = ALLOWED.iter().find(|(name, ..)| *name == package.name) else {
            let what = format!("`{}` has no allowed dependencies; add it to ALLOWED in xtask/src/tidy", package.name);
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
    use crate::metadata::{Dependency, Package};

    /// A package and its dependencies, each with its kind.
    type Packed<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

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
                ..Package::default()
            })
            .collect();
        check(&Workspace { packages }).into_iter().map(|problem| problem.what).collect()
    }

    const WITH_CORE: Packed<'_> = (CORE, &[("tokio", None), (SIM, Some("dev"))]);
    const WITH_SIM: Packed<'_> = (SIM, &[(CORE, None)]);

    #[test]
    fn dependencies_down_are_allowed() {
        let cache: &[_] = &[("headstart-fetch-core", None), ("headstart-sim", Some("dev"))];
        assert_eq!(wrong(&[WITH_CORE, WITH_SIM, ("headstart-cache", cache)]), [""; 0]);
    }

    #[test]
    fn dependencies_up_sideways_and_of_unknown_packages_are_refused() {
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
                "headstart-sim" => wrong(&[WITH_CORE, prefetch, (package, dependencies)]),
                _ => wrong(&[WITH_CORE, WITH_SIM, prefetch, (package, dependencies)]),
            };
            assert!(found.len() == 1 && found[0].contains(says), "{package} → {dependency}: {found:?}");
        }
    }
}
