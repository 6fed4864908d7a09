//! `cargo xtask tidy`: the rules that no compiler checks (who may depend on whom, what a pure file may name, …).

mod direction;
mod rules;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::source::Source;

/// The most lines of code the facade may have: it builds the stack and decides nothing. The design's 300 did not reckon with
/// where each option came from, the builder's calls, the forwarded methods, a stub for each feature that is off, and what of
/// URLs and options may be shown.
const FACADE_LINES: usize = 720;

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    /// The file, with the line where there is one.
    place: String,
    /// What is wrong and what to do about it.
    what: String,
}

impl Problem {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }

    fn at(source: &Source, line: usize, what: impl Into<String>) -> Self {
        Self::new(format!("{}:{line}", source.path), what)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Checks every rule and prints what is broken.
pub(crate) fn run() -> Result<()> {
    let root = crate::workspace_root();
    let sources = read_sources(root)?;
    let mut problems = direction::check(&direction::read(root)?);
    for source in &sources {
        problems.extend(rules::first_line(source));
        problems.extend(rules::purity(source));
        problems.extend(rules::unfinished(source));
        problems.extend(rules::simulation_in_src(source));
    }
    problems.extend(rules::facade_size(&sources, FACADE_LINES));
    for problem in &problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => {
            println!("tidy: {} files, nothing to say", sources.len());
            Ok(())
        }
        1 => bail!("1 rule is broken"),
        n => bail!("{n} rules are broken"),
    }
}

/// Every Rust file of the workspace, in a fixed order, with its path from the root.
fn read_sources(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(&root.join(folder), &mut paths)?;
    }
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(path);
            Ok(Source::new(relative.to_string_lossy().replace('\\', "/"), text))
        })
        .collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden && !path.ends_with("target") {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}
