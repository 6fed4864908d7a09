//! Which object goes where: the plan of a copy, made before anything is written.

use std::collections::{BTreeMap, BTreeSet};

/// A source of a copy, with everything that was found for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopySource {
    /// As it was typed.
    pub(crate) shown: String,
    /// Its last segment, without slashes: where it goes below a directory. Empty for a bucket.
    pub(crate) name: String,
    /// Whether it is one object or file, and not a directory or pattern.
    pub(crate) is_one: bool,
    /// Whether it is a pattern: what it matches goes to the target without a directory named after it.
    pub(crate) is_pattern: bool,
    /// The paths of what was found, relative to the source; of one object, its name.
    pub(crate) found: Vec<String>,
}

/// What is known about the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyTarget {
    /// A directory that exists, a bucket, or an argument that ends with a slash.
    pub(crate) is_directory: bool,
    /// A file that exists.
    pub(crate) is_file: bool,
    /// Files of this machine, among which a name is a file or a directory.
    pub(crate) is_local: bool,
}

/// One object to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedCopy {
    /// The source, and which of what was found there.
    pub(crate) source: usize,
    pub(crate) item: usize,
    /// The path below the target; empty for the target itself.
    pub(crate) to: String,
}

/// Plans a copy. One object goes to the target itself, unless that is a directory. Everything else goes below it: what
/// a directory or pattern has under its relative path; of several directories, each below its own name.
///
/// The plan depends on the arguments and on whether the target is a directory, not on what an earlier, interrupted copy
/// has written there.
///
/// # Errors
/// A sentence: sources and target do not fit, or two sources would go to one place.
pub(crate) fn plan(sources: &[CopySource], target: CopyTarget) -> Result<Vec<PlannedCopy>, String> {
    let is_one = matches!(sources, [source] if source.is_one);
    if !is_one && target.is_file {
        return Err("The target is a file, but there is more than one source. Name a directory.".to_owned());
    }
    let mut plan = Vec::new();
    for (source, from) in sources.iter().enumerate() {
        if from.found.is_empty() {
            return Err(format!("{} matches nothing, so nothing was copied.", from.shown));
        }
        for (item, relative) in from.found.iter().enumerate() {
            let to = match from.is_one {
                true if is_one && !target.is_directory => String::new(),
                true => from.name.clone(),
                false if sources.len() == 1 || from.is_pattern || from.name.is_empty() => relative.clone(),
                false => format!("{}/{relative}", from.name),
            };
            let is_exact = is_one && !target.is_directory;
            if to.is_empty() && !is_exact {
                return Err(format!("{} has no name that a copy could have in a directory.", from.shown));
            }
            plan.push(PlannedCopy { source, item, to });
        }
    }
    check(sources, target, &plan)?;
    Ok(plan)
}

/// Refuses two sources with one target, and among files a file that would be a directory too.
fn check(sources: &[CopySource], target: CopyTarget, plan: &[PlannedCopy]) -> Result<(), String> {
    let shown =
        |copy: &PlannedCopy| format!("'{}' of {}", sources[copy.source].found[copy.item], sources[copy.source].shown);
    let mut by_target: BTreeMap<&str, &PlannedCopy> = BTreeMap::new();
    for copy in plan {
        if let Some(other) = by_target.insert(&copy.to, copy) {
            let (one, two) = (shown(other), shown(copy));
            return Err(format!(
                "{one} and {two} would both be copied to '{}'. Copy them to different targets.",
                copy.to
            ));
        }
    }
    if !target.is_local {
        return Ok(());
    }
    let mut directories = BTreeSet::new();
    for to in by_target.keys() {
        let ends = to.match_indices('/').map(|(at, _)| at);
        directories.extend(ends.map(|end| &to[..end]));
    }
    match by_target.iter().find(|(to, _)| directories.contains(*to)) {
        Some((to, copy)) => Err(format!(
            "{} cannot be copied: '{to}' would be a file, and a directory of other objects too. Copy it by itself.",
            shown(copy)
        )),
        None => Ok(()),
    }
}

/// Whether files of this machine can have the path `to`, in the words of an error.
pub(crate) fn check_file_name(to: &str) -> Result<(), String> {
    let is_bad = |segment: &str| {
        matches!(segment, "" | "." | "..")
            || segment.contains('\0')
            || cfg!(windows) && segment.contains(['\\', ':', '*', '?', '"', '<', '>', '|'])
    };
    match to.split('/').any(is_bad) {
        true => Err(format!("'{to}' cannot be the name of a file here. Copy it by itself, to a name of your choice.")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> CopySource {
        let found = vec![name.to_owned()];
        CopySource { shown: name.to_owned(), name: name.to_owned(), is_one: true, is_pattern: false, found }
    }

    fn tree(name: &str, found: &[&str]) -> CopySource {
        let found = found.iter().map(|found| (*found).to_owned()).collect();
        CopySource { shown: format!("gs://b/{name}"), name: name.to_owned(), is_one: false, is_pattern: false, found }
    }

    const NEW: CopyTarget = CopyTarget { is_directory: false, is_file: false, is_local: true };
    const DIRECTORY: CopyTarget = CopyTarget { is_directory: true, ..NEW };
    const FILE: CopyTarget = CopyTarget { is_file: true, ..NEW };

    #[track_caller]
    fn check_targets(sources: &[CopySource], target: CopyTarget, expected: &[&str]) {
        let plan = plan(sources, target).expect("a plan");
        assert_eq!(plan.iter().map(|copy| copy.to.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_object_goes_to_the_target_or_into_it() {
        check_targets(&[one("a")], NEW, &[""]);
        check_targets(&[one("a")], FILE, &[""]);
        check_targets(&[one("a")], DIRECTORY, &["a"]);
        check_targets(&[one("a"), one("b")], NEW, &["a", "b"]);
    }

    #[test]
    fn a_tree_goes_below_the_target_whether_or_not_it_exists() {
        for target in [NEW, DIRECTORY] {
            check_targets(&[tree("d", &["x", "y/z"])], target, &["x", "y/z"]);
            check_targets(&[tree("d", &["x"]), tree("e", &["x"]), one("f")], target, &["d/x", "e/x", "f"]);
            let pattern = CopySource { is_pattern: true, ..tree("d", &["x"]) };
            check_targets(&[pattern, one("f")], target, &["x", "f"]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        for (sources, target, says) in [
            (vec![one("a"), one("b")], FILE, "Name a directory"),
            (vec![tree("d", &["a"])], FILE, "Name a directory"),
            (vec![tree("d", &[])], NEW, "matches nothing"),
            (vec![one("a"), one("a")], NEW, "would both be copied to 'a'"),
            (vec![tree("d", &["x", "x/y"])], NEW, "'x' would be a file, and a directory"),
        ] {
            let error = plan(&sources, target).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
        let remote = CopyTarget { is_local: false, ..NEW };
        check_targets(&[tree("d", &["x", "x/y"])], remote, &["x", "x/y"]);
    }

    #[test]
    fn names_that_leave_the_target_are_refused() {
        for (name, is_fine) in [("a/b", true), ("..", false), ("a/../b", false), ("a//b", false), ("a\0", false)] {
            assert_eq!(check_file_name(name).is_ok(), is_fine, "{name}");
        }
    }
}
