//! `cargo xtask tidy`: the rules that no compiler checks: dependencies, purity, names, and the size and text of files.

mod direction;
mod names;
mod rules;
mod source;
mod text;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::metadata;
use source::SourceFile;

/// The most lines of code that the facade may have: the facade builds the stack and decides nothing. About 250 of them
/// are the precedence of options, which moved here from fetch-core, and 50 the registry of links. 45 are what the
/// Python package needs: URLs taken apart without opening them, a shared budget, and readers of known metadata. 25 are
/// the options of a configuration file, which give way to the providers' own variables. 20 hand the layers to an
/// exporter of metrics.
const FACADE_LINES: usize = 1115;

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

    fn at(source: &SourceFile, line: usize, what: impl Into<String>) -> Self {
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
    let mut problems = direction::check(&metadata::read(root)?);
    let mut sources = Vec::new();
    let files = read_files(root)?;
    let all = files.len();
    for (path, text) in files {
        problems.extend(text::long_lines(&path, &text));
        problems.extend(text::refused_words(&path, &text));
        if path.ends_with(".rs") {
            sources.push(SourceFile::new(path, text));
        }
    }
    for source in &sources {
        problems.extend(rules::first_line(source));
        problems.extend(rules::purity(source));
        let folder = source.path.replace(".rs", "/");
        let has_folder = sources.iter().any(|other| other.path.starts_with(&folder));
        problems.extend(rules::file_length(source, has_folder));
        problems.extend(rules::unfinished(source));
        problems.extend(rules::simulation_in_src(source));
    }
    problems.extend(names::unique_types(&sources));
    problems.extend(rules::facade_size(&sources, FACADE_LINES));
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    ensure!(problems.is_empty(), "broken rules: {}", problems.len());
    println!("tidy: {all} files, no problem");
    Ok(())
}

/// Every Rust and Markdown file of the workspace, in a fixed order: its path from the root, and its text.
fn read_files(root: &Path) -> Result<Vec<(String, String)>> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(path);
            Ok((relative.to_string_lossy().replace('\\', "/"), text))
        })
        .collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_foreign = name.starts_with('.') || matches!(&*name, "target" | "node_modules");
        if path.is_dir() && !is_foreign {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            into.push(path);
        }
    }
    Ok(())
}
